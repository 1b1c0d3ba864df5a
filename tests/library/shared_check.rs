//! Promise 11: many streams on one credential cost one check per interval, and each learns the
//! answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, advance};
use tower_reauth::{
    BearerAuthLayer,
    access::AccessSource,
    reauth::EndReason,
    verify::{CredentialKey, Rejection, TokenDigest, Verification, VerifyError},
};

use crate::support::{Feed, KEEPALIVE, Oracle, Reader, Script, Seen, alice, assert_took, open, reauth};

const BEAT: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

/// Streams that came through one door with one token, each of them polled once.
async fn streams(oracle: &Oracle, count: usize) -> Vec<(Feed, Reader<Script>)> {
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let (feed, mut stream) = open(auth.clone(), reauth()).await;
        assert_eq!(stream.now(), None);
        streams.push((feed, stream));
    }
    streams
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_of_one_token_cost_one_check_per_interval() {
    const STREAMS: usize = 10_000;
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        for delay in [Duration::ZERO, SECOND] {
            let streams = streams(&oracle, STREAMS).await;
            if delay.is_zero() {
                oracle.says(Ok(alice()));
            } else {
                oracle.says_after(delay, Ok(alice()));
            }
            let asked = oracle.asked();
            let started = Instant::now();
            let mut tasks = Vec::with_capacity(STREAMS);
            for (feed, mut stream) in streams {
                tasks.push(tokio::spawn(async move {
                    let _feed = feed;
                    for _ in 0..3 {
                        assert_eq!(stream.next().await, Seen::data(KEEPALIVE), "each of them writes its own");
                    }
                }));
            }
            for task in tasks {
                task.await.expect("no stream ends");
            }
            assert_took(started, 3 * BEAT + delay);
            assert_eq!(oracle.asked() - asked, 3);
            oracle.says(Ok(alice()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_out_of_step_cost_no_more() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut streams = Vec::new();
    for _ in 0..15 {
        streams.push(open(auth.clone(), reauth()).await);
        for (_, stream) in &mut streams {
            assert_eq!(stream.now(), None);
        }
        advance(SECOND).await;
    }
    let asked = oracle.asked();
    for _ in 0..60 {
        for (_, stream) in &mut streams {
            while stream.now().is_some() {}
        }
        advance(SECOND).await;
    }
    assert_eq!(oracle.asked() - asked, 4);
}

#[tokio::test(start_paused = true)]
async fn a_moved_revision_is_asked_about_once() {
    let oracle = Oracle::with_revision();
    let mut streams = streams(&oracle, 100).await;
    for moves in 1..=3 {
        oracle.moves();
        for (feed, stream) in &mut streams {
            feed.data("data: 1\n\n");
            assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
        }
        assert_eq!(oracle.asked(), 100 + moves);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_passed_only_on_a_check_that_began_after_it_was_ready() {
    let oracle = Oracle::without_revision();
    let mut streams = streams(&oracle, 2).await;
    oracle.waits();
    streams[0].0.data("data: 1\n\n");
    assert_eq!(streams[0].1.now(), None);
    // The question was put before this frame became ready, in the same instant of the clock.
    streams[1].0.data("data: 2\n\n");
    assert_eq!(streams[1].1.now(), None);
    assert_eq!(oracle.open_questions(), 2);

    oracle.answers(Ok(alice()));
    assert_eq!(streams[0].1.now(), Some(Seen::data("data: 1\n\n")));
    assert_eq!(streams[1].1.now(), None);
    oracle.answers(Ok(alice()));
    assert_eq!(streams[1].1.now(), Some(Seen::data("data: 2\n\n")));
}

#[tokio::test(start_paused = true)]
async fn the_stream_that_asked_may_go_and_the_question_is_not_lost() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let mut streams = streams(&oracle, 3).await;
        oracle.waits();
        advance(BEAT).await;
        for (_, stream) in &mut streams {
            assert_eq!(stream.now(), None);
        }
        assert_eq!((oracle.asked(), oracle.open_questions()), (4, 1));
        streams.remove(0);
        assert_eq!(oracle.open_questions(), 1);

        let mut reading = Vec::new();
        for (feed, mut stream) in streams {
            reading.push(tokio::spawn(async move {
                let _feed = feed;
                stream.next().await
            }));
        }
        tokio::task::yield_now().await;
        oracle.answers(Ok(alice()));
        for stream in reading {
            assert_eq!(stream.await.expect("no panic"), Seen::data(KEEPALIVE));
        }
        assert_eq!(oracle.asked(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_waits_for_any_more_is_dropped() {
    let oracle = Oracle::without_revision();
    let mut streams = streams(&oracle, 2).await;
    oracle.waits();
    streams[0].0.data("data: 1\n\n");
    assert_eq!(streams[0].1.now(), None);
    assert_eq!(oracle.open_questions(), 1);
    streams.remove(0);
    assert_eq!(oracle.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_one_stream_gets_ends_the_others_at_once() {
    let rejected = VerifyError::rejected(Rejection::UNKNOWN_KEY);
    for error in [VerifyError::Rejected, rejected, VerifyError::Expired, VerifyError::locked_out_for(SECOND)] {
        let oracle = Oracle::without_revision();
        let mut streams = streams(&oracle, 10).await;
        let (feed, mut busy) = streams.remove(0);
        let mut idle = Vec::new();
        for (feed, mut stream) in streams {
            idle.push(tokio::spawn(async move {
                let _feed = feed;
                (stream.next().await, Instant::now())
            }));
        }
        advance(SECOND).await;
        oracle.says(Err(error));
        feed.data("data: 1\n\n");
        let denied = Instant::now();
        let seen = busy.next().await;
        assert!(matches!(seen, Seen::Cut(_)));
        for stream in idle {
            let (end, at) = stream.await.expect("no panic");
            assert_eq!((&end, at), (&seen, denied));
        }
        assert_eq!(oracle.asked(), 11, "nobody else asked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_is_down_is_asked_once_for_all() {
    let oracle = Oracle::without_revision();
    let mut streams = streams(&oracle, 100).await;
    oracle.says(Err(VerifyError::unavailable()));
    advance(BEAT).await;
    for (_, stream) in &mut streams {
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Unavailable));
    }
    assert_eq!(oracle.asked(), 101);
}

#[tokio::test(start_paused = true)]
async fn an_overdue_question_is_the_end_of_those_who_waited_for_it_and_of_nobody_else() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let (_feed, mut first) = open(auth.clone(), reauth()).await;
    assert_eq!(first.now(), None);
    advance(7 * SECOND).await;
    let (_other_feed, mut second) = open(auth, reauth()).await;
    assert_eq!(second.now(), None);
    oracle.waits();
    assert_eq!(first.next().await, Seen::Cut(EndReason::TimedOut));
    oracle.says(Ok(alice()));
    assert_eq!(second.next().await, Seen::data(KEEPALIVE));
}

#[tokio::test(start_paused = true)]
async fn another_credential_is_another_question() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut streams = Vec::new();
    for token in ["one", "two", "one"] {
        let (feed, mut stream) = crate::support::open_with(auth.clone(), reauth(), token).await;
        assert_eq!(stream.now(), None);
        streams.push((feed, stream));
    }
    advance(BEAT).await;
    for (_, stream) in &mut streams {
        assert_eq!(stream.now(), Some(Seen::data(KEEPALIVE)));
    }
    assert_eq!(oracle.asked(), 3 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_another_stream_began_counts_from_when_it_began() {
    let oracle = Oracle::without_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let (_idle_feed, mut idle) = open(auth.clone(), reauth()).await;
    let (feed, mut busy) = open(auth, reauth()).await;
    assert_eq!((idle.now(), busy.now()), (None, None));
    let started = Instant::now();
    // Asked by the busy one, for a frame.
    advance(10 * SECOND).await;
    feed.data("data: 1\n\n");
    assert_eq!(busy.now(), Some(Seen::data("data: 1\n\n")));
    drop(busy);
    oracle.says(Err(VerifyError::Rejected));
    advance(5 * SECOND).await;
    assert_eq!(idle.now(), Some(Seen::data(KEEPALIVE)), "its heartbeat goes by that answer");
    assert_eq!(idle.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, 10 * SECOND + BEAT);
}

#[tokio::test(start_paused = true)]
async fn streams_of_a_source_of_ones_own_ask_once_for_each_key() {
    let source = AccessSource::new();
    let asked = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut streams = Vec::new();
    for n in 0..40 {
        let count = Arc::clone(&asked[n % 2]);
        let key = CredentialKey::new(TokenDigest::of(format!("session {}", n % 2)));
        let verify = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Verification::ready(Ok(alice()))
        };
        let access = source.verify(key, verify).await.expect("alice is let in");
        streams.push(Box::pin(reauth().watch_stream(&access, stream::pending::<()>())));
    }
    assert_eq!(asked.each_ref().map(|asked| asked.load(Ordering::SeqCst)), [20, 20], "each at the door");
    let all = futures_util::future::join_all(streams.iter_mut().map(|stream| stream.next()));
    assert!(tokio::time::timeout(3 * BEAT + SECOND, all).await.is_err(), "no stream ends");
    assert_eq!(asked.each_ref().map(|asked| asked.load(Ordering::SeqCst)), [23, 23], "one for each interval");
}
