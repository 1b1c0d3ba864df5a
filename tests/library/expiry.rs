//! Promise 2: an idle stream ends within a timer tick of `expires_at`. Expiry is a date, timers are
//! monotonic: the wall clock is compared again at each check.

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt, StreamExt, stream};
use http_body::Body;
use tokio::{
    task::coop,
    time::{Instant, advance, sleep},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StaticToken, reauth::EndReason, verify::VerifyError};

use crate::support::{
    Feed, Oracle, READ, Reader, Script, Seen, Torrent, Wall, alice, assert_took, behind, event_stream, handler, open,
    others, reauth, request, script,
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn expiring(wall: &Wall, oracle: &Oracle, expires_at: SystemTime) -> BearerAuthLayer {
    oracle.says(Ok(alice().with_expires_at(expires_at)));
    BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock())
}

/// A stream whose credential is good for a minute, with nothing else that could end it.
async fn for_a_minute(wall: &Wall, oracle: &Oracle) -> (Feed, Reader<Script>) {
    open(expiring(wall, oracle, wall.after(60)), reauth().without_heartbeat()).await
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_within_a_tick_of_its_expiry() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let (_feed, mut stream) = for_a_minute(&Wall::new(), &oracle).await;
        let started = Instant::now();
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
        assert_took(started, MINUTE);
        assert_eq!(oracle.asked(), 1, "at the door: a date needs no question");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_pass_until_the_expiry_and_not_after_it() {
    let (feed, mut stream) = for_a_minute(&Wall::new(), &Oracle::with_revision()).await;
    advance(MINUTE - Duration::from_millis(1)).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    advance(Duration::from_millis(1)).await;
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn the_leeway_is_the_same_in_the_stream_as_at_the_door() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    let layer = expiring(&wall, &oracle, wall.now()).with_leeway(MINUTE);
    let (_feed, mut stream) = open(layer, reauth()).await;
    let started = Instant::now();
    let mut last = stream.next().await;
    while last == Seen::data(crate::support::KEEPALIVE) {
        last = stream.next().await;
    }
    assert_eq!(last, Seen::Cut(EndReason::Expired));
    assert_took(started, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_meets_its_expiry() {
    let wall = Wall::new();
    let service = ServiceBuilder::new()
        .layer(expiring(&wall, &Oracle::with_revision(), wall.after(60)))
        .layer(reauth().without_heartbeat())
        .service(handler(event_stream(Torrent)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    for _ in 0..59 {
        assert_eq!(stream.now(), Some(Seen::data(Torrent::DROP)));
        // No timer is polled on the way: the frames never stop.
        advance(Duration::from_secs(1)).await;
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_spent_cooperative_budget_does_not_put_the_expiry_off() {
    let (_feed, stream) = for_a_minute(&Wall::new(), &Oracle::with_revision()).await;
    let mut body = stream.into_body();
    let arms_the_timer = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx).is_pending())).await;
    assert!(arms_the_timer);
    advance(MINUTE).await;

    poll_fn(|cx| {
        while coop::has_budget_remaining() {
            let spend = std::pin::pin!(coop::consume_budget());
            let _ = spend.poll(cx);
        }
        let mut timer = std::pin::pin!(sleep(Duration::ZERO));
        assert!(timer.as_mut().poll(cx).is_pending(), "tokio's timers no longer fire in this turn");
        assert!(body.as_mut().poll_frame(cx).is_pending(), "an abort takes two turns");
        let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(cx) else { panic!("it goes on") };
        assert_eq!(error.to_string(), "access ended: the credential has expired");
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_far_or_overflowing_expiry_neither_panics_nor_ends_the_stream() {
    let latest =
        (0..64).rev().fold(UNIX_EPOCH, |date, bit| date.checked_add(Duration::from_secs(1 << bit)).unwrap_or(date));
    for expires_at in [latest, latest - DAY, UNIX_EPOCH + DAY * 365 * 1_000] {
        for leeway in [Duration::ZERO, DAY, Duration::MAX] {
            let wall = Wall::new();
            let layer = expiring(&wall, &Oracle::with_revision(), expires_at).with_leeway(leeway);
            let (feed, mut stream) = open(layer, reauth().without_heartbeat()).await;
            assert_eq!(stream.now(), None);
            advance(DAY * 400).await;
            assert_eq!(stream.now(), None);
            feed.data("data: 1\n\n");
            assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_further_away_than_timers_reach_is_met_to_the_tick() {
    let wall = Wall::new();
    let expires_at = wall.now() + DAY * 100;
    let layer = expiring(&wall, &Oracle::with_revision(), expires_at);
    let (_feed, mut stream) = open(layer, reauth().without_heartbeat()).await;
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, DAY * 100);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_has_the_last_word() {
    let wall = Wall::new();
    let (_feed, mut stream) = for_a_minute(&wall, &Oracle::with_revision()).await;
    let started = Instant::now();
    assert_eq!(stream.now(), None);
    wall.set_by(-30);
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, MINUTE + Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_forward_ends_the_stream_at_the_next_check() {
    let wall = Wall::new();
    let layer = expiring(&wall, &Oracle::with_revision(), wall.after(3_600));
    let (_feed, mut stream) = open(layer, reauth()).await;
    let started = Instant::now();
    assert_eq!(stream.now(), None);
    wall.set_by(7_200);
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_recheck_moves_the_expiry_both_ways() {
    for seconds in [600, 10] {
        let wall = Wall::new();
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = for_a_minute(&wall, &oracle).await;
        let started = Instant::now();
        assert_eq!(stream.now(), None);
        oracle.says(Ok(alice().with_expires_at(wall.after(seconds))));
        oracle.moves();
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
        assert_took(started, Duration::from_secs(seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn a_recheck_may_take_the_expiry_away() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = for_a_minute(&Wall::new(), &oracle).await;
    oracle.says(Ok(alice()));
    oracle.moves();
    assert_eq!(stream.now(), None);
    advance(DAY).await;
    assert_eq!(stream.now(), None);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_says_expired_ends_the_stream_as_expired() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.says(Err(VerifyError::Expired));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_open_does_not_put_the_expiry_off() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = for_a_minute(&Wall::new(), &oracle).await;
    let started = Instant::now();
    advance(MINUTE - Duration::from_secs(1)).await;
    oracle.waits();
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_expires_while_the_handler_works_never_gets_a_byte() {
    let wall = Wall::new();
    let (feed, body) = script();
    feed.data("data: 1\n\n");
    let slow = handler(event_stream(body));
    let service = ServiceBuilder::new()
        .layer(expiring(&wall, &Oracle::with_revision(), wall.after(60)))
        .layer(reauth())
        .service_fn(move |request| {
            let slow = slow.clone();
            async move {
                sleep(MINUTE).await;
                slow.oneshot(request).await
            }
        });
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_streams_with_expiries_of_their_own_end_each_at_its_own() {
    let wall = Wall::new();
    let started = Instant::now();
    let mut streams = Vec::new();
    for seconds in (1..=100).rev() {
        let layer = expiring(&wall, &Oracle::with_revision(), wall.after(seconds));
        let (_feed, mut stream) = open(layer, reauth().without_heartbeat()).await;
        streams.push(tokio::spawn(async move {
            let _feed = _feed;
            assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
            assert_took(started, Duration::from_secs(seconds));
        }));
    }
    for stream in streams {
        stream.await.expect("it ended in time");
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_close_is_spread_over_its_time_and_never_late() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(600))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock()).with_leeway(Duration::from_secs(5));
    let layer = reauth().with_early_close(Duration::from_secs(60));
    let started = Instant::now();
    let mut ends = Vec::new();
    for _ in 0..200 {
        let (feed, mut stream) = open(auth.clone(), layer.clone()).await;
        ends.push(tokio::spawn(async move {
            let _feed = feed;
            while stream.next().await != Seen::Cut(EndReason::Expired) {}
            started.elapsed()
        }));
    }
    let mut took = Vec::new();
    for end in ends {
        took.push(end.await.expect("no panic"));
    }
    let (first, last) = (took.iter().min().expect("200"), took.iter().max().expect("200"));
    let early = |seconds: u64| Duration::from_secs(605 - seconds);
    assert!(*first >= early(60) && *last <= early(0) + Duration::from_millis(1), "{first:?} to {last:?}");
    assert!(*first < early(45) && *last > early(15), "{first:?} to {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_credential_keeps_half_of_its_time_at_least() {
    for early in [Duration::from_secs(3_600), Duration::MAX] {
        for _ in 0..20 {
            let wall = Wall::new();
            let oracle = Oracle::without_revision();
            oracle.says(Ok(alice().with_expires_at(wall.after(10))));
            let auth = BearerAuthLayer::new(oracle).with_clock(wall.clock());
            let (_feed, mut stream) = open(auth, reauth().with_early_close(early)).await;
            let started = Instant::now();
            assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
            assert!(started.elapsed() >= Duration::from_secs(5));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_machine_slept_no_frame_passes_that_the_wall_clock_forbids() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    let auth = expiring(&wall, &oracle, wall.after(600));
    let (feed, mut stream) = open(auth, reauth().without_heartbeat()).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    // Timers stood still meanwhile.
    wall.set_by(3_600);
    advance(Duration::from_secs(60)).await;
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_stream_learns_of_an_expiry_that_another_stream_of_its_access_learned_of() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    let access = behind(expiring(&wall, &oracle, wall.after(60))).await;
    let mut idle = reauth().without_heartbeat().watch_stream(&access, stream::pending::<()>());
    let mut busy = reauth().watch_stream(&access, stream::iter([1]).chain(stream::pending()));
    assert!(idle.next().now_or_never().is_none());
    oracle.says(Ok(alice()));
    assert_eq!(busy.next().await, Some(1));
    advance(Duration::from_secs(61)).await;
    assert_eq!((idle.next().now_or_never(), idle.end_reason()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_past_an_expiry_ends_the_stream_within_a_minute_of_its_waking() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(3_600))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (_feed, mut stream) = open(auth, reauth().without_heartbeat()).await;
    assert_eq!(stream.now(), None);
    // The wall clock goes on, and no timer does.
    wall.set_by(7_200);
    let woke = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert!(woke.elapsed() <= Duration::from_secs(60), "{:?}", woke.elapsed());
}

#[tokio::test(start_paused = true)]
async fn work_in_the_background_learns_that_its_access_has_ended() {
    let secret = StaticToken::new("t0ken");
    let access = behind(BearerAuthLayer::new(secret.clone())).await;
    let work = tokio::spawn({
        let access = access.clone();
        async move { access.ended().await }
    });
    others().await;
    assert!(!work.is_finished());
    secret.rotate("another");
    assert_eq!(work.await.expect("no panic"), EndReason::Revoked);
    assert!(access.require(READ).is_err());
}
