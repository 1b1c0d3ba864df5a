//! What the builder methods of the layer set, and the times that follow from it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::OpenStreams;
use crate::{ended::Ended, revoke::Beats, unwind::contained};

/// Timers need not reach further: the wall clock is read again when one fires.
pub(super) const FAR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The slots in an interval. Heartbeats of different credentials that are in one of them wake the runtime once.
const SLOTS: u64 = 1_024;

/// What a stream's gate goes by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) heartbeat: Option<Duration>,
    /// The part of an interval by which a heartbeat may come early, 0 to 1.
    pub(super) jitter: f64,
    pub(super) max_age: Duration,
    pub(super) check_timeout: Duration,
    pub(super) grace: Duration,
    /// By how much a stream may end before its expiry, at most.
    pub(super) early_close: Duration,
    /// What the times of heartbeats are counted from.
    pub(super) since: Instant,
    pub(super) on_end: OnEnd,
    pub(super) registry: Option<OpenStreams>,
}

/// What is called when a stream has ended, in order.
#[derive(Clone, Default)]
pub(super) struct OnEnd(Vec<Arc<dyn Fn(&Ended) + Send + Sync>>);

impl OnEnd {
    pub(super) fn add(&mut self, hook: impl Fn(&Ended) + Send + Sync + 'static) {
        self.0.push(Arc::new(hook));
    }

    /// Returns whether none of them panicked.
    pub(super) fn call(&self, ended: &Ended) -> bool {
        self.0.iter().filter(|hook| contained(|| hook(ended)).is_none()).count() == 0
    }
}

impl fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnEnd").field(&self.0.len()).finish()
    }
}

impl Rules {
    /// `retry`, or up to five times as long, so that clients which are cut together do not come back
    /// together; as it is where heartbeats have no jitter either.
    pub(super) fn spread(&self, retry: Duration) -> Duration {
        let more = if self.jitter > 0.0 { 4.0 * random_unit() } else { 0.0 };
        retry.saturating_add(retry.min(FAR).mul_f64(more))
    }

    /// When the heartbeat after the one at `from` is due, for one more of the streams that share `beats`: not before
    /// `now`, unless the interval is over.
    pub(super) fn next_heartbeat(&self, from: Instant, now: Instant, beats: &Beats) -> Option<Instant> {
        let interval = self.heartbeat?.min(FAR);
        let until = from + interval;
        let after = (until - interval.mul_f64(self.jitter)).max(now);
        if after >= until {
            return Some(until);
        }
        let (first, last, slot) = (self.micros(after) + 1, self.micros(until), micros(interval) / SLOTS);
        let early = last.saturating_sub(first) as f64 * random_unit();
        let chosen = last - early as u64;
        let begins = chosen - chosen % slot.max(1);
        // Those that others have are joined in the second half of an interval only: else one that comes next is always near.
        let joinable = first.max(self.micros(until - interval / 2));
        let at = beats.join(joinable..=last, (slot / 4).max(1_000), if begins < first { chosen } else { begins });
        Some((self.since + Duration::from_micros(at)).min(until))
    }

    fn micros(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.since))
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

/// `from + after`, at most a month ahead.
pub(super) fn at(from: Instant, after: Duration) -> Instant {
    from + after.min(FAR)
}

/// A number from 0 to 1 that need not be hard to guess: it only keeps streams out of step.
pub(super) fn random_unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
