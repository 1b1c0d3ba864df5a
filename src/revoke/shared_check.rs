//! The recheck that all streams of one credential share.
//!
//! 1. A stream that needs a check uses one that began after its own reason to check arose, answered
//!    or not; only where there is none it begins one. Checks are numbered, for two instants of a coarse
//!    clock can be equal.
//! 2. A check belongs to no stream: each one that waits for it can poll it, and it is dropped with the
//!    last of them.
//! 3. A denial and a revocation are alerts: they wake all streams of the credential.
//!
//! The verifier is called, and its future polled and dropped, while no lock is held: it may block, and
//! it may use whatever leads back here.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Revocations,
    beats::Beats,
    holder::{Holder, Holders},
    revision::RevisionWatch,
    running::{Answer, Progress, Running},
};
use crate::{
    Identity,
    counts::Revoking,
    sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering, OwnedNotified},
    unwind::{contained, wake_all},
    verify::{TokenDigest, Verification, VerifyError},
};

/// What the streams of one credential share.
pub(crate) struct SharedCheck {
    /// The digest of the credential, if it has a key.
    token: Option<TokenDigest>,
    /// The number of checks begun, which is the number of the last one.
    begun: AtomicU64,
    /// The number of the newest check that was answered with a denial.
    denied: AtomicU64,
    /// Moves with each denial and revocation.
    alerts: AtomicU64,
    /// Wakes all streams: the revision's own, so that a stream waits for one thing only.
    notify: Arc<Notify>,
    /// Wakes those that wait for an answer.
    progress: Progress,
    moves: Moves,
    last: Mutex<Option<Check>>,
    /// Whose streams they are.
    holders: Holders,
    beats: Beats,
}

/// What moves when an earlier answer may not hold any more. One of these, and not parts of one: each frame asks.
enum Moves {
    Nothing,
    Verifier(RevisionWatch),
    Leased(Box<Leased>),
}

/// Revocations that other nodes share, and that are not always sure, besides the verifier.
struct Leased {
    verifier: Option<RevisionWatch>,
    revocations: Box<[Revocations]>,
}

/// The check that was begun last.
struct Check {
    start: CheckStart,
    stage: Stage,
    /// Whether a stream that did not begin it waits for it.
    is_awaited: bool,
}

enum Stage {
    /// A stream calls the verifier.
    Starting,
    /// Not answered yet; gone when no stream waits for it any longer.
    Running(Weak<Running>),
    Answered(Answer),
}

/// What a stream that did not begin a check finds of it.
enum Found {
    Starting,
    Running(Arc<Running>),
    Answered(Answer),
}

/// What is known of a check from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckStart {
    pub(crate) number: u64,
    /// Read before the verifier was called, like the revision.
    pub(crate) at: Instant,
    pub(crate) revision: Option<u64>,
}

/// Which check will do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckRequest {
    pub(crate) now: Instant,
    pub(crate) revision: Option<u64>,
    /// One with a higher number than this.
    pub(crate) after: u64,
    /// One that has not been running for this long.
    pub(crate) timeout: Duration,
}

/// A check that one stream waits for.
pub(crate) enum PendingCheck {
    Answered(Answer),
    /// The answer of the check with this number.
    Waiting {
        number: u64,
        /// `None` while the verifier is being called.
        running: Option<Arc<Running>>,
        /// Armed before the check is looked at, so that no progress is missed.
        progress: Pin<Box<OwnedNotified>>,
    },
}

impl SharedCheck {
    /// For the streams of a credential, which watch the revision if the verifier has one, and go by these revocations.
    pub(crate) fn new(token: Option<TokenDigest>, watch: Option<RevisionWatch>, revocations: &[Revocations]) -> Self {
        Self {
            token,
            begun: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            alerts: AtomicU64::new(0),
            notify: watch.as_ref().map_or_else(Arc::default, |watch| Arc::clone(watch.moved())),
            progress: Progress::default(),
            moves: Moves::of(watch, revocations),
            last: Mutex::default(),
            holders: Holders::default(),
            beats: Beats::default(),
        }
    }

    /// When the streams have their heartbeats.
    pub(crate) fn beats(&self) -> &Beats {
        &self.beats
    }

