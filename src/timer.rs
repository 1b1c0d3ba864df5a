//! Timers, where there are any.

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep},
};

use crate::unwind::contained;

/// A timer that elapses at `deadline`. `None` outside of a runtime, and in one whose timer is not enabled:
/// that cannot be asked about, and panics.
pub(crate) fn timer(deadline: Instant) -> Option<Sleep> {
    Handle::try_current().ok()?;
    contained(|| tokio::time::sleep_until(deadline))
}
