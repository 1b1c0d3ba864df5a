//! What happened on this node and is not known to be in the store.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use tokio::time::Instant;

use super::{Report, What};
use crate::limiter::{Client, FailureLimits};

/// How many are kept.
const CAPACITY: usize = 10_000;

/// How many are told at once.
const BATCH: usize = 128;

/// What happened, in the order in which it did. When there is too much of it the oldest is given up: it counts for the
/// shortest time.
pub(in super::super) struct Reports {
    waiting: VecDeque<Waiting>,
    next: u64,
    /// What tells these from those of any other node.
    name: String,
}

struct Waiting {
    number: u64,
    address: IpAddr,
    what: What,
    at: Instant,
}

/// Some that are on their way.
pub(in super::super) struct Batch {
    pub(super) reports: Vec<Report>,
    pub(super) addresses: Vec<IpAddr>,
    end: u64,
}

impl Reports {
    pub(in super::super) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let name = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { waiting: VecDeque::new(), next: 0, name }
    }

    pub(in super::super) fn push(&mut self, address: IpAddr, what: What, at: Instant) {
        if self.waiting.len() >= CAPACITY {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { number: self.next, address, what, at });
        self.next += 1;
    }

    /// The next ones to tell, but for those that do not matter any more. They stay until they are [`told`](Self::told).
    pub(in super::super) fn batch(&mut self, now: Instant, limits: &FailureLimits) -> Option<Batch> {
        while self.waiting.front().is_some_and(|first| first.ago(now) >= first.matters_for(limits)) {
            self.waiting.pop_front();
        }
        let batch = || self.waiting.iter().take(BATCH);
        let reports = batch().map(|waiting| waiting.report(&self.name, now)).collect();
        let addresses = batch().map(|waiting| waiting.address).collect();
        batch().next_back().map(|last| Batch { reports, addresses, end: last.number })
    }

    pub(in super::super) fn told(&mut self, batch: &Batch) {
        while self.waiting.front().is_some_and(|first| first.number <= batch.end) {
            self.waiting.pop_front();
        }
    }
}

impl Waiting {
    fn report(&self, name: &str, now: Instant) -> Report {
        let id = format!("{name}-{}", self.number);
        Report { id, client: Client::from(self.address), what: self.what, ago: self.ago(now) }
    }

    fn ago(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    fn matters_for(&self, limits: &FailureLimits) -> Duration {
        match self.what {
            What::LockedOut => limits.lockout(),
            What::Failed | What::Succeeded => limits.window(),
        }
    }
}
