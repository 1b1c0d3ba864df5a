//! The one value that the layers share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::Request;
use tokio::time::Instant;

use crate::{
    Clock, Denied, Identity, ScopeSet,
    bearer::{Challenge, CredentialKey, TokenDigest, Verification, VerifyError},
    reauth::{Crowd, Entry, Member, Registry, RenewError, Revision, Revocations},
    scope::{Granted, Requirement, Resolution, ScopeHierarchy},
};

/// Who is calling, what they were granted, and all that is needed to ask again.
///
/// A request extension: [`BearerAuthLayer`](crate::BearerAuthLayer) puts it there, the scope layers
/// fill it in, [`StreamReauthLayer`](crate::StreamReauthLayer) asks it again while the response
/// streams. A handler reads it. Clones share one state, and a recheck that leaves a stream with fewer
/// scopes shows in every clone.
#[derive(Clone)]
pub struct Access(Arc<Shared<dyn Source>>);

struct Shared<S: ?Sized> {
    terms: Mutex<Terms>,
    /// How often another credential took the place of the first one.
    renewals: AtomicU64,
    confirmed: Confirmed,
    cuts: u64,
    source: S,
}

/// What was found out, and on which terms.
struct Terms {
    identity: Identity,
    granted: ScopeSet,
    resolution: Option<(Arc<Resolution>, Option<ScopeSet>)>,
    requirement: Requirement,
    /// The credential that took the place of the first one.
    renewed: Option<Arc<Renewed>>,
    /// Whom a renewal has to wake.
    crowd: Weak<Entry<Crowd>>,
    /// The newest of this crowd's questions whose answer is in all this.
    settled: u64,
}

/// A credential from another request.
struct Renewed {
    confirmed: Confirmed,
    cuts: u64,
    source: Arc<dyn Source>,
}

/// As of when the answer at the door holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Confirmed {
    /// For as long as the revision stands where it stood before the question.
    AtRevision(u64),
    /// From the time of the question, for a verifier without a revision.
    AtTime(Instant),
}

impl Confirmed {
    /// Taken before the question is put, so that a revocation during it is not lost.
    pub(crate) fn by(revision: Option<&Revision>) -> Self {
        revision.map_or_else(|| Self::AtTime(Instant::now()), |revision| Self::AtRevision(revision.current()))
    }
}

/// Where an [`Access`] came from: what is asked again.
pub(crate) trait Source: Send + Sync {
    fn verify(&self) -> Verification;
    fn revision(&self) -> Option<&Revision>;
    fn key(&self) -> Option<CredentialKey>;
    /// Where streams of equal keys meet.
    fn crowds(&self) -> Option<&Arc<Registry<Crowd>>>;
    /// Lets go of the request's buffers.
    fn detach(&self);
    /// The same source, without a hold on the request's buffers.
    fn detached(&self) -> Arc<dyn Source>;
    fn policy(&self) -> &Policy;
}

/// What holds at the door and for as long as the response streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) clock: Clock,
    pub(crate) leeway: Duration,
    pub(crate) challenge: Challenge,
    pub(crate) revocations: Option<Revocations>,
}

impl Policy {
    /// Whether a credential that expires at `expires_at` is no longer good.
    pub(crate) fn is_expired(&self, expires_at: SystemTime) -> bool {
        self.time_left(expires_at).is_zero()
    }

    /// How long a credential is good for, the leeway included.
    pub(crate) fn time_left(&self, expires_at: SystemTime) -> Duration {
        // A date past the end of time is never reached.
        let Some(end) = expires_at.checked_add(self.leeway) else { return Duration::MAX };
        end.duration_since(self.clock.now()).unwrap_or_default()
    }

    /// An identity whose credential has expired or is revoked is none.
    pub(crate) fn admit(&self, identity: Identity) -> Result<Identity, VerifyError> {
        match identity.expires_at() {
            Some(expires_at) if self.is_expired(expires_at) => Err(VerifyError::Expired),
            _ if self.denies(&identity) => Err(VerifyError::Rejected),
            _ => Ok(identity),
        }
    }

