//! Promise 1: a frame is passed on only if access was confirmed after that frame became ready, or
//! within `max_age` before it. An unmoved revision is that confirmation.

use std::{convert::Infallible, time::Duration};

use http::Request;
use tokio::time::{advance, sleep};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StaticToken, reauth::EndReason, verify::VerifyError};

use crate::support::{Oracle, Reader, Seen, Torrent, alice, event_stream, handler, open, reauth, request, script};

#[tokio::test(start_paused = true)]
async fn a_frame_that_becomes_ready_after_a_revocation_never_passes() {
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));

    secret.rotate("another");
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_was_ready_before_a_revocation_but_not_read_does_not_pass_either() {
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    feed.data("data: 1\n\n");
    secret.rotate("another");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_while_the_inner_body_makes_a_frame_stops_that_frame() {
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    feed.aside(move || secret.rotate("another"));
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_unmoved_revision_confirms_each_frame_without_a_question() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    for _ in 0..1_000 {
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    }
    assert_eq!(oracle.asked(), 1, "at the door");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_moved_is_asked_about_once_and_then_vouches_again() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    for _ in 0..100 {
        oracle.moves();
    }
    for _ in 0..10 {
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    }
    assert_eq!(oracle.asked(), 2, "at the door and once more");
}

#[tokio::test(start_paused = true)]
async fn a_verifier_without_a_revision_is_asked_about_each_frame() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    for frames in 1..=10 {
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
        assert_eq!(oracle.asked(), 1 + frames);
    }
    oracle.says(Err(VerifyError::Rejected));
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_held_until_the_answer_comes_and_then_passes() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    feed.data("data: 1\n\n");
    feed.data("data: 2\n\n");
    assert_eq!(stream.now(), None);
    assert!(!stream.is_end_stream());
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));

    // What was true of the first frame says nothing about the second.
    assert_eq!(stream.now(), None);
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_question_that_was_put_before_the_frame_does_not_let_it_pass() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    assert_eq!(stream.now(), None);
    advance(Duration::from_secs(15)).await;
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1, "the heartbeat's");

    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    oracle.answers(Ok(alice()));
    // The verifier may have looked before the frame was ready, so the frame has a question of its own.
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1, "the frame's");
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_moves_while_a_check_runs_makes_its_answer_worthless() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    oracle.moves();
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1);

    oracle.moves();
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), None, "the answer was given before the revision moved again");
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn nor_does_that_answer_let_the_frame_pass_that_it_was_asked_for() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    let moving = oracle.clone();
    feed.aside(move || moving.moves());
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1, "the frame's");

    oracle.moves();
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), None);
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
}

#[tokio::test(start_paused = true)]
async fn a_frame_does_not_wait_for_a_heartbeats_answer_while_the_revision_stands_still() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    advance(Duration::from_secs(15)).await;
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1, "the heartbeat's");
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));

    oracle.moves();
    feed.data("data: 2\n\n");
    assert_eq!(stream.now(), None, "now it does");
}

#[tokio::test(start_paused = true)]
async fn within_max_age_a_frame_passes_on_the_last_answer() {
    let oracle = Oracle::without_revision();
    let layer = reauth().with_max_age(Duration::from_secs(5)).without_heartbeat();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    for (seconds, asked) in [(0, 1), (5, 1), (1, 2), (4, 2), (1, 2), (1, 3)] {
        advance(Duration::from_secs(seconds)).await;
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
        assert_eq!(oracle.asked(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn the_age_of_an_answer_counts_from_the_question() {
    let oracle = Oracle::without_revision();
    let layer = reauth().with_max_age(Duration::from_secs(5)).without_heartbeat();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says_after(Duration::from_secs(4), Ok(alice()));
    advance(Duration::from_secs(6)).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));

    advance(Duration::from_secs(2)).await;
    oracle.says(Err(VerifyError::Rejected));
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "the verifier may have looked 6 s ago");
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_doors_answer_counts_from_the_door() {
    let oracle = Oracle::without_revision();
    let (feed, body) = script();
    let slow = handler(event_stream(body));
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(reauth().with_max_age(Duration::from_secs(5)))
        .service_fn(move |request: Request<()>| {
            let slow = slow.clone();
            async move {
                sleep(Duration::from_secs(6)).await;
                slow.oneshot(request).await
            }
        });
    let Ok::<_, Infallible>(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    oracle.says(Err(VerifyError::Rejected));
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_moved_revision_is_asked_about_whatever_the_max_age() {
    let oracle = Oracle::with_revision();
    let layer = reauth().with_max_age(Duration::from_secs(3_600));
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn trailers_are_held_to_the_same_rule() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.says(Err(VerifyError::Rejected));
    feed.trailers("checksum", "1234");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_is_cut_all_the_same() {
    let secret = StaticToken::new("t0ken");
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(secret.clone()))
        .layer(reauth())
        .service(handler(event_stream(Torrent)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    for _ in 0..10_000 {
        assert_eq!(stream.now(), Some(Seen::data(Torrent::DROP)));
    }
    secret.rotate("another");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_polled_for_no_reason_does_not_put_its_question_again() {
    let oracle = Oracle::without_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.waits();
    feed.data("data: 1\n\n");
    for _ in 0..100 {
        assert_eq!(stream.now(), None);
    }
    assert_eq!(oracle.asked(), 2, "at the door and for the frame");
    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
}
