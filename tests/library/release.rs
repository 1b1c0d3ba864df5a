//! Promise 7: when access ends or the client goes, the inner body is dropped at once; no task, timer
//! or waker is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body::Body;
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StreamReauthLayer, bearer::TokenSyntax, reauth::Ending, verify::VerifyError};

use crate::support::{Feed, Oracle, Reader, Script, Seen, Wall, alice, event_stream, handler, open, reauth, script};

const MINUTE: Duration = Duration::from_secs(60);

/// What brings an end about.
type Cause = fn(&Feed, &Oracle);

/// Every way in which a stream comes to its end. The last one takes a minute.
fn ends() -> [(&'static str, Cause); 8] {
    [
        ("its end", |feed, _| feed.end()),
        ("its failure", |feed, _| feed.failure()),
        ("its trailers", |feed, _| feed.trailers("checksum", "1234")),
        ("its last frame", |feed, _| {
            feed.data("data: last\n\n");
            feed.knows_its_end();
        }),
        ("a denial", |_, oracle| {
            oracle.says(Err(VerifyError::Rejected));
            oracle.moves();
        }),
        ("a timeout", |_, oracle| {
            oracle.waits();
            oracle.moves();
        }),
        ("a panic", |_, oracle| {
            oracle.panics();
            oracle.moves();
        }),
        ("its expiry", |_, _| {}),
    ]
}

/// A stream that is good for a minute.
async fn for_a_minute(oracle: &Oracle, ending: Ending) -> (Feed, Reader<Script>) {
    let wall = Wall::new();
    oracle.says(Ok(alice().with_expires_at(wall.now() + MINUTE)));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    open(auth, StreamReauthLayer::new().with_ending(ending).with_jitter(0.0)).await
}

#[tokio::test(start_paused = true)]
async fn the_inner_body_is_dropped_with_the_poll_that_finds_the_end() {
    for ending in [Ending::Clean, Ending::LastEvent, Ending::Abort, Ending::GrpcTrailers] {
        for (name, brings_about) in ends() {
            let oracle = Oracle::with_revision();
            let (feed, mut stream) = for_a_minute(&oracle, ending.clone()).await;
            assert_eq!(stream.now(), None);
            brings_about(&feed, &oracle);
            let _ = stream.now();
            advance(MINUTE).await;
            let _ = stream.now();
            assert!(feed.is_dropped(), "{name}, {ending:?}");
            // And what is owed is still said.
            stream.rest().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_body_is_dropped_when_the_client_goes() {
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
    assert_eq!(stream.now(), None);
    drop(stream);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_question_is_given_up_when_the_client_goes_or_the_stream_ends() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = for_a_minute(&oracle, Ending::Clean).await;
    oracle.waits();
    oracle.moves();
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1);
    drop(stream);
    assert_eq!(oracle.open_questions(), 0, "the client has gone");

    let ends: [fn(&Feed); 3] = [Feed::end, Feed::failure, |feed| feed.trailers("checksum", "1234")];
    for ends in ends {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = for_a_minute(&oracle, Ending::Clean).await;
        assert_eq!(stream.now(), None);
        oracle.waits();
        advance(Duration::from_secs(15)).await;
        assert_eq!(stream.now(), None);
        assert_eq!(oracle.open_questions(), 1);
        ends(&feed);
        assert!(stream.now().is_some());
        assert_eq!(oracle.open_questions(), 0, "the stream has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_given_up_at_the_expiry() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = for_a_minute(&oracle, Ending::Clean).await;
    advance(MINUTE - Duration::from_secs(1)).await;
    oracle.waits();
    oracle.moves();
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(stream.now(), Some(Seen::End));
    assert_eq!(oracle.open_questions(), 0);
}

/// A waker that can be counted.
struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn no_timer_and_no_waker_is_left_once_the_stream_has_ended() {
    for (name, brings_about) in ends() {
        let oracle = Oracle::with_revision();
        let (feed, stream) = for_a_minute(&oracle, Ending::Clean).await;
        let mut body = stream.into_body();
        let counted = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&counted));
        let mut poll = || {
            let _ = body.as_mut().poll_frame(&mut Context::from_waker(&waker));
            body.is_end_stream()
        };
        assert!(!poll());
        assert!(Arc::strong_count(&counted) > 2, "the stream waits for something");
        brings_about(&feed, &oracle);
        while !poll() {
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(Arc::strong_count(&counted), 2, "{name}: the test's own two");
    }
}

#[tokio::test(start_paused = true)]
async fn no_timer_and_no_waker_is_left_when_the_client_goes() {
    let oracle = Oracle::with_revision();
    let (_feed, stream) = for_a_minute(&oracle, Ending::Clean).await;
    let mut body = stream.into_body();
    let counted = Arc::new(Counted);
    let waker = Waker::from(Arc::clone(&counted));
    assert!(body.as_mut().poll_frame(&mut Context::from_waker(&waker)).is_pending());
    drop(body);
    drop(waker);
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_spawns_no_task() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    oracle.moves();
    assert_eq!(stream.now(), None);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
}

/// The buffer that a server read a request into.
struct ReadBuffer {
    bytes: &'static [u8],
    is_freed: Arc<AtomicBool>,
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.is_freed.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_hold_on_to_the_buffers_of_its_request() {
    for (bytes, syntax) in
        [(&b"Bearer t0ken"[..], TokenSyntax::B64Token), (b"Bearer p\xe4ss word", TokenSyntax::Opaque)]
    {
        let is_freed = Arc::new(AtomicBool::new(false));
        let buffer = Bytes::from_owner(ReadBuffer { bytes, is_freed: Arc::clone(&is_freed) });
        let mut request = Request::new(());
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_maybe_shared(buffer).expect("a header value"));

        let (feed, body) = script();
        let oracle = Oracle::without_revision();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(oracle.clone()).with_token_syntax(syntax))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request).await;
        let mut stream = Reader::of(response);
        assert_eq!(stream.now(), None);
        assert!(is_freed.load(Ordering::Relaxed));

        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
        assert_eq!(oracle.asked(), 2, "and it still knows its token");
    }
}
