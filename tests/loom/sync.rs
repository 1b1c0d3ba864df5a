//! What `src/sync.rs` has, as loom has it: a thread that uses it may be interrupted there.

use std::sync::{Arc, PoisonError};

pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// tokio's, as far as it is relied on: loom does not see into tokio's own.
#[derive(Default)]
pub(crate) struct Notify(Mutex<u64>);

/// Has come with the first `notify_waiters` after it was made.
pub(crate) struct OwnedNotified {
    notify: Arc<Notify>,
    rung: u64,
}

impl Notify {
    pub(crate) fn notify_waiters(&self) {
        *self.rung() += 1;
    }

    pub(crate) fn notified_owned(self: Arc<Self>) -> OwnedNotified {
        let rung = *self.rung();
        OwnedNotified { notify: self, rung }
    }

    fn rung(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnedNotified {
    pub(crate) fn has_come(&self) -> bool {
        *self.notify.rung() != self.rung
    }
}
