//! The contestants of a stream: a body by itself, and the same body through `StreamReauth` under
//! verifiers of every kind.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body::{Body, Frame};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Identity, StaticToken, StreamReauth, StreamReauthLayer, Tokens, VerifyToken,
    revoke::{Revision, Revocations},
    verify::{BearerToken, Token, Verification, verify_async, verify_fn},
};

pub const TOKEN: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";
const EVENT: Bytes = Bytes::from_static(b"event: message\ndata: {\"seq\":1,\"text\":\"one event of a stream\"}\n\n");
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A body that has a frame ready at every poll, for ever.
#[derive(Clone)]
pub struct Endless;

/// A body that never has one.
#[derive(Clone)]
pub struct Idle;

/// A body under a name, ready to be polled.
pub struct Contestant {
    pub name: &'static str,
    next: Box<dyn FnMut()>,
}

impl Contestant {
    fn new<B: Body + Unpin + 'static>(name: &'static str, mut body: B) -> Self {
        let next = move || match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => drop(std::hint::black_box(frame)),
            _ => panic!("{name}: a frame was ready, and did not arrive"),
        };
        Self { name, next: Box::new(next) }
    }

    /// Takes the next frame.
    pub fn next(&mut self) {
        (self.next)();
    }
}

pub const BARE: &str = "the bare body";
pub const REVISION: &str = "revision unchanged";
pub const EVENTS: &str = "revision unchanged, an event stream";
pub const EXPIRY: &str = "revision unchanged, an expiry to compare";
pub const BUMP: &str = "revision moved, nobody watching";
pub const MOVED: &str = "revision moved, and asked again";
pub const ASKED: &str = "no revision: asked for each frame";
pub const MAX_AGE: &str = "asynchronous verifier, within max_age";

/// All of them; the first one is the bare body.
pub fn contestants() -> Vec<Contestant> {
    let plain = StreamReauthLayer::new();
    let mortal = Token::new("bench", TOKEN).with_expires_at(SystemTime::now() + HOUR);
    let mortal = Tokens::new([mortal]).expect("one token is no duplicate");
    let somebody = Identity::new("somebody", AuthMethod::Token);
    let asked = verify_fn(move |_| Ok(somebody.clone()));
    let asked_far_away = verify_async(async |_| Ok(Identity::new("somebody", AuthMethod::Token)));

    let revision = Revision::new();
    let moved = Contestant::new(MOVED, door(Moving(revision.clone()), plain.clone(), "text/plain", Endless)());
    let moved = moved.after(move || revision.bump());
    let unwatched = Revision::new();
    let bump = Contestant::new(BUMP, Endless).after(move || unwatched.bump());

    vec![
        Contestant::new(BARE, Endless),
        Contestant::new(REVISION, door(StaticToken::new(TOKEN), plain.clone(), "text/plain", Endless)()),
        Contestant::new(EVENTS, door(StaticToken::new(TOKEN), plain.clone(), "text/event-stream", Endless)()),
        Contestant::new(EXPIRY, door(mortal, plain.clone(), "text/plain", Endless)()),
        bump,
        moved,
        Contestant::new(ASKED, door(asked, plain.clone(), "text/plain", Endless)()),
        Contestant::new(MAX_AGE, door(asked_far_away, plain.clone().with_max_age(HOUR), "text/plain", Endless)()),
    ]
}

impl Contestant {
    fn after(mut self, mut first: impl FnMut() + 'static) -> Self {
        let next = move || {
            first();
            (self.next)();
        };
        Self { name: self.name, next: Box::new(next) }
    }
}

/// A service with both layers: each call is a request that `verifier` lets in, and returns `body` as it
/// leaves the layers.
pub fn door<B: Body + Clone + 'static>(
    verifier: impl VerifyToken,
    layer: StreamReauthLayer,
    content_type: &'static str,
    body: B,
) -> impl Fn() -> StreamReauth<B> {
    let service = service_fn(move |_: Request<()>| {
        let response = Response::builder().header(CONTENT_TYPE, content_type).body(body.clone());
        async { Ok::<_, Infallible>(response.expect("the header is a valid one")) }
    });
    open(BearerAuthLayer::new(verifier).layer(layer.layer(service)))
}

/// The same, whose callers `revocations` can end.
pub fn door_with<B: Body + Clone + 'static>(
    revocations: &Revocations,
    verifier: impl VerifyToken,
    body: B,
) -> impl Fn() -> StreamReauth<B> {
    let service = service_fn(move |_: Request<()>| {
        let response = Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body.clone());
        async { Ok::<_, Infallible>(response.expect("the header is a valid one")) }
    });
    let auth = BearerAuthLayer::new(verifier).with_revocations(revocations);
    open(auth.layer(StreamReauthLayer::new().layer(service)))
}

fn open<S, B: Body>(service: S) -> impl Fn() -> StreamReauth<B>
where
    S: Service<Request<()>, Response = Response<StreamReauth<B>>, Error = Infallible> + Clone,
{
    move || {
        let request = Request::builder().header(AUTHORIZATION, format!("Bearer {TOKEN}")).body(());
        let response = service.clone().oneshot(request.expect("the header is a valid one")).now_or_never();
        let response = response.and_then(Result::ok).expect("there is nothing to wait for");
        assert!(response.status().is_success(), "the token is good");
        response.into_body()
    }
}

/// A verifier that lets everybody in, and whose revision somebody else moves.
struct Moving(Revision);

impl VerifyToken for Moving {
    fn verify(&self, _: &BearerToken) -> Verification {
        Verification::ready(Ok(Identity::new("somebody", AuthMethod::Token)))
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0)
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(EVENT))))
    }
}

impl Body for Idle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