    /// How often everything was revoked.
    pub(crate) fn cuts(&self) -> u64 {
        self.revocations.as_ref().map_or(0, Revocations::cuts)
    }

    fn denies(&self, identity: &Identity) -> bool {
        self.revocations.as_ref().is_some_and(|revocations| revocations.denies(identity))
    }
}

impl Access {
    /// Access for `identity` that is not verified again: a stream ends at its expiry, and when a
    /// scope layer no longer grants what is required.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let again = identity.clone();
        Self::with_recheck(identity, move || Verification::ready(Ok(again.clone())))
    }

    /// Access for `identity`, which `recheck` confirms again for as long as a response streams: for
    /// a source of your own in the place of [`BearerAuthLayer`](crate::BearerAuthLayer).
    #[must_use]
    pub fn with_recheck(identity: Identity, recheck: impl Fn() -> Verification + Send + Sync + 'static) -> Self {
        let source = FnSource { recheck: Arc::new(recheck), policy: Arc::default() };
        Self::from_source(identity, Confirmed::by(None), 0, source)
    }

    /// `cuts` was read before the question was put, as `confirmed` was.
    pub(crate) fn from_source(
        identity: Identity,
        confirmed: Confirmed,
        cuts: u64,
        source: impl Source + 'static,
    ) -> Self {
        let granted = identity.scopes().cloned().unwrap_or_default();
        let terms = Terms {
            identity,
            granted,
            resolution: None,
            requirement: Requirement::default(),
            renewed: None,
            crowd: Weak::new(),
            settled: 0,
        };
        Self(Arc::new(Shared { terms: Mutex::new(terms), renewals: AtomicU64::new(0), confirmed, cuts, source }))
    }

    /// Who is calling.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.terms().identity.clone()
    }

    /// What the caller may do now. Without a [`ScopeResolverLayer`](crate::ScopeResolverLayer), the
    /// scopes of the credential itself.
    #[must_use]
    pub fn granted(&self) -> Granted {
        let terms = self.terms();
        Granted::new(terms.granted.clone(), terms.hierarchy().cloned().unwrap_or_default())
    }

    /// What the route required.
    #[must_use]
    pub fn required(&self) -> Requirement {
        self.terms().requirement.clone()
    }

    /// Decides what the identity has, now and at every recheck.
    pub(crate) fn resolve(&self, resolution: &Arc<Resolution>, declared: Option<ScopeSet>) {
        let mut terms = self.terms();
        terms.granted = resolution.resolve(&terms.identity, declared.as_ref());
        terms.resolution = Some((Arc::clone(resolution), declared));
    }

    /// Adds to what is required, now and at every recheck: for a handler that finds out only from
    /// the request what it takes. Where it can be said of a route, use
    /// [`RequireScopeLayer`](crate::RequireScopeLayer).
    ///
    /// # Errors
    ///
    /// [`Denied::InsufficientScope`] when the caller was not granted all that would be required by then;
    /// what is required then stays as it was.
    pub fn require(&self, requirement: impl Into<Requirement>) -> Result<(), Denied> {
        let mut terms = self.terms();
        let both = terms.requirement.clone().and(requirement.into());
        terms.check(&terms.granted, &both)?;
        terms.requirement = both;
        Ok(())
    }

    /// Goes by the credential of `fresh` from now on, in the place of the one that opened the stream,
    /// so that a stream outlives a token that is renewed: `fresh` is the access of a later request of
    /// the same caller, which came through the door.
    ///
    /// The stream ends at the fresh credential's expiry, and when that is revoked; what becomes of the
    /// old one no longer matters. Scopes are resolved for it as they were for the stream's own request,
    /// and must be enough for what that required.
    ///
    /// # Errors
    ///
    /// See [`RenewError`]; all then stays as it was.
    pub fn renew(&self, fresh: &Self) -> Result<(), RenewError> {
        let (identity, renewed) = {
            let terms = fresh.terms();
            (terms.identity.clone(), terms.renewed.clone())
        };
        let renewed = renewed.unwrap_or_else(|| {
            Arc::new(Renewed { confirmed: fresh.0.confirmed, cuts: fresh.0.cuts, source: fresh.0.source.detached() })
        });
        let policy = renewed.source.policy();
        if policy.cuts() != renewed.cuts {
            return Err(RenewError::Denied(Denied::Rejected));
        }
        let identity = policy.admit(identity).map_err(|error| RenewError::Denied(error.into()))?;

        let mut terms = self.terms();
        if identity.subject() != terms.identity.subject() {
            return Err(RenewError::OtherSubject);
        }
        if age(&identity) < age(&terms.identity) {
            return Err(RenewError::Older);
        }
        let granted = terms.resolve(&identity);
        terms.check(&granted, &terms.requirement).map_err(RenewError::Denied)?;
        (terms.identity, terms.granted, terms.renewed) = (identity, granted, Some(renewed));
        self.0.renewals.fetch_add(1, Ordering::Release);
        let crowd = std::mem::take(&mut terms.crowd).upgrade();
        drop(terms);
        if let Some(crowd) = crowd {
            crowd.wake();
        }
        Ok(())
    }

    /// For a stream that starts: the credential that it goes by, and the crowd of those that go by the
    /// same one. Registered before anything is looked at, so that nothing is missed.
    pub(crate) fn join(&self) -> (Held, Member<Crowd>) {
        let mut terms = self.terms();
        let renewals = self.0.renewals.load(Ordering::Acquire);
        let held = Held { access: self.clone(), renewed: terms.renewed.clone(), renewals };
        let key = held.key();
        let credential = key.map(|key| key.credential());
        let question = key.map_or_else(|| self.question(renewals), |key| key.question());
        let crowd = || {
            let watch = held.revision().map(|revision| revision.watch(credential, question));
            Crowd::new(terms.identity.clone(), watch)
        };
        let crowd = match (held.source().crowds(), terms.crowd.upgrade()) {
            (Some(crowds), _) => crowds.join(question, crowd),
            (None, Some(crowd)) => Member::alone(crowd),
            (None, None) => Member::alone(Entry::new(question, crowd())),
        };
        let joined = Arc::downgrade(crowd.entry());
        if !joined.ptr_eq(&terms.crowd) {
            // Another crowd counts its questions anew.
            terms.settled = 0;
            terms.crowd = joined;
        }
        (held, crowd)
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.0.source.policy()
    }

    pub(crate) fn detach(&self) {
        self.0.source.detach();
    }

    // A panic elsewhere leaves the terms whole: each change to them is one assignment.
    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.0.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By which equal questions are known where there is no key: one for the streams of this access, told
    /// apart by where that lies in memory, which is nobody else's while one of them is open.
    fn question(&self, renewals: u64) -> TokenDigest {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&(Arc::as_ptr(&self.0).addr() as u64).to_ne_bytes());
        name[8..16].copy_from_slice(&renewals.to_ne_bytes());
        TokenDigest::from_bytes(name)
    }

    /// What a fresh answer of the verifier about `held` means for this access.
    ///
    /// `number` is that of the question. Two streams of one access may hear two answers in any order:
    /// each goes by its own, and what the newest one leaves is what stays.
    pub(crate) fn settle(&self, held: &Held, number: u64, answer: Result<Identity, VerifyError>) -> Answer {
        let identity = answer.and_then(|identity| held.policy().admit(identity));
        let mut terms = self.terms();
        if !held.is_current(self) {
            return Answer::Outdated;
        }
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => return Answer::Denied(error.into()),
        };
        // A token that now belongs to somebody else does not open what it opened for the first one.
        if identity.subject() != terms.identity.subject() {
            return Answer::Denied(Denied::Rejected);
        }
        let granted = terms.resolve(&identity);
        let expires_at = identity.expires_at();
        let answer = match terms.check(&granted, &terms.requirement) {
            Ok(()) => Answer::Confirmed { expires_at },
            Err(denied) => Answer::Denied(denied),
        };
        if number >= terms.settled {
            (terms.identity, terms.granted, terms.settled) = (identity, granted, number);
        }
        answer
    }
}

