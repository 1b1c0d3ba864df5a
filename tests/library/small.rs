//! Promise 12: what reauth keeps for an idle stream is at most 1 KiB, and a frame allocates nothing
//! unless the verifier does. Counted exactly, in allocations of this thread.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use futures_util::FutureExt;
use http::{HeaderName, Request};
use http_body::{Body, Frame};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, ScopeResolverLayer, StaticToken, StreamReauth, StreamReauthLayer, Strict, Tokens, VerifyToken,
    reauth::OpenStreams,
    revoke::Revocations,
    verify::{Token, verify_fn},
};

use crate::support::{READ, Torrent, Wall, alice, event_stream, request_with};

/// A body that never has a frame.
struct Idle;

impl Body for Idle {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<bytes::Bytes>>>> {
        Poll::Pending
    }
}

const STREAMS: usize = 100;

/// Opens streams, all of them through one service.
fn opener<B: Body + Default + 'static>(auth: &BearerAuthLayer) -> impl Fn() -> Pin<Box<StreamReauth<B>>> {
    opener_with(auth, "t0ken")
}

fn opener_with<B: Body + Default + 'static>(
    auth: &BearerAuthLayer,
    token: &str,
) -> impl Fn() -> Pin<Box<StreamReauth<B>>> + use<B> {
    let header = format!("Bearer {token}");
    let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(event_stream(B::default())));
    let service = auth.layer(StreamReauthLayer::new().layer(service_fn(answer)));
    move || {
        let Ok(response) = service.clone().oneshot(request_with(&header)).now_or_never().expect("it answers at once");
        Box::pin(response.into_body())
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self
    }
}

impl Default for Torrent {
    fn default() -> Self {
        Self
    }
}

/// A verifier without a revision, which is asked about each frame and knows the answer.
fn knows_alice() -> impl VerifyToken {
    let alice = alice();
    verify_fn(move |_| Ok(alice.clone()))
}

/// Doors of every kind.
fn doors() -> Vec<(&'static str, BearerAuthLayer)> {
    let wall = Wall::new();
    let token = Token::new("laptop", "t0ken").with_scopes(READ).with_expires_at(wall.after(3_600));
    let tokens = Tokens::new([token]).expect("no duplicates");
    vec![
        ("a revision and an expiry", BearerAuthLayer::new(tokens).with_clock(wall.clock())),
        ("revocations", BearerAuthLayer::new(knows_alice()).with_revocations(&Revocations::new())),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_keeps_at_most_a_kibibyte() {
    for (name, auth) in doors() {
        let open = opener::<Idle>(&auth);
        let open = || {
            let mut body = open();
            assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
            body
        };
        // What is there once, however many streams there are, is there from now on.
        drop(open());
        let mut kept = Vec::with_capacity(STREAMS);
        let first = measure(|| kept.push(open())).bytes_current;
        let others = measure(|| kept.extend((1..STREAMS).map(|_| open()))).bytes_current;
        let each = others / (STREAMS as i64 - 1);
        assert!(each <= 1_024, "{name}: {each} bytes for each stream, its access and its token included");
        assert!(first - each <= 608, "{name}: {} bytes for what the streams of a credential share", first - each);
        let freed = measure(|| kept.clear()).bytes_current;
        assert_eq!(freed, -(first + others), "{name}: they leave nothing behind");
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_token_is_kept_once_for_all_of_its_streams() {
    const TOKEN: &str = match std::str::from_utf8(&[b'x'; 1_800]) {
        Ok(token) => token,
        Err(_) => unreachable!(),
    };
    let open = opener_with::<Idle>(&BearerAuthLayer::new(StaticToken::new(TOKEN)), TOKEN);
    let open = || {
        let mut body = open();
        assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        body
    };
    drop(open());
    let mut kept = Vec::with_capacity(STREAMS + 1);
    let first = measure(|| kept.push(open())).bytes_current;
    let others = measure(|| kept.extend((0..STREAMS).map(|_| open()))).bytes_current;
    let each = others / STREAMS as i64;
    assert!(each <= 1_024, "{each} bytes for each stream");
    assert!(first - each <= TOKEN.len() as i64 + 608, "{} bytes for what they share", first - each);
    // Whichever of them opened the first is gone, the others know their token.
    drop(kept.swap_remove(0));
    assert!(kept[0].as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    let freed = measure(|| kept.clear()).bytes_current;
    assert!(freed < -others, "the text goes with the last one");
}

#[tokio::test(start_paused = true)]
async fn the_registry_takes_at_most_128_bytes_more() {
    const MANY: usize = 10_000;
    let registry = OpenStreams::new();
    let each = |layer: StreamReauthLayer| {
        let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(event_stream(Idle)));
        let service = BearerAuthLayer::new(StaticToken::new("t0ken")).layer(layer.layer(service_fn(answer)));
        let open = || {
            let Ok(response) = service.clone().oneshot(request_with("Bearer t0ken")).now_or_never().expect("at once");
            let mut body = Box::pin(response.into_body());
            assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
            body
        };
        drop(open());
        let mut kept = Vec::with_capacity(MANY);
        let bytes = measure(|| kept.extend((0..MANY).map(|_| open()))).bytes_current;
        bytes / MANY as i64
    };
    let without = each(StreamReauthLayer::new());
    let with = each(StreamReauthLayer::new().with_registry(&registry));
    assert!(with - without <= 128, "{} bytes for each stream", with - without);
    assert_eq!(registry.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frame_allocates_nothing_unless_the_answer_does() {
    for (name, auth) in doors() {
        let mut body = opener::<Torrent>(&auth)();
        let mut frames = |count| {
            for _ in 0..count {
                let frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
            }
        };
        frames(1);
        assert_eq!(measure(|| frames(1_000)).count_total, 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_declares_does_not_make_its_stream_large() {
    const SCOPES: HeaderName = HeaderName::from_static("x-scopes");
    let declared = (0..2_000).map(|n| format!("s{n:04}")).collect::<Vec<_>>().join(",");
    let tokens = Tokens::new([Token::new("t", "t0ken").with_scopes(READ)]).expect("no duplicates");
    let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(event_stream(Idle)));
    let service = BearerAuthLayer::new(tokens).layer(
        ScopeResolverLayer::new(Strict::new(READ))
            .with_declared_header(SCOPES)
            .layer(StreamReauthLayer::new().layer(service_fn(answer))),
    );
    let open = || {
        let mut request = request_with("Bearer t0ken");
        request.headers_mut().insert(SCOPES, declared.parse().expect("ASCII"));
        let Ok(response) = service.clone().oneshot(request).now_or_never().expect("it answers at once");
        assert_eq!(response.status(), 200);
        let mut body = Box::pin(response.into_body());
        assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        body
    };
    drop(open());
    let mut kept = Vec::with_capacity(2);
    measure(|| kept.push(open()));
    let each = measure(|| kept.push(open())).bytes_current;
    assert!(each <= 1_024, "{each} bytes for an idle stream");
}