    /// Whether the credential is this token.
    pub(crate) fn is_of(&self, token: &TokenDigest) -> bool {
        self.token.as_ref() == Some(token)
    }

    /// The number of checks begun so far: one with a higher number begins after this call.
    pub(crate) fn begun(&self) -> u64 {
        // Written, not loaded: a check with a higher number reads this, and so sees what came before.
        self.begun.fetch_add(0, Ordering::AcqRel)
    }

    /// The number of the newest check that was answered with a denial, zero for none.
    pub(crate) fn denied(&self) -> u64 {
        self.denied.load(Ordering::Acquire)
    }

    /// Another number after each denial and revocation.
    pub(crate) fn alerts(&self) -> u64 {
        self.alerts.load(Ordering::Acquire)
    }

    /// The revision as it is now for this credential: another number whenever an earlier answer may not hold, of the
    /// verifier or of revocations that others share. `None` where neither can tell.
    pub(crate) fn revision(&self) -> Option<u64> {
        match &self.moves {
            Moves::Verifier(watch) => Some(watch.current()),
            Moves::Nothing => None,
            Moves::Leased(leased) => Some(leased.number(RevisionWatch::current)),
        }
    }

    /// Whether an answer holds while the revision stands still.
    pub(crate) fn vouches(&self) -> bool {
        match &self.moves {
            Moves::Verifier(watch) => watch.vouches(),
            Moves::Nothing => false,
            Moves::Leased(leased) => leased.verifier.as_ref().is_some_and(RevisionWatch::vouches),
        }
    }

    /// What [`revision`](Self::revision) was when the verifier's revision was `since`: another number
    /// than now if it has moved, or revocations are not sure by now.
    pub(crate) fn revision_at(&self, since: Option<u64>) -> Option<u64> {
        match &self.moves {
            Moves::Verifier(watch) => Some(watch.at(since?)),
            Moves::Nothing => None,
            Moves::Leased(leased) => {
                let unsure = leased.revocations.iter().any(Revocations::is_unsure);
                let number = leased.number(|watch| since.map_or(0, |since| watch.at(since)));
                Some(number.wrapping_sub(u64::from(unsure)))
            }
        }
    }

    /// Completes when the streams are woken after this call, whether or not it was polled by then.
    pub(crate) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    /// Wakes all streams.
    pub(crate) fn wake(&self) {
        wake_all(&self.notify);
    }

    /// What a stream of `identity` is found by when that is revoked, from now on.
    pub(crate) fn hold(&self, identity: Identity) -> Arc<Holder> {
        self.holders.hold(identity)
    }

    /// Ends the streams of those holders that `concerns` picks, and of those of whom it cannot tell.
    pub(crate) fn revoke(&self, concerns: impl Fn(&Identity) -> bool, revoking: &Revoking) {
        if self.holders.revoke(concerns, revoking) {
            self.alert();
        }
    }

    /// A check that will do for `request`; `verify` begins it if there is none.
    pub(crate) fn begin(
        &self,
        request: CheckRequest,
        verify: impl FnOnce() -> Verification,
    ) -> (CheckStart, PendingCheck) {
        let (start, replaced) = {
            let mut last = self.last();
            if let Some((start, found)) = last.as_mut().and_then(|last| last.serve(request)) {
                drop(last);
                return (start, self.pending(start.number, found));
            }
            let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            let start = CheckStart { number, at: request.now, revision: request.revision };
            (start, last.replace(Check { start, stage: Stage::Starting, is_awaited: false }))
        };
        contained(|| drop(replaced));

        let number = start.number;
        let answer = match contained(verify).map(Verification::into_ready) {
            None => Answer::Panicked,
            Some(Ok(answer)) => Answer::Said(answer),
            Some(Err(unknown)) => {
                let running = Arc::new(Running::waiting(unknown, self.progress.clone()));
                let stage = Stage::Running(Arc::downgrade(&running));
                let pending = PendingCheck::Waiting { number, running: Some(running), progress: self.progress.next() };
                self.advance(number, stage);
                return (start, pending);
            }
        };
        self.answered(number, &answer);
        (start, PendingCheck::Answered(answer))
    }

