//! Promise 3: when the verifier's revision moves, idle streams ask again at once, and those that
//! lost access end there and then; the others notice nothing.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use http_body::Body as _;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer, RequireScopeLayer, StaticToken, StreamReauth, StreamReauthLayer, Tokens,
    reauth::{EndReason, Ending},
    revoke::Revision,
    verify::{Token, TokenDigest, VerifyError},
};

use crate::support::{
    Feed, Oracle, READ, Reader, Script, Seen, WRITE, alice, assert_took, event_stream, handler, open, open_with,
    reauth, request_with, script,
};

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_the_moment_its_secret_is_rotated() {
    let secret = StaticToken::new("t0ken");
    let (_feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth().without_heartbeat()).await;
    let reading = tokio::spawn(async move { (stream.next().await, Instant::now()) });
    tokio::time::sleep(Duration::from_secs(100)).await;
    let rotated = Instant::now();
    secret.rotate("another");
    let (seen, at) = reading.await.expect("no panic");
    assert_eq!((seen, at), (Seen::Cut(EndReason::Revoked), rotated));
}

#[tokio::test(start_paused = true)]
async fn a_move_wakes_the_task_that_waits_and_nothing_else_does() {
    let oracle = Oracle::with_revision();
    let (_feed, stream) = open(BearerAuthLayer::new(oracle.clone()), reauth().without_heartbeat()).await;
    let mut body = task::spawn(stream.into_body());
    for _ in 0..3 {
        assert_pending!(body.enter(|cx, body| http_body::Body::poll_frame(body.get_mut().as_mut(), cx)));
        assert!(!body.is_woken());
        oracle.moves();
        assert!(body.is_woken());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_keeps_its_access_notices_nothing() {
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    for _ in 0..10 {
        secret.rotate("t0ken");
        assert_eq!(stream.now(), None);
        feed.data("data: 1\n\n");
        assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
    }
}

/// The body of a stream, as a task has it.
type Body = Pin<Box<StreamReauth<Script>>>;

async fn stream_of(tokens: &Tokens, secret: &str) -> (Feed, Reader<Script>) {
    let (feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens.clone()))
        .layer(RequireScopeLayer::new(READ))
        .layer(reauth())
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(request_with(format!("Bearer {secret}"))).await;
    assert_eq!(response.status(), 200);
    (feed, Reader::of(response))
}

#[tokio::test(start_paused = true)]
async fn removing_or_narrowing_a_token_cuts_its_streams_and_no_one_elses() {
    let token = |n: u32| Token::new(&format!("token-{n}"), format!("secret-{n}")).with_scopes([READ, WRITE]);
    let tokens = Tokens::new((0..10).map(token)).expect("no duplicates");
    let mut streams = Vec::new();
    for n in 0..10 {
        streams.push(stream_of(&tokens, &format!("secret-{n}")).await);
    }
    for (_, stream) in &mut streams {
        assert_eq!(stream.now(), None);
    }

    // 0 is removed, 1 may write but no longer read, 2 may read but no longer write, 3 has another
    // secret, 4 belongs to somebody else.
    let changed = (1..10).map(|n| match n {
        1 => token(1).with_scopes(WRITE),
        2 => token(2).with_scopes(READ),
        3 => Token::new("token-3", "another").with_scopes(READ),
        4 => token(4).with_subject("bob"),
        n => token(n),
    });
    tokens.replace(changed).expect("no duplicates");

    for (n, (feed, stream)) in streams.iter_mut().enumerate() {
        feed.data("data: 1\n\n");
        let expected = match n {
            1 => Seen::Cut(EndReason::ScopeLost),
            0 | 3 | 4 => Seen::Cut(EndReason::Revoked),
            _ => Seen::data("data: 1\n\n"),
        };
        assert_eq!(stream.next().await, expected, "token {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_streams_of_the_tokens_that_changed_are_woken() {
    let token = |n: u32| Token::new(&format!("token-{n}"), format!("secret-{n}")).with_scopes([READ, WRITE]);
    let tokens = Tokens::new((0..10).map(token)).expect("no duplicates");
    let mut streams = Vec::new();
    for n in 0..10 {
        let (feed, stream) = stream_of(&tokens, &format!("secret-{n}")).await;
        let mut body = task::spawn(stream.into_body());
        assert_pending!(body.enter(|cx, body| http_body::Body::poll_frame(body.get_mut().as_mut(), cx)));
        streams.push((feed, body));
    }
    let woken = |streams: &[(Feed, task::Spawn<Body>)]| -> Vec<usize> {
        (0..10).filter(|n| streams[*n].1.is_woken()).collect()
    };
    tokens.replace((0..10).map(token)).expect("no duplicates");
    assert!(woken(&streams).is_empty(), "nothing has changed");
    tokens.replace((0..12).filter(|n| *n != 3).map(token)).expect("no duplicates");
    assert_eq!(woken(&streams), [3]);
    let narrower = |n| if n == 7 { token(n).with_scopes(READ) } else { token(n) };
    tokens.replace((0..12).filter(|n| *n != 3).map(narrower)).expect("no duplicates");
    assert_eq!(woken(&streams), [3, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_merged_revision_hands_on_whom_a_move_concerns() {
    let inner = Revision::new();
    let oracle = Oracle::with(Revision::merged([&inner, &Revision::new()]));
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut streams = Vec::new();
    for token in ["one", "two"] {
        let (feed, stream) = open_with(auth.clone(), reauth(), token).await;
        let mut body = task::spawn(stream.into_body());
        assert_pending!(body.enter(|cx, body| http_body::Body::poll_frame(body.get_mut().as_mut(), cx)));
        streams.push((feed, body));
    }
    inner.bump_for([TokenDigest::of("two"), TokenDigest::of("three")]);
    assert_eq!(streams.iter().map(|(_, body)| body.is_woken()).collect::<Vec<_>>(), [false, true]);
    inner.bump_for([]);
    assert!(!streams[0].1.is_woken());
    inner.bump();
    assert!(streams[0].1.is_woken());
}

/// A task that moves the revision that wakes it.
struct Mover {
    revision: Revision,
    is_woken: AtomicBool,
}

impl Wake for Mover {
    fn wake(self: Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::Relaxed) {
            self.revision.bump();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_woken_may_use_the_revision_that_woke_it() {
    let inner = Revision::new();
    let oracle = Oracle::with(Revision::merged([&inner]));
    let (_feed, stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    let mover = Arc::new(Mover { revision: inner.clone(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&mover));
    let mut body = stream.into_body();
    assert!(body.as_mut().poll_frame(&mut Context::from_waker(&waker)).is_pending());
    inner.bump();
    assert_eq!((inner.current(), mover.is_woken.load(Ordering::Relaxed)), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_now_belongs_to_somebody_else_ends_the_stream() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.says(Ok(alice().with_subject("bob")));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_whose_verifier_must_ask_ends_when_the_answer_comes() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.says_after(Duration::from_secs(2), Err(VerifyError::Rejected));
    let started = Instant::now();
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_move_while_a_question_is_open_is_not_lost() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth().without_heartbeat()).await;
    oracle.waits();
    oracle.moves();
    assert_eq!(stream.now(), None);
    oracle.moves();
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1);

    oracle.answers(Ok(alice()));
    assert_eq!(stream.now(), None);
    assert_eq!(oracle.open_questions(), 1, "the answer was older than the move");
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_without_a_revision_is_found_out_at_the_heartbeat() {
    let oracle = Oracle::without_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    let started = Instant::now();
    oracle.says(Err(VerifyError::Rejected));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_took(started, Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_idle_streams_of_one_secret_end_in_one_turn() {
    let secret = StaticToken::new("t0ken");
    let layer = BearerAuthLayer::new(secret.clone());
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let (feed, mut stream) = open(layer.clone(), reauth().without_heartbeat()).await;
        streams.push(tokio::spawn(async move {
            let _feed = feed;
            (stream.next().await, Instant::now())
        }));
    }
    advance(Duration::from_secs(1)).await;
    let rotated = Instant::now();
    secret.rotate("another");
    for stream in streams {
        assert_eq!(stream.await.expect("no panic"), (Seen::Cut(EndReason::Revoked), rotated));
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_late_by_a_heartbeat_and_the_time_limit_of_a_check_at_most() {
    for refuses in [Oracle::waits as fn(&Oracle), |oracle| oracle.says(Err(VerifyError::Rejected))] {
        let oracle = Oracle::without_revision();
        let auth = BearerAuthLayer::new(oracle.clone());
        let mut streams = Vec::new();
        for n in 0..100 {
            // Each stream with a step of its own.
            advance(Duration::from_millis(n)).await;
            let (feed, mut stream) = open(auth.clone(), StreamReauthLayer::new().with_ending(Ending::Abort)).await;
            assert_eq!(stream.now(), None);
            streams.push(tokio::spawn(async move {
                let _feed = feed;
                while let Seen::Data(_) = stream.next().await {}
                Instant::now()
            }));
        }
        refuses(&oracle);
        let revoked = Instant::now();
        for stream in streams {
            let late = stream.await.expect("no panic") - revoked;
            assert!(late <= Duration::from_millis(20_001), "{late:?}");
        }
    }
}
