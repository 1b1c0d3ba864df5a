//! When a store is asked again that failed.

use std::{future::pending, time::Duration};

use tokio::time::Instant;

use super::StoreError;
use crate::{fault, timer::timer};

/// How long after a failure it is asked again: twice as long after each.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// What is said to be at fault.
const PLACE: &str = "the store of the limiter";

/// Failures in a row.
#[derive(Default)]
pub(super) struct Backoff {
    count: u32,
    told: String,
}

impl Backoff {
    pub(super) fn clear(&mut self) {
        if !self.told.is_empty() {
            fault::mended(&PLACE, &"it answers again");
        }
        *self = Self::default();
    }

    /// Says what is wrong, once, and waits.
    pub(super) async fn failed(&mut self, error: &StoreError) {
        let text = error.to_string();
        if text != self.told {
            fault::report(&PLACE, &format_args!("{text}; until it answers this node counts for itself"));
            self.told = text;
        }
        self.pause().await;
    }

    pub(super) async fn pause(&mut self) {
        let pause = SHORTEST.saturating_mul(1 << self.count.min(8)).min(LONGEST);
        self.count = self.count.saturating_add(1);
        match timer(Instant::now() + pause) {
            Some(timer) => timer.await,
            None => pending().await,
        }
    }
}
