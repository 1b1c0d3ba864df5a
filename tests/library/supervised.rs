//! A supervised body lets go of its inner body when access ends, whether or not anybody polls it (trap 6),
//! and is in all else the stream that it supervises.
//!
//! Over sockets in real time: a client that does not read, so that the server does not poll.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Identity, StaticToken, StreamReauthLayer,
    reauth::{EndReason, Ending, SupervisedBody},
    revoke::Revision,
    verify::VerifyError,
};

use crate::{
    sockets::{Version, serve_one},
    support::{
        BodyReader, Feed, Oracle, Script, Seen, Wall, access, alice, event_stream, logging, others, reauth, request,
        script,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Opens a stream that its handler supervises, with these rules.
async fn open(auth: &BearerAuthLayer, reauth: StreamReauthLayer) -> (Feed, BodyReader<SupervisedBody<Script>>) {
    let (feed, body) = script();
    let Ok(response) = auth.layer(holding(reauth, body)).oneshot(request()).await;
    assert_eq!(response.status(), StatusCode::OK);
    (feed, BodyReader::of(response))
}

/// A handler of one request, which it answers with an event stream that it supervises.
fn holding<B>(
    reauth: StreamReauthLayer,
    body: Script,
) -> impl Service<Request<B>, Response = Response<SupervisedBody<Script>>, Error = Infallible, Future: Send> + Clone {
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |request: Request<B>| {
        let body = body.lock().expect("nobody panics").take().expect("it is asked once");
        let held = reauth.supervise(access(&request), request.method(), event_stream(body));
        async { Ok(held) }
    })
}

/// Whether what was seen is this, and then a last event with this reason.
#[track_caller]
fn assert_ends(seen: &[Seen], before: &[Seen], reason: &str) {
    let [first @ .., Seen::Data(last), Seen::End] = seen else { panic!("{seen:?}") };
    assert_eq!(first, before);
    assert!(last.starts_with(b"event: reauth\n"), "{last:?}");
    assert!(String::from_utf8_lossy(last).contains(&format!("\"reason\":\"{reason}\"")), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_is_dropped_when_its_access_is_revoked() {
    let log = logging();
    let oracle = Oracle::with_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let (feed, mut stream) = open(&auth, reauth().with_ending(Ending::LastEvent)).await;
    feed.data("data: unread\n\n");
    others().await;
    assert!(!feed.is_dropped());
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    others().await;
    assert!(feed.is_dropped());
    assert_eq!(log.count("the credential is no longer good"), 1, "{}", log.text());
    // And when somebody polls it again, it ends as any other stream.
    assert_ends(&stream.rest().await, &[], "revoked");
    drop(stream);
    assert_eq!(log.count("stream ended"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_is_dropped_at_its_expiry() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_expires_at(wall.now() + MINUTE)));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (feed, _stream) = open(&auth, reauth()).await;
    others().await;
    advance(MINUTE - Duration::from_millis(1)).await;
    others().await;
    assert!(!feed.is_dropped());
    advance(Duration::from_millis(2)).await;
    others().await;
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_is_dropped_when_the_verifier_refuses_or_does_not_answer() {
    type Turn = fn(&Oracle);
    let turns: [(&str, Turn); 3] = [
        ("revoked", |oracle| oracle.says(Err(VerifyError::Rejected))),
        ("timed_out", Oracle::waits),
        ("check_panicked", Oracle::panics),
    ];
    for (reason, turns) in turns {
        let oracle = Oracle::without_revision();
        let auth = BearerAuthLayer::new(oracle.clone());
        let (feed, mut stream) = open(&auth, reauth().with_ending(Ending::LastEvent)).await;
        turns(&oracle);
        others().await;
        assert!(!feed.is_dropped());
        for _ in 0..21 {
            advance(SECOND).await;
            others().await;
        }
        assert!(feed.is_dropped(), "{reason}");
        oracle.says(Ok(alice()));
        assert_ends(&stream.rest().await, &[], reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_read_has_its_grace_whoever_looks() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let (feed, mut stream) = open(&auth, reauth().with_grace(10 * SECOND)).await;
    others().await;
    for second in 1..=29 {
        advance(SECOND).await;
        others().await;
        feed.data(format!("data: {second}\n\n"));
        while let Some(seen) = stream.now() {
            assert!(matches!(seen, Seen::Data(_)), "{seen:?} at {second}");
        }
    }
    // Down for a second or so, the heartbeat in it.
    oracle.says(Err(VerifyError::unavailable()));
    for _ in 0..3 {
        advance(SECOND / 2).await;
        others().await;
    }
    oracle.says(Ok(alice()));
    advance(5 * SECOND).await;
    others().await;
    assert!(!feed.is_dropped());
    feed.data("data: on\n\n");
    assert_eq!(stream.next().await, Seen::data("data: on\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_supervised_stream_costs_no_check_more_and_writes_its_comments_once() {
    let oracle = Oracle::without_revision();
    let (_feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), reauth()).await;
    let asked = oracle.asked();
    for _ in 0..4 {
        advance(15 * SECOND).await;
        others().await;
        assert_eq!(stream.now(), Some(Seen::data(crate::support::KEEPALIVE)));
        assert_eq!(stream.now(), None);
    }
    assert_eq!(oracle.asked() - asked, 4);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_frame_is_woken_by_the_frame_and_by_the_end() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), reauth()).await;
    let waits = tokio::spawn(async move { stream.rest().await });
    others().await;
    feed.data("data: 1\n\n");
    others().await;
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    let seen = waits.await.expect("no panic");
    assert_eq!(seen, [Seen::data("data: 1\n\n"), Seen::Cut(EndReason::Revoked), Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_frame_is_woken_by_an_end_that_only_the_supervisor_found() {
    let revision = Revision::new();
    let oracle = Oracle::with(revision.clone());
    let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), reauth()).await;
    // The supervisor has not begun yet, and nobody is woken.
    let mut waits = tokio_test::task::spawn(stream.next());
    assert!(waits.poll().is_pending());
    oracle.says(Err(VerifyError::unavailable()));
    revision.bump_quietly();
    others().await;
    assert!(feed.is_dropped());
    assert!(waits.is_woken());
    assert!(waits.poll().is_pending(), "an abort takes a turn");
    assert_eq!(waits.poll(), std::task::Poll::Ready(Seen::Cut(EndReason::Unavailable)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_supervisor_gets_lets_a_frame_pass() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), reauth()).await;
    others().await;
    oracle.waits();
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    oracle.answers(Ok(alice()));
    others().await;
    assert_eq!((stream.now(), oracle.open_questions()), (Some(Seen::data("data: 1\n\n")), 0));
}

#[tokio::test(start_paused = true)]
async fn while_access_holds_it_is_the_inner_body() {
    let (feed, mut stream) = open(&BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
    feed.data("data: 1\n\n");
    feed.trailers("checksum", "1234");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert!(matches!(stream.next().await, Seen::Trailers(_)));
    assert_eq!(stream.next().await, Seen::End);
    assert!(stream.is_end_stream() && feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn it_is_dropped_when_the_client_goes_and_its_task_with_it() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (feed, stream) = open(&BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
    assert_eq!(tasks(), before + 1);
    drop(stream);
    assert!(feed.is_dropped());
    others().await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_length_is_known_is_not_cut_short() {
    let gone = Access::new(Identity::new("alice", AuthMethod::Token).with_expires_at(SystemTime::UNIX_EPOCH));
    let whole = Response::new(Full::new(Bytes::from_static(b"whole")));
    let held = StreamReauthLayer::new().supervise(&gone, &Method::GET, whole).into_body();
    others().await;
    assert_eq!(held.size_hint().exact(), Some(5));
    assert_eq!(held.collect().await.expect("no error").to_bytes(), "whole");
}

/// The body and the supervisor come to the end at the same moment, on two threads.
#[test]
fn a_stream_that_said_its_end_says_nothing_more() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for _ in 0..2_000 {
            let oracle = Oracle::with_revision();
            let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), reauth()).await;
            assert_eq!(stream.now(), None);
            oracle.says(Err(VerifyError::Rejected));
            feed.end();
            let moves = tokio::spawn(async move { oracle.moves() });
            let seen = stream.rest().await;
            moves.await.expect("no panic");
            assert_eq!(stream.next().await, Seen::End, "after {seen:?}");
        }
    });
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_body_whose_access_is_gone() {
    for version in [Version::Http1, Version::Http2] {
        let secret = StaticToken::new("t0ken");
        let (feed, body) = script();
        // More than any buffer on the way takes in.
        for _ in 0..64 {
            feed.data(vec![b'x'; 1 << 20]);
        }
        let service = BearerAuthLayer::new(secret.clone()).layer(holding(reauth(), body));
        let unread = serve_one(version, service).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!feed.is_dropped(), "{version:?}: it is not read to its end");

        secret.rotate("another");
        tokio::time::timeout(Duration::from_secs(2), async {
            while !feed.is_dropped() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{version:?}: it is still held"));
        drop(unread);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_by_the_supervisors_end_though_last_bytes_panic() {
    let revision = Revision::new();
    let oracle = Oracle::with(revision.clone());
    let layer = reauth().with_ending(Ending::last_bytes(|_| panic!("a bug in it")));
    let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone()), layer).await;
    let mut waits = tokio_test::task::spawn(stream.next());
    assert!(waits.poll().is_pending());
    oracle.says(Err(VerifyError::unavailable()));
    revision.bump_quietly();
    tokio::time::sleep(24 * 60 * MINUTE).await;
    assert!(feed.is_dropped());
    assert!(waits.is_woken(), "ended a day ago, and the client still waits");
}
