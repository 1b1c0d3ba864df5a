//! Promise 9: a recheck that leaves fewer scopes, but still the required ones, lets the stream go on,
//! and its handler reads the new set.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use http::Request;
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, RequireScopeLayer, ScopeResolverLayer, ScopeSet, Strict, Tokens,
    access::RenewError,
    reauth::EndReason,
    revoke::Revocations,
    verify::{Token, VerifyError, verify_fn},
};

use crate::support::{
    Oracle, READ, Reader, Seen, WRITE, Wall, access, alice, behind, event_stream, handler, reauth, request, script,
};

/// A stream under `oracle` that requires a scope, and the access that its handler was given.
async fn watched(auth: BearerAuthLayer) -> (Access, crate::support::Feed, Reader<crate::support::Script>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (feed, body) = script();
    let inner = handler(event_stream(body));
    let service = ServiceBuilder::new()
        .layer(auth)
        .layer(ScopeResolverLayer::new(Strict::new(ScopeSet::empty())))
        .layer(RequireScopeLayer::new(READ))
        .layer(reauth())
        .service_fn(move |request: Request<()>| {
            sender.send(access(&request).clone()).expect("the test listens");
            inner.clone().oneshot(request)
        });
    let Ok(response) = service.oneshot(request()).await;
    (receiver.recv().expect("the handler was asked"), feed, Reader::of(response))
}

#[tokio::test(start_paused = true)]
async fn a_narrowed_credential_keeps_its_stream_and_the_handler_reads_what_is_left() {
    let token = || Token::new("laptop", "t0ken");
    let tokens = Tokens::new([token().with_scopes([READ, WRITE])]).expect("no duplicates");
    let (access, feed, mut stream) = watched(BearerAuthLayer::new(tokens.clone())).await;
    assert!(access.granted().allows(&WRITE));

    tokens.replace([token().with_scopes(READ)]).expect("no duplicates");
    feed.data("data: 1\n\n");
    let seen = access.clone();
    feed.aside(move || assert!(!seen.granted().allows(&WRITE), "before the next frame is asked for"));
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert_eq!(access.granted().scopes(), &ScopeSet::from(READ));
    assert_eq!(stream.now(), None);

    tokens.replace([token().with_scopes([READ, WRITE])]).expect("no duplicates");
    assert_eq!(stream.now(), None);
    assert!(access.granted().allows(&WRITE), "and what it has again");

    tokens.replace([token().with_scopes(WRITE)]).expect("no duplicates");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost));
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_asked_for_a_frame_only_after_the_set_is_known() {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes([READ, WRITE])));
    let (access, feed, mut stream) = watched(BearerAuthLayer::new(oracle.clone())).await;
    assert_eq!(stream.now(), None);
    oracle.says(Ok(alice().with_scopes(READ)));
    oracle.moves();
    let seen = access.clone();
    feed.aside(move || assert!(!seen.granted().allows(&WRITE)));
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_gives_nothing_back_that_a_newer_one_took() {
    let oracle = Oracle::without_revision();
    let (both, less) = (alice().with_scopes([READ, WRITE]), alice().with_scopes(READ));
    oracle.says(Ok(both.clone()));
    let access = behind(BearerAuthLayer::new(oracle.clone())).await;
    let watch = || reauth().watch_stream(&access, stream::iter([1]).chain(stream::pending()));
    let (mut newer, mut older) = (watch(), watch());
    oracle.waits();
    assert!(older.next().now_or_never().is_none());
    assert!(newer.next().now_or_never().is_none());
    oracle.answers(Ok(both));
    oracle.answers(Ok(less));
    for stream in [&mut newer, &mut older] {
        assert_eq!(stream.next().await, Some(1));
        assert!(access.granted().allows(&READ) && !access.granted().allows(&WRITE));
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_expired_or_revoked_access_may_do_now_is_nothing() {
    let wall = Wall::new();
    for revokes in [false, true] {
        let revocations = Revocations::new();
        let caller = alice().with_credential_id("a").with_scopes([READ, WRITE]).with_expires_at(wall.after(60));
        let auth = BearerAuthLayer::new(verify_fn(move |_| Ok(caller.clone())))
            .with_clock(wall.clock())
            .with_revocations(&revocations);
        let access = behind(auth).await;
        assert!(access.granted().allows(&WRITE));
        if revokes {
            revocations.revoke("a");
        } else {
            advance(Duration::from_secs(3_600)).await;
        }
        let denied = if revokes { Denied::Revoked } else { Denied::Expired };
        assert_eq!(access.require(WRITE), Err(denied.clone()));
        assert!(!access.granted().allows(&WRITE));
        assert_eq!(Access::new(alice()).renew(&access), Err(RenewError::Denied(denied)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_fork_requires_is_not_required_of_the_stream() {
    let revocations = Revocations::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_credential_id("a").with_scopes([READ, WRITE])));
    let auth = BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations);
    let (access, feed, mut stream) = watched(auth).await;
    assert_eq!(stream.now(), None);
    let fork = access.fork();
    assert_eq!(fork.require(WRITE), Ok(()));
    assert!(fork.required().scopes().contains(&READ), "what was required before still is");
    assert!(!access.required().scopes().contains(&WRITE));
    let mut inner = reauth().watch_stream(&fork, stream::repeat(1));
    assert_eq!(inner.next().await, Some(1));

    oracle.says(Ok(alice().with_credential_id("a").with_scopes(READ)));
    oracle.moves();
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"), "the stream keeps what it requires");
    assert!(!access.granted().allows(&WRITE));
    assert!(fork.granted().allows(&WRITE), "the fork was not asked about yet");
    assert_eq!(inner.next().await, None);
    assert_eq!(inner.end_reason(), Some(EndReason::ScopeLost));
    assert_eq!(stream.now(), None, "and its end is no end of the stream");

    revocations.revoke("a");
    assert!(!access.fork().granted().allows(&READ));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}