/// By which the newer of two credentials is told: one that never expires outlives all others.
fn age(identity: &Identity) -> impl PartialOrd + use<> {
    (identity.expires_at().is_none(), identity.expires_at(), identity.issued_at())
}

impl Terms {
    fn hierarchy(&self) -> Option<&ScopeHierarchy> {
        self.resolution.as_ref().map(|(resolution, _)| resolution.hierarchy())
    }

    fn resolve(&self, identity: &Identity) -> ScopeSet {
        match &self.resolution {
            None => identity.scopes().cloned().unwrap_or_default(),
            Some((resolution, declared)) => resolution.resolve(identity, declared.as_ref()),
        }
    }

    fn check(&self, granted: &ScopeSet, required: &Requirement) -> Result<(), Denied> {
        if self.hierarchy().unwrap_or(&ScopeHierarchy::NONE).satisfies(granted, required) {
            Ok(())
        } else {
            Err(Denied::InsufficientScope { required: required.clone() })
        }
    }
}

/// The credential that a stream goes by: that of its own request, or the one that it was renewed with.
pub(crate) struct Held {
    access: Access,
    renewed: Option<Arc<Renewed>>,
    renewals: u64,
}

/// What a question was answered with.
pub(crate) enum Answer {
    Confirmed {
        expires_at: Option<SystemTime>,
    },
    Denied(Denied),
    Panicked,
    /// It was about a credential that the stream goes by no longer.
    Outdated,
}

