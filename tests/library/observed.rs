//! Promise 13: the first reason for which a stream ends wins, and it is the one in the metric and in
//! the log.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::advance;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, RequireScopeLayer, StreamReauthLayer, Tokens, VerifyToken,
    observe::describe_metrics,
    reauth::{EndReason, Ended, OpenStreams},
    revoke::Revocations,
    session::SessionBindingLayer,
    verify::{Rejection, Token, TokenDigest, VerifyError},
};

use crate::support::{
    Answer, Feed, Oracle, READ, Reader, Script, WRITE, Wall, alice, behind, handler, logging, open, reauth, request,
    request_with,
};

/// Counts by name and labels, times, and what is open.
#[derive(Default)]
struct Counts {
    counters: Mutex<BTreeMap<(String, String), Arc<AtomicU64>>>,
    times: Mutex<BTreeMap<(String, String), Arc<Times>>>,
    open: Arc<Level>,
    /// By name, each with its kind and its unit.
    helps: Mutex<BTreeMap<String, (&'static str, Option<Unit>, String)>>,
}

/// A histogram, and all that it has shown.
#[derive(Default)]
struct Times(Mutex<Vec<f64>>);

impl HistogramFn for Times {
    fn record(&self, value: f64) {
        self.0.lock().expect("no panic").push(value);
    }
}

/// A gauge, and all that it has shown.
#[derive(Default)]
struct Level(Mutex<Vec<f64>>);

impl Level {
    fn changes(&self, by: f64) {
        let mut shown = self.0.lock().expect("no panic");
        let now = shown.last().copied().unwrap_or_default() + by;
        shown.push(now);
    }

    fn shown(&self) -> Vec<f64> {
        self.0.lock().expect("no panic").clone()
    }
}

impl GaugeFn for Level {
    fn increment(&self, value: f64) {
        self.changes(value);
    }

    fn decrement(&self, value: f64) {
        self.changes(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("several streams count in it");
    }
}

impl Counts {
    /// What was counted of refusals and ends, as `name reason count`.
    fn shown(&self) -> Vec<String> {
        [self.of("tower_reauth_refused"), self.of("tower_reauth_streams")].concat()
    }

    /// What was counted under names that begin like this, as `name labels count`.
    fn of(&self, name: &str) -> Vec<String> {
        let counts = self.counters.lock().expect("no panic");
        let of_name = counts.iter().filter(|((other, _), _)| other.starts_with(name));
        of_name.map(|((name, why), count)| format!("{name} {why} {}", count.load(Ordering::Relaxed))).collect()
    }

