//! What is counted, through the `metrics` facade. Without that feature nothing is, and what is kept for it is empty.
//!
//! A recorder is a user's own: it may panic, and it is called while no lock of ours is held.

#[cfg(feature = "metrics")]
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[cfg(feature = "metrics")]
use metrics::{Key, Label, Level, Metadata, with_recorder};
#[cfg(feature = "metrics")]
use tokio::time::Instant;

#[cfg(feature = "metrics")]
use crate::unwind::contained;

#[cfg(feature = "metrics")]
const REFUSED: &str = "tower_reauth_refused_total";
#[cfg(feature = "metrics")]
const STREAMS_ENDED: &str = "tower_reauth_streams_ended_total";
#[cfg(feature = "metrics")]
const STREAMS_OPEN: &str = "tower_reauth_streams_open";
#[cfg(feature = "metrics")]
const CHECKS: &str = "tower_reauth_check_duration_seconds";
#[cfg(feature = "metrics")]
const CHECKS_SHARED: &str = "tower_reauth_checks_shared_total";
#[cfg(feature = "metrics")]
const REVOCATIONS: &str = "tower_reauth_revocations_total";
#[cfg(feature = "metrics")]
const REVOKING: &str = "tower_reauth_revocation_duration_seconds";

/// Gives the recorder that is installed the unit and the help text of each metric.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!(REFUSED, Unit::Count, "Requests that were refused, by reason.");
    describe_counter!(STREAMS_ENDED, Unit::Count, "Streams that ended, by reason.");
    describe_gauge!(STREAMS_OPEN, Unit::Count, "Streams that are open and watched.");
    describe_histogram!(CHECKS, Unit::Seconds, "How long verifiers took to answer.");
    describe_counter!(CHECKS_SHARED, Unit::Count, "Checks that were spared by an answer that others asked for too.");
    describe_counter!(REVOCATIONS, Unit::Count, "Revocations, by what was revoked.");
    describe_histogram!(REVOKING, Unit::Seconds, "From a revocation to the end of the last stream that it ended.");
}

#[cfg(feature = "metrics")]
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A key that is made when the program is compiled, and hashed: the macros of the facade do that only where the name is a
/// literal.
#[cfg(feature = "metrics")]
macro_rules! key {
    ($name:expr, $($label:literal => $value:literal),+) => {{
        static LABELS: &[Label] = &[$(Label::from_static_parts($label, $value)),+];
        static KEY: Key = Key::from_static_parts($name, LABELS);
        &KEY
    }};
}

/// Counts by reason. Those that are named have a key that was made when the program was compiled; for
/// any other one is made, which is an allocation.
#[cfg(feature = "metrics")]
macro_rules! count {
    ($name:expr, $reason:expr, often: [$($often:literal),+]) => {
        match $reason {
            $($often => with_recorder(|recorder| {
                recorder.register_counter(key!($name, "reason" => $often), &METADATA)
            }),)+
            reason => metrics::counter!($name, "reason" => reason),
        }
        .increment(1)
    };
}

/// A request was refused.
#[allow(unused_variables, reason = "nobody counts without the feature")]
pub(crate) fn refused(reason: &'static str, rejection: Option<&'static str>) {
    #[cfg(feature = "metrics")]
    if let Some(rejection) = rejection {
        return metrics::counter!(REFUSED, "reason" => reason, "rejection" => rejection).increment(1);
    }
    #[cfg(feature = "metrics")]
    count!(
        REFUSED,
        reason,
        often: ["missing", "malformed", "rejected", "expired", "revoked", "locked_out", "insufficient_scope"]
    );
}

/// A stream ended.
#[allow(unused_variables, reason = "nobody counts without the feature")]
pub(crate) fn stream_ended(reason: &'static str) {
    #[cfg(feature = "metrics")]
    count!(STREAMS_ENDED, reason, often: ["finished", "disconnected", "expired", "revoked"]);
}

/// A stream that is open, counted as such until it is dropped.
pub(crate) struct OpenStream {
    /// Of the recorder that counted it, which is the one to count its end.
    #[cfg(feature = "metrics")]
    gauge: metrics::Gauge,
}