    /// Polls the check on. `None` if a newer check replaced this one before it was answered: the stream
    /// has to begin again.
    pub(crate) fn poll(&self, pending: &mut PendingCheck, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        loop {
            let (number, running, progress) = match pending {
                PendingCheck::Answered(answer) => return Poll::Ready(Some(answer.clone())),
                PendingCheck::Waiting { number, running, progress } => (*number, running, progress),
            };
            match running {
                Some(running) => {
                    if let Some(answer) = running.drive(|answer| self.answered(number, answer)) {
                        return Poll::Ready(Some(answer));
                    }
                }
                None => match self.find(number) {
                    Some(Found::Starting) => {}
                    Some(found) => {
                        *pending = self.pending(number, found);
                        continue;
                    }
                    None => return Poll::Ready(None),
                },
            }
            if progress.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            *progress = self.progress.next();
        }
    }

    /// Keeps the answer of the check with this number; a denial alerts all streams.
    fn answered(&self, number: u64, answer: &Answer) {
        self.advance(number, Stage::Answered(answer.clone()));
        if answer.is_denial() {
            self.denied.fetch_max(number, Ordering::AcqRel);
            self.alert();
        }
    }

    /// Takes the check with this number to its next stage, and wakes those that wait for it.
    fn advance(&self, number: u64, stage: Stage) {
        let mut last = self.last();
        let (replaced, is_awaited) = match &mut *last {
            Some(check) if check.start.number == number => {
                (std::mem::replace(&mut check.stage, stage), check.is_awaited)
            }
            _ => (stage, true),
        };
        drop(last);
        if is_awaited {
            self.progress.tell();
        }
        contained(|| drop(replaced));
    }

    fn find(&self, number: u64) -> Option<Found> {
        self.last().as_ref().filter(|check| check.start.number == number)?.stage.find()
    }

    fn pending(&self, number: u64, found: Found) -> PendingCheck {
        let running = match found {
            Found::Answered(answer) => return PendingCheck::Answered(answer),
            Found::Starting => None,
            Found::Running(running) => Some(running),
        };
        PendingCheck::Waiting { number, running, progress: self.progress.next() }
    }

    /// Has every stream look at what has become of it.
    pub(crate) fn alert(&self) {
        self.alerts.fetch_add(1, Ordering::Release);
        self.wake();
    }

    // A panic elsewhere leaves it whole: each change to it is one assignment.
    fn last(&self) -> MutexGuard<'_, Option<Check>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moves {
    fn of(verifier: Option<RevisionWatch>, revocations: &[Revocations]) -> Self {
        let revocations: Box<[_]> =
            revocations.iter().filter(|revocations| revocations.lease().is_some()).cloned().collect();
        match verifier {
            verifier if !revocations.is_empty() => Self::Leased(Box::new(Leased { verifier, revocations })),
            Some(verifier) => Self::Verifier(verifier),
            None => Self::Nothing,
        }
    }
}

impl Leased {
    /// The sum of what moves: of two equal ones none has.
    #[cold]
    fn number(&self, of_verifier: impl FnOnce(&RevisionWatch) -> u64) -> u64 {
        let leases = self.revocations.iter().filter_map(Revocations::lease);
        leases.fold(self.verifier.as_ref().map_or(0, of_verifier), u64::wrapping_add)
    }
}

impl Check {
    fn serve(&mut self, request: CheckRequest) -> Option<(CheckStart, Found)> {
        let start = self.start;
        if start.number <= request.after || start.revision != request.revision {
            return None;
        }
        let age = request.now.saturating_duration_since(start.at);
        let serves = match &self.stage {
            // An overdue check is begun again, rather than end one stream after another.
            Stage::Starting | Stage::Running(_) => age < request.timeout,
            // A verifier that could not tell said when to ask again.
            Stage::Answered(Answer::Said(Err(VerifyError::Unavailable { retry_after }))) => age < *retry_after,
            // A defect that one check met, and the next may not.
            Stage::Answered(Answer::Panicked) => false,
            Stage::Answered(Answer::Said(_)) => true,
        };
        let found = if serves { self.stage.find()? } else { return None };
        self.is_awaited = true;
        Some((start, found))
    }
}

impl Stage {
    fn find(&self) -> Option<Found> {
        match self {
            Self::Starting => Some(Found::Starting),
            Self::Running(running) => running.upgrade().map(Found::Running),
            Self::Answered(answer) => Some(Found::Answered(answer.clone())),
        }
    }
}
