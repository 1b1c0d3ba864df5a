//! For how long what a node knows may count as all there is to know.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::{AtomicU64, Ordering};

/// Until when this node vouches for what it knows of revocations. It ends by the clock, whoever runs or does not:
/// a process that was stopped vouches for nothing when it goes on.
pub(crate) struct Lease {
    /// What its times are counted from.
    origin: Instant,
    /// The milliseconds until its end.
    ends: AtomicU64,
    /// Moves by two each time that it begins again.
    begun: AtomicU64,
}

impl Lease {
    /// A lease that has not begun.
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), ends: AtomicU64::new(0), begun: AtomicU64::new(0) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.load(Ordering::Acquire) <= self.milliseconds(Instant::now())
    }

    /// Whether it ever began.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire) != 0
    }

    /// Another number whenever it has begun or ended: while it is the same, nothing was missed.
    pub(crate) fn number(&self) -> u64 {
        self.begun.load(Ordering::Acquire).wrapping_add(self.is_over().into())
    }

    /// Lets it last until `end`. Whether it had been over.
    pub(super) fn extend(&self, end: Instant) -> bool {
        let was_over = self.is_over();
        if was_over {
            // First: who finds it running must find another number than before.
            self.begun.fetch_add(2, Ordering::AcqRel);
        }
        self.ends.fetch_max(self.milliseconds(end), Ordering::AcqRel);
        was_over
    }

    /// Ends it now.
    pub(super) fn end(&self) {
        self.ends.store(0, Ordering::Release);
    }

    /// When it ends, if that is to come.
    pub(super) fn ends(&self) -> Option<Instant> {
        let ends = self.origin + Duration::from_millis(self.ends.load(Ordering::Acquire));
        (!self.is_over()).then_some(ends)
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_millis().try_into().unwrap_or(u64::MAX)
    }
}
