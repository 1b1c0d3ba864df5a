//! One waker for two tasks.
//!
//! A future keeps the waker that it was polled with last. A guard that two tasks poll is polled with a
//! waker that wakes both.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Wake, Waker},
};

use crate::unwind::contained;

#[derive(Default)]
pub(crate) struct TwoWakers {
    pub(crate) one: Slot,
    pub(crate) other: Slot,
}

/// A task, while it waits.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Waker>>);

impl Slot {
    /// Call this before the guard is polled, so that nothing is missed.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let waker = cx.waker();
        if self.waker().as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        // A waker is an executor's own: it is cloned and dropped while the slot is not locked.
        let new = waker.clone();
        let old = self.waker().replace(new);
        drop(old);
    }

    fn wake(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            // One that panics must not keep the other from being woken.
            contained(|| waker.wake());
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
