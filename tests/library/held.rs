//! A held body is dropped when access ends, whether or not anybody polls it (trap 6).
//!
//! Over sockets in real time: a client that does not read, so that the server does not poll.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::{task::yield_now, time::advance};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Identity, StaticToken, StreamReauthLayer,
    bearer::VerifyError,
    reauth::{AccessEnded, EndReason, HeldBody},
};

use crate::{
    sockets::{Version, serve_one},
    support::{Feed, Oracle, Reader, Script, Seen, Wall, access, alice, event_stream, reauth, request, script},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Opens a stream whose handler holds its body, through two layers.
async fn open(auth: &BearerAuthLayer) -> (Feed, Reader<HeldBody<Script>>) {
    let (feed, body) = script();
    let Ok(response) = auth.layer(reauth().layer(holding(body))).oneshot(request()).await;
    assert_eq!(response.status(), StatusCode::OK);
    (feed, Reader::of(response))
}

/// A handler of one request, which it answers with an event stream whose body it holds.
fn holding<B>(
    body: Script,
) -> impl Service<Request<B>, Response = Response<HeldBody<Script>>, Error = Infallible, Future: Send> + Clone {
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |request: Request<B>| {
        let body = body.lock().expect("nobody panics").take().expect("it is asked once");
        let held = reauth().hold(access(&request), body);
        async { Ok(event_stream(held)) }
    })
}

/// Lets other tasks do what they can do now.
async fn others() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_is_dropped_when_its_access_is_revoked() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone())).await;
    feed.data("data: unread\n\n");
    others().await;
    assert!(!feed.is_dropped());
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    others().await;
    assert!(feed.is_dropped());
    // The layer around it says how the stream ends, as ever.
    assert_eq!(stream.rest().await, [Seen::Cut(EndReason::Revoked), Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_polls_is_dropped_at_its_expiry_and_at_a_heartbeat_that_is_refused() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    let until = wall.now() + MINUTE;
    oracle.says(Ok(alice().with_expires_at(until)));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (expires, _stream) = open(&auth).await;
    others().await;
    advance(MINUTE - Duration::from_millis(1)).await;
    others().await;
    assert!(!expires.is_dropped());
    advance(Duration::from_millis(2)).await;
    others().await;
    assert!(expires.is_dropped());

    oracle.says(Ok(alice()));
    let (refused, _stream) = open(&auth).await;
    oracle.says(Err(VerifyError::Rejected));
    others().await;
    assert!(!refused.is_dropped());
    advance(Duration::from_secs(16)).await;
    others().await;
    assert!(refused.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_held_body_costs_no_question_more() {
    let oracle = Oracle::without_revision();
    let (_feed, mut stream) = open(&BearerAuthLayer::new(oracle.clone())).await;
    let asked = oracle.asked();
    for _ in 0..4 {
        advance(Duration::from_secs(15)).await;
        others().await;
        assert!(stream.now().is_some(), "a comment");
        assert_eq!(stream.now(), None);
    }
    assert_eq!(oracle.asked() - asked, 4);
}

#[tokio::test(start_paused = true)]
async fn while_access_holds_it_is_the_inner_body() {
    let (feed, mut stream) = open(&BearerAuthLayer::new(Oracle::with_revision())).await;
    feed.data("data: 1\n\n");
    feed.trailers("checksum", "1234");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert!(matches!(stream.next().await, Seen::Trailers(_)));
    assert_eq!(stream.next().await, Seen::End);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn it_is_dropped_when_the_client_goes_and_its_task_with_it() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (feed, stream) = open(&BearerAuthLayer::new(Oracle::with_revision())).await;
    assert_eq!(tasks(), before + 1);
    drop(stream);
    assert!(feed.is_dropped());
    others().await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn polled_by_itself_it_fails_once_and_wakes_who_waits() {
    let oracle = Oracle::with_revision();
    let granted = Arc::new(OnceLock::new());
    let grants = Arc::clone(&granted);
    let service = BearerAuthLayer::new(oracle.clone()).layer(service_fn(move |request: Request<()>| {
        grants.set(access(&request).clone()).expect("it is asked once");
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    }));
    let Ok(_) = service.oneshot(request()).await;
    let (_feed, body) = script();
    let mut held = reauth().hold(granted.get().expect("access"), body);
    let waits = tokio::spawn(async move {
        let ended = held.frame().await.expect("a last word").expect_err("an error");
        assert!(held.frame().await.is_none() && held.is_end_stream());
        ended.downcast_ref::<AccessEnded>().expect("that it ended").reason
    });
    others().await;
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(waits.await.expect("no panic"), EndReason::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_length_is_known_is_not_cut_short() {
    let gone = Access::new(Identity::new("alice", AuthMethod::Token).with_expires_at(std::time::UNIX_EPOCH));
    let held = StreamReauthLayer::new().hold(&gone, Full::new(Bytes::from_static(b"whole")));
    others().await;
    assert_eq!(held.size_hint().exact(), Some(5));
    assert_eq!(held.collect().await.expect("no error").to_bytes(), "whole");
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
        let service = BearerAuthLayer::new(secret.clone()).layer(reauth().layer(holding(body)));
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
