//! Revocation by hand, for verifiers that cannot revoke.
//!
//! 1. A revocation is remembered first, and then the open streams that it concerns are ended: a stream
//!    that starts between the two is refused by what is remembered.
//! 2. Streams are found by credential, not one by one: a revocation looks at each distinct credential
//!    that has a stream open, and wakes the streams of those that it concerns.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    Revocation, Subject,
    keepers::{Keeper, Keepers},
    registry::Registry,
    remembered::{MARGIN, Remembered, is_before},
    shared::{Entry, Part, Topic},
    shared_check::SharedCheck,
};
use crate::{Clock, Identity, counts::Revoking, unwind::contained, verify::TokenDigest};

/// Revokes credentials whose verifier cannot: signed tokens (JWT), say, which are good until they
/// expire whatever happens.
///
/// Hand it to [`AuthLayer::with_revocations`](crate::bearer::AuthLayer::with_revocations) and keep a
/// clone: clones are handles on the same memory. What is revoked is refused at the door with 401
/// `invalid_token`, and its open streams end at once; streams of other credentials are not woken.
///
/// It goes by the verifier's answer: [`credential_id`](Identity::credential_id),
/// [`session_id`](Identity::session_id), [`issuer`](Identity::issuer), [`subject`](Identity::subject) and
/// [`issued_at`](Identity::issued_at); and by the token itself, whatever the answer.
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
/// One entry for each token, each credential id, each session and each subject that was revoked, until
/// [`forget`](Self::forget) and its like remove it. Those of [`revoke_until`](Self::revoke_until) and
/// its like are removed as others come, from a day after their expiry
/// on. One date for all that was issued before.
/// It is kept in this process: after a restart what is revoked must be said again. [`list`](Self::list) says what
/// there is to keep, and [`restore`](Self::restore) takes it. Several processes share it by [`shared`](Self::shared).
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
    keepers: Keepers,
    /// What is besides where other nodes share it.
    part: Option<Part>,
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

    /// Those of a node that has a part in a log.
    pub(super) fn of_a_node(clock: Clock, prefers_availability: bool) -> Self {
        Self(Arc::new(Shared { clock, part: Some(Part::new(prefers_availability)), ..Shared::default() }))
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
        self.revoke_one(Revocation::of_credential(credential_id, None), Extent::Dates);
    }

    /// Revokes the credential with this id until it expires by itself: at `expires_at`, and for a layer with
    /// a leeway as much later. For a credential that was revoked without an end it changes nothing.
    pub fn revoke_until(&self, credential_id: &str, expires_at: SystemTime) {
        self.revoke_one(Revocation::of_credential(credential_id, Some(expires_at)), Extent::Dates);
    }

    /// Revokes the token with this digest (RFC 7009 revokes by the token itself), until
    /// [`forget_token`](Self::forget_token): whatever its verifier says of it, and also where that names no id.
    ///
    /// It concerns credentials that have a [key](crate::bearer::Authenticate::key) of this digest, as bearer tokens have.
    ///
    /// Where other nodes share what is revoked, the digest is written to their log: see
    /// [`shared`](super::shared).
    ///
    /// ```
    /// use tower_reauth::{revoke::Revocations, verify::TokenDigest};
    ///
    /// let revocations = Revocations::new();
    /// revocations.revoke_token(TokenDigest::of("t0ken"));
    /// assert!(revocations.is_token_revoked(TokenDigest::of("t0ken")));
    /// ```
    pub fn revoke_token(&self, token: TokenDigest) {
        self.revoke_one(Revocation::of_token(token, None), Extent::Dates);
    }

    /// Revokes the token with this digest until it expires by itself: at `expires_at`, and for a layer with a leeway as
    /// much later. For a token that was revoked without an end it changes nothing.
    pub fn revoke_token_until(&self, token: TokenDigest, expires_at: SystemTime) {
        self.revoke_one(Revocation::of_token(token, Some(expires_at)), Extent::Dates);
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
    /// `expires_at`, and for a layer with a leeway as much later. For a session that was revoked without an end it changes
    /// nothing.
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
        self.revoke_subject_until(subject.into(), self.now());
    }

    /// Revokes what was issued to `subject` until `now`, by the clock of its issuer.
    pub(super) fn revoke_subject_until(&self, subject: Subject<'_>, now: SystemTime) {
        self.revoke_one(Revocation::of_subject(subject, now), Extent::Open);
    }

    /// Revokes what was issued to `subject` before `time`, and what does not say when it was issued: for
    /// what was revoked before a restart. An earlier `time` than before changes nothing.
    pub fn revoke_subject_before<'a>(&self, subject: impl Into<Subject<'a>>, time: SystemTime) {
        self.revoke_one(Revocation::of_subject(subject, time), Extent::Dates);
    }

    /// Revokes what was issued before `time`. What does not say when it was issued is for the verifier
    /// to judge. An earlier `time` than before changes nothing.
    pub fn revoke_issued_before(&self, time: SystemTime) {
        self.revoke_one(Revocation::IssuedBefore(time), Extent::Dates);
    }

    /// Revokes everything: ends every open stream of the layers and sources that were given this, whatever
    /// its credential says, unless it is renewed with a later one before it is polled; and refuses what was
    /// issued before now. At the door, what does not say when it was issued is for the verifier to judge.
    pub fn revoke_all(&self) {
        let time = self.time_for_all(self.now());
        self.share_all(time);
        self.end_all(time);
    }

    /// Revokes what was revoked before a restart, as [`list`](Self::list) had it. What is revoked already stays so.
    pub fn restore(&self, kept: impl IntoIterator<Item = Revocation>) {
        for revocation in kept {
            self.revoke_one(revocation, Extent::Dates);
        }
    }

    /// All that is revoked, in no order: what [`restore`](Self::restore) takes. Of
    /// [`revoke_all`](Self::revoke_all) it has the date.
    #[must_use]
    pub fn list(&self) -> Vec<Revocation> {
        self.remembered().list()
    }

    /// Forgets that the token with this digest was revoked. Returns whether it was.
    pub fn forget_token(&self, token: TokenDigest) -> bool {
        self.forget_one(Topic::Token(token))
    }

    /// Forgets that the credential with this id was revoked. Returns whether it was.
    pub fn forget(&self, credential_id: &str) -> bool {
        self.forget_one(Topic::Credential(credential_id.to_owned()))
    }

    /// Forgets that a session was revoked. Returns whether it was.
    pub fn forget_session(&self, issuer: Option<&str>, session_id: &str) -> bool {
        self.forget_one(Topic::Session { issuer: issuer.map(str::to_owned), id: session_id.to_owned() })
    }

    /// Forgets that what was issued to `subject` was revoked. Returns whether it was.
    pub fn forget_subject<'a>(&self, subject: impl Into<Subject<'a>>) -> bool {
        self.forget_one(Topic::of_subject(subject.into()))
    }

    /// Whether a credential of this identity is revoked, as far as that can be said without
    /// [the token](Self::is_token_revoked).
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.is_revoked_with(identity, || None, Duration::ZERO)
    }

    /// Whether the token with this digest is revoked.
    #[must_use]
    pub fn is_token_revoked(&self, token: TokenDigest) -> bool {
        let until = self.remembered().token(&token);
        until.is_some_and(|until| self.holds(until, Duration::ZERO))
    }

    /// The same of both, by a layer that accepts credentials for `leeway` longer than they say. `token` is asked for the
    /// digest where any token is revoked.
    pub(crate) fn is_revoked_with(
        &self,
        identity: &Identity,
        token: impl Fn() -> Option<TokenDigest>,
        leeway: Duration,
    ) -> bool {
        let (until, has_tokens) = {
            let remembered = self.remembered();
            if remembered.denies_by_date(identity) {
                return true;
            }
            (remembered.until(identity), remembered.has_tokens())
        };
        // It may be a user's own code that knows it, so no lock is held; and so it is with the clock.
        let token = if has_tokens { token() } else { None };
        let of_token = token.and_then(|token| self.remembered().token(&token));
        until.into_iter().chain([of_token]).flatten().any(|until| self.holds(until, leeway))
    }

    /// Whether what is revoked until then still is.
    fn holds(&self, until: Option<SystemTime>, leeway: Duration) -> bool {
        let is_over = |until: SystemTime| until.checked_add(leeway).is_some_and(|end| end <= self.earliest_now());
        !until.is_some_and(is_over)
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

    /// Tells `keeper` too of what becomes of tokens, from now on.
    pub(crate) fn tell(&self, keeper: &Arc<impl Keeper + 'static>) {
        self.0.keepers.add(keeper);
    }

    pub(super) fn tell_revoked(&self, revocation: &Revocation) {
        if let Revocation::Token { digest, until } = revocation {
            self.0.keepers.tell(|keeper| keeper.revoked(*digest, *until));
        }
    }

    pub(super) fn tell_void(&self, token: Option<TokenDigest>) {
        self.0.keepers.tell(|keeper| keeper.void(token));
    }

    fn revoke_session_while(&self, issuer: Option<&str>, session_id: &str, until: Option<SystemTime>) {
        let issuer = issuer.map(str::to_owned);
        self.revoke_one(Revocation::of_session(issuer, session_id, until), Extent::Dates);
    }

    /// Revokes here, and everywhere else.
    fn revoke_one(&self, revocation: Revocation, extent: Extent) {
        // First: what is read of it meanwhile is not later.
        if let Some(part) = self.part() {
            part.push(revocation.clone().into());
        }
        self.remember_one(&revocation);
        self.end_concerned(&revocation, extent);
        self.tell_revoked(&revocation);
    }

    /// Forgets here, and then everywhere else.
    fn forget_one(&self, topic: Topic) -> bool {
        let shared = self.part().map(|part| (part, self.now()));
        let was_revoked = self.remember().forget(&topic);
        if let Some((part, now)) = shared {
            part.push(Entry::forgotten(topic, now));
        }
        was_revoked
    }

    /// Whether it says more than what was known.
    pub(super) fn remember_one(&self, revocation: &Revocation) -> bool {
        // It only says what can be forgotten: what cannot be read keeps nothing from being revoked.
        let now = contained(|| self.now());
        self.remember().revoke(revocation, now)
    }

    /// Ends the open streams that a revocation concerns.
    pub(super) fn end_concerned(&self, revocation: &Revocation, extent: Extent) {
        // A layer with a leeway may have a stream open though the credential has expired.
        let is_revoked = |identity: &Identity| self.is_revoked_with(identity, || None, MARGIN);
        match revocation {
            Revocation::Token { digest, .. } => {
                let revoking = Revoking::begin("token");
                let is_revoked = || {
                    let until = self.remembered().token(digest);
                    until.is_some_and(|until| self.holds(until, MARGIN))
                };
                self.for_each_credential(|shared_check| {
                    if shared_check.is_of(digest) {
                        shared_check.revoke(|_| is_revoked(), &revoking);
                    }
                });
            }
            Revocation::Credential { id, .. } => {
                self.end("credential", |identity| identity.credential_id() == Some(id) && is_revoked(identity));
            }
            Revocation::Session { issuer, id, .. } => self.end("session", |identity| {
                identity.issuer() == issuer.as_deref() && identity.session_id() == Some(id) && is_revoked(identity)
            }),
            Revocation::Subject { issuer, subject, issued_before } => {
                let subject = Subject { issuer: issuer.as_deref(), subject };
                self.end("subject", |identity| {
                    let is_concerned = || match extent {
                        // What has a stream open was issued before now, whatever its date is rounded to.
                        Extent::Open => identity.issued_at().is_none_or(|issued_at| issued_at <= *issued_before),
                        Extent::Dates => self.is_revoked(identity),
                    };
                    Subject::from(identity) == subject && is_concerned()
                });
            }
            Revocation::IssuedBefore(time) => {
                self.end("issued_before", |identity| {
                    identity.issued_at().is_some_and(|issued_at| is_before(issued_at, *time))
                });
            }
        }
    }

    /// Ends everything, as of `time`.
    pub(super) fn end_all(&self, time: SystemTime) {
        self.remember().revoke(&Revocation::IssuedBefore(time), None);
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
        self.end("all", |_| true);
    }

    fn end(&self, kind: &'static str, concerns: impl Fn(&Identity) -> bool) {
        let revoking = Revoking::begin(kind);
        self.for_each_credential(|shared_check| shared_check.revoke(&concerns, &revoking));
    }

    /// Has every open stream look at how things stand.
    pub(super) fn wake(&self) {
        self.for_each_credential(SharedCheck::wake);
    }

    fn for_each_credential(&self, act: impl Fn(&SharedCheck)) {
        let doors = self.0.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for door in doors.iter().filter_map(Weak::upgrade) {
            door.all().iter().for_each(|shared_check| act(shared_check));
        }
    }

    pub(super) fn part(&self) -> Option<&Part> {
        self.0.part.as_ref()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// By the clock that all who share this go by.
    pub(super) fn now(&self) -> SystemTime {
        self.0.part.as_ref().and_then(Part::time).unwrap_or_else(|| self.0.clock.now())
    }

    /// By that and by this node's own clock, whichever is behind: the own one is what a layer judges by when a credential
    /// expires, and it must not become good again before that.
    fn earliest_now(&self) -> SystemTime {
        let own = self.0.clock.now();
        self.0.part.as_ref().and_then(Part::time).map_or(own, |shared| shared.min(own))
    }

    /// Another number whenever this began to be sure of what is revoked, or stopped to; `None` where it always is.
    pub(crate) fn lease(&self) -> Option<u64> {
        self.0.part.as_ref().map(Part::lease)
    }

    fn remembered(&self) -> RwLockReadGuard<'_, Remembered> {
        self.0.remembered.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self) -> RwLockWriteGuard<'_, Remembered> {
        self.0.remembered.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which open streams of a subject a revocation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All whose credential was issued until then.
    Open,
    /// Those whose credential is revoked by its date.
    Dates,
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([tokens, credentials, sessions, subjects], issued_before) = self.remembered().counts();
        f.debug_struct("Revocations")
            .field("tokens", &tokens)
            .field("credentials", &credentials)
            .field("sessions", &sessions)
            .field("subjects", &subjects)
            .field("issued_before", &issued_before)
            .finish_non_exhaustive()
    }
}
