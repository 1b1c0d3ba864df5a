//! What `src/sync.rs` has, as loom has it: a thread that uses it may be interrupted there.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// tokio's, as far as it is relied on: loom does not see into tokio's own.
#[derive(Default)]
pub(crate) struct Notify(Mutex<u64>);

/// Completes with the first `notify_waiters` after it was made.
pub(crate) struct OwnedNotified {
    notify: Arc<Notify>,
    calls: u64,
}

impl Notify {
    pub(crate) fn notify_waiters(&self) {
        *self.calls() += 1;
    }

    pub(crate) fn notified_owned(self: Arc<Self>) -> OwnedNotified {
        let calls = *self.calls();
        OwnedNotified { notify: self, calls }
    }

    fn calls(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnedNotified {
    pub(crate) fn has_fired(&self) -> bool {
        *self.notify.calls() != self.calls
    }
}

/// Nothing wakes it: a model polls again.
impl Future for OwnedNotified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.has_fired() { Poll::Ready(()) } else { Poll::Pending }
    }
}
