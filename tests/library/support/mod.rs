//! What the tests share: a body, a verifier and a wall clock that do as they are told, and a reader
//! that says what it sees.

mod log;
mod oracle;
mod reader;
mod script;
mod wall;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Identity, Scope, StreamReauth, StreamReauthLayer, reauth::Ending,
};

pub use self::{
    log::logging,
    oracle::{Answer, Oracle},
    reader::{BodyReader, Reader, Seen},
    script::{Feed, Script, Torrent, script},
    wall::Wall,
};

pub const READ: Scope = Scope::from_static("history:read");
pub const WRITE: Scope = Scope::from_static("history:write");
pub const ADMIN: Scope = Scope::from_static("admin");

/// Somebody with a token.
pub fn alice() -> Identity {
    Identity::new("alice", AuthMethod::Token)
}

/// A heartbeat every 15 s sharp, and an ending that names its reason.
pub fn reauth() -> StreamReauthLayer {
    StreamReauthLayer::new().with_jitter(0.0).with_ending(Ending::Abort)
}

/// A request with the token `t0ken`.
pub fn request() -> Request<()> {
    request_with("Bearer t0ken")
}

/// A request with this `Authorization`.
pub fn request_with(authorization: impl AsRef<[u8]>) -> Request<()> {
    let mut request = Request::new(());
    let authorization = HeaderValue::from_bytes(authorization.as_ref()).expect("a header can hold it");
    request.headers_mut().insert(AUTHORIZATION, authorization);
    request
}

/// Opens an event stream through two layers.
pub async fn open(auth: BearerAuthLayer, reauth: StreamReauthLayer) -> (Feed, Reader<Script>) {
    open_with(auth, reauth, "t0ken").await
}

/// Opens an event stream through two layers, with this token.
pub async fn open_with(auth: BearerAuthLayer, reauth: StreamReauthLayer, token: &str) -> (Feed, Reader<Script>) {
    let (feed, response) = ask(auth, reauth, token).await;
    assert_eq!(response.status(), StatusCode::OK);
    (feed, Reader::of(response))
}

/// What is answered to this token, whether it is let in or not.
pub async fn knock(auth: BearerAuthLayer, reauth: StreamReauthLayer, token: &str) -> Response<StreamReauth<Script>> {
    ask(auth, reauth, token).await.1
}

/// The body's script, and what is answered to this token.
pub async fn ask(
    auth: BearerAuthLayer,
    reauth: StreamReauthLayer,
    token: &str,
) -> (Feed, Response<StreamReauth<Script>>) {
    let (feed, body) = script();
    let service = auth.layer(reauth.layer(handler(event_stream(body))));
    let Ok(response) = service.oneshot(request_with(format!("Bearer {token}"))).await;
    (feed, response)
}

/// A handler of one request, which it answers with `response`.
pub fn handler<B>(response: Response<B>) -> Handler<B> {
    Handler(Arc::new(Mutex::new(Some(response))))
}

/// A handler of one request.
pub struct Handler<B>(Arc<Mutex<Option<Response<B>>>>);

impl<B> Clone for Handler<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Service<Request<()>> for Handler<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(self.0.lock().expect("nobody panics").take().expect("it is asked once")))
    }
}

/// `body` as an event stream.
pub fn event_stream<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    response
}

/// The access that a layer put into a request.
pub fn access<B>(request: &Request<B>) -> &Access {
    request.extensions().get().expect("a layer put it there")
}

/// The access that a handler finds behind the door.
pub async fn behind(auth: BearerAuthLayer) -> Access {
    let (sender, receiver) = mpsc::channel();
    let service = auth.layer(service_fn(move |request: Request<()>| {
        sender.send(access(&request).clone()).expect("the test listens");
        ready(Ok::<_, Infallible>(Response::new(String::new())))
    }));
    let Ok(_) = service.oneshot(request()).await;
    receiver.recv().expect("the door is open")
}

/// The text of a header of a response.
pub fn header<'r, B>(response: &'r Response<B>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().expect("ASCII"))
}

/// Lets other tasks do what they can do now.
pub async fn others() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// What is said at a heartbeat.
pub const KEEPALIVE: Bytes = Bytes::from_static(b": keepalive\n\n");

/// It took this long, to a tick of tokio's timers.
#[track_caller]
pub fn assert_took(started: Instant, expected: Duration) {
    let took = started.elapsed();
    assert!(took >= expected && took <= expected + Duration::from_millis(1), "{took:?} in place of {expected:?}");
}

/// An error of a client's own with two bugs: it cannot be told, and not be dropped either. While one panic unwinds
/// the other would end the process.
#[derive(Debug)]
pub struct Untellable;

impl std::fmt::Display for Untellable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("an error's own bug")
    }
}

impl std::error::Error for Untellable {}

impl Drop for Untellable {
    fn drop(&mut self) {
        panic!("an error's own bug");
    }
}
