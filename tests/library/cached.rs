//! `Cached`: what is answered from memory and what never is, in bounded room.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use http::HeaderValue;
use tokio::time::{Instant, advance, sleep};
use tower_reauth::{
    BearerAuthLayer, VerifyToken,
    reauth::EndReason,
    revoke::Revision,
    verify::{BearerToken, Cached, TokenDigest, Verification, VerifyError, verify_async, verify_fn},
};

use crate::support::{Answer, Oracle, Reader, Script, Seen, Wall, alice, assert_took, open, open_with, others, reauth};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn token(text: &str) -> BearerToken {
    let header = HeaderValue::from_str(text).expect("a header can hold it");
    BearerToken::from_header(&header, 0..text.len()).expect("it is one")
}

/// Asks without waiting.
fn ask(cached: &Cached<Oracle>, text: &str) -> Answer {
    cached.verify(&token(text)).now_or_never().expect("nothing is to be waited for")
}

fn is_alice(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|identity| identity.subject() == "alice")
}

async fn assert_ends_now(stream: &mut Reader<Script>) {
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_identity_answers_for_its_age_and_no_longer() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE);
    for _ in 0..3 {
        assert!(is_alice(&ask(&cached, "t0ken")));
        advance(Duration::from_secs(19)).await;
    }
    assert_eq!(oracle.asked(), 1);
    advance(3 * SECOND).await;
    assert!(is_alice(&ask(&cached, "t0ken")));
    assert_eq!(oracle.asked(), 2);
    assert!(is_alice(&ask(&cached, "another")));
    assert_eq!(oracle.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_age_counts_from_the_question_and_not_from_the_answer() {
    let oracle = Oracle::without_revision();
    oracle.says_after(2 * SECOND, Ok(alice()));
    let cached = Cached::new(oracle.clone(), 10 * SECOND);
    assert!(is_alice(&cached.verify(&token("t0ken")).await));
    advance(Duration::from_secs(7)).await;
    assert!(is_alice(&ask(&cached, "t0ken")));
    advance(SECOND).await;
    assert!(cached.verify(&token("t0ken")).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn no_age_is_longer_than_the_longest() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), Duration::MAX);
    assert!(is_alice(&ask(&cached, "t0ken")));
    advance(Cached::<Oracle>::LONGEST).await;
    assert!(is_alice(&ask(&cached, "t0ken")));
    assert_eq!(oracle.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_has_expired_is_asked_about_and_not_taken_from_memory() {
    let (oracle, wall) = (Oracle::without_revision(), Wall::new());
    oracle.says(Ok(alice().with_expires_at(wall.after(5))));
    let cached = Cached::new(oracle.clone(), MINUTE).with_clock(wall.clock());
    assert!(is_alice(&ask(&cached, "t0ken")));
    advance(4 * SECOND).await;
    assert!(is_alice(&ask(&cached, "t0ken")));
    assert_eq!(oracle.asked(), 1);
    oracle.says(Err(VerifyError::Rejected));
    advance(SECOND).await;
    assert_eq!(ask(&cached, "t0ken").err(), Some(VerifyError::Rejected));

    // So it is for a clock that is set forward.
    oracle.says(Ok(alice().with_expires_at(wall.after(30))));
    assert!(is_alice(&ask(&cached, "other")));
    wall.set_by(30);
    oracle.says(Err(VerifyError::Expired));
    assert_eq!(ask(&cached, "other").err(), Some(VerifyError::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_answers_briefly() {
    let oracle = Oracle::without_revision();
    for rejection in [VerifyError::Rejected, VerifyError::Expired, VerifyError::Revoked] {
        oracle.says(Err(rejection));
        let (cached, before) = (Cached::new(oracle.clone(), MINUTE), oracle.asked());
        for _ in 0..3 {
            assert_eq!(ask(&cached, "t0ken").err(), Some(rejection));
        }
        assert_eq!(oracle.asked() - before, 1);
        advance(2 * SECOND).await;
        oracle.says(Ok(alice()));
        assert!(is_alice(&ask(&cached, "t0ken")));
        assert_eq!(cached.len(), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_verifier_cannot_tell_is_never_remembered() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE);
    for failure in [VerifyError::unavailable_for(MINUTE), VerifyError::locked_out_for(MINUTE)] {
        oracle.says(Err(failure));
        assert_eq!(ask(&cached, "t0ken").err(), Some(failure));
        assert_eq!(cached.len(), (0, 0));
    }
    oracle.says(Ok(alice()));
    assert!(is_alice(&ask(&cached, "t0ken")));
}

#[tokio::test(start_paused = true)]
async fn strangers_fill_their_own_room_and_push_out_no_identity() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_capacity(3).with_rejected_capacity(5);
    for n in 0..3 {
        assert!(is_alice(&ask(&cached, &format!("good-{n}"))));
    }
    oracle.says(Err(VerifyError::Rejected));
    for n in 0..1_000 {
        assert!(ask(&cached, &format!("stranger-{n}")).is_err());
        assert!(cached.len().1 <= 5);
    }
    assert_eq!(cached.len(), (3, 5));
    for n in 0..3 {
        assert!(is_alice(&ask(&cached, &format!("good-{n}"))));
    }

    // Of identities the one that was asked for longest ago makes room.
    oracle.says(Ok(alice()));
    assert!(is_alice(&ask(&cached, "good-3")));
    assert_eq!(cached.len(), (3, 5));
    let before = oracle.asked();
    assert!(is_alice(&ask(&cached, "good-1")) && is_alice(&ask(&cached, "good-2")));
    assert_eq!(oracle.asked(), before);
    assert!(is_alice(&ask(&cached, "good-0")));
    assert_eq!(oracle.asked(), before + 1);

    let none = Cached::new(oracle.clone(), MINUTE).with_capacity(0).with_rejected_capacity(0);
    assert!(is_alice(&ask(&none, "good-0")));
    assert_eq!(none.len(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn questions_that_come_together_are_one_whoever_of_them_is_given_up() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let cached = Cached::new(oracle.clone(), MINUTE);
    let mut first = cached.verify(&token("t0ken"));
    assert!((&mut first).now_or_never().is_none());
    let rest: Vec<_> = (0..100)
        .map(|_| {
            let (cached, token) = (cached.clone(), token("t0ken"));
            tokio::spawn(async move { cached.verify(&token).await })
        })
        .collect();
    others().await;
    assert_eq!(oracle.asked(), 1);
    // A second later too: what is on its way is younger than what would do from memory.
    advance(SECOND).await;
    let late = cached.verify(&token("t0ken"));
    drop(first);
    oracle.answers(Ok(alice()));
    for answer in join_all(rest).await {
        assert!(is_alice(&answer.expect("no task panics")));
    }
    assert!(is_alice(&late.await));
    assert!(is_alice(&ask(&cached, "t0ken")));
    assert_eq!(oracle.asked(), 1);

    // With the last one the question goes.
    oracle.waits();
    let mut alone = cached.verify(&token("other"));
    assert!((&mut alone).now_or_never().is_none());
    assert_eq!(oracle.open_questions(), 1);
    drop(alone);
    assert_eq!(oracle.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_hangs_is_given_up_and_asked_anew() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let cached = Cached::new(oracle.clone(), MINUTE).with_time_limit(SECOND);
    let hung = tokio::spawn({
        let cached = cached.clone();
        async move { cached.verify(&token("t0ken")).await }
    });
    others().await;
    sleep(Duration::from_millis(999)).await;
    assert_eq!(oracle.open_questions(), 1);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(hung.await.expect("no task panics").err(), Some(VerifyError::unavailable()));
    assert_eq!(oracle.open_questions(), 0);
    oracle.says(Ok(alice()));
    assert!(is_alice(&ask(&cached, "t0ken")));
}

#[tokio::test(start_paused = true)]
async fn who_is_known_stands_in_for_a_verifier_that_is_down_within_the_grace() {
    let (oracle, wall) = (Oracle::without_revision(), Wall::new());
    let cached = Cached::new(oracle.clone(), MINUTE).with_stale_if_unreachable(MINUTE).with_clock(wall.clock());
    assert!(is_alice(&ask(&cached, "t0ken")));
    oracle.says(Ok(alice().with_expires_at(wall.after(90))));
    assert!(is_alice(&ask(&cached, "short")));

    advance(MINUTE).await;
    oracle.says(Err(VerifyError::unavailable_for(5 * SECOND)));
    let before = oracle.asked();
    for _ in 0..10 {
        assert!(is_alice(&ask(&cached, "t0ken")));
    }
    // It is asked again when it said, and not by each request.
    assert_eq!(oracle.asked(), before + 1);
    advance(5 * SECOND).await;
    assert!(is_alice(&ask(&cached, "t0ken")) && is_alice(&ask(&cached, "short")));
    assert_eq!(oracle.asked(), before + 3);

    // Nobody stands in who is not known, who has expired, or for longer.
    assert_eq!(ask(&cached, "unknown").err(), Some(VerifyError::unavailable_for(5 * SECOND)));
    advance(25 * SECOND).await;
    assert!(is_alice(&ask(&cached, "t0ken")));
    assert!(ask(&cached, "short").is_err());
    advance(30 * SECOND).await;
    assert_eq!(ask(&cached, "t0ken").err(), Some(VerifyError::unavailable_for(5 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn nobody_stands_in_who_was_rejected_or_forgotten_and_none_unless_asked_for() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_stale_if_unreachable(10 * MINUTE);
    let plain = Cached::new(oracle.clone(), MINUTE);
    for text in ["rejected", "forgotten"] {
        assert!(is_alice(&ask(&cached, text)));
    }
    assert!(is_alice(&ask(&plain, "plain")));
    advance(MINUTE).await;
    oracle.says(Err(VerifyError::Rejected));
    assert!(ask(&cached, "rejected").is_err());
    cached.forget(TokenDigest::of("forgotten"));
    advance(MINUTE).await;
    oracle.says(Err(VerifyError::unavailable()));
    for answer in [ask(&cached, "rejected"), ask(&cached, "forgotten"), ask(&plain, "plain")] {
        assert_eq!(answer.err(), Some(VerifyError::unavailable()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_hangs_is_stood_in_for_before_a_door_gives_up() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_stale_if_unreachable(MINUTE);
    assert!(is_alice(&ask(&cached, "t0ken")));
    advance(MINUTE).await;
    oracle.waits();
    let (feed, mut reader) = open(BearerAuthLayer::new(cached), reauth()).await;
    // The next heartbeat is in the grace too, and a frame.
    sleep(Duration::from_secs(20)).await;
    feed.data("data: 1\n\n");
    assert_eq!(reader.next().await, Seen::data("data: 1\n\n"));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_move_of_the_inner_revision_is_no_answer() {
    let oracle = Oracle::with_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_stale_if_unreachable(MINUTE);
    assert!(is_alice(&ask(&cached, "t0ken")));
    oracle.moves();
    oracle.says(Err(VerifyError::unavailable()));
    assert_eq!(ask(&cached, "t0ken").err(), Some(VerifyError::unavailable()));
    oracle.says(Err(VerifyError::Revoked));
    assert_eq!(ask(&cached, "t0ken").err(), Some(VerifyError::Revoked));
    oracle.moves();
    oracle.says(Ok(alice()));
    assert!(is_alice(&ask(&cached, "t0ken")));

    // Nor is one that was on its way.
    oracle.waits();
    let slow = cached.verify(&token("slow"));
    oracle.moves();
    oracle.answers(Ok(alice()));
    assert!(is_alice(&slow.await));
    oracle.says(Err(VerifyError::Revoked));
    assert_eq!(ask(&cached, "slow").err(), Some(VerifyError::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_move_of_the_inner_revision_ends_idle_streams_at_once() {
    let oracle = Oracle::with_revision();
    let cached = Cached::new(oracle.clone(), MINUTE);
    let (_feed, mut reader) = open(BearerAuthLayer::new(cached), reauth()).await;
    assert_eq!(reader.now(), None);
    oracle.says(Err(VerifyError::Revoked));
    oracle.moves();
    assert_ends_now(&mut reader).await;
}

#[tokio::test(start_paused = true)]
async fn forgetting_a_token_ends_its_idle_streams_at_once_and_wakes_no_others() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let cached = Cached::new(oracle.clone(), MINUTE);
        let auth = BearerAuthLayer::new(cached.clone());
        let (_feeds, mut streams): (Vec<_>, Vec<_>) =
            [open_with(auth.clone(), reauth(), "one").await, open_with(auth, reauth(), "two").await]
                .into_iter()
                .unzip();
        for stream in &mut streams {
            assert_eq!(stream.now(), None);
        }
        oracle.says(Err(VerifyError::Rejected));
        let before = oracle.asked();
        cached.forget(TokenDigest::of("one"));
        assert_ends_now(&mut streams[0]).await;
        assert_eq!(streams[1].now(), None);
        assert_eq!(oracle.asked(), before + 1);
        cached.forget_all();
        assert_ends_now(&mut streams[1]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_when_its_token_was_forgotten_is_not_kept() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let cached = Cached::new(oracle.clone(), MINUTE);
    let mut before = cached.verify(&token("t0ken"));
    assert!((&mut before).now_or_never().is_none());
    cached.forget(TokenDigest::of("t0ken"));
    // Who comes after does not wait for it either.
    let mut after = cached.verify(&token("t0ken"));
    assert!((&mut after).now_or_never().is_none());
    assert_eq!(oracle.open_questions(), 2);
    oracle.answers(Ok(alice()));
    assert!(is_alice(&before.await));
    assert_eq!(cached.len(), (0, 0));
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(after.await.err(), Some(VerifyError::Rejected));
    assert_eq!(cached.len(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn rechecks_skip_the_cache_where_that_is_asked_for() {
    for is_fresh in [false, true] {
        let oracle = Oracle::without_revision();
        let mut cached = Cached::new(oracle.clone(), 10 * MINUTE);
        if is_fresh {
            cached = cached.with_fresh_rechecks();
        }
        let (_feed, mut reader) = open(BearerAuthLayer::new(cached.clone()), reauth()).await;
        oracle.says(Err(VerifyError::Rejected));
        let until = tokio::time::timeout(MINUTE, reader.rest()).await;
        assert_eq!(until.is_ok(), is_fresh);
        // What it answered is known at the door.
        assert_eq!(cached.len(), if is_fresh { (0, 1) } else { (1, 0) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_confirmed_by_an_answer_no_older_than_the_cache_keeps_it() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), 10 * SECOND);
    let (feed, mut reader) = open(BearerAuthLayer::new(cached), reauth()).await;
    oracle.says(Err(VerifyError::Rejected));
    feed.data("data: 1\n\n");
    assert_eq!(reader.next().await, Seen::data("data: 1\n\n"));
    assert_eq!(oracle.asked(), 1);
    // A revision that only says what was forgotten vouches for nothing.
    advance(10 * SECOND).await;
    feed.data("data: 2\n\n");
    assert_eq!(reader.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_does_not_wait_at_the_door_for_what_is_not() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE);
    let auth = BearerAuthLayer::new(cached);
    let _known = open_with(auth.clone(), reauth(), "known").await;
    oracle.waits();
    let slow = tokio::spawn({
        let auth = auth.clone();
        async move { open_with(auth, reauth(), "slow").await }
    });
    others().await;
    assert_eq!(oracle.open_questions(), 1);
    assert!(open_with(auth, reauth(), "known").now_or_never().is_some());
    oracle.answers(Ok(alice()));
    slow.await.expect("it is let in");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_verifier_is_one_for_each_who_asked_and_is_not_remembered() {
    let oracle = Oracle::without_revision();
    oracle.panics_later();
    let cached = Cached::new(oracle.clone(), MINUTE);
    let asked: Vec<_> = (0..3).map(|_| cached.verify(&token("t0ken"))).collect();
    for answer in join_all(asked.into_iter().map(tokio::spawn)).await {
        assert!(answer.expect_err("it panics").is_panic());
    }
    assert_eq!((oracle.asked(), cached.len()), (1, (0, 0)));

    oracle.panics();
    let at_once = tokio::spawn({
        let cached = cached.clone();
        async move { cached.verify(&token("t0ken")).await }
    });
    assert!(at_once.await.expect_err("it panics").is_panic());

    // A door answers 500, as it does without the cache.
    let refused = tower::ServiceExt::oneshot(
        tower::Layer::layer(
            &BearerAuthLayer::new(cached.clone()),
            crate::support::handler(http::Response::new(String::new())),
        ),
        crate::support::request(),
    );
    let Ok(refused) = refused.await;
    assert_eq!(refused.status(), 500);

    oracle.says(Ok(alice()));
    assert!(is_alice(&ask(&cached, "t0ken")));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_asks_the_cache_about_the_token_it_is_asked_about_gets_no_answer_and_hangs_nobody() {
    type Nested = Cached<Box<dyn VerifyToken>>;
    let outer: Arc<OnceLock<Nested>> = Arc::default();
    let inner = Arc::clone(&outer);
    let reenters = verify_async(async move |token| {
        let itself = inner.get().expect("it is set before it is asked");
        itself.verify(&token).await
    });
    let cached = Cached::new(Box::new(reenters) as Box<dyn VerifyToken>, MINUTE);
    assert!(outer.set(cached.clone()).is_ok());
    let answer = tokio::time::timeout(MINUTE, cached.verify(&token("t0ken"))).await.expect("it is given up");
    assert_eq!(answer.err(), Some(VerifyError::unavailable()));
}

/// Claims that use the cache, and then panic, as they are dropped.
struct Hostile(Arc<OnceLock<Cached<Box<dyn VerifyToken>>>>, Arc<AtomicUsize>);

impl Drop for Hostile {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
        if let Some(cached) = self.0.get() {
            let _ = cached.len();
            let _ = cached.verify(&token("nobody")).now_or_never();
            cached.forget(TokenDigest::of("nobody"));
        }
        panic!("the claims panic, as they were told");
    }
}

#[tokio::test(start_paused = true)]
async fn claims_may_use_the_cache_and_panic_as_they_leave_it() {
    let (cached, dropped): (Arc<OnceLock<Cached<Box<dyn VerifyToken>>>>, Arc<AtomicUsize>) = Default::default();
    let (shared, counted) = (Arc::clone(&cached), Arc::clone(&dropped));
    let verifier = verify_fn(move |token: &BearerToken| match token.to_str() {
        Some("nobody") => Err(VerifyError::Rejected),
        _ => Ok(alice().with_claims(Hostile(Arc::clone(&shared), Arc::clone(&counted)))),
    });
    let small = Cached::new(Box::new(verifier) as Box<dyn VerifyToken>, MINUTE).with_capacity(2);
    assert!(cached.set(small.clone()).is_ok());
    for text in ["one", "two", "three", "four"] {
        // The cache is left with the last hold on the claims, and gives up those of another.
        let answer = small.verify(&token(text)).now_or_never().expect("it is known at once");
        assert!(answer.is_ok());
    }
    assert_eq!((small.len().0, dropped.load(Ordering::Relaxed)), (2, 2));
    small.forget(TokenDigest::of("four"));
    small.forget_all();
    let _ = small.clone().with_capacity(0);
    assert_eq!((small.len().0, dropped.load(Ordering::Relaxed)), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_holds_for_a_fresh_recheck_too() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_fresh_rechecks().with_time_limit(SECOND);
    let reauth = reauth().with_check_timeout(MINUTE);
    let (_feed, mut reader) = open(BearerAuthLayer::new(cached), reauth).await;
    oracle.waits();
    let started = Instant::now();
    assert_eq!(reader.next().await, Seen::Cut(EndReason::Unavailable));
    assert_took(started, 16 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn of_two_answers_the_one_that_was_asked_for_later_is_kept() {
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), MINUTE).with_fresh_rechecks();
    oracle.waits();
    let older = cached.verify(&token("t0ken"));
    advance(SECOND).await;
    let newer = cached.verify_again(&token("t0ken"));
    oracle.answers(Ok(alice()));
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(newer.await.err(), Some(VerifyError::Rejected));
    // It was true when it was asked, and is no news by now.
    assert!(is_alice(&older.await));
    assert_eq!(cached.len(), (0, 1));
}

/// A verifier that hands on another one's revision.
struct Named(Revision);

impl VerifyToken for Named {
    fn verify(&self, _: &BearerToken) -> Verification {
        Ok(alice()).into()
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0)
    }
}

#[test]
fn a_revision_vouches_where_the_inner_one_does() {
    let revision = |cached: &dyn VerifyToken| cached.revision().expect("it has one").clone();
    for (inner, is_partial) in [(Revision::new(), false), (Revision::partial(), true)] {
        let cached = Cached::new(Named(inner), MINUTE);
        assert_eq!(revision(&cached).is_partial(), is_partial);
        assert_eq!(revision(&Cached::new(cached, MINUTE)).is_partial(), is_partial);
    }
    assert!(revision(&Cached::new(Oracle::without_revision(), MINUTE)).is_partial());
}
