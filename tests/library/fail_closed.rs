//! Promise 5: an error, a timeout or a panic in the check ends the stream. A grace for an
//! unreachable verifier is opt-in and bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, SinkExt, StreamExt};
use http::Request;
use tokio::time::{Instant, advance};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, Clock, Denied, Identity, ScopeResolverLayer, ScopeSet, StaticToken, StreamReauthLayer,
    VerifyToken,
    access::{AccessSource, RenewError},
    reauth::EndReason,
    revoke::Revision,
    scope::Declared,
    verify::{BearerToken, CredentialKey, TokenDigest, Verification, VerifyError, verify_async},
};

use crate::support::{
    KEEPALIVE, Oracle, READ, Reader, Seen, Wall, alice, assert_took, behind, event_stream, handler, open, reauth,
    request, script,
};

const BEAT: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

/// What `stream` comes to, comments left out.
async fn end(stream: &mut Reader<crate::support::Script>) -> Seen {
    loop {
        match stream.next().await {
            Seen::Data(data) if data == crate::support::KEEPALIVE => {}
            seen => return seen,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_cannot_tell_ends_the_stream() {
    for (error, reason) in [
        (VerifyError::unavailable(), EndReason::Unavailable),
        (VerifyError::unavailable_for(Duration::MAX), EndReason::Unavailable),
        (VerifyError::locked_out_for(SECOND), EndReason::LockedOut),
    ] {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
        oracle.says(Err(error));
        oracle.moves();
        assert_eq!(stream.next().await, Seen::Cut(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_ends_the_stream() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_check_timeout(2 * SECOND);
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.waits();
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::TimedOut));
    assert_took(started, BEAT + 2 * SECOND);
    assert_eq!(oracle.open_questions(), 0, "nobody waits for it any more");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_in_time_counts() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_check_timeout(2 * SECOND);
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says_after(2 * SECOND - Duration::from_millis(2), Ok(alice()));
    assert_eq!(stream.next().await, Seen::data(crate::support::KEEPALIVE));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_answers_at_once_is_never_too_late() {
    let oracle = Oracle::without_revision();
    let layer = reauth().with_check_timeout(Duration::ZERO);
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_waits_for_an_answer_that_never_comes_is_not_passed_on() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    feed.data("data: 1\n\n");
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::TimedOut));
    assert_took(started, 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_panics_ends_the_stream_and_nothing_else() {
    let panics: [fn(&Oracle); 2] = [Oracle::panics, Oracle::panics_later];
    for panics in panics {
        let oracle = Oracle::with_revision();
        let layer = reauth().with_grace(3_600 * SECOND);
        let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
        let (other_feed, mut other) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
        panics(&oracle);
        oracle.moves();
        assert_eq!(stream.next().await, Seen::Cut(EndReason::CheckPanicked), "grace or not");
        assert_eq!(stream.next().await, Seen::End);

        other_feed.data("data: 1\n\n");
        assert_eq!(other.next().await, Seen::data("data: 1\n\n"));
        oracle.says(Ok(alice()));
        let (feed, mut again) = open(BearerAuthLayer::new(oracle), reauth()).await;
        feed.data("data: 1\n\n");
        assert_eq!(again.next().await, Seen::data("data: 1\n\n"), "the verifier is asked by others as before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_ends_the_stream_too() {
    let oracle = Oracle::with_revision();
    let resolver = |identity: &Identity, _: Declared<'_>| {
        assert!(identity.credential_id().is_none(), "the resolver panics, as it was told");
        ScopeSet::empty()
    };
    let (_feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(ScopeResolverLayer::new(resolver))
        .layer(reauth())
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    oracle.says(Ok(alice().with_credential_id("laptop")));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::CheckPanicked));
}

/// How a verifier fails.
type Failure = fn(&Oracle);

/// Every failure that a grace covers, and how the stream ends at last.
fn failing() -> [(Failure, EndReason); 3] {
    [
        (|oracle| oracle.says(Err(VerifyError::unavailable())), EndReason::Unavailable),
        (|oracle| oracle.says(Err(VerifyError::unavailable_for(Duration::MAX))), EndReason::Unavailable),
        (Oracle::waits, EndReason::TimedOut),
    ]
}

#[tokio::test(start_paused = true)]
async fn grace_is_bounded_from_the_last_confirmation_to_the_tick() {
    for grace in [16 * SECOND, 25 * SECOND, 60 * SECOND, 3_600 * SECOND] {
        for (fails, reason) in failing() {
            let oracle = Oracle::with_revision();
            let layer = reauth().with_grace(grace);
            let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
            let started = Instant::now();
            assert_eq!(end_after_beat(&mut stream).await, None);
            let confirmed = Instant::now();
            fails(&oracle);
            assert_eq!(end(&mut stream).await, Seen::Cut(reason));
            // The question that found the verifier silent has its time, whatever the grace.
            let silent_at_least = BEAT + if reason == EndReason::TimedOut { 5 * SECOND } else { Duration::ZERO };
            assert_took(confirmed, grace.max(silent_at_least));
            assert!(started.elapsed() > grace);
        }
    }
}

/// Reads one heartbeat.
async fn end_after_beat(stream: &mut Reader<crate::support::Script>) -> Option<Seen> {
    Some(stream.next().await).filter(|seen| *seen != Seen::data(crate::support::KEEPALIVE))
}

#[tokio::test(start_paused = true)]
async fn frames_pass_in_the_grace_without_a_wait() {
    for (fails, _) in failing() {
        for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
            let layer = reauth().with_grace(60 * SECOND);
            let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
            fails(&oracle);
            assert_eq!(stream.now(), None);
            // From now on it is known that the verifier cannot be reached.
            advance(BEAT).await;
            assert_eq!(stream.now(), None);
            advance(5 * SECOND).await;
            assert_eq!(stream.now(), None);
            for _ in 0..390 {
                advance(Duration::from_millis(100)).await;
                feed.data("data: 1\n\n");
                assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
            }
            advance(2 * SECOND).await;
            feed.data("data: 2\n\n");
            assert!(matches!(end(&mut stream).await, Seen::Cut(_)), "the grace is over");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_down_is_not_asked_in_a_loop() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_grace(100 * SECOND);
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says(Err(VerifyError::unavailable_for(Duration::ZERO)));
    oracle.moves();
    for _ in 0..1_000 {
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    }
    assert_eq!(oracle.asked(), 2);

    oracle.says(Err(VerifyError::unavailable_for(10 * SECOND)));
    oracle.moves();
    let asked = oracle.asked();
    assert_eq!(end(&mut stream).await, Seen::Cut(EndReason::Unavailable));
    assert!(oracle.asked() - asked <= 11, "as often as it said, and once at the end: {}", oracle.asked() - asked);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_comes_back_ends_the_grace() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_grace(60 * SECOND);
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    for _ in 0..5 {
        oracle.says(Err(VerifyError::unavailable()));
        oracle.moves();
        assert_eq!(stream.now(), None);
        advance(50 * SECOND).await;
        oracle.says(Ok(alice()));
        while stream.now().is_some() {}
    }
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(end(&mut stream).await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_ends_the_stream_within_the_grace() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_grace(3_600 * SECOND);
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says(Err(VerifyError::unavailable_for(10 * SECOND)));
    oracle.moves();
    assert_eq!(stream.now(), None);
    oracle.says(Err(VerifyError::Rejected));
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_moves_in_the_grace_is_asked_about_at_once() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_grace(3_600 * SECOND);
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says(Err(VerifyError::unavailable_for(60 * SECOND)));
    oracle.moves();
    assert_eq!(stream.now(), None);

    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    feed.data("data: 1\n\n");
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_expiry_is_exact_within_the_grace() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (_feed, mut stream) = open(auth, reauth().with_grace(3_600 * SECOND)).await;
    oracle.says(Err(VerifyError::unavailable()));
    let started = Instant::now();
    assert_eq!(end(&mut stream).await, Seen::Cut(EndReason::Expired));
    assert_took(started, 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn limits_without_a_limit_do_not_panic() {
    for limit in [Duration::ZERO, Duration::MAX] {
        let oracle = Oracle::without_revision();
        let layer = StreamReauthLayer::new().with_grace(limit).with_check_timeout(limit).with_max_age(limit);
        let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
        for answer in [Ok(alice()), Err(VerifyError::unavailable_for(Duration::MAX)), Err(VerifyError::unavailable())] {
            oracle.says(answer);
            feed.data("data: 1\n\n");
            advance(20 * SECOND).await;
            while stream.now().is_some_and(|seen| seen != Seen::End) {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_streams_that_waited_for_that_answer_and_no_later_ones() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let (_first_feed, mut first) = open(auth.clone(), reauth()).await;
    assert_eq!(first.now(), None);
    advance(Duration::from_secs(10)).await;
    let (_second_feed, mut second) = open(auth, reauth()).await;
    assert_eq!(second.now(), None);
    oracle.panics();
    assert_eq!(first.next().await, Seen::Cut(EndReason::CheckPanicked));
    oracle.says(Ok(alice()));
    assert_eq!(second.next().await, Seen::data(KEEPALIVE));
}

/// A verifier whose every answer makes it ask again.
struct Restless {
    revision: Revision,
    moves: fn(&Revision),
    is_calm: Arc<AtomicBool>,
}

impl VerifyToken for Restless {
    fn verify(&self, _: &BearerToken) -> Verification {
        if !self.is_calm.load(Ordering::Relaxed) {
            (self.moves)(&self.revision);
        }
        Ok(alice()).into()
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.revision)
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_moves_its_own_revision_passes_nothing_and_does_not_hold_up_the_thread() {
    for moves in [Revision::bump_quietly as fn(&Revision), Revision::bump] {
        let verifier = Restless { revision: Revision::new(), moves, is_calm: Arc::default() };
        let (feed, mut stream) = open(BearerAuthLayer::new(verifier), reauth()).await;
        feed.data("data: 1\n\n");
        // Each poll comes back, and asks to be called again.
        let mut polled = tokio_test::task::spawn(stream.next());
        for _ in 0..3 {
            assert!(polled.poll().is_pending());
            assert!(polled.is_woken());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_verifier_calms_down_waits_for_news_again() {
    let (revision, is_calm) = (Revision::new(), Arc::new(AtomicBool::new(true)));
    let moves: fn(&Revision) = Revision::bump_quietly;
    let verifier = Restless { revision: revision.clone(), moves, is_calm: Arc::clone(&is_calm) };
    let (_feed, mut stream) = open(BearerAuthLayer::new(verifier), reauth()).await;
    assert_eq!(stream.now(), None);
    // It is restless when a heartbeat is due: the look breaks off, and a comment is owed.
    is_calm.store(false, Ordering::Relaxed);
    advance(Duration::from_secs(15)).await;
    assert_eq!(stream.now(), Some(Seen::data(KEEPALIVE)));
    is_calm.store(true, Ordering::Relaxed);
    let mut polled = tokio_test::task::spawn(stream.next());
    assert!(polled.poll().is_pending());
    if polled.is_woken() {
        assert!(polled.poll().is_pending());
    }
    assert!(!polled.is_woken());
    revision.bump();
    assert!(polled.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_grace_is_counted_from_the_door_and_not_from_the_first_byte() {
    for (oracle, moves) in [(Oracle::without_revision(), false), (Oracle::with_revision(), true)] {
        let (feed, body) = script();
        feed.data("data: secret\n\n");
        let inner = handler(event_stream(body));
        let slow = service_fn(move |request: Request<()>| {
            let inner = inner.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                inner.oneshot(request).await
            }
        });
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(oracle.clone()))
            .layer(reauth().with_grace(60 * SECOND))
            .service(slow);
        let opening = tokio::spawn(service.oneshot(request()));
        advance(SECOND).await;
        oracle.says(Err(VerifyError::unavailable()));
        if moves {
            oracle.moves();
        }
        let Ok(response) = opening.await.expect("no panic");
        assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Unavailable));
    }
}

#[test]
fn outside_of_a_runtime_a_stream_is_checked_when_it_is_polled() {
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) =
        open(BearerAuthLayer::new(secret.clone()), reauth()).now_or_never().expect("nothing is waited for");
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    assert_eq!(stream.now(), None);
    secret.rotate("another");
    feed.data("data: secret\n\n");
    assert_eq!(stream.now(), None, "an abort takes two polls");
    assert_eq!(stream.now(), Some(Seen::Cut(EndReason::Revoked)));
}

#[test]
fn a_runtime_without_a_timer_is_no_panic_and_streams_are_checked_when_they_are_polled() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let secret = StaticToken::new("t0ken");
        let auth = BearerAuthLayer::new(verify_async(async |_| {
            tokio::task::yield_now().await;
            Ok(alice())
        }));
        let (feed, mut later) = open(auth, reauth()).await;
        feed.data("data: 1\n\n");
        assert_eq!(later.next().await, Seen::data("data: 1\n\n"));

        let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
        assert_eq!(stream.now(), None);
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
        let access = behind(BearerAuthLayer::new(secret.clone())).await;
        let sink = futures_util::sink::drain::<u8>();
        let mut sink = reauth().watch_sink(&access, sink).with_farewell(|_| 9);
        sink.send(1).await.expect("access holds");
        secret.rotate("another");
        feed.data("data: secret\n\n");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
        assert!(sink.send(2).await.is_err());
    });
}

#[tokio::test(start_paused = true)]
async fn access_whose_check_panicked_is_over_for_the_handler_too() {
    let (wall, panics) = (Wall::new(), Arc::new(AtomicBool::new(false)));
    let (shown, told) = (wall.clone(), Arc::clone(&panics));
    let clock = Clock::from_fn(move || {
        assert!(!told.load(Ordering::Relaxed), "the clock panics, as it was told");
        shown.now()
    });
    let identity = alice().with_scopes(READ).with_expires_at(wall.after(60));
    let source = AccessSource::new().with_clock(clock);
    let verify = move || Verification::ready(Ok(identity.clone()));
    let key = CredentialKey::new(TokenDigest::of("alice"));
    let access = source.verify(key, verify.clone()).await.expect("alice is let in");
    let fresh = source.verify(key, verify).await.expect("and again");
    let mut items = reauth().watch_stream(&access, futures_util::stream::pending::<u32>());
    assert_eq!(items.next().now_or_never(), None);
    assert!(access.require(READ).is_ok());

    panics.store(true, Ordering::Relaxed);
    advance(BEAT).await;
    assert_eq!(items.next().await, None);
    panics.store(false, Ordering::Relaxed);
    assert_eq!(items.end_reason(), Some(EndReason::CheckPanicked));
    assert_eq!(access.require(READ), Err(Denied::Revoked));
    assert_eq!(access.renew(&fresh), Err(RenewError::Ended));
}
