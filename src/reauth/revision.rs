//! A counter that says when an earlier answer may no longer hold.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
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
    /// Those that move whenever this one does.
    followers: Mutex<Vec<Weak<Shared>>>,
}

impl Revision {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter that moves whenever one of `others` does: for a verifier that asks several.
    #[must_use]
    pub fn merged<'a>(others: impl IntoIterator<Item = &'a Self>) -> Self {
        let merged = Self::new();
        for other in others {
            let mut followers = other.0.followers.lock().unwrap_or_else(PoisonError::into_inner);
            followers.retain(|follower| follower.strong_count() > 0);
            followers.push(Arc::downgrade(&merged.0));
        }
        merged
    }

    /// Where the counter stands. Read it before the check that it is to vouch for.
    #[must_use]
    pub fn current(&self) -> u64 {
        // Pairs with `advance`: one who sees the number sees the change that came before it.
        self.0.number.load(Ordering::Acquire)
    }

    /// Moves the counter and wakes every stream that follows it.
    pub fn bump(&self) {
        self.0.advance();
        self.0.wake();
    }

    /// Moves the counter and wakes nobody: streams ask again at their next frame or heartbeat. For
    /// changes that strangers can cause, so that they cannot keep every stream awake.
    pub fn bump_quietly(&self) {
        self.0.advance();
    }

    /// Completes when the counter moves after this call, whether or not it was polled by then.
    pub(crate) fn moved(&self) -> OwnedNotified {
        Arc::clone(&self.0.moved).notified_owned()
    }
}

impl Shared {
    fn advance(&self) {
        self.number.fetch_add(1, Ordering::Release);
        self.for_followers(Self::advance);
    }

    fn wake(&self) {
        self.moved.notify_waiters();
        self.for_followers(Self::wake);
    }

    // A follower is made after what it follows and follows nothing else, so this ends.
    fn for_followers(&self, act: impl Fn(&Self)) {
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().filter_map(Weak::upgrade).for_each(|follower| act(&follower));
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revision").field(&self.current()).finish()
    }
}
