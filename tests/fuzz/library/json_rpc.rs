//! A call is what any reader of JSON takes the body for, or the request is refused; and a stream that answers it and is cut
//! ends with one event, an error with the call's own id.

use std::{convert::Infallible, future::Ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};
use tower::{Layer, Service, service_fn};
use tower_reauth::{
    Access, AuthMethod, Identity, StreamReauthLayer,
    json_rpc::{Call, JsonRpcLayer},
    reauth::Ending,
    verify::{Verification, VerifyError},
};

use super::Pending;
use crate::support;

pub(crate) fn run(input: &[u8]) {
    let request = Request::post("/").header("content-type", "application/json");
    let request = request.body(Full::from(Bytes::copy_from_slice(input))).expect("its parts are valid");
    let handler = service_fn(|request: Request<Full<Bytes>>| -> Ready<Result<Response<Option<Call>>, Infallible>> {
        std::future::ready(Ok(Response::new(request.extensions().get::<Call>().cloned())))
    });
    let Ok(mut response) = support::ready(JsonRpcLayer::new().layer(handler).call(request));
    let object = serde_json::from_slice::<Map<String, Value>>(input);
    if response.status() == 400 {
        return assert!(response.body().is_none());
    }
    let ending = response.extensions_mut().remove::<Ending>();
    let Some(call) = response.into_body() else { return assert!(ending.is_none()) };

    let object = match object {
        Ok(object) => object,
        // Half of a surrogate pair in what is not read: JSON by its grammar (RFC 8259 section 8.2), and for this reader no text.
        Err(error) => return assert!(input.windows(2).any(|two| two.eq_ignore_ascii_case(b"\\u")), "{error}"),
    };
    let named = |object: &Map<String, Value>, name: &str| -> Vec<Value> {
        object.iter().filter(|(own, _)| own.to_uppercase() == name).map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(named(&object, "METHOD"), [call.method()]);
    let id = call.id().map(|id| serde_json::from_str::<Value>(id).expect("JSON"));
    match &id {
        Some(id) => assert_eq!(named(&object, "ID"), std::slice::from_ref(id)),
        None => assert!(!named(&object, "ID").iter().any(|id| id.is_string() || id.is_number())),
    }
    if let Some(name) = call.name() {
        let [Value::Object(params)] = &named(&object, "PARAMS")[..] else { panic!("a name, and no parameters") };
        assert_eq!(named(params, "NAME"), [name]);
    }

    let Some(ending) = ending else { return assert!(call.id().is_none_or(|id| id.len() > 256)) };
    let access = Access::with_recheck(Identity::new("alice", AuthMethod::Token), || {
        Verification::ready(Err(VerifyError::Rejected))
    });
    let mut response =
        Response::builder().header("content-type", "text/event-stream").body(Pending).expect("a response");
    response.extensions_mut().insert(ending);
    let layer = StreamReauthLayer::new().with_heartbeat(std::time::Duration::from_secs(1));
    let body = support::ready(layer.watch(&access, &Method::POST, response).into_body().collect());
    let body = body.expect("a clean end").to_bytes();
    let said = body.strip_prefix(b"data: ").and_then(|body| body.strip_suffix(b"\n\n")).expect("one event");
    assert!(!said.contains(&b'\n') && !said.contains(&b'\r'));
    let said: Value = serde_json::from_slice(said).expect("JSON");
    assert_eq!(Some(&said["id"]), id.as_ref());
    assert_eq!(said["error"]["code"], 401);
}
