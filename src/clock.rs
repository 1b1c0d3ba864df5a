//! The wall clock, in one place.

use std::{fmt, sync::Arc, time::SystemTime};

/// Where the layers read the wall clock, which `expires_at` is compared with.
///
/// Timers are `tokio::time`'s and monotonic; an expiry is a date. The two are brought together again at
/// each frame, at each check, and once a minute. So a clock that is set forward ends a stream before its next
/// frame, or an idle one within a minute. A test that pauses tokio's clock hands in a wall clock that follows
/// it.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Clock {
    /// The system's clock, [`SystemTime::now`].
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock of your own.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            None => SystemTime::now(),
            Some(now) => now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "Clock::system" } else { "Clock::from_fn" })
    }
}
