//! One waker for two tasks.
//!
//! A future keeps the waker that it was polled with last. A guard that two tasks poll is polled with a
//! waker that wakes both.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
};

#[derive(Default)]
pub(super) struct TwoWakers {
    pub(super) one: Slot,
    pub(super) other: Slot,
}

/// A task, while it waits.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Waker>>);

impl Slot {
    /// Call this before the guard is polled, so that nothing is missed.
    pub(super) fn register(&self, cx: &Context<'_>) {
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

impl Wake for TwoWakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.one.wake();
        self.other.wake();
    }
}
