//! A call is what any reader of JSON takes the body for, or the request is refused; and a stream that answers it and is cut
//! ends with one event, an error with the call's own id.

use std::{convert::Infallible, fmt, future::Ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
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
    let ending = response.extensions_mut().remove::<Ending>();
    if response.status() == 400 {
        return assert!(response.body().is_none());
    }
    let Some(call) = response.into_body() else { return assert!(ending.is_none()) };

    let object: Members = serde_json::from_slice(input).expect("a call is an object");
    assert_eq!(object.texts("METHOD"), [call.method()]);
    match call.id() {
        Some(id) => assert_eq!(object.named("ID"), [id]),
        None => assert!(
            object
                .named("ID")
                .iter()
                .all(|id| !id.starts_with('"') && !id.ends_with(|last: char| last.is_ascii_digit()))
        ),
    }
    if let Some(name) = call.name() {
        let [params] = object.named("PARAMS")[..] else { panic!("a name, and not one `params`") };
        let params: Members = serde_json::from_str(params).expect("what has a name is an object");
        assert_eq!(params.texts("NAME"), [name]);
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
    let said: Members = serde_json::from_slice(said).expect("an object");
    // As it was written: half of a surrogate pair, which is JSON by its grammar (RFC 8259 section 8.2), goes back to who sent it.
    assert_eq!(said.named("ID"), [call.id().expect("who waits has an id")]);
    let [error] = said.named("ERROR")[..] else { panic!("not one error") };
    assert_eq!(serde_json::from_str::<Value>(error).expect("JSON")["code"], 401);
}

/// All members of an object, those that stand there twice included.
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// The values by this name, in whatever case, as they are written.
    fn named(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(own, _)| own.to_uppercase() == name).map(|(_, value)| value.get()).collect()
    }

    /// The same, each of which is a text.
    fn texts(&self, name: &str) -> Vec<String> {
        self.named(name).into_iter().map(|value| serde_json::from_str(value).expect("a text")).collect()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(OfMap)
    }
}
