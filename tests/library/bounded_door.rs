//! The door is bounded: a verifier has a time limit, may panic, and is asked once for equal tokens that
//! arrive together.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, Response};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, Clock, Denied, Identity,
    bearer::{Auth, AuthLayer, Authenticate, Head},
    reauth::EndReason,
    revoke::{Revision, Revocations},
    verify::{CredentialKey, TokenDigest, Verification, VerifyError, verify_async, verify_fn},
};

use crate::support::{
    Oracle, Reader, Seen, alice, assert_took, event_stream, handler, header, logging, others, reauth, request,
    request_with, script,
};

type Answered = Result<Response<String>, Infallible>;

/// A service that answers whoever is let in.
fn behind<A: Authenticate>(
    layer: &AuthLayer<A>,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + Send + use<A> {
    layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))))
}

fn ask(layer: &BearerAuthLayer, token: &str) -> JoinHandle<Answered> {
    tokio::spawn(behind(layer).oneshot(request_with(format!("Bearer {token}"))))
}

async fn status(asked: JoinHandle<Answered>) -> u16 {
    let Ok(response) = asked.await.expect("no panic comes through");
    response.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_hangs_is_one_that_cannot_tell() {
    let hangs = || BearerAuthLayer::new(verify_async(|_| pending()));
    for (layer, seconds) in [
        (hangs(), 15),
        (hangs().with_verify_timeout(Duration::from_secs(2)), 2),
        (hangs().with_verify_timeout(Duration::ZERO), 0),
    ] {
        let started = Instant::now();
        let Ok(response) = behind(&layer).oneshot(request()).await;
        assert_took(started, Duration::from_secs(seconds));
        assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, Some("1")));
        assert_eq!(header(&response, "www-authenticate"), None, "nobody throws a good token away");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_request_waits_for_as_long_as_it_takes() {
    for limit in [None, Some(Duration::MAX)] {
        let oracle = Oracle::without_revision();
        oracle.says_after(Duration::from_secs(86_400), Ok(alice()));
        let layer = BearerAuthLayer::new(oracle).with_verify_timeout(limit);
        assert_eq!(status(ask(&layer, "t0ken")).await, 200);
    }
}

#[test]
fn outside_of_a_runtime_there_is_no_limit() {
    let layer = BearerAuthLayer::new(verify_async(async |_| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(alice())
    }));
    let layer = layer.with_verify_timeout(Duration::ZERO);
    let Ok(response) = futures_util::FutureExt::now_or_never(behind(&layer).oneshot(request())).expect("it is ready");
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_panics_refuses_the_request_and_is_asked_again_by_the_next() {
    let log = logging();
    for panics in [Oracle::panics, Oracle::panics_later] {
        let oracle = Oracle::without_revision();
        let layer = BearerAuthLayer::new(oracle.clone());
        // At its first answer, and when it has been one that knows, and one that must be waited for.
        for answers in [
            |_: &Oracle| (),
            |oracle: &Oracle| oracle.says(Ok(alice())),
            |oracle: &Oracle| {
                oracle.says_after(Duration::from_secs(1), Ok(alice()));
            },
        ] {
            panics(&oracle);
            assert_eq!(status(ask(&layer, "t0ken")).await, 500);
            answers(&oracle);
            status(ask(&layer, "t0ken")).await;
        }
        oracle.says(Ok(alice()));
        assert_eq!(status(ask(&layer, "t0ken")).await, 200);
    }
    let text = log.text();
    assert!(text.contains("ERROR") && text.contains("check_panicked"), "{text}");
}

/// An authenticator of which one method panics.
struct Defective(&'static str);

impl Defective {
    fn in_place(&self, method: &str) {
        assert_ne!(self.0, method, "as it was told");
    }
}

impl Authenticate for Defective {
    type Credential = ();

    fn present(&self, _: Head<'_>) -> Result<(), Denied> {
        self.in_place("present");
        Ok(())
    }

    fn verify(&self, (): &()) -> Verification {
        self.in_place("verify");
        let panics = self.0 == "the answer";
        Verification::pending(async move {
            assert!(!panics, "as it was told");
            Ok(alice())
        })
    }

    fn conclude(&self, (): &(), verdict: Result<Identity, VerifyError>) -> Result<Identity, VerifyError> {
        self.in_place("conclude");
        verdict
    }

    fn revision(&self) -> Option<&Revision> {
        self.in_place("revision");
        None
    }

    fn key(&self, (): &()) -> Option<CredentialKey> {
        self.in_place("key");
        Some(CredentialKey::new(TokenDigest::of("nobody")))
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_panics_at_the_door_the_request_is_refused() {
    for (method, expected) in [
        ("present", 500),
        ("verify", 500),
        ("the answer", 500),
        ("conclude", 500),
        ("revision", 500),
        ("key", 500),
        ("nothing", 200),
    ] {
        let layer = AuthLayer::from_authenticator(Defective(method));
        for _ in 0..2 {
            let Ok(response) = behind(&layer).oneshot(request()).await;
            assert_eq!(response.status(), expected, "{method}");
        }
    }
    let expires = alice().with_expires_at(std::time::SystemTime::now());
    let clock = Clock::from_fn(|| panic!("as it was told"));
    let layer = BearerAuthLayer::new(verify_fn(move |_| Ok(expires.clone()))).with_clock(clock);
    assert_eq!(status(ask(&layer, "t0ken")).await, 500);
}

#[tokio::test(start_paused = true)]
async fn fifty_requests_at_once_begin_one_check() {
    for oracle in [Oracle::without_revision(), Oracle::with_revision()] {
        let layer = BearerAuthLayer::new(oracle.clone());
        for round in 1..=3 {
            oracle.says_after(Duration::from_millis(20), Ok(alice()));
            let answers = join_all((0..50).map(|_| status(ask(&layer, "t0ken")))).await;
            assert!(answers.iter().all(|status| *status == 200));
            assert_eq!(oracle.asked(), round, "one question for each round");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_with_other_tokens_and_doors_of_other_layers_begin_checks_of_their_own() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let layer = BearerAuthLayer::new(oracle.clone());
    let asked = [ask(&layer, "one"), ask(&layer, "two"), ask(&BearerAuthLayer::new(oracle.clone()), "one")];
    others().await;
    for answer in [Ok(alice()), Err(VerifyError::Rejected), Err(VerifyError::unavailable())] {
        oracle.answers(answer);
    }
    let mut statuses = Vec::new();
    for asked in asked {
        statuses.push(status(asked).await);
    }
    assert_eq!(statuses, [200, 401, 503]);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_knows_is_asked_by_each_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let layer = BearerAuthLayer::new(verify_fn(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(alice())
    }));
    join_all((0..50).map(|_| status(ask(&layer, "t0ken")))).await;
    assert_eq!(asked.load(Ordering::Relaxed), 50);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_a_revocation_does_not_share_a_check_that_began_before() {
    let oracle = Oracle::with_revision();
    let layer = BearerAuthLayer::new(oracle.clone());
    oracle.says_after(Duration::from_secs(2), Ok(alice()));
    let before = ask(&layer, "t0ken");
    advance(Duration::from_secs(1)).await;
    others().await;
    let beside = ask(&layer, "t0ken");
    others().await;
    assert_eq!(oracle.asked(), 1, "an unchanged revision vouches for the check");
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    let after = ask(&layer, "t0ken");
    assert_eq!((status(before).await, status(beside).await, status(after).await), (200, 200, 401));
}

#[tokio::test(start_paused = true)]
async fn without_a_revision_only_what_arrives_together_shares_a_check() {
    let oracle = Oracle::without_revision();
    let layer = BearerAuthLayer::new(oracle.clone());
    oracle.says_after(Duration::from_secs(2), Ok(alice()));
    let first = ask(&layer, "t0ken");
    others().await;
    oracle.says(Err(VerifyError::Rejected));
    advance(Duration::from_millis(100)).await;
    let together = ask(&layer, "t0ken");
    others().await;
    advance(Duration::from_millis(1)).await;
    let later = ask(&layer, "t0ken");
    assert_eq!((status(first).await, status(together).await, status(later).await), (200, 200, 401));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_everything_was_revoked_asks_for_itself() {
    let revocations = Revocations::new();
    let oracle = Oracle::with_revision();
    let layer = BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations);
    oracle.says_after(Duration::from_secs(2), Ok(alice()));
    let before = ask(&layer, "t0ken");
    others().await;
    revocations.revoke_all();
    let after = ask(&layer, "t0ken");
    others().await;
    assert_eq!(oracle.asked(), 2);
    assert_eq!((status(before).await, status(after).await), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_by_the_time_of_the_check_that_let_its_request_in() {
    let oracle = Oracle::with_revision();
    let layer = BearerAuthLayer::new(oracle.clone());
    oracle.says_after(Duration::from_secs(2), Ok(alice()));
    let first = ask(&layer, "t0ken");
    others().await;
    advance(Duration::from_secs(1)).await;
    let (feed, body) = script();
    let opening = layer.layer(reauth().layer(handler(event_stream(body)))).oneshot(request());
    let opening = tokio::spawn(opening);
    others().await;
    assert_eq!(oracle.asked(), 1);
    // The check had begun when the token was revoked, and its answer is of before.
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(status(first).await, 200);
    let Ok(response) = opening.await.expect("no panic");
    feed.data("data: secret\n\n");
    assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_the_answer_from_nobody_and_the_last_one_gives_up_the_question() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let layer = BearerAuthLayer::new(oracle.clone());
    let waiting: Vec<_> = (0..3).map(|_| ask(&layer, "t0ken")).collect();
    others().await;
    assert_eq!(oracle.asked(), 1);
    let [first, second, third] = waiting.try_into().expect("three");
    first.abort();
    others().await;
    assert_eq!(oracle.open_questions(), 1);
    third.abort();
    oracle.answers(Ok(alice()));
    assert_eq!(status(second).await, 200);

    let last = ask(&layer, "t0ken");
    others().await;
    assert_eq!((oracle.asked(), oracle.open_questions()), (2, 1));
    last.abort();
    others().await;
    assert_eq!(oracle.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_overdue_is_begun_again() {
    let oracle = Oracle::with_revision();
    let layer = BearerAuthLayer::new(oracle.clone()).with_verify_timeout(Duration::from_secs(5));
    oracle.waits();
    let first = ask(&layer, "t0ken");
    others().await;
    advance(Duration::from_millis(4_999)).await;
    let second = ask(&layer, "t0ken");
    others().await;
    assert_eq!(oracle.asked(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(status(first).await, 503);
    let third = ask(&layer, "t0ken");
    others().await;
    assert_eq!(oracle.asked(), 2);
    oracle.answers(Err(VerifyError::Rejected));
    oracle.answers(Ok(alice()));
    assert_eq!((status(second).await, status(third).await), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_wakes_itself_at_each_poll_does_not_hold_up_the_thread() {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polls);
    let layer = BearerAuthLayer::new(verify_async(move |_| {
        let count = Arc::clone(&count);
        std::future::poll_fn(move |cx| {
            count.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
    }));
    let mut waiting = tokio_test::task::spawn(behind(&layer).oneshot(request()));
    assert!(waiting.poll().is_pending());
    assert!(waiting.is_woken());
    assert_eq!(polls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_says_what_it_waits_for() {
    let oracle = Oracle::without_revision();
    let inner = || service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let of = |answer: fn(&Oracle)| {
        answer(&oracle);
        format!("{:?}", BearerAuthLayer::new(oracle.clone()).layer(inner()).call(request()))
    };
    assert_eq!(of(|oracle| oracle.says(Ok(alice()))), "ResponseFuture::inner");
    assert_eq!(of(|oracle| oracle.says(Err(VerifyError::Rejected))), "ResponseFuture::refused");
    assert_eq!(of(Oracle::waits), "ResponseFuture::waiting");
    let _: Auth<_, _> = Auth::new(inner(), Defective("nothing"));
}
