//! Two tasks that wait for one guard.
//!
//! A future keeps the waker of whoever polled it last. So a guard that two tasks poll is polled with a
//! waker that wakes them both.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
};

#[derive(Default)]
pub(super) struct TwoTasks {
    pub(super) one: Waiting,
    pub(super) other: Waiting,
}

/// A task, while it waits.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Option<Waker>>);

impl Waiting {
    /// To be said before the guard is polled, so that nothing is missed.
    pub(super) fn waits(&self, cx: &Context<'_>) {
        let mut waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for TwoTasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.one.wake();
        self.other.wake();
    }
}
