//! How many failures are too many.

use std::time::Duration;

/// A lock that is meant to hold for ever holds this long: clocks cannot count further.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// When a client is locked out, for how long, and how many clients are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    pub(super) max_attempts: usize,
    pub(super) window: Duration,
    pub(super) lockout: Duration,
    pub(super) loopback_counted: bool,
    pub(super) capacity: usize,
}

impl FailureLimits {
    /// 10 failures within 60 seconds lock a client out for 300 seconds; loopback is exempt; 65,536
    /// clients are remembered.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            loopback_counted: false,
            capacity: 65_536,
        }
    }

    /// How many failures within the window lock a client out: at least 1.
    #[must_use]
    pub const fn with_max_attempts(mut self, max_attempts: usize) -> Self {
        self.max_attempts = if max_attempts == 0 { 1 } else { max_attempts };
        self
    }

    /// For how long a failure counts.
    ///
    /// # Panics
    ///
    /// If the window is zero: no failure would count beside another, and nobody be locked out.
    #[must_use]
    pub const fn with_window(mut self, window: Duration) -> Self {
        assert!(!window.is_zero(), "a window of zero would lock nobody out");
        self.window = window;
        self
    }

    /// How long a lock holds: at most 30 years.
    #[must_use]
    pub const fn with_lockout(mut self, lockout: Duration) -> Self {
        self.lockout = lockout;
        self
    }

    /// Counts clients on this machine as any other.
    #[must_use]
    pub const fn with_loopback_counted(mut self) -> Self {
        self.loopback_counted = true;
        self
    }

    /// How many clients are remembered: at least 1.
    #[must_use]
    pub const fn with_capacity(mut self, clients: usize) -> Self {
        self.capacity = if clients == 0 { 1 } else { clients };
        self
    }

    /// How many failures within the [window](Self::window) lock a client out.
    #[must_use]
    pub const fn max_attempts(&self) -> usize {
        self.max_attempts
    }

    /// For how long a failure counts.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How long a lock holds: at most 30 years.
    #[must_use]
    pub fn lockout(&self) -> Duration {
        self.lockout.min(FOREVER)
    }

    /// How many clients are remembered.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a window of zero would lock nobody out")]
    fn a_window_in_which_nothing_counts_is_a_mistake() {
        let _ = FailureLimits::new().with_window(Duration::ZERO);
    }
}
