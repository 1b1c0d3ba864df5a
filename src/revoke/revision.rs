//! A counter that says when an earlier answer may no longer hold, for all credentials or for some.
//!
//! 1. A move is for every credential, or for those that it names. The number that
//!    [`current`](Revision::current) returns changes with each.
//! 2. A watch is for one credential: its number changes with those moves that concern it. A stream
//!    compares it with the number that was read at the door, so that no move between the two is lost.
//! 3. There is one entry for each credential that is watched, for as long as it is.

use std::{
    fmt,
    sync::{Arc, PoisonError, Weak},
};

use super::registry::{Registry, Subscription};
use crate::{
    sync::{AtomicU64, Mutex, MutexGuard, Notify, Ordering},
    unwind::wake_all,
    verify::TokenDigest,
};

/// A counter that moves whenever an earlier answer of a verifier may no longer hold.
///
/// A verifier owns one, moves it *after* each change with [`bump`](Self::bump) or, where it can say
/// which credentials it concerns, with [`bump_for`](Self::bump_for), and shows it through
/// [`VerifyToken::revision`](crate::VerifyToken::revision). While it stands still, a frame of a
/// stream costs a few atomic loads; when it moves, the streams that it concerns ask again at once, idle
/// ones too. Clones are handles on the same counter.
#[derive(Clone, Default)]
pub struct Revision(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether answers may change without a move.
    partial: bool,
    /// Moves for every credential.
    all: AtomicU64,
    /// Moves for some.
    some: AtomicU64,
    /// Moves for one, by its digest.
    one: Arc<Registry<Topic>>,
    /// The watches of credentials that have no digest to be named by: each move concerns them.
    every: Arc<Registry<Topic>>,
    /// Those that move whenever this one does.
    derived: Mutex<Vec<Weak<Inner>>>,
}

#[derive(Default)]
struct Topic {
    number: AtomicU64,
    moved: Arc<Notify>,
}

/// A revision, as far as it concerns one credential.
pub(crate) struct RevisionWatch {
    revision: Revision,
    topic: Subscription<Topic>,
    is_keyed: bool,
}

impl Revision {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter for a verifier that learns of some changes and not of all: of what is forgotten here, say,
    /// and not of what is revoked at a provider. Its moves wake streams as any other's do; that it stands
    /// still vouches for nothing, so that frames are confirmed as those of a verifier without a revision.
    #[must_use]
    pub fn partial() -> Self {
        Self(Arc::new(Inner { partial: true, ..Inner::default() }))
    }

    /// Whether answers may change without a move: see [`partial`](Self::partial).
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.0.partial
    }

    /// A counter that moves whenever one of `others` does, for the same credentials: for a verifier
    /// that asks several. It is partial if one of them is.
    #[must_use]
    pub fn merged<'a>(others: impl IntoIterator<Item = &'a Self>) -> Self {
        let others: Vec<_> = others.into_iter().collect();
        let merged = if others.iter().any(|other| other.is_partial()) { Self::partial() } else { Self::new() };
        for other in others {
            let mut derived = other.0.derived();
            derived.retain(|derived| derived.strong_count() > 0);
            derived.push(Arc::downgrade(&merged.0));
        }
        merged
    }

    /// The counter: another number after each move, whichever credentials that concerns. Read it before
    /// the check that it is to vouch for.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.0.number(&self.0.some)
    }

    /// Moves the counter and wakes every stream whose verifier shows it.
    pub fn bump(&self) {
        self.0.advance();
        self.0.wake();
    }

    /// Moves the counter for `credentials` and wakes their streams, and those of no others.
    ///
    /// A credential is named by the digest of the token as it was presented (the
    /// [`CredentialKey`](crate::verify::CredentialKey) of an [`Authenticate`](crate::bearer::Authenticate)). Streams whose
    /// credential has no key ask again too.
    pub fn bump_for(&self, credentials: impl IntoIterator<Item = TokenDigest>) {
        let credentials: Vec<_> = credentials.into_iter().collect();
        if !credentials.is_empty() {
            self.0.advance_for(&credentials);
            self.0.wake_for(&credentials);
        }
    }

    /// Moves the counter and wakes nobody: streams ask again at their next frame or heartbeat. For
    /// changes that strangers can cause, so that they cannot keep every stream awake.
    pub fn bump_quietly(&self) {
        self.0.advance();
    }

    /// Watches the credential with this digest or, without one, every move. `check` tells those apart
    /// that have none.
    pub(crate) fn watch(&self, credential: Option<TokenDigest>, check: TokenDigest) -> RevisionWatch {
        let topic = match credential {
            Some(credential) => self.0.one.subscribe(credential, Topic::default),
            None => self.0.every.subscribe(check, Topic::default),
        };
        RevisionWatch { revision: self.clone(), topic, is_keyed: credential.is_some() }
    }
}

impl RevisionWatch {
    /// Another number after each move that concerns the credential.
    pub(crate) fn current(&self) -> u64 {
        let Self { revision: Revision(inner), topic, is_keyed } = self;
        inner.number(if *is_keyed { &topic.number } else { &inner.some })
    }

    /// What [`current`](Self::current) was when the revision was `since`: another number than now if
    /// anything has moved. For a stream that starts after it began to watch.
    pub(crate) fn at(&self, since: u64) -> u64 {
        // In this order: a move that the first number has in it shows in the second one.
        let now = self.current();
        let has_moved = self.revision.current() != since;
        // Numbers only grow: the one below is never reached again.
        if has_moved { now.wrapping_sub(1) } else { now }
    }

    /// Whether an answer holds while the watch stands still.
    pub(crate) fn vouches(&self) -> bool {
        !self.revision.is_partial()
    }

    /// Wakes when the watch moves.
    pub(crate) fn moved(&self) -> &Arc<Notify> {
        &self.topic.moved
    }
}

impl Inner {
    // Both numbers only grow, so an equal sum means that neither has moved. Pairs with `advance`: one
    // who sees the number sees the change that came before it.
    fn number(&self, some: &AtomicU64) -> u64 {
        self.all.load(Ordering::Acquire).wrapping_add(some.load(Ordering::Acquire))
    }

    fn advance(&self) {
        self.all.fetch_add(1, Ordering::Release);
        self.for_derived(Self::advance);
    }

    fn advance_for(&self, credentials: &[TokenDigest]) {
        // First the number that the door reads: a watch that begins too late for its own number to
        // move compares that one.
        self.some.fetch_add(1, Ordering::Release);
        for topic in self.one.of(credentials) {
            topic.number.fetch_add(1, Ordering::Release);
        }
        self.for_derived(|derived| derived.advance_for(credentials));
    }

    fn wake(&self) {
        for topic in self.every.all().into_iter().chain(self.one.all()) {
            wake_all(&topic.moved);
        }
        self.for_derived(Self::wake);
    }

    fn wake_for(&self, credentials: &[TokenDigest]) {
        for topic in self.every.all().into_iter().chain(self.one.of(credentials)) {
            wake_all(&topic.moved);
        }
        self.for_derived(|derived| derived.wake_for(credentials));
    }

    fn derived(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // A derived revision is made after those that it derives from and derives from no other, so this ends.
    // A task that is woken may use them all, so none is locked by then.
    fn for_derived(&self, act: impl Fn(&Self)) {
        let derived = self.derived().clone();
        derived.iter().filter_map(Weak::upgrade).for_each(|derived| act(&derived));
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revision").field(&self.current()).finish()
    }
}