impl Held {
    pub(crate) fn verify(&self) -> Verification {
        self.source().verify()
    }

    pub(crate) fn revision(&self) -> Option<&Revision> {
        self.source().revision()
    }

    pub(crate) fn key(&self) -> Option<CredentialKey> {
        self.source().key()
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.source().policy()
    }

    pub(crate) fn confirmed(&self) -> Confirmed {
        self.renewed.as_ref().map_or(self.access.0.confirmed, |renewed| renewed.confirmed)
    }

    /// Whether everything, or this, was revoked since the door.
    pub(crate) fn is_revoked(&self, identity: &Identity) -> bool {
        let cuts = self.renewed.as_ref().map_or(self.access.0.cuts, |renewed| renewed.cuts);
        self.policy().cuts() != cuts || self.policy().denies(identity)
    }

    /// Whether `access` still goes by it.
    pub(crate) fn is_current(&self, access: &Access) -> bool {
        access.0.renewals.load(Ordering::Acquire) == self.renewals
    }

    fn source(&self) -> &dyn Source {
        self.renewed.as_ref().map_or(&self.access.0.source, |renewed| &*renewed.source)
    }
}

/// The [`Access`] of a request, or the refusal that says which layer missed it.
pub(crate) fn of<'r, B>(request: &'r Request<B>, layer: &'static str) -> Result<&'r Access, Denied> {
    request.extensions().get().ok_or(Denied::NoAccess { layer })
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.terms();
        f.debug_struct("Access")
            .field("identity", &terms.identity)
            .field("granted", &terms.granted)
            .field("required", &terms.requirement)
            .finish_non_exhaustive()
    }
}

struct FnSource<F> {
    recheck: Arc<F>,
    policy: Arc<Policy>,
}

impl<F: Fn() -> Verification + Send + Sync + 'static> Source for FnSource<F> {
    fn verify(&self) -> Verification {
        (self.recheck)()
    }

    fn revision(&self) -> Option<&Revision> {
        None
    }

    fn key(&self) -> Option<CredentialKey> {
        None
    }

    fn crowds(&self) -> Option<&Arc<Registry<Crowd>>> {
        None
    }

    fn detach(&self) {}

    fn detached(&self) -> Arc<dyn Source> {
        Arc::new(Self { recheck: Arc::clone(&self.recheck), policy: Arc::clone(&self.policy) })
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }
}
