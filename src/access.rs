//! The one value that the layers share.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::Request;
use tokio::time::Instant;

use crate::{
    Clock, Denied, Identity, ScopeSet,
    bearer::{Challenge, Verification, VerifyError},
    reauth::Revision,
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
    confirmed: Confirmed,
    source: S,
}

/// What was found out, and on which terms.
struct Terms {
    identity: Identity,
    granted: ScopeSet,
    resolution: Option<(Arc<Resolution>, Option<ScopeSet>)>,
    requirement: Requirement,
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
    /// Lets go of the request's buffers.
    fn detach(&self);
    fn policy(&self) -> &Policy;
}

/// What holds at the door and for as long as the response streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) clock: Clock,
    pub(crate) leeway: Duration,
    pub(crate) challenge: Challenge,
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

    /// An identity whose credential has expired is none.
    pub(crate) fn admit(&self, identity: Identity) -> Result<Identity, VerifyError> {
        match identity.expires_at() {
            Some(expires_at) if self.is_expired(expires_at) => Err(VerifyError::Expired),
            _ => Ok(identity),
        }
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
        Self::from_source(identity, Confirmed::by(None), FnSource { recheck, policy: Policy::default() })
    }

    pub(crate) fn from_source(identity: Identity, confirmed: Confirmed, source: impl Source + 'static) -> Self {
        let granted = identity.scopes().cloned().unwrap_or_default();
        let terms = Terms { identity, granted, resolution: None, requirement: Requirement::default() };
        Self(Arc::new(Shared { terms: Mutex::new(terms), confirmed, source }))
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
    /// [`Denied::InsufficientScope`] when the caller was not granted all that is required by now.
    pub fn require(&self, requirement: impl Into<Requirement>) -> Result<(), Denied> {
        let mut terms = self.terms();
        terms.requirement = std::mem::take(&mut terms.requirement).and(requirement.into());
        terms.check()
    }

    /// Asks everything again.
    pub(crate) fn ask(&self) -> Asking {
        // A verifier that panics must end one stream, not the connection that carries it.
        let verification = catch_unwind(AssertUnwindSafe(|| self.0.source.verify())).ok();
        Asking { access: self.clone(), verification }
    }

    pub(crate) fn revision(&self) -> Option<&Revision> {
        self.0.source.revision()
    }

    pub(crate) fn confirmed(&self) -> Confirmed {
        self.0.confirmed
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

    /// What a fresh answer of the verifier means for this access.
    fn settle(&self, answer: Result<Identity, VerifyError>) -> Answer {
        let identity = match answer.and_then(|identity| self.policy().admit(identity)) {
            Ok(identity) => identity,
            Err(error) => return Answer::Denied(error.into()),
        };
        let mut terms = self.terms();
        // A token that now belongs to somebody else does not open what it opened for the first one.
        if identity.subject() != terms.identity.subject() {
            return Answer::Denied(Denied::Rejected);
        }
        terms.granted = match &terms.resolution {
            None => identity.scopes().cloned().unwrap_or_default(),
            Some((resolution, declared)) => resolution.resolve(&identity, declared.as_ref()),
        };
        let expires_at = identity.expires_at();
        terms.identity = identity;
        match terms.check() {
            Ok(()) => Answer::Confirmed { expires_at },
            Err(denied) => Answer::Denied(denied),
        }
    }
}

impl Terms {
    fn hierarchy(&self) -> Option<&ScopeHierarchy> {
        self.resolution.as_ref().map(|(resolution, _)| resolution.hierarchy())
    }

    fn check(&self) -> Result<(), Denied> {
        if self.hierarchy().unwrap_or(&ScopeHierarchy::NONE).satisfies(&self.granted, &self.requirement) {
            Ok(())
        } else {
            Err(Denied::InsufficientScope { required: self.requirement.clone() })
        }
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

/// A question that was put again.
pub(crate) struct Asking {
    access: Access,
    /// `None` once the verifier panicked.
    verification: Option<Verification>,
}

/// What the question was answered with.
pub(crate) enum Answer {
    Confirmed { expires_at: Option<SystemTime> },
    Denied(Denied),
    Panicked,
}

impl Future for Asking {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(verification) = &mut self.verification else { return Poll::Ready(Answer::Panicked) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(verification).poll(cx))) {
            Err(_) => Poll::Ready(Answer::Panicked),
            Ok(answer) => {
                let answer = ready!(answer);
                Poll::Ready(catch_unwind(AssertUnwindSafe(|| self.access.settle(answer))).unwrap_or(Answer::Panicked))
            }
        }
    }
}

struct FnSource<F> {
    recheck: F,
    policy: Policy,
}

impl<F: Fn() -> Verification + Send + Sync> Source for FnSource<F> {
    fn verify(&self) -> Verification {
        (self.recheck)()
    }

    fn revision(&self) -> Option<&Revision> {
        None
    }

    fn detach(&self) {}

    fn policy(&self) -> &Policy {
        &self.policy
    }
}