    /// The times that were taken under this name, in seconds, by their labels.
    fn times(&self, name: &str) -> Vec<(String, Vec<f64>)> {
        let times = self.times.lock().expect("no panic");
        let of_name = times.iter().filter(|((other, _), _)| other == name);
        of_name.map(|((_, labels), times)| (labels.clone(), times.0.lock().expect("no panic").clone())).collect()
    }

    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: &SharedString) {
        let help = (kind, unit, help.to_string());
        self.helps.lock().expect("no panic").insert(name.as_str().to_owned(), help);
    }
}

fn labels(key: &Key) -> String {
    key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect::<Vec<_>>().join(" ")
}

impl Recorder for Counts {
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counts = self.counters.lock().expect("no panic");
        Counter::from_arc(Arc::clone(counts.entry((key.name().to_owned(), labels(key))).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        assert_eq!((key.name(), key.labels().count()), ("tower_reauth_streams_open", 0));
        Gauge::from_arc(Arc::clone(&self.open))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut times = self.times.lock().expect("no panic");
        Histogram::from_arc(Arc::clone(times.entry((key.name().to_owned(), labels(key))).or_default()))
    }

    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("counter", &name, unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("gauge", &name, unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("histogram", &name, unit, &help);
    }
}

/// What brings a stream to its end.
struct Stage {
    oracle: Oracle,
    revocations: Revocations,
    feed: Feed,
}

/// Each reason, how it comes about, and how loud it is.
fn reasons() -> [(EndReason, fn(&Stage), &'static str); 11] {
    let revoked = EndReason::Revoked;
    [
        (EndReason::Finished, |stage| stage.feed.end(), "DEBUG"),
        (EndReason::Failed, |stage| stage.feed.failure(), "DEBUG"),
        (EndReason::Disconnected, |_| {}, "DEBUG"),
        (EndReason::Expired, |stage| stage.oracle.fails(VerifyError::Expired), "DEBUG"),
        (revoked, |stage| stage.oracle.fails(VerifyError::Rejected), "DEBUG"),
        (revoked, |stage| stage.revocations.revoke("laptop"), "DEBUG"),
        (revoked, |stage| stage.revocations.revoke_all(), "DEBUG"),
        (EndReason::LockedOut, |stage| stage.oracle.fails(VerifyError::locked_out_for(Duration::ZERO)), "DEBUG"),
        (EndReason::Unavailable, |stage| stage.oracle.fails(VerifyError::unavailable()), "WARN"),
        (EndReason::TimedOut, |stage| stage.oracle.is_silent(), "WARN"),
        (EndReason::CheckPanicked, |stage| stage.oracle.breaks(), "ERROR"),
    ]
}

impl Oracle {
    fn fails(&self, error: VerifyError) {
        self.says(Err(error));
        self.moves();
    }

    fn is_silent(&self) {
        self.waits();
        self.moves();
    }

    fn breaks(&self) {
        self.panics();
        self.moves();
    }
}

async fn stage(layer: StreamReauthLayer) -> (Stage, Reader<Script>) {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_credential_id("laptop")));
    let revocations = Revocations::new();
    let auth = BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations);
    let (feed, mut stream) = open(auth, layer).await;
    assert_eq!(stream.now(), None);
    (Stage { oracle, revocations, feed }, stream)
}

#[tokio::test(start_paused = true)]
async fn each_end_is_counted_and_logged_once_with_its_reason() {
    for (reason, brings_about, level) in reasons() {
        let (counts, log) = (Counts::default(), logging());
        let _recorded = metrics::set_default_local_recorder(&counts);

        let (stage, mut stream) = stage(reauth()).await;
        brings_about(&stage);
        if reason != EndReason::Disconnected {
            stream.rest().await;
        }
        drop(stream);

        let word = reason.as_str();
        assert_eq!(counts.shown(), [format!("tower_reauth_streams_ended_total reason={word} 1")]);
        let log = log.text();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("stream ended")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = lines[0];
        assert!(line.contains(level) && line.contains(word) && line.contains(&reason.to_string()), "{line}");
        assert!(line.contains(r#"subject="alice" credential_id="laptop""#), "{line}");
        assert!(!line.contains("t0ken"));
        assert_eq!(counts.open.shown(), [1.0, 0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_reason_wins() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let (stage, mut stream) = stage(reauth()).await;
    stage.revocations.revoke("laptop");
    stage.oracle.fails(VerifyError::Expired);
    stage.feed.failure();
    stream.rest().await;
    stage.oracle.moves();
    drop(stream);
    assert_eq!(counts.shown(), ["tower_reauth_streams_ended_total reason=revoked 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_told_from_a_revocation_of_the_same_moment() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (_feed, mut stream) = open(auth, reauth().without_heartbeat()).await;
    assert_eq!(stream.now(), None);
    advance(Duration::from_secs(60)).await;
    oracle.fails(VerifyError::Rejected);
    stream.rest().await;
    assert_eq!(counts.shown(), ["tower_reauth_streams_ended_total reason=expired 1"]);
}

/// The log line of a request that is refused.
async fn refused(
    service: impl Fn(&Oracle) -> RequireScopeLayer,
    oracle: &Oracle,
    request: http::Request<()>,
) -> String {
    let (counts, log) = (Counts::default(), logging());
    let _recorded = metrics::set_default_local_recorder(&counts);
    let service =
        BearerAuthLayer::new(oracle.clone()).layer(service(oracle).layer(handler(http::Response::new(String::new()))));
    let Ok(response) = service.oneshot(request).await;
    let denied: &Denied = response.extensions().get().expect("a reason");
    let word = denied.as_str();
    assert_eq!(counts.shown(), [format!("tower_reauth_refused_total reason={word} 1")]);
    let lines: Vec<String> = log.text().lines().filter(|line| line.contains("refused")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&format!(r#"reason="{word}""#)) && !lines[0].contains("t0ken"), "{lines:?}");
    lines.into_iter().next().expect("one")
}

#[tokio::test]
async fn each_refusal_is_counted_and_logged_once_with_whom_it_met() {
    let require = |_: &Oracle| RequireScopeLayer::new(READ);
    let oracle = Oracle::without_revision();
    let whose = r#"subject="alice" credential_id="laptop""#;
    let known = || alice().with_credential_id("laptop");

    oracle.says(Ok(known()));
    assert!(refused(require, &oracle, request()).await.contains(whose), "one who lacks a scope");
    oracle.says(Ok(known().with_expires_at(std::time::UNIX_EPOCH)));
    assert!(refused(require, &oracle, request()).await.contains(whose), "one whose credential has expired");
    oracle.says_after(Duration::ZERO, Ok(known().with_expires_at(std::time::UNIX_EPOCH)));
    assert!(refused(require, &oracle, request()).await.contains(whose), "the same, waited for");

    oracle.says(Err(VerifyError::Rejected));
    assert!(!refused(require, &oracle, request()).await.contains("subject"), "a token that is not good names nobody");
    assert!(!refused(require, &oracle, request_with("Bearer t0ken t0ken")).await.contains("subject"));
}

#[tokio::test]
async fn the_reason_of_a_rejection_is_counted_and_logged_and_in_no_response() {
    let (counts, log) = (Counts::default(), logging());
    let _recorded = metrics::set_default_local_recorder(&counts);
    let mut responses = Vec::new();
    for error in [VerifyError::rejected(Rejection::BAD_SIGNATURE), VerifyError::Rejected] {
        let oracle = Oracle::without_revision();
        for later in [false, true] {
            if later {
                oracle.says_after(Duration::ZERO, Err(error))
            } else {
                oracle.says(Err(error))
            };
            let layer = BearerAuthLayer::new(oracle.clone()).with_response(|denied: &Denied| {
                http::Response::new(format!("{denied} {denied:?} {}", denied.as_str()))
            });
            let Ok(response) = layer.layer(handler(http::Response::new(String::new()))).oneshot(request()).await;
            responses.push(format!("{:?} {}", response.headers(), response.body()));
        }
    }
    assert!(responses.iter().all(|response| *response == responses[0]), "{responses:?}");
    let refused = |labels: &str| format!("tower_reauth_refused_total {labels} 2");
    assert_eq!(counts.shown(), [refused("reason=rejected"), refused("reason=rejected rejection=bad_signature")]);
    assert_eq!(log.count(r#"reason="rejected" rejection="bad_signature""#), 2, "{}", log.text());
    assert_eq!(log.count("request refused"), 4);
}

#[tokio::test]
async fn another_callers_session_is_counted_and_logged_as_what_it_is() {
    let (counts, log) = (Counts::default(), logging());
    let _recorded = metrics::set_default_local_recorder(&counts);
    let tokens = Tokens::new([Token::new("a", "t0ken"), Token::new("b", "other")]).expect("no duplicates");
    let begun = http::Response::builder().header("mcp-session-id", "7f3a").body(String::new()).expect("a response");
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens))
        .layer(SessionBindingLayer::new())
        .service_fn(move |_: http::Request<()>| std::future::ready(Ok::<_, std::convert::Infallible>(begun.clone())));
    let Ok(_) = service.clone().oneshot(request()).await;
    for id in ["7f3a", "7f3b"] {
        let mut asked = request_with("Bearer other");
        asked.headers_mut().insert("mcp-session-id", id.parse().expect("ASCII"));
        let Ok(_) = service.clone().oneshot(asked).await;
    }
    let refused = |reason: &str| format!("tower_reauth_refused_total reason={reason} 1");
    assert_eq!(counts.shown(), [refused("foreign_session"), refused("unknown_session")]);
    assert_eq!(log.count(r#"reason="foreign_session" subject="b""#), 1, "{}", log.text());
}

#[tokio::test]
async fn a_handlers_own_refusal_is_counted_once_however_many_doors_it_leaves_by() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let lacking = Access::new(alice()).require(WRITE).expect_err("it was not granted");
    let mut by_hand = http::Response::new(String::new());
    by_hand.extensions_mut().insert(lacking.clone());
    let by_axum = axum::response::IntoResponse::into_response(lacking).map(|_| String::new());
    for response in [by_hand, by_axum] {
        let door = || BearerAuthLayer::new(Oracle::without_revision());
        let service = ServiceBuilder::new().layer(door()).layer(door()).service(handler(response));
        let Ok(_) = service.oneshot(request()).await;
    }
    assert_eq!(counts.shown(), ["tower_reauth_refused_total reason=insufficient_scope 2"]);
}

#[tokio::test]
async fn the_span_of_a_request_says_who_was_let_in() {
    let log = logging();
    let span = tracing::info_span!(
        "request",
        subject = tracing::field::Empty,
        credential_id = tracing::field::Empty,
        enduser.id = tracing::field::Empty
    );
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_credential_id("laptop")));
    tracing::Instrument::instrument(behind(BearerAuthLayer::new(oracle)), span.clone()).await;
    span.in_scope(|| tracing::info!("handled"));
    assert_eq!(log.count(r#"request{subject="alice" enduser.id="alice" credential_id="laptop"}"#), 1, "{}", log.text());
}

#[tokio::test]
async fn the_table_of_metrics_is_what_is_described() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    describe_metrics();
    let text = include_str!("../../src/observe.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `tower_reauth_"));
    let mut written: Vec<_> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
            (format!("tower_reauth_{}", cells[0].trim_matches('`')), cells[1].to_owned(), cells[3].to_owned())
        })
        .collect();
    written.sort();
    let helps = counts.helps.lock().expect("no panic");
    let described: Vec<_> =
        helps.iter().map(|(name, (kind, _, help))| (name.clone(), (*kind).to_owned(), help.clone())).collect();
    assert_eq!(described, written);
    for (name, (kind, unit, help)) in &*helps {
        assert!(help.ends_with('.'), "{help}");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
        assert_eq!(name.ends_with("_seconds"), *unit == Some(Unit::Seconds), "{name}");
    }
}

const CHECKS: &str = "tower_reauth_check_duration_seconds";

/// What becomes of a question, how a verifier brings it about, and how long that takes.
fn outcomes() -> [(&'static str, fn(&Oracle), f64); 8] {
    let second = Duration::from_secs(1);
    fn waits(oracle: &Oracle, answer: Answer) {
        oracle.says_after(Duration::from_secs(1), answer);
    }
    let taken = second.as_secs_f64();
    [
        ("confirmed", |oracle| oracle.says(Ok(alice())), 0.0),
        ("confirmed", |oracle| waits(oracle, Ok(alice())), taken),
        ("denied", |oracle| oracle.says(Err(VerifyError::Rejected)), 0.0),
        ("denied", |oracle| waits(oracle, Err(VerifyError::locked_out_for(Duration::ZERO))), taken),
        ("unavailable", |oracle| oracle.says(Err(VerifyError::unavailable())), 0.0),
        ("unavailable", |oracle| waits(oracle, Err(VerifyError::unavailable())), taken),
        ("panicked", Oracle::panics, 0.0),
        ("panicked", Oracle::panics_later, 0.0),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_question_at_the_door_is_counted_once_with_what_becomes_of_it_and_its_time() {
    for (outcome, brings_about, time) in outcomes() {
        let counts = Counts::default();
        let _recorded = metrics::set_default_local_recorder(&counts);
        let oracle = Oracle::without_revision();
        brings_about(&oracle);
        let door = BearerAuthLayer::new(oracle).layer(handler(http::Response::new(String::new())));
        let Ok(_) = door.oneshot(request()).await;
        let labels = format!("occasion=door outcome={outcome}");
        let times = counts.times(CHECKS);
        assert_eq!((times.len(), &times[0].0, times[0].1.len()), (1, &labels, 1), "{times:?}");
        assert!((times[0].1[0] - time).abs() < 0.01, "{outcome}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_question_of_a_stream_is_counted_once_with_what_becomes_of_it_and_its_time() {
    for (outcome, brings_about, time) in outcomes() {
        let counts = Counts::default();
        let (stage, mut stream) = stage(reauth()).await;
        let _recorded = metrics::set_default_local_recorder(&counts);
        brings_about(&stage.oracle);
        stage.oracle.moves();
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
        let labels = format!("occasion=stream outcome={outcome}");
        let times = counts.times(CHECKS);
        assert_eq!((times.len(), &times[0].0, times[0].1.len()), (1, &labels, 1), "{times:?}");
        assert!((times[0].1[0] - time).abs() < 0.01, "{outcome}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_waits_for_any_more_is_counted_as_that() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let oracle = Oracle::without_revision();
    oracle.waits();
    let door = BearerAuthLayer::new(oracle.clone()).layer(handler(http::Response::new(String::new())));
    let waiting = tokio::time::timeout(Duration::from_secs(1), door.oneshot(request())).await;
    assert!(waiting.is_err());
    let times = counts.times(CHECKS);
    assert_eq!((times.len(), times[0].0.as_str()), (1, "occasion=door outcome=abandoned"));
    assert!((times[0].1[0] - 1.0).abs() < 0.01, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_an_answer_that_another_asked_for_is_counted_as_sharing_it() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let oracle = Oracle::with_revision();
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(auth.clone(), reauth()).await);
    }
    oracle.moves();
    streams.iter_mut().for_each(|(_, stream)| assert_eq!(stream.now(), None));
    assert_eq!(counts.of("tower_reauth_checks"), ["tower_reauth_checks_shared_total occasion=stream 2"]);

    // A verifier that must be waited for is asked once for requests that come together.
    let oracle = Oracle::with_revision();
    oracle.says_after(Duration::from_secs(1), Ok(alice()));
    let auth = BearerAuthLayer::new(oracle.clone());
    let door = || auth.layer(handler(http::Response::new(String::new()))).oneshot(request());
    let _ = tokio::join!(door(), door(), door(), door());
    assert_eq!(oracle.asked(), 1);
    assert_eq!(counts.of("tower_reauth_checks")[0], "tower_reauth_checks_shared_total occasion=door 3");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_lasts_until_the_last_stream_that_it_ends_has_ended() {
    const REVOKING: &str = "tower_reauth_revocation_duration_seconds";
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let revocations = Revocations::new();
    let mut streams = Vec::new();
    for token in ["a", "b", "c"] {
        let oracle = Oracle::with_revision();
        oracle.says(Ok(alice().with_credential_id(token).with_session_id("s")));
        let auth = BearerAuthLayer::new(oracle).with_revocations(&revocations);
        let (feed, mut stream) = open(auth, reauth()).await;
        assert_eq!(stream.now(), None);
        streams.push((feed, stream));
    }
    // Nobody has it.
    revocations.revoke("z");
    assert_eq!(counts.times(REVOKING), []);
    revocations.revoke("a");
    advance(Duration::from_secs(1)).await;
    // Whom one revocation concerns already, another does not end.
    revocations.revoke_session(None, "s");
    for (seconds, (_, mut stream)) in [1, 1, 3].into_iter().zip(streams) {
        // As slow as a client whose connection takes nothing.
        advance(Duration::from_secs(seconds)).await;
        stream.rest().await;
    }
    let times = counts.times(REVOKING);
    assert_eq!(times.len(), 1);
    let shown: Vec<_> = times[0].1.iter().map(|time| time.round()).collect();
    assert_eq!(shown, [2.0, 5.0], "{times:?}");
    revocations.revoke_token(TokenDigest::of("t0ken"));
    revocations.revoke_subject("alice");
    revocations.revoke_issued_before(std::time::UNIX_EPOCH);
    revocations.revoke_all();
    let kinds = [("all", 1), ("credential", 2), ("issued_before", 1), ("session", 1), ("subject", 1), ("token", 1)];
    let kinds = kinds.map(|(kind, count)| format!("tower_reauth_revocations_total kind={kind} {count}"));
    assert_eq!(counts.of("tower_reauth_revocations"), kinds);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_is_what_the_gauge_shows() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    let access = behind(BearerAuthLayer::new(Oracle::with_revision())).await;
    let watch = || reauth().watch_stream(&access, futures_util::stream::pending::<()>());
    let streams = [watch(), watch(), watch()];
    assert_eq!(counts.open.shown(), [1.0, 2.0, 3.0]);
    drop(streams);
    assert_eq!(counts.open.shown(), [1.0, 2.0, 3.0, 2.0, 1.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn to_confirm_access_is_to_ask_as_a_stream_does_and_to_be_counted_as_none() {
    let counts = Counts::default();
    let _recorded = metrics::set_default_local_recorder(&counts);
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let (revocations, open) = (Revocations::new(), OpenStreams::new());
        let access = behind(BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations)).await;
        let gate = reauth().with_registry(&open).with_on_end(|_| unreachable!("no stream ends"));
        assert_eq!(gate.confirm(&access).await, Ok(()));
        oracle.says_after(Duration::from_secs(1), Ok(alice()));
        if oracle.revision().is_some() {
            oracle.moves();
        }
        assert_eq!(gate.confirm(&access).await, Ok(()));
        assert_eq!(oracle.asked(), if oracle.revision().is_some() { 2 } else { 3 });
        oracle.says(Err(VerifyError::Expired));
        if oracle.revision().is_some() {
            oracle.moves();
        }
        assert_eq!(gate.confirm(&access).await, Err(EndReason::Expired));
        revocations.revoke_all();
        assert_eq!(gate.confirm(&access).await, Err(EndReason::Revoked));
        assert_eq!(open.len(), 0);
    }
    assert_eq!(counts.shown(), [""; 0]);
    assert!(counts.open.shown().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_recorder_that_counted_a_stream_counts_its_end_and_no_other() {
    let (first, second) = (Counts::default(), Counts::default());
    let access = behind(BearerAuthLayer::new(Oracle::with_revision())).await;
    let watch = || reauth().watch_stream(&access, futures_util::stream::pending::<()>());
    let uncounted = watch();
    let counted = metrics::with_local_recorder(&first, watch);
    metrics::with_local_recorder(&second, || drop((uncounted, counted)));
    assert_eq!((first.open.shown(), second.open.shown()), (vec![1.0, 0.0], vec![]));
}

/// A recorder that breaks whenever it is asked.
struct Broken;

impl Recorder for Broken {
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("a recorder's bug")
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("a recorder's bug")
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("a recorder's bug")
    }

    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_neither_refuses_nor_lets_in_nor_holds_a_stream_open() {
    let _recorded = metrics::set_default_local_recorder(&Broken);
    for (reason, brings_about, _) in reasons() {
        let (stage, mut stream) = stage(reauth()).await;
        brings_about(&stage);
        if reason != EndReason::Disconnected {
            let end = stream.rest().await;
            assert!(!end.is_empty(), "{reason:?}");
        }
    }
    let oracle = Oracle::without_revision();
    oracle.says(Err(VerifyError::Rejected));
    let service = BearerAuthLayer::new(oracle).layer(handler(http::Response::new(String::new())));
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_stack_that_is_put_together_wrongly_says_so_once_where_nothing_is_logged() {
    const CHILD: &str = "TOWER_REAUTH_TEST_OF_STDERR";
    if std::env::var_os(CHILD).is_some() {
        for _ in 0..3 {
            let Ok(_) = RequireScopeLayer::new(READ)
                .layer(handler(http::Response::new(String::new())))
                .oneshot(request())
                .await;
            let Ok(_) = reauth().layer(handler(http::Response::new(Script::default()))).oneshot(request()).await;
        }
        return;
    }
    let name = "observed::a_stack_that_is_put_together_wrongly_says_so_once_where_nothing_is_logged";
    let own = std::env::current_exe().expect("a test is a program");
    let child = std::process::Command::new(own).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("it runs");
    assert!(child.status.success());
    let said = String::from_utf8(child.stderr).expect("UTF-8");
    for layer in ["RequireScopeLayer", "StreamReauthLayer"] {
        let advice = "found no Access in the request: put BearerAuthLayer, or your own source, outside it";
        assert_eq!(said.matches(&format!("tower-reauth: {layer} {advice}\n")).count(), 1, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_each_stream_is_reported_once_and_after_it_let_go() {
    type End = fn(&Oracle, Feed, Reader<Script>) -> Option<Reader<Script>>;
    let ends: [(EndReason, End); 4] = [
        (EndReason::Finished, |_, feed, stream| {
            feed.end();
            Some(stream)
        }),
        (EndReason::Failed, |_, feed, stream| {
            feed.failure();
            Some(stream)
        }),
        (EndReason::Revoked, |oracle, _, stream| {
            oracle.says(Err(VerifyError::Rejected));
            oracle.moves();
            Some(stream)
        }),
        (EndReason::Disconnected, |_, _, stream| {
            drop(stream);
            None
        }),
    ];
    for (reason, ends) in ends {
        let oracle = Oracle::with_revision();
        let (reported, feed_of) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None::<Feed>)));
        let (reports, fed) = (Arc::clone(&reported), Arc::clone(&feed_of));
        let layer = reauth().with_on_end(move |ended| {
            let is_dropped = fed.lock().expect("no panic").as_ref().is_some_and(Feed::is_dropped);
            let subject = ended.identity.subject().to_owned();
            reports.lock().expect("no panic").push((ended.reason, subject, is_dropped));
        });
        let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
        *feed_of.lock().expect("no panic") = Some(feed.clone());
        assert_eq!(stream.now(), None);
        if let Some(mut stream) = ends(&oracle, feed, stream) {
            stream.rest().await;
            stream.rest().await;
        }
        assert_eq!(*reported.lock().expect("no panic"), [(reason, "alice".to_owned(), true)]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_hooks_each_is_told_though_one_of_them_panics() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = |name: u8| {
        let told = Arc::clone(&told);
        move |ended: &Ended| {
            told.lock().expect("no panic with the lock held").push((name, ended.reason));
            assert_ne!(name, 2, "a hook panics, as it was told");
        }
    };
    let layer = reauth().with_on_end(hook(1)).with_on_end(hook(2)).with_on_end(hook(3));
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), layer).await;
    feed.end();
    stream.rest().await;
    assert_eq!(*told.lock().expect("no panic with the lock held"), [1, 2, 3].map(|name| (name, EndReason::Finished)));
}
