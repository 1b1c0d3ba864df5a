//! Which streams are open, and whose: to be listed, counted and ended.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{EndReason, StreamId, listed::Listed};
use crate::{Access, Identity, ScopeSet, access::RenewError, sync::Notify, unwind::wake_all};

/// The streams that are open: a layer that is given it by
/// [`with_registry`](super::StreamReauthLayer::with_registry) enters each stream that it watches, and takes it out
/// when that ends. Clones share one list, and so may layers.
///
/// A stream costs at most 128 bytes more for it, and a frame two counters.
///
/// ```
/// use tower_reauth::{StreamReauthLayer, reauth::{EndReason, OpenStreams}};
///
/// let streams = OpenStreams::new();
/// let layer = StreamReauthLayer::new().with_registry(&streams);
///
/// // An operator looks who is in, and lets one go.
/// for stream in streams.list() {
///     println!("{} {} since {:?}", stream.id, stream.identity.subject(), stream.age);
/// }
/// let ended = streams.end_where(EndReason::Closed, |stream| stream.identity.subject() == "alice");
/// assert_eq!(ended, 0);
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct OpenStreams(Arc<Registry>);

struct Registry {
    streams: Mutex<HashMap<StreamId, Arc<Listed>>>,
    last_id: AtomicU64,
    /// Times are kept from here on.
    since: Instant,
    /// How often a stream was entered or taken out.
    changes: AtomicU64,
    changed: Notify,
}

/// What a handler calls its stream in the registry, in the extensions of its response: what is streamed, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLabel(Arc<str>);

/// An open stream, as it was when it was looked at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its number.
    pub id: StreamId,
    /// What its handler called it.
    pub label: Option<Arc<str>>,
    /// Whose it is, as of the last answer: subject, credential and expiry.
    pub identity: Identity,
    /// The scopes that it is left with.
    pub scopes: ScopeSet,
    /// How long it has been open.
    pub age: Duration,
    /// How long ago access was last confirmed by an answer of the verifier. Where that has a revision, its standing
    /// still confirms access all the time.
    pub confirmed: Duration,
    /// The frames so far, or the items of a stream that is no body.
    pub frames: u64,
    /// The bytes so far, of a body.
    pub bytes: u64,
}

impl OpenStreams {
    /// A list without streams.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Registry {
            streams: Mutex::default(),
            last_id: AtomicU64::new(0),
            since: Instant::now(),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
        }))
    }

    /// How many streams are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams().len()
    }

    /// All that are open, in the order in which they began.
    #[must_use]
    pub fn list(&self) -> Vec<StreamInfo> {
        let mut all = self.entries();
        all.sort_unstable_by_key(|listed| (listed.opened(), listed.id()));
        all.iter().map(|listed| self.info(listed)).collect()
    }

    /// The stream with this number, if it is open.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<StreamInfo> {
        let listed = self.streams().get(&id).cloned();
        listed.map(|listed| self.info(&listed))
    }

    /// Ends a stream for `reason`, as a denial would: no frame passes from here on, and whatever else its request has
    /// open ends with it. `false` if there is none of this number. A reason that is none of access counts as
    /// [`Closed`](EndReason::Closed).
    pub fn end(&self, id: StreamId, reason: EndReason) -> bool {
        let listed = self.streams().get(&id).cloned();
        listed.is_some_and(|listed| listed.access().close(reason))
    }

    /// Lets the stream with this number go by a fresh access from now on, as [`Access::renew`] does. `None` if there is
    /// none of this number.
    ///
    /// # Errors
    ///
    /// As [`Access::renew`].
    pub fn renew(&self, id: StreamId, fresh: &Access) -> Option<Result<(), RenewError>> {
        let listed = self.streams().get(&id).cloned();
        listed.map(|listed| listed.access().renew(fresh))
    }

    /// Ends all streams that `concerns` picks, and says how many those are.
    pub fn end_where(&self, reason: EndReason, concerns: impl Fn(&StreamInfo) -> bool) -> usize {
        // Out of the lock, for what decides is a user's code.
        self.entries().iter().filter(|listed| concerns(&self.info(listed)) && listed.access().close(reason)).count()
    }

    /// How often a stream has begun or ended so far: for [`changed_since`](Self::changed_since).
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// Waits until [`changes`](Self::changes) is another number than `known`, and says which.
    pub async fn changed_since(&self, known: u64) -> u64 {
        loop {
            let changed = self.0.changed.notified();
            let changes = self.changes();
            if changes != known {
                return changes;
            }
            changed.await;
        }
    }

    /// `chosen` is the handler's, unless another stream has it.
    pub(super) fn enter(&self, access: &Access, chosen: Option<StreamId>, label: Option<&StreamLabel>) -> Arc<Listed> {
        let (access, now) = (access.clone(), self.now());
        let label = label.map(|StreamLabel(label)| Arc::clone(label));
        let mut streams = self.streams();
        let mut id = chosen;
        let id = loop {
            match id.filter(|id| !streams.contains_key(id)) {
                Some(id) => break id,
                None => id = Some((self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1).into()),
            }
        };
        let listed = Arc::new(Listed::new(id, access, label, now));
        streams.insert(id, Arc::clone(&listed));
        drop(streams);
        self.note_change();
        listed
    }

    pub(super) fn leave(&self, id: StreamId) {
        let gone = self.streams().remove(&id);
        drop(gone);
        self.note_change();
    }

    /// Milliseconds since there is a registry.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.0.since).as_millis()).unwrap_or(u64::MAX)
    }

    fn note_change(&self) {
        self.0.changes.fetch_add(1, Ordering::Release);
        wake_all(&self.0.changed);
    }

    fn info(&self, listed: &Listed) -> StreamInfo {
        let now = self.now();
        let ago = |then: u64| Duration::from_millis(now.saturating_sub(then));
        StreamInfo {
            id: listed.id(),
            label: listed.label(),
            identity: listed.access().identity(),
            scopes: listed.access().granted().scopes().clone(),
            age: ago(listed.opened()),
            confirmed: ago(listed.confirmed()),
            frames: listed.frames(),
            bytes: listed.bytes(),
        }
    }

    fn entries(&self) -> Vec<Arc<Listed>> {
        self.streams().values().cloned().collect()
    }

    // No code of a user's runs under this lock, and each change to the map is whole.
    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Listed>>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OpenStreams {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamLabel {
    /// A label of this text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for OpenStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStreams").field("open", &self.len()).finish_non_exhaustive()
    }
}
