//! One check for equal credentials that arrive together.
//!
//! 1. Only a verifier that must be waited for is asked once for several: one that knows is asked at
//!    once, without a lock. Which of the two it is shows in its first answer; one that had to be waited
//!    for once is taken for one that must be.
//! 2. A request joins a check that vouches for it: the revision is what it was when the check began or,
//!    without a revision, the check began no more than [`TOGETHER`] ago. The answer holds as of then.
//! 3. A check belongs to no request: each one that waits for it can poll it, and it is dropped with the
//!    last of them.
//!
//! The verifier is called, and its future polled and dropped, while no lock is held.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use crate::{
    Identity,
    access::Confirmed,
    revoke::{Registry, Subscription},
    unwind::{contained, wake_all},
    verify::{CredentialKey, Verification, VerifyError},
};

/// How far apart requests arrive together, for a verifier without a revision: what was revoked less than
/// this ago may still come in, beside a request that came before.
const TOGETHER: Duration = Duration::from_millis(100);

/// What the verifier said; `None` if it panicked.
pub(super) type Answer = Option<Result<Identity, VerifyError>>;

/// The checks that requests wait for, by credential.
#[derive(Default)]
pub(super) struct Flights {
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
pub(super) struct AsOf {
    pub(super) confirmed: Confirmed,
    pub(super) epoch: u64,
}

/// A check on its way.
struct Flight {
    as_of: AsOf,
    began: Instant,
    state: Mutex<State>,
    /// Wakes all that wait, for each of them can poll on.
    progress: Arc<Notify>,
    waker: Waker,
}

enum State {
    /// A request calls the verifier, or polls its future.
    Busy,
    Idle(Verification),
    Done(Answer),
}

/// A check that one request waits for.
pub(super) struct Waiting {
    flight: Arc<Flight>,
    /// Armed before the check is looked at, so that no progress is missed.
    progress: Pin<Box<OwnedNotified>>,
    _slot: Option<Subscription<Slot>>,
}

struct Progress(Arc<Notify>);

impl Flights {
    /// Asks, or joins those that wait for the same answer: one that began less than `limit` ago.
    ///
    /// A panic of a verifier that is known to know is the caller's to catch.
    pub(super) fn ask(
        &self,
        as_of: AsOf,
        limit: Option<Duration>,
        key: impl FnOnce() -> Option<CredentialKey>,
        verify: impl Fn() -> Verification,
    ) -> Result<Answer, Waiting> {
        let unknown = match self.manner.get() {
            Manner::Knows => match verify().into_ready() {
                Ok(answer) => return Ok(Some(answer)),
                Err(unknown) => Some(unknown),
            },
            Manner::Unknown | Manner::Waits => None,
        };
        let slot = key().map(|key| self.slots.subscribe(key.check(), Slot::default));
        let flight = Flight::new(as_of);
        if let Some(other) = slot.as_ref().and_then(|slot| slot.join_or_list(&flight, limit)) {
            contained(|| drop(unknown));
            return Err(Waiting::new(other, slot));
        }
        let waiting = Waiting::new(flight, slot);
        match unknown.map_or_else(|| contained(&verify).map(Verification::into_ready), |unknown| Some(Err(unknown))) {
            None => Ok(waiting.flight.finish(None)),
            Some(Ok(answer)) => {
                self.manner.learn(Manner::Knows);
                Ok(waiting.flight.finish(Some(answer)))
            }
            Some(Err(unknown)) => {
                self.manner.learn(Manner::Waits);
                waiting.flight.rest(unknown);
                Err(waiting)
            }
        }
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
    fn join_or_list(&self, flight: &Arc<Flight>, limit: Option<Duration>) -> Option<Arc<Flight>> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped after the lock is: it may be the last hold on a verifier's future.
        let found = newest.upgrade();
        let joins = found.as_ref().is_some_and(|found| found.vouches_for(flight, limit));
        if !joins {
            *newest = Arc::downgrade(flight);
        }
        drop(newest);
        found.filter(|_| joins)
    }
}

impl Flight {
    fn new(as_of: AsOf) -> Arc<Self> {
        let progress = Arc::default();
        let waker = Waker::from(Arc::new(Progress(Arc::clone(&progress))));
        Arc::new(Self { as_of, began: Instant::now(), state: Mutex::new(State::Busy), progress, waker })
    }

    fn vouches_for(&self, later: &Self, limit: Option<Duration>) -> bool {
        let age = later.began.saturating_duration_since(self.began);
        let is_fresh = match (self.as_of.confirmed.revision, later.as_of.confirmed.revision) {
            (Some(own), Some(now)) => own == now,
            _ => age <= TOGETHER,
        };
        is_fresh
            && self.as_of.epoch == later.as_of.epoch
            // An overdue check is begun again.
            && limit.is_none_or(|limit| age < limit)
            && !matches!(*self.state(), State::Done(_))
    }

    /// Polls the verifier's future, unless another request does at this moment.
    fn drive(&self) -> Option<Answer> {
        let mut verification = {
            let mut state = self.state();
            match std::mem::replace(&mut *state, State::Busy) {
                State::Busy => return None,
                State::Done(answer) => {
                    *state = State::Done(answer.clone());
                    return Some(answer);
                }
                State::Idle(verification) => verification,
            }
        };
        let mut cx = Context::from_waker(&self.waker);
        let answer = match contained(|| Pin::new(&mut verification).poll(&mut cx)) {
            Some(Poll::Pending) => {
                *self.state() = State::Idle(verification);
                return None;
            }
            Some(Poll::Ready(answer)) => self.finish(Some(answer)),
            None => self.finish(None),
        };
        contained(|| drop(verification));
        Some(answer)
    }

    fn rest(&self, verification: Verification) {
        *self.state() = State::Idle(verification);
        wake_all(&self.progress);
    }

    fn finish(&self, answer: Answer) -> Answer {
        *self.state() = State::Done(answer.clone());
        wake_all(&self.progress);
        answer
    }

    // A panic elsewhere leaves it whole: each change to it is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.state(), State::Busy);
        contained(|| drop(state));
    }
}

impl Waiting {
    fn new(flight: Arc<Flight>, slot: Option<Subscription<Slot>>) -> Self {
        let progress = Box::pin(Arc::clone(&flight.progress).notified_owned());
        Self { flight, progress, _slot: slot }
    }

    /// As of when the answer will hold.
    pub(super) fn as_of(&self) -> AsOf {
        self.flight.as_of
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Some(answer) = self.flight.drive() {
            return Poll::Ready(answer);
        }
        if self.progress.as_mut().poll(cx).is_ready() {
            self.progress = Box::pin(Arc::clone(&self.flight.progress).notified_owned());
            // Looked at again in a moment, rather than on the spot: a future that wakes itself at each
            // poll must not hold up the thread.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        wake_all(&self.0);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        wake_all(&self.0);
    }
}
