//! A wall clock that follows tokio's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use tower_reauth::Clock;

/// A wall clock that goes as tokio's goes, and that can be set.
#[derive(Clone)]
pub struct Wall {
    started: Instant,
    set_by_seconds: Arc<AtomicI64>,
}

impl Wall {
    pub fn new() -> Self {
        Self { started: Instant::now(), set_by_seconds: Arc::default() }
    }

    pub fn clock(&self) -> Clock {
        let wall = self.clone();
        Clock::from_fn(move || wall.now())
    }

    /// What it showed when it was made, whatever it was set to since.
    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    pub fn now(&self) -> SystemTime {
        let shown = self.started() + self.started.elapsed();
        let by = self.set_by_seconds.load(Ordering::Relaxed);
        if by < 0 { shown - Duration::from_secs(by.unsigned_abs()) } else { shown + Duration::from_secs(by as u64) }
    }

    /// The date in `seconds`.
    pub fn after(&self, seconds: u64) -> SystemTime {
        self.now() + Duration::from_secs(seconds)
    }

    /// Sets the clock forward, or back.
    pub fn set_by(&self, seconds: i64) {
        self.set_by_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}
