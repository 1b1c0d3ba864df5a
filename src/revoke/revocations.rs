//! Revocation by hand, for verifiers that cannot revoke.
//!
//! 1. First what was revoked is remembered, then the open streams that it concerns are ended: a stream
//!    that starts between the two is refused by what is remembered.
//! 2. Streams are found by credential, not one by one: a revocation looks at each distinct credential
//!    that has a stream open, and wakes the streams of those that it concerns.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{registry::Registry, shared_check::SharedCheck};
use crate::{Clock, Identity};

/// Revokes credentials whose verifier cannot: signed tokens (JWT), say, which are good until they
/// expire whatever happens.
///
/// Hand it to [`AuthLayer::with_revocations`](crate::bearer::AuthLayer::with_revocations) and keep a
/// clone: clones are handles on the same memory. What is revoked is refused at the door with 401
/// `invalid_token`, and its open streams end at once; no others are woken.
///
/// What it goes by is the verifier's answer: [`credential_id`](Identity::credential_id),
/// [`subject`](Identity::subject) and [`issued_at`](Identity::issued_at).
///
/// # Memory
///
/// One entry for each credential id and each subject that was revoked, until
/// [`forget`](Self::forget) or [`forget_subject`](Self::forget_subject) removes it: once every
/// credential that it concerns has expired by itself. One date for all that was issued before. It is
/// kept in this process: after a restart what is revoked must be said again.
#[derive(Clone, Default)]
pub struct Revocations(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clock: Clock,
    remembered: RwLock<Remembered>,
    /// How often everything was revoked.
    epoch: AtomicU64,
    /// The open streams of each door, by credential.
    doors: Mutex<Vec<Weak<Registry<SharedCheck>>>>,
}

#[derive(Default)]
struct Remembered {
    credentials: HashSet<Arc<str>>,
    /// What was issued to them before.
    subjects: HashMap<Arc<str>, SystemTime>,
    /// What was issued to anybody before.
    issued_before: Option<SystemTime>,
}

impl Revocations {
    /// Nothing is revoked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with the wall clock read elsewhere. It must be the clock of the layers.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, ..Shared::default() }))
    }

    /// Revokes the credential with this id.
    pub fn revoke(&self, credential_id: &str) {
        self.remember().credentials.insert(credential_id.into());
        self.end(|identity| identity.credential_id() == Some(credential_id));
    }

    /// Revokes what was issued to `subject` until now, and what does not say when it was issued. What
    /// is issued from now on is good.
    pub fn revoke_subject(&self, subject: &str) {
        let now = self.0.clock.now();
        // A clock may have been set back: what was revoked stays so.
        self.remember().subjects.entry(subject.into()).and_modify(|time| *time = now.max(*time)).or_insert(now);
        self.end(|identity| identity.subject() == subject && self.is_revoked(identity));
    }

    /// Revokes what was issued before `time`. What does not say when it was issued is for the verifier
    /// to judge. An earlier `time` than before changes nothing.
    pub fn revoke_issued_before(&self, time: SystemTime) {
        self.remember().push_back(time);
        self.end(|identity| identity.issued_at().is_some_and(|issued_at| issued_at < time));
    }

    /// Revokes everything: ends every open stream that is not renewed with a later credential before it
    /// is polled, whatever its own says, and refuses what was issued before now. At the door, what does not say when it was issued is for the verifier to
    /// judge.
    pub fn revoke_all(&self) {
        let now = self.0.clock.now();
        self.remember().push_back(now);
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
        self.end(|_| true);
    }

    /// Forgets that the credential with this id was revoked. Whether it was.
    pub fn forget(&self, credential_id: &str) -> bool {
        self.remember().credentials.remove(credential_id)
    }

    /// Forgets that what was issued to `subject` was revoked. Whether it was.
    pub fn forget_subject(&self, subject: &str) -> bool {
        self.remember().subjects.remove(subject).is_some()
    }

    /// Whether a credential of this identity is revoked.
    pub(crate) fn is_revoked(&self, identity: &Identity) -> bool {
        let remembered = self.remembered();
        let is_older = |time: &SystemTime| identity.issued_at().is_some_and(|issued_at| issued_at < *time);
        let subject_denied = remembered.subjects.get(identity.subject());
        identity.credential_id().is_some_and(|id| remembered.credentials.contains(id))
            || subject_denied.is_some_and(|time| identity.issued_at().is_none() || is_older(time))
            || remembered.issued_before.as_ref().is_some_and(is_older)
    }

    /// Moves each time that everything is revoked.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// Ends streams of `door` too, from now on.
    pub(crate) fn guard(&self, door: &Arc<Registry<SharedCheck>>) {
        let mut doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.strong_count() > 0);
        doors.push(Arc::downgrade(door));
    }

    fn end(&self, concerns: impl Fn(&Identity) -> bool) {
        let doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for door in doors.iter().filter_map(Weak::upgrade) {
            // Withdrawn, so that who comes with the same credential after it was made good again does
            // not join those that are at their end.
            for shared_check in door.withdraw(|shared_check| concerns(&shared_check.identity())) {
                shared_check.revoke();
            }
        }
    }

    fn remembered(&self) -> RwLockReadGuard<'_, Remembered> {
        self.0.remembered.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self) -> RwLockWriteGuard<'_, Remembered> {
        self.0.remembered.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn push_back(&mut self, issued_before: SystemTime) {
        self.issued_before = self.issued_before.max(Some(issued_before));
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.remembered();
        f.debug_struct("Revocations")
            .field("credentials", &remembered.credentials.len())
            .field("subjects", &remembered.subjects.len())
            .field("issued_before", &remembered.issued_before)
            .finish_non_exhaustive()
    }
}
