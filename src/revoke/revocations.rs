//! Revocation by hand, for verifiers that cannot revoke.
//!
//! 1. A revocation is remembered first, and then the open streams that it concerns are ended: a stream
//!    that starts between the two is refused by what is remembered.
//! 2. Streams are found by credential, not one by one: a revocation looks at each distinct credential
//!    that has a stream open, and wakes the streams of those that it concerns.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{registry::Registry, shared_check::SharedCheck};
use crate::{Clock, Identity, counts::Revoking, unwind::contained};

/// How much longer than asked for an entry is kept: for clocks that disagree, and for a layer's leeway.
const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Revokes credentials whose verifier cannot: signed tokens (JWT), say, which are good until they
/// expire whatever happens.
///
/// Hand it to [`AuthLayer::with_revocations`](crate::bearer::AuthLayer::with_revocations) and keep a
/// clone: clones are handles on the same memory. What is revoked is refused at the door with 401
/// `invalid_token`, and its open streams end at once; streams of other credentials are not woken.
///
/// It goes by the verifier's answer: [`credential_id`](Identity::credential_id),
/// [`session_id`](Identity::session_id), [`issuer`](Identity::issuer), [`subject`](Identity::subject) and
/// [`issued_at`](Identity::issued_at).
///
/// # Before, and in the same second
///
/// Dates of issue are mostly whole seconds (the `iat` of RFC 7519 section 4.1.6). A date without a
/// fraction is compared with the second in which a revocation falls, so that a caller who signs in again
/// right after "sign out everywhere" is let in; and so is, at the door, a credential that was issued
/// earlier in that very second. Its streams that are open at the revocation end all the same. Where that
/// second matters, revoke the credential by its id as well.
///
/// # Memory
///
/// One entry for each credential id, each session and each subject that was revoked, until
/// [`forget`](Self::forget), [`forget_session`](Self::forget_session) or
/// [`forget_subject`](Self::forget_subject) removes it. Those of [`revoke_until`](Self::revoke_until) and
/// [`revoke_session_until`](Self::revoke_session_until) are removed as others come, from a day after their expiry
/// on. One date for all that was issued before.
/// It is kept in this process: after a restart what is revoked must be said again. [`list`](Self::list) says what
/// there is to keep, and [`restore`](Self::restore) takes it.
#[derive(Clone, Default)]
pub struct Revocations(Arc<Shared>);

#[derive(Default)]
struct Shared {
    clock: Clock,
    remembered: RwLock<Remembered>,
    /// The number of times that everything was revoked.
    epoch: AtomicU64,
    /// The open streams of each door, by credential.
    doors: Mutex<Vec<Weak<Registry<SharedCheck>>>>,
}

#[derive(Default)]
struct Remembered {
    credentials: Ids,
    /// By issuer.
    sessions: HashMap<Option<Box<str>>, Ids>,
    /// What was issued to them before: by issuer, and by subject.
    subjects: HashMap<Option<Box<str>>, HashMap<Box<str>, SystemTime>>,
    /// What was issued to anybody before.
    issued_before: Option<SystemTime>,
}

/// What is revoked by its id.
#[derive(Default)]
struct Ids {
    /// Until when, if not for ever.
    until: HashMap<Box<str>, Option<SystemTime>>,
    /// How many there were when those that are over were removed last.
    swept: usize,
}

/// A subject, and the issuer within which it is one (RFC 7519 section 4.1.2): equal subjects of two
/// issuers are two callers.
///
/// A text is a subject without an issuer, a pair an issuer and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// The `iss` of the credential, if it has one.
    pub issuer: Option<&'a str>,
    /// The `sub` of the credential.
    pub subject: &'a str,
}