impl OpenStream {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            gauge: contained(|| {
                let gauge = metrics::gauge!(STREAMS_OPEN);
                gauge.increment(1.0);
                gauge
            })
            .unwrap_or(metrics::Gauge::noop()),
        }
    }

    /// What is no stream of its own, and not counted.
    pub(crate) fn uncounted() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            gauge: metrics::Gauge::noop(),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        #[cfg(feature = "metrics")]
        contained(|| self.gauge.decrement(1.0));
    }
}

/// When a verifier is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A request comes in.
    Door,
    /// A response streams.
    Stream,
}

/// What becomes of a question to a verifier.
#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Confirmed,
    Denied,
    Unavailable,
    /// Nobody waits for it any more.
    Abandoned,
}

/// A question to a verifier, counted when it is answered or dropped.
#[cfg(feature = "metrics")]
pub(crate) struct Check {
    occasion: Occasion,
    began: Instant,
    outcome: Outcome,
}

#[cfg(feature = "metrics")]
impl Check {
    pub(crate) fn begun(occasion: Occasion, began: Instant) -> Self {
        Self { occasion, began, outcome: Outcome::Abandoned }
    }

    pub(crate) fn answered(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

#[cfg(feature = "metrics")]
impl Drop for Check {
    fn drop(&mut self) {
        // Each pair in its own words: so their keys are made when the program is compiled.
        macro_rules! key_of {
            ($($occasion:pat => $word:literal),+) => {
                match (self.occasion, self.outcome) {
                    $(
                        ($occasion, Outcome::Confirmed) => key!(CHECKS, "occasion" => $word, "outcome" => "confirmed"),
                        ($occasion, Outcome::Denied) => key!(CHECKS, "occasion" => $word, "outcome" => "denied"),
                        ($occasion, Outcome::Unavailable) => {
                            key!(CHECKS, "occasion" => $word, "outcome" => "unavailable")
                        }
                        ($occasion, Outcome::Abandoned) if thread::panicking() => {
                            key!(CHECKS, "occasion" => $word, "outcome" => "panicked")
                        }
                        ($occasion, Outcome::Abandoned) => {
                            key!(CHECKS, "occasion" => $word, "outcome" => "abandoned")
                        }
                    )+
                }
            };
        }
        let key = key_of!(Occasion::Door => "door", Occasion::Stream => "stream");
        contained(|| {
            with_recorder(|recorder| recorder.register_histogram(key, &METADATA)).record(Since(self.began));
        });
    }
}

/// The time since then, which is read only where somebody records it.
#[cfg(feature = "metrics")]
struct Since(Instant);

#[cfg(feature = "metrics")]
impl metrics::IntoF64 for Since {
    fn into_f64(self) -> f64 {
        self.0.elapsed().into_f64()
    }
}

/// A verifier was not asked: the answer is that of a question that is there already.
#[allow(unused_variables, reason = "nobody counts without the feature")]
pub(crate) fn check_shared(occasion: Occasion) {
    #[cfg(feature = "metrics")]
    contained(|| {
        match occasion {
            Occasion::Door => metrics::counter!(CHECKS_SHARED, "occasion" => "door"),
            Occasion::Stream => metrics::counter!(CHECKS_SHARED, "occasion" => "stream"),
        }
        .increment(1);
    });
}

/// A revocation, for as long as a stream is open that it ends.
#[derive(Clone)]
pub(crate) struct Revoking {
    #[cfg(feature = "metrics")]
    begun: Arc<Begun>,
}

#[cfg(feature = "metrics")]
struct Begun {
    at: Instant,
    /// Whether a stream was open that it concerns.
    concerns: AtomicBool,
}

impl Revoking {
    /// Something of this kind is revoked.
    #[allow(unused_variables, reason = "nobody counts without the feature")]
    pub(crate) fn begin(kind: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        contained(|| metrics::counter!(REVOCATIONS, "kind" => kind).increment(1));
        Self {
            #[cfg(feature = "metrics")]
            begun: Arc::new(Begun { at: Instant::now(), concerns: AtomicBool::new(false) }),
        }
    }

    /// To be kept by what it concerns, until the last of its streams has ended.
    pub(crate) fn concerning(&self) -> Self {
        #[cfg(feature = "metrics")]
        self.begun.concerns.store(true, Ordering::Relaxed);
        self.clone()
    }
}

#[cfg(feature = "metrics")]
impl Drop for Begun {
    fn drop(&mut self) {
        if *self.concerns.get_mut() {
            contained(|| metrics::histogram!(REVOKING).record(self.at.elapsed()));
        }
    }
}
