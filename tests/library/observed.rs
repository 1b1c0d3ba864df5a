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

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::advance;
use tower_reauth::{BearerAuthLayer, StreamReauthLayer, reauth::EndReason, revoke::Revocations, verify::VerifyError};

use crate::support::{Feed, Oracle, Reader, Script, Wall, alice, logging, open, reauth};

/// Counts by name and reason.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<(String, String), Arc<AtomicU64>>>);

impl Counts {
    /// What was counted, as `name reason count`.
    fn shown(&self) -> Vec<String> {
        let counts = self.0.lock().expect("no panic");
        counts.iter().map(|((name, why), count)| format!("{name} {why} {}", count.load(Ordering::Relaxed))).collect()
    }
}

impl Recorder for Counts {
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let why = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let mut counts = self.0.lock().expect("no panic");
        Counter::from_arc(Arc::clone(counts.entry((key.name().to_owned(), why)).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }

    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
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
        assert!(!line.contains("t0ken"));
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