/// Something that is revoked, as a value: to be shown, or kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// The credential with this id.
    #[non_exhaustive]
    Credential {
        /// Its id.
        id: String,
        /// Until when, if not for ever.
        until: Option<SystemTime>,
    },
    /// All credentials of a session.
    #[non_exhaustive]
    Session {
        /// The issuer of its credentials, if they name one.
        issuer: Option<String>,
        /// Its id.
        id: String,
        /// Until when, if not for ever.
        until: Option<SystemTime>,
    },
    /// What was issued to a subject before a date, and what does not say when it was.
    #[non_exhaustive]
    Subject {
        /// The issuer of its credentials, if they name one.
        issuer: Option<String>,
        /// The subject.
        subject: String,
        /// The date.
        issued_before: SystemTime,
    },
    /// What was issued before this date.
    IssuedBefore(SystemTime),
}

impl Revocation {
    /// As by [`Revocations::revoke`], or [`Revocations::revoke_until`] where there is an end.
    #[must_use]
    pub fn of_credential(id: impl Into<String>, until: Option<SystemTime>) -> Self {
        Self::Credential { id: id.into(), until }
    }

    /// As by [`Revocations::revoke_session`], or [`Revocations::revoke_session_until`] where there is an end.
    #[must_use]
    pub fn of_session(issuer: Option<String>, id: impl Into<String>, until: Option<SystemTime>) -> Self {
        Self::Session { issuer, id: id.into(), until }
    }

    /// As by [`Revocations::revoke_subject_before`].
    #[must_use]
    pub fn of_subject<'a>(subject: impl Into<Subject<'a>>, issued_before: SystemTime) -> Self {
        let Subject { issuer, subject } = subject.into();
        Self::Subject { issuer: issuer.map(Into::into), subject: subject.into(), issued_before }
    }
}

impl<'a> From<&'a str> for Subject<'a> {
    fn from(subject: &'a str) -> Self {
        Self { issuer: None, subject }
    }
}

impl<'a> From<&'a String> for Subject<'a> {
    fn from(subject: &'a String) -> Self {
        Self { issuer: None, subject }
    }
}

/// An issuer and its subject.
impl<'a> From<(&'a str, &'a str)> for Subject<'a> {
    fn from((issuer, subject): (&'a str, &'a str)) -> Self {
        Self { issuer: Some(issuer), subject }
    }
}

