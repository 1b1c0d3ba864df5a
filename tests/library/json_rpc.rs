//! A stream that answers a call of JSON-RPC ends with an error of that call.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, RequireScopeLayer, StreamReauthLayer,
    json_rpc::{Call, JsonRpcLayer},
    reauth::Ending,
    verify::VerifyError,
};

use crate::support::{Feed, Oracle, READ, Reader, Script, Seen, alice, event_stream, handler, script};

fn post(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/mcp").header("authorization", "Bearer t0ken");
    request.header("content-type", "application/json; charset=utf-8").body(body.into()).expect("a request")
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#;

/// The stream that answers this request.
async fn answered(oracle: &Oracle, request: Request<Body>, content_type: &'static str) -> (Feed, Reader<Script>) {
    oracle.says(Ok(alice().with_scopes(READ)));
    let (feed, body) = script();
    let mut response = event_stream(body);
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(RequireScopeLayer::new(READ))
        .layer(StreamReauthLayer::new().with_jitter(0.0))
        .layer(JsonRpcLayer::new())
        .map_request(|_: Request<Body>| Request::new(()))
        .service(handler(response));
    let Ok(response) = service.oneshot(request).await;
    (feed, Reader::of(response))
}

fn text(seen: &Seen) -> &str {
    let Seen::Data(data) = seen else { panic!("{seen:?} is no data") };
    std::str::from_utf8(data).expect("UTF-8")
}

#[tokio::test(start_paused = true)]
async fn the_end_of_access_answers_the_call() {
    let causes: [(&str, u16, bool, fn(&Oracle)); 6] = [
        ("expired", 401, false, |oracle| oracle.says(Err(VerifyError::Expired))),
        ("revoked", 401, false, |oracle| oracle.says(Err(VerifyError::Rejected))),
        ("scope_lost", 403, false, |oracle| oracle.says(Ok(alice()))),
        ("locked_out", 429, true, |oracle| oracle.says(Err(VerifyError::locked_out_for(Duration::from_secs(9))))),
        ("unavailable", 503, true, |oracle| oracle.says(Err(VerifyError::unavailable()))),
        ("check_panicked", 503, true, Oracle::panics),
    ];
    for (reason, code, reconnect, brings_about) in causes {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = answered(&oracle, post(CALL), "text/event-stream").await;
        feed.data("data: {\"progress\":1}\n\n");
        assert_eq!(stream.next().await, Seen::data("data: {\"progress\":1}\n\n"));
        brings_about(&oracle);
        oracle.moves();
        let rest = stream.rest().await;
        let [last, Seen::End] = &rest[..] else { panic!("{reason}: {rest:?}") };
        let data = text(last).strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n")).expect("one event");
        assert_eq!(
            serde_json::from_str::<Value>(data).expect("JSON"),
            json!({
                "jsonrpc": "2.0",
                "id": 7,
                "error": {"code": code, "message": "access ended", "data": {"reason": reason, "reconnect": reconnect}},
            })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn in_lines_of_json_it_is_a_line_of_its_own() {
    for (before, expected) in [("{}\n", "{\"jsonrpc\""), ("{\"cut", "\n{\"jsonrpc\"")] {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = answered(&oracle, post(CALL), "application/x-ndjson").await;
        feed.data(before);
        assert_eq!(stream.next().await, Seen::data(before));
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        let last = stream.next().await;
        assert!(text(&last).starts_with(expected) && text(&last).ends_with("}\n"), "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_an_event_it_is_left_out() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = answered(&oracle, post(CALL), "text/event-stream").await;
    feed.data("data: {\"half");
    assert_eq!(stream.next().await, Seen::data("data: {\"half"));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(stream.rest().await, [Seen::End]);
}

/// Whether the response to this request knows how to answer it, and what the inner service has read.
async fn ending(layer: JsonRpcLayer, request: Request<Body>) -> (u16, bool, Option<Bytes>) {
    let read = Arc::new(Mutex::new(None));
    let reads = read.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let reads = reads.clone();
        async move {
            let body = request.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            *reads.lock().expect("no panic") = Some(body);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let Ok(response) = layer.layer(inner).oneshot(request).await;
    let read = read.lock().expect("no panic").take();
    (response.status().as_u16(), response.extensions().get::<Ending>().is_some(), read)
}

#[tokio::test]
async fn a_call_with_an_id_is_answered() {
    let deep = format!(r#"{{"id":1,"method":"m","params":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    let id_of = |length| format!(r#"{{"id":"{}","method":"m"}}"#, "x".repeat(length));
    for (body, is_answered) in [
        (CALL, true),
        (r#"{"id":"a\"b\nc","method":"m"}"#, true),
        (r#"{"id":-1,"method":"m"}"#, true),
        (r#"{"id":1e400,"method":"m"}"#, true),
        (" {\n\"method\" : \"m\",\t\"id\" : 12345678901234567890123 }\n", true),
        (deep.as_str(), true),
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, false),
        (r#"{"id":null,"method":"m"}"#, false),
        (r#"{"id":{"a":1},"method":"m"}"#, false),
        (r#"{"id":[1],"method":"m"}"#, false),
        (r#"{"id":true,"method":"m"}"#, false),
        (r#"{"id":1,"result":{}}"#, false),
        (r#"{"id":1,"method":2}"#, false),
        (&id_of(254), true),
        // A stream keeps it for as long as it is open.
        (&id_of(255), false),
    ] {
        let (status, knows, read) = ending(JsonRpcLayer::new(), post(body.to_owned())).await;
        assert_eq!((status, knows), (200, is_answered), "{body}");
        assert_eq!(read.as_deref(), Some(body.as_bytes()), "the body goes on as it was");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_comes_back_as_it_was_written() {
    for id in ["\"a\\\"b\\nc\\u2028\"", "12345678901234567890123", "1.50"] {
        let oracle = Oracle::with_revision();
        let request = post(format!(r#"{{"method":"m","id": {id} }}"#));
        let (_feed, mut stream) = answered(&oracle, request, "text/event-stream").await;
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        let last = stream.next().await;
        assert!(text(&last).starts_with(&format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":")), "{last:?}");
        assert_eq!(text(&last).matches('\n').count(), 2, "{last:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_goes_on_whatever_it_is() {
    let inner = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(String::new())));
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST"] {
        for content_type in ["text/plain", "application/json"] {
            let request = Request::builder().method(method).header("content-type", content_type);
            let Ok(response) = JsonRpcLayer::new().layer(inner).oneshot(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                (response.status(), response.extensions().get::<Ending>().is_some()),
                (200.try_into().unwrap(), false)
            );
        }
    }
    // A layer in between may hide that there is none.
    for content_type in ["text/plain", "application/json"] {
        let empty = Body::from_stream(stream::iter([Ok::<_, Infallible>(Bytes::new())]));
        let request = Request::get("/mcp").header("content-type", content_type).body(empty).unwrap();
        assert_eq!(ending(JsonRpcLayer::new(), request).await, (200, false, Some(Bytes::new())));
    }
    // What comes behind a `CONNECT` is no body.
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let Ok(response) = JsonRpcLayer::new().layer(inner).oneshot(Request::connect("a:1").body(never).unwrap()).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_call_is_seen_by_whichever_method_it_comes() {
    for method in ["POST", "PUT", "PATCH", "GET", "DELETE", "QUERY"] {
        let mut request = post(CALL);
        *request.method_mut() = method.parse().unwrap();
        assert!(ending(JsonRpcLayer::new(), request).await.1, "{method}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_into_does_not_go_on() {
    // A service further in may not care for either header, and read the call.
    let headers: [&[(&str, &str)]; 9] = [
        &[("content-type", "text/plain")],
        &[("content-type", "application/jsonx")],
        &[("content-type", "application/json-rpc")],
        &[("content-type", "")],
        &[],
        &[("content-type", "application/json"), ("content-type", "text/plain")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        &[("content-type", "application/json"), ("content-encoding", "identity, br")],
        &[("content-type", "application/json"), ("content-encoding", "identity"), ("content-encoding", "gzip")],
    ];
    for headers in headers {
        let request =
            headers.iter().fold(Request::post("/mcp"), |request, (name, value)| request.header(*name, *value));
        let (status, _, read) = ending(JsonRpcLayer::new(), request.body(Body::from(CALL)).unwrap()).await;
        assert_eq!((status, read), (415, None), "{headers:?}");
    }
    let request = Request::post("/mcp").header("content-type", "APPLICATION/json ;charset=utf-8");
    let request = request.header("content-encoding", "Identity").body(Body::from(CALL)).unwrap();
    assert!(ending(JsonRpcLayer::new(), request).await.1);
}

#[tokio::test]
async fn what_is_no_object_does_not_go_on() {
    for body in [
        " ",
        "null",
        "7",
        r#""{}""#,
        r#"{"id":1,"method":"m""#,
        r#"{"id":01,"method":"m"}"#,
        // What a reader may overlook who is less strict.
        r#"{"id":1,"method":"m"} {}"#,
        "\u{feff}{\"id\":1,\"method\":\"m\"}",
        r#"{"\ud800":1,"id":1,"method":"m"}"#,
        r#"{"id":1,"method":"m","params":{"\ud800":1,"name":"delete"}}"#,
        r#"{"id":1,"method":"m",}"#,
        r#"{id:1,"method":"m"}"#,
        r#"{"id":1,"method":"m"/**/}"#,
    ] {
        let body = Body::from_stream(stream::iter([Ok::<_, Infallible>(Bytes::from(body.to_owned()))]));
        let (status, _, read) = ending(JsonRpcLayer::new(), post(body)).await;
        assert_eq!((status, read), (400, None));
    }
    let utf16: Vec<u8> = CALL.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(ending(JsonRpcLayer::new(), post(utf16)).await.0, 400);
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit() {
    let layer = JsonRpcLayer::new().with_limit(CALL.len());
    assert_eq!(ending(layer, post(CALL)).await.0, 200);
    let (status, _, read) = ending(layer, post(format!("{CALL} "))).await;
    assert_eq!((status, read), (413, None));
    // In pieces, and by a sender who never stops.
    let endless = || Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"[[[["))));
    assert_eq!(ending(layer, post(endless())).await.0, 413);
    assert_eq!(ending(layer.with_limit(0), post("{}")).await.0, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_request() {
    let pieces = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("the client left"))];
    let (status, _, read) = ending(JsonRpcLayer::new(), post(Body::from_stream(stream::iter(pieces)))).await;
    assert_eq!((status, read), (400, None));
}

#[tokio::test]
async fn the_service_that_said_it_was_ready_is_the_one_that_is_called() {
    #[derive(Default)]
    struct Ready {
        is_ready: bool,
        calls: Arc<AtomicUsize>,
    }
    impl Clone for Ready {
        fn clone(&self) -> Self {
            Self { is_ready: false, calls: self.calls.clone() }
        }
    }
    impl Service<Request<Body>> for Ready {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<String>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.is_ready = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            assert!(std::mem::take(&mut self.is_ready), "called without being asked");
            self.calls.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(Response::new(String::new())))
        }
    }
    let inner = Ready::default();
    let mut service = JsonRpcLayer::new().layer(inner.clone());
    for body in [CALL, "{}", CALL] {
        let Ok(_) = service.ready().await.expect("infallible").call(post(body)).await;
    }
    let mut get = Request::new(Body::empty());
    *get.method_mut() = http::Method::GET;
    let Ok(_) = service.ready().await.expect("infallible").call(get).await;
    assert_eq!(inner.calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn who_decides_further_in_knows_the_call() {
    let call = |body: &'static str| async move {
        let inner = service_fn(async |mut request: Request<Body>| {
            Ok::<_, Infallible>(Response::new(
                request
                    .extensions_mut()
                    .remove::<Call>()
                    .map_or(String::new(), |call| format!("{:?} {} {:?}", call.id(), call.method(), call.name())),
            ))
        });
        let Ok(response) = JsonRpcLayer::new().layer(inner).oneshot(post(body)).await;
        response.into_body()
    };
    assert_eq!(call(CALL).await, r#"Some("7") tools/call None"#);
    let named = r#"{"id":"a","method":"tools/call","params":{"arguments":{"name":"no"},"name":"de\u006cete"}}"#;
    assert_eq!(call(named).await, r#"Some("\"a\"") tools/call Some("delete")"#);
    assert_eq!(call(r#"{"id":1,"method":"m","params":{"name":5}}"#).await, r#"Some("1") m None"#);
    assert_eq!(call(r#"{"id":1,"method":"m","params":["name"]}"#).await, r#"Some("1") m None"#);
    assert_eq!(call(r#"{"id":1,"result":{}}"#).await, "");
    // Nobody is told what became of it, but it is made.
    for id in ["", r#""id":null,"#, r#""id":true,"#, r#""id":[1],"#] {
        let body = format!(r#"{{{id}"method":"tools/call","params":{{"name":"delete"}}}}"#);
        assert_eq!(call(body.leak()).await, r#"None tools/call Some("delete")"#);
    }
    // Some readers do not tell upper case from lower.
    assert_eq!(call(r#"{"ID":1,"Method":"m","param\u017f":{"NAME":"n"}}"#).await, r#"Some("1") m Some("n")"#);
}

#[tokio::test]
async fn what_two_may_read_differently_is_no_request() {
    for body in [
        r#"[{"id":1,"method":"m"}]"#,
        " \n[",
        r#"{"id":1,"method":"m","method":"n"}"#,
        r#"{"id":1,"id":2,"method":"m"}"#,
        r#"{"id":1,"method":"m","\u006dethod":"n"}"#,
        r#"{"id":1,"method":"m","params":{},"params":{"name":"delete"}}"#,
        r#"{"id":1,"method":"m","params":{"name":"list","name":"delete"}}"#,
        r#"{"id":1,"method":"m","Method":"n"}"#,
        r#"{"id":1,"method":"m","params":{"name":"list"},"param\u017f":{"name":"delete"}}"#,
        r#"{"id":1,"method":"m","params":{"name":"list","NAME":"delete"}}"#,
    ] {
        let (status, _, read) = ending(JsonRpcLayer::new(), post(body)).await;
        assert_eq!((status, read), (400, None), "{body}");
    }
    let deeper = r#"{"id":1,"method":"m","params":{"arguments":{"a":1,"a":2}}}"#;
    assert_eq!(ending(JsonRpcLayer::new(), post(deeper)).await.0, 200);
}
