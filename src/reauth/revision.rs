//! A counter that says when an earlier answer may no longer hold.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, futures::OwnedNotified};

/// A counter that moves whenever an earlier answer of a verifier may no longer hold.
///
/// A verifier owns one, moves it *after* each change with [`bump`](Self::bump), and shows it through
/// [`VerifyToken::revision`](crate::VerifyToken::revision). While it stands still, a frame of a
/// stream costs one atomic load; when it moves, streams ask again at once, idle ones too.
/// Clones are handles on the same counter.
#[derive(Clone, Default)]
pub struct Revision(Arc<Shared>);

#[derive(Default)]
struct Shared {
    number: AtomicU64,
    moved: Arc<Notify>,
}

impl Revision {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the counter stands. Read it before the check that it is to vouch for.
    #[must_use]
    pub fn current(&self) -> u64 {
        // Pairs with `bump`: one who sees the number sees the change that came before it.
        self.0.number.load(Ordering::Acquire)
    }

    /// Moves the counter and wakes every stream that follows it.
    pub fn bump(&self) {
        self.0.number.fetch_add(1, Ordering::Release);
        self.0.moved.notify_waiters();
    }

    /// Completes when the counter moves after this call, whether or not it was polled by then.
    pub(crate) fn moved(&self) -> OwnedNotified {
        Arc::clone(&self.0.moved).notified_owned()
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revision").field(&self.current()).finish()
    }
}