impl<'a> From<&'a Identity> for Subject<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { issuer: identity.issuer(), subject: identity.subject() }
    }
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

    /// Revokes the credential with this id, until [`forget`](Self::forget).
    ///
    /// ```
    /// use tower_reauth::{AuthMethod, Identity, revoke::Revocations};
    ///
    /// let revocations = Revocations::new();
    /// revocations.revoke("laptop");
    /// let laptop = Identity::new("alice", AuthMethod::Token).with_credential_id("laptop");
    /// assert!(revocations.is_revoked(&laptop));
    /// ```
    pub fn revoke(&self, credential_id: &str) {
        self.revoke_credential(credential_id, None);
    }

    /// Revokes the credential with this id until it expires by itself: at `expires_at`, and for a layer with
    /// a leeway as much later. For a credential that was revoked without an end it changes nothing.
    pub fn revoke_until(&self, credential_id: &str, expires_at: SystemTime) {
        self.revoke_credential(credential_id, Some(expires_at));
    }

    /// Revokes all credentials of a session of this issuer (of none, where credentials name none), until
    /// [`forget_session`](Self::forget_session).
    ///
    /// ```
    /// use tower_reauth::{AuthMethod, Identity, revoke::Revocations};
    ///
    /// let revocations = Revocations::new();
    /// revocations.revoke_session(Some("https://issuer.example"), "s-1");
    /// let alice = Identity::new("alice", AuthMethod::Token).with_issuer("https://issuer.example");
    /// assert!(revocations.is_revoked(&alice.clone().with_session_id("s-1")));
    /// assert!(!revocations.is_revoked(&alice.with_session_id("s-2")));
    /// ```
    pub fn revoke_session(&self, issuer: Option<&str>, session_id: &str) {
        self.revoke_session_while(issuer, session_id, None);
    }

    /// As [`revoke_session`](Self::revoke_session), until the last of its credentials has expired by itself: at
    /// `expires_at`, and for a layer with a leeway as much later.
    pub fn revoke_session_until(&self, issuer: Option<&str>, session_id: &str, expires_at: SystemTime) {
        self.revoke_session_while(issuer, session_id, Some(expires_at));
    }

    /// Revokes what was issued to `subject` until now. What is issued from now on is good. What does not say
    /// when it was issued (`StaticToken` and `Tokens` do not) is revoked until
    /// [`forget_subject`](Self::forget_subject).
    ///
    /// A text alone is the subject of no issuer, and concerns no caller who has one, as each caller with a signed token
    /// does: that is named by a pair, or by an [`Identity`].
    ///
    /// ```
    /// use tower_reauth::{AuthMethod, Identity, revoke::Revocations};
    ///
    /// let revocations = Revocations::new();
    /// let alice = Identity::new("alice", AuthMethod::Token).with_issuer("https://issuer.example");
    /// revocations.revoke_subject("alice");
    /// assert!(!revocations.is_revoked(&alice));
    /// revocations.revoke_subject(("https://issuer.example", "alice"));
    /// assert!(revocations.is_revoked(&alice));
    /// ```
    pub fn revoke_subject<'a>(&self, subject: impl Into<Subject<'a>>) {
        self.revoke_subject_until(subject.into(), self.0.clock.now());
    }

    /// Revokes what was issued to `subject` until `now`, by the clock of its issuer.
    pub(super) fn revoke_subject_until(&self, subject: Subject<'_>, now: SystemTime) {
        self.remember().revoke_subject(subject, now);
        // What has a stream open was issued before now, whatever its date is rounded to.
        self.end("subject", |identity| {
            Subject::from(identity) == subject && identity.issued_at().is_none_or(|issued_at| issued_at <= now)
        });
    }

    /// Revokes what was issued to `subject` before `time`, and what does not say when it was issued: for
    /// what was revoked before a restart. An earlier `time` than before changes nothing.
    pub fn revoke_subject_before<'a>(&self, subject: impl Into<Subject<'a>>, time: SystemTime) {
        let subject = subject.into();
        self.remember().revoke_subject(subject, time);
        self.end("subject", |identity| Subject::from(identity) == subject && self.is_revoked(identity));
    }

    /// Revokes what was issued before `time`. What does not say when it was issued is for the verifier
    /// to judge. An earlier `time` than before changes nothing.
    pub fn revoke_issued_before(&self, time: SystemTime) {
        self.remember().push_back(time);
        self.end("issued_before", |identity| identity.issued_at().is_some_and(|issued_at| is_before(issued_at, time)));
    }

    /// Revokes everything: ends every open stream of the layers and sources that were given this, whatever
    /// its credential says, unless it is renewed with a later one before it is polled; and refuses what was
    /// issued before now. At the door, what does not say when it was issued is for the verifier to judge.
    pub fn revoke_all(&self) {
        let now = self.0.clock.now();
        self.remember().push_back(now);
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
        self.end("all", |_| true);
    }

    /// Revokes what was revoked before a restart, as [`list`](Self::list) had it. What is revoked already stays so.
    pub fn restore(&self, kept: impl IntoIterator<Item = Revocation>) {
        for revocation in kept {
            match revocation {
                Revocation::Credential { id, until } => self.revoke_credential(&id, until),
                Revocation::Session { issuer, id, until } => self.revoke_session_while(issuer.as_deref(), &id, until),
                Revocation::Subject { issuer, subject, issued_before } => {
                    self.revoke_subject_before(Subject { issuer: issuer.as_deref(), subject: &subject }, issued_before);
                }
                Revocation::IssuedBefore(time) => self.revoke_issued_before(time),
            }
        }
    }

    /// All that is revoked, in no order: what [`restore`](Self::restore) takes. Of
    /// [`revoke_all`](Self::revoke_all) it has the date.
    #[must_use]
    pub fn list(&self) -> Vec<Revocation> {
        let owned = |issuer: &Option<Box<str>>| issuer.as_deref().map(str::to_owned);
        let remembered = self.remembered();
        let credentials = remembered.credentials.until.iter();
        let credentials = credentials.map(|(id, until)| Revocation::of_credential(&**id, *until));
        let sessions = remembered.sessions.iter().flat_map(|(issuer, ids)| {
            ids.until.iter().map(move |(id, until)| Revocation::of_session(owned(issuer), &**id, *until))
        });
        let subjects = remembered.subjects.iter().flat_map(|(issuer, subjects)| {
            let issuer = issuer.as_deref();
            subjects.iter().map(move |(subject, time)| Revocation::of_subject(Subject { issuer, subject }, *time))
        });
        let by_date = remembered.issued_before.map(Revocation::IssuedBefore);
        credentials.chain(sessions).chain(subjects).chain(by_date).collect()
    }

    /// Forgets that the credential with this id was revoked. Returns whether it was.
    pub fn forget(&self, credential_id: &str) -> bool {
        self.remember().credentials.until.remove(credential_id).is_some()
    }

    /// Forgets that a session was revoked. Returns whether it was.
    pub fn forget_session(&self, issuer: Option<&str>, session_id: &str) -> bool {
        let issuer = issuer.map(Into::into);
        let mut remembered = self.remember();
        let Some(sessions) = remembered.sessions.get_mut(&issuer) else { return false };
        let was_revoked = sessions.until.remove(session_id).is_some();
        if sessions.until.is_empty() {
            remembered.sessions.remove(&issuer);
        }
        was_revoked
    }

    /// Forgets that what was issued to `subject` was revoked. Returns whether it was.
    pub fn forget_subject<'a>(&self, subject: impl Into<Subject<'a>>) -> bool {
        let subject = subject.into();
        let issuer = subject.issuer.map(Into::into);
        let mut remembered = self.remember();
        let Some(subjects) = remembered.subjects.get_mut(&issuer) else { return false };
        let was_revoked = subjects.remove(subject.subject).is_some();
        if subjects.is_empty() {
            remembered.subjects.remove(&issuer);
        }
        was_revoked
    }

    /// Whether a credential of this identity is revoked.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.is_revoked_with(identity, Duration::ZERO)
    }

    /// The same, by a layer that accepts credentials for `leeway` longer than they say.
    pub(crate) fn is_revoked_with(&self, identity: &Identity, leeway: Duration) -> bool {
        let until = {
            let remembered = self.remembered();
            if remembered.denies_by_date(identity) {
                return true;
            }
            [remembered.credential(identity), remembered.session(identity)]
        };
        // The clock may be a user's own, so it is read while no lock is held.
        let is_over = |until: SystemTime| until.checked_add(leeway).is_some_and(|end| end <= self.0.clock.now());
        until.into_iter().flatten().any(|until| !until.is_some_and(is_over))
    }

    /// Moves each time that everything is revoked.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// Ends streams of `door` too, from now on.
    pub(crate) fn watch(&self, door: &Arc<Registry<SharedCheck>>) {
        let mut doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.strong_count() > 0);
        doors.push(Arc::downgrade(door));
    }

    fn revoke_credential(&self, credential_id: &str, until: Option<SystemTime>) {
        // It only says what can be forgotten: what cannot be read keeps nothing from being revoked.
        let now = contained(|| self.0.clock.now());
        self.remember().credentials.revoke(credential_id, until, now);
        // A layer with a leeway may have a stream open though the credential has expired.
        let concerns = |identity: &Identity| {
            identity.credential_id() == Some(credential_id) && self.is_revoked_with(identity, MARGIN)
        };
        self.end("credential", concerns);
    }

    fn revoke_session_while(&self, issuer: Option<&str>, session_id: &str, until: Option<SystemTime>) {
        let now = contained(|| self.0.clock.now());
        self.remember().sessions.entry(issuer.map(Into::into)).or_default().revoke(session_id, until, now);
        let concerns = |identity: &Identity| {
            identity.issuer() == issuer
                && identity.session_id() == Some(session_id)
                && self.is_revoked_with(identity, MARGIN)
        };
        self.end("session", concerns);
    }

    fn end(&self, kind: &'static str, concerns: impl Fn(&Identity) -> bool) {
        let revoking = Revoking::begin(kind);
        let doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for door in doors.iter().filter_map(Weak::upgrade) {
            for shared_check in door.all() {
                shared_check.revoke(&concerns, &revoking);
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

impl Ids {
    fn revoke(&mut self, id: &str, until: Option<SystemTime>, now: Option<SystemTime>) {
        // Twice as many as were left the last time: so each entry is looked at a few times in all.
        if let Some(now) = now.filter(|_| self.until.len() > 2 * self.swept + 64) {
            let is_over = |until: SystemTime| until.checked_add(MARGIN).is_some_and(|end| end <= now);
            self.until.retain(|_, until| !until.is_some_and(is_over));
            self.swept = self.until.len();
        }
        let known = self.until.entry(id.into()).or_insert(until);
        // `None` is for ever.
        *known = known.zip(until).map(|(known, until)| known.max(until));
    }
}

impl Remembered {
    /// Until when the credential of an identity is revoked, if it is.
    fn credential(&self, identity: &Identity) -> Option<Option<SystemTime>> {
        self.credentials.until.get(identity.credential_id()?).copied()
    }

    /// The same of its session.
    fn session(&self, identity: &Identity) -> Option<Option<SystemTime>> {
        if self.sessions.is_empty() {
            return None;
        }
        let session_id = identity.session_id()?;
        self.sessions.get(&identity.issuer().map(Into::into))?.until.get(session_id).copied()
    }

    fn revoke_subject(&mut self, subject: Subject<'_>, time: SystemTime) {
        let subjects = self.subjects.entry(subject.issuer.map(Into::into)).or_default();
        // A clock may have been set back: what was revoked stays so.
        subjects.entry(subject.subject.into()).and_modify(|known| *known = time.max(*known)).or_insert(time);
    }

    fn push_back(&mut self, issued_before: SystemTime) {
        self.issued_before = self.issued_before.max(Some(issued_before));
    }

    fn denies_by_date(&self, identity: &Identity) -> bool {
        let is_before = |time: &SystemTime| identity.issued_at().is_some_and(|issued_at| is_before(issued_at, *time));
        let subject_denied = || {
            if self.subjects.is_empty() {
                return None;
            }
            self.subjects.get(&identity.issuer().map(Into::into))?.get(identity.subject())
        };
        self.issued_before.as_ref().is_some_and(is_before)
            || subject_denied().is_some_and(|time| identity.issued_at().is_none() || is_before(time))
    }
}

/// Whether a credential that was issued at `issued_at` was issued before `time`, to the precision of its
/// date.
fn is_before(issued_at: SystemTime, time: SystemTime) -> bool {
    let fraction = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_nanos(since.subsec_nanos().into())
    };
    let time = if fraction(issued_at).is_zero() { time - fraction(time) } else { time };
    issued_at < time
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (credentials, sessions, subjects, issued_before) = {
            let remembered = self.remembered();
            let subjects = remembered.subjects.values().map(HashMap::len).sum::<usize>();
            let sessions = remembered.sessions.values().map(|ids| ids.until.len()).sum::<usize>();
            (remembered.credentials.until.len(), sessions, subjects, remembered.issued_before)
        };
        f.debug_struct("Revocations")
            .field("credentials", &credentials)
            .field("sessions", &sessions)
            .field("subjects", &subjects)
            .field("issued_before", &issued_before)
            .finish_non_exhaustive()
    }
}
