//! One check for equal credentials that arrive together.
//!
//! 1. Only a verifier that must be waited for is asked once for several: one that knows is asked at
//!    once, without a lock. Which of the two it is shows in its first answer; one that had to be waited
//!    for once is taken for one that must be.
//! 2. A request joins a check that vouches for it: the revision is what it was when the check began and,
//!    without one that vouches, the check began a moment ago ([`TOGETHER`] at a door). The answer holds as
//!    of then.
//! 3. A check belongs to no request: each one that waits for it can poll it, and it is dropped with the
//!    last of them.
//!
//! The verifier is called, and its future polled and dropped, while no lock is held.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::{
    Confirmed,
    registry::{Registry, Subscription},
    running::{Answer, Progress, Running},
};
use crate::{
    unwind::contained,
    verify::{CredentialKey, Verification},
};

/// How far apart requests arrive together at a door whose verifier has no revision that vouches: what was
/// revoked less than this ago may still come in, beside a request that came before.
const TOGETHER: Duration = Duration::from_millis(100);

/// The checks that requests wait for, by credential.
pub(crate) struct Flights {
    /// How far apart requests arrive together, where no revision vouches.
    together: Duration,
    manner: AtomicManner,
    slots: Arc<Registry<Slot>>,
}

#[derive(Default)]
struct AtomicManner(AtomicU8);

/// How the verifier answers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Manner {
    Unknown,
    Knows,
    Waits,
}

/// The newest check of a credential.
#[derive(Default)]
struct Slot(Mutex<Weak<Flight>>);

/// As of when an answer holds: read before the verifier is called.
#[derive(Clone, Copy)]
pub(crate) struct AsOf {
    pub(crate) confirmed: Confirmed,
    pub(crate) epoch: u64,
}

/// A check on its way.
struct Flight {
    as_of: AsOf,
    began: Instant,
    running: Running,
}

/// A check that one request waits for.
pub(crate) struct Waiting {
    flight: Arc<Flight>,
    /// Armed before the check is looked at, so that no progress is missed.
    progress: Pin<Box<OwnedNotified>>,
    _slot: Option<Subscription<Slot>>,
}

impl Default for Flights {
    fn default() -> Self {
        Self::within(TOGETHER)
    }
}

impl Flights {
    /// Where no revision vouches, requests that come within `together` of the first one share its check.
    pub(crate) fn within(together: Duration) -> Self {
        Self { together, manner: AtomicManner::default(), slots: Arc::default() }
    }

    /// Asks, or joins those that wait for the same answer: one that began less than `limit` ago.
    ///
    /// A panic of a verifier that is known to know is the caller's to catch.
    pub(crate) fn ask(
        &self,
        as_of: AsOf,
        limit: Option<Duration>,
        key: impl FnOnce() -> Option<CredentialKey>,
        verify: impl Fn() -> Verification,
    ) -> Result<Answer, Waiting> {
        let unknown = match self.manner.get() {
            Manner::Knows => match verify().into_ready() {
                Ok(answer) => return Ok(Answer::Said(answer)),
                Err(unknown) => Some(unknown),
            },
            Manner::Unknown | Manner::Waits => None,
        };
        let slot = key().map(|key| self.slots.subscribe(key.check(), Slot::default));
        let flight = Flight::new(as_of);
        if let Some(other) = slot.as_ref().and_then(|slot| slot.join_or_list(&flight, self.together, limit)) {
            contained(|| drop(unknown));
            return Err(Waiting::new(other, slot));
        }
        let waiting = Waiting::new(flight, slot);
        let running = &waiting.flight.running;
        let answer = match unknown
            .map_or_else(|| contained(&verify).map(Verification::into_ready), |unknown| Some(Err(unknown)))
        {
            None => Answer::Panicked,
            Some(Ok(answer)) => {
                self.manner.learn(Manner::Knows);
                Answer::Said(answer)
            }
            Some(Err(unknown)) => {
                self.manner.learn(Manner::Waits);
                running.rest(unknown);
                return Err(waiting);
            }
        };
        running.finish(&answer);
        running.tell();
        Ok(answer)
    }

    /// Asks for one request. A panic of the verifier is the caller's to catch.
    pub(crate) fn ask_alone(as_of: AsOf, verify: impl FnOnce() -> Verification) -> Result<Answer, Waiting> {
        verify().into_ready().map(Answer::Said).map_err(|unknown| {
            let waiting = Waiting::new(Flight::new(as_of), None);
            waiting.flight.running.rest(unknown);
            waiting
        })
    }
}

impl AtomicManner {
    fn get(&self) -> Manner {
        match self.0.load(Ordering::Relaxed) {
            1 => Manner::Knows,
            2 => Manner::Waits,
            _ => Manner::Unknown,
        }
    }

    /// A verifier that had to be waited for once is taken for one that must be.
    fn learn(&self, manner: Manner) {
        self.0.fetch_max(manner as u8, Ordering::Relaxed);
    }
}

impl Slot {
    /// The check that vouches for a request that would begin `flight`; without one `flight` is listed.
    fn join_or_list(&self, flight: &Arc<Flight>, together: Duration, limit: Option<Duration>) -> Option<Arc<Flight>> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped after the lock is: it may be the last hold on a verifier's future.
        let found = newest.upgrade();
        let joins = found.as_ref().is_some_and(|found| found.vouches_for(flight, together, limit));
        if !joins {
            *newest = Arc::downgrade(flight);
        }
        drop(newest);
        found.filter(|_| joins)
    }
}

impl Flight {
    fn new(as_of: AsOf) -> Arc<Self> {
        Arc::new(Self { as_of, began: Instant::now(), running: Running::starting(Progress::default()) })
    }

    fn vouches_for(&self, later: &Self, together: Duration, limit: Option<Duration>) -> bool {
        let age = later.began.saturating_duration_since(self.began);
        let (own, now) = (self.as_of.confirmed, later.as_of.confirmed);
        own.revision == now.revision
            && (now.vouches || age <= together)
            && self.as_of.epoch == later.as_of.epoch
            // An overdue check is begun again.
            && limit.is_none_or(|limit| age < limit)
            && !self.running.is_answered()
    }
}

impl Waiting {
    fn new(flight: Arc<Flight>, slot: Option<Subscription<Slot>>) -> Self {
        let progress = flight.running.progress();
        Self { flight, progress, _slot: slot }
    }

    /// As of when the answer will hold.
    pub(crate) fn as_of(&self) -> AsOf {
        self.flight.as_of
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let running = &self.flight.running;
        if let Some(answer) = running.drive(|_| running.tell()) {
            return Poll::Ready(answer);
        }
        if self.progress.as_mut().poll(cx).is_ready() {
            self.progress = running.progress();
            // Looked at again in a moment, rather than on the spot: a future that wakes itself at each
            // poll must not hold up the thread.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
