//! When the streams of one credential have their heartbeats.
//!
//! To wake the runtime costs more than a heartbeat does. So streams that may choose when to have one have it
//! together, as many as are still no burden, and those of other credentials at another time.

use std::ops::RangeInclusive;

use crate::sync::{AtomicU64, Ordering};

/// How many streams have a heartbeat at one time. More of them would save little, and hold up a request that
/// arrives at that moment.
const MOST_AT_ONCE: u64 = 64;

/// The heartbeat that was chosen last: its time, and in the lowest byte how many streams have it.
///
/// Times are microseconds since whatever the streams count from. A time that was counted from something else is
/// taken for no more than a choice.
#[derive(Default)]
pub(crate) struct Beats(AtomicU64);

impl Beats {
    /// The next heartbeat of one more stream: that of other streams if it is in this `span` and has room left, or
    /// the time a `step` after that, or else the one that was `chosen`.
    pub(crate) fn join(&self, span: RangeInclusive<u64>, step: u64, chosen: u64) -> u64 {
        let next = |last: u64| {
            let (at, streams) = (last >> 8, last & 0xFF);
            if streams < MOST_AT_ONCE && span.contains(&at) {
                (at, streams + 1)
            } else if span.contains(&(at + step)) {
                (at + step, 1)
            } else {
                (chosen, 1)
            }
        };
        let mut last = self.0.load(Ordering::Relaxed);
        loop {
            let (at, streams) = next(last);
            let joined = self.0.compare_exchange_weak(last, at << 8 | streams, Ordering::Relaxed, Ordering::Relaxed);
            match joined {
                Ok(_) => return at,
                Err(current) => last = current,
            }
        }
    }
}
