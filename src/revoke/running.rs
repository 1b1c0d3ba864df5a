//! A check on its way, which each of those who wait for it can poll.
//!
//! The verifier's future is polled and dropped while no lock is held: one of those who wait takes it out,
//! polls it, and puts it back. So the check goes on whoever of them is dropped, and ends with the last.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    Identity,
    sync::{Mutex, MutexGuard, Notify, OwnedNotified},
    unwind::{contained, wake_all},
    verify::{Verification, VerifyError},
};

/// What a verifier answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Said(Result<Identity, VerifyError>),
    Panicked,
}

/// A check on its way.
pub(crate) struct Running {
    state: Mutex<State>,
    progress: Progress,
    /// Wakes all that wait, for each of them can poll on.
    waker: Waker,
}

enum State {
    /// Somebody calls the verifier, or polls its future.
    Busy,
    Idle(Verification),
    Done(Answer),
}

/// Wakes those that wait for a check.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Notify>);

impl Running {
    /// Of a verifier that is about to be called.
    pub(crate) fn starting(progress: Progress) -> Self {
        Self::with_state(State::Busy, progress)
    }

    /// Of a verifier that has to be waited for.
    pub(crate) fn waiting(verification: Verification, progress: Progress) -> Self {
        Self::with_state(State::Idle(verification), progress)
    }

    fn with_state(state: State, progress: Progress) -> Self {
        let waker = Waker::from(Arc::new(progress.clone()));
        Self { state: Mutex::new(state), progress, waker }
    }

    pub(crate) fn is_answered(&self) -> bool {
        matches!(*self.state(), State::Done(_))
    }

    /// Completes when something is to be found that was not there at this call.
    pub(crate) fn progress(&self) -> Pin<Box<OwnedNotified>> {
        self.progress.next()
    }

    /// Gives those who wait the future to poll.
    pub(crate) fn rest(&self, verification: Verification) {
        self.set(State::Idle(verification));
        self.progress.tell();
    }

    /// Keeps the answer, of which those who wait are [to be told](Self::tell).
    pub(crate) fn finish(&self, answer: &Answer) {
        self.set(State::Done(answer.clone()));
    }

    pub(crate) fn tell(&self) {
        self.progress.tell();
    }

    /// Polls the verifier's future, unless another does at this moment. `answered` is called by the one who
    /// brought the answer, to tell those who wait.
    pub(crate) fn drive(&self, answered: impl FnOnce(&Answer)) -> Option<Answer> {
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
            None => Answer::Panicked,
            Some(Poll::Ready(answer)) => Answer::Said(answer),
            Some(Poll::Pending) => {
                self.set(State::Idle(verification));
                return None;
            }
        };
        self.finish(&answer);
        answered(&answer);
        contained(|| drop(verification));
        Some(answer)
    }

    fn set(&self, state: State) {
        *self.state() = state;
    }

    // A panic elsewhere leaves it whole: each change to it is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.state(), State::Busy);
        contained(|| drop(state));
    }
}

impl Answer {
    /// Whether the credential is no longer good for any stream.
    pub(crate) fn is_denial(&self) -> bool {
        match self {
            Self::Said(Err(
                VerifyError::Rejected
                | VerifyError::RejectedFor { .. }
                | VerifyError::Expired
                | VerifyError::Revoked
                | VerifyError::LockedOut { .. },
            )) => true,
            Self::Said(Ok(_) | Err(VerifyError::Unavailable { .. })) | Self::Panicked => false,
        }
    }
}

impl Progress {
    /// Completes at the next [`tell`](Self::tell) after this call, polled by then or not.
    pub(crate) fn next(&self) -> Pin<Box<OwnedNotified>> {
        Box::pin(Arc::clone(&self.0).notified_owned())
    }

    pub(crate) fn tell(&self) {
        wake_all(&self.0);
    }
}

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.tell();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.tell();
    }
}
