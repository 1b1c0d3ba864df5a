//! Who is calling, and what they were granted: a request extension.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use http::Request;

use super::{Confirmed, CredentialInUse, Effect, Policy, Source, source::FnSource, terms::Terms};
use crate::{
    Denied, Identity, ScopeSet,
    revoke::{Entry, SharedCheck, Subscription},
    scope::{Granted, Requirement, Resolution},
    verify::{TokenDigest, Verification, VerifyError},
};

/// Who is calling, what they were granted, and all that is needed to check it again.
///
/// A request extension: [`BearerAuthLayer`](crate::BearerAuthLayer) puts it there, the scope layers
/// fill it in, [`StreamReauthLayer`](crate::StreamReauthLayer) checks it again while the response
/// streams. A handler reads it. Clones share one state, and a recheck that leaves a stream with fewer
/// scopes shows in every clone.
#[derive(Clone)]
pub struct Access(pub(super) Arc<Inner<dyn Source>>);

pub(super) struct Inner<S: ?Sized> {
    terms: Mutex<Terms>,
    /// The number of times that another credential replaced the one in use.
    pub(super) renewals: AtomicU64,
    pub(super) confirmed: Confirmed,
    pub(super) epoch: u64,
    pub(super) source: S,
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
    /// a source of your own in place of [`BearerAuthLayer`](crate::BearerAuthLayer).
    #[must_use]
    pub fn with_recheck(identity: Identity, recheck: impl Fn() -> Verification + Send + Sync + 'static) -> Self {
        Self::from_source(identity, Confirmed::by(None), 0, FnSource::new(recheck))
    }

    /// `epoch` was read before the check, as `confirmed` was.
    pub(crate) fn from_source(
        identity: Identity,
        confirmed: Confirmed,
        epoch: u64,
        source: impl Source + 'static,
    ) -> Self {
        let terms = Mutex::new(Terms::new(identity));
        Self(Arc::new(Inner { terms, renewals: AtomicU64::new(0), confirmed, epoch, source }))
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

    /// For a stream that starts: the credential that it goes by, and a subscription to the check that
    /// it shares with the other streams of that credential. It subscribes before it reads anything, so
    /// that nothing is missed.
    pub(crate) fn subscribe(&self) -> (CredentialInUse, Subscription<SharedCheck>) {
        let mut terms = self.terms();
        let renewals = self.0.renewals.load(Ordering::Acquire);
        let credential = CredentialInUse { access: self.clone(), renewed: terms.renewed.clone(), renewals };
        let key = credential.key();
        let named = key.map(|key| key.credential());
        let check = key.map_or_else(|| self.check_name(renewals), |key| key.check());
        let new = || {
            let watch = credential.revision().map(|revision| revision.watch(named, check));
            SharedCheck::new(terms.identity.clone(), watch)
        };
        let subscription = match (credential.source().shared_checks(), terms.shared_check.upgrade()) {
            (Some(registry), _) => registry.subscribe(check, new),
            (None, Some(shared_check)) => Subscription::unlisted(shared_check),
            (None, None) => Subscription::unlisted(Entry::new(check, new())),
        };
        let subscribed = Arc::downgrade(subscription.entry());
        if !subscribed.ptr_eq(&terms.shared_check) {
            // Another shared check numbers its checks anew.
            terms.last_applied = 0;
            terms.shared_check = subscribed;
        }
        (credential, subscription)
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.0.source.policy()
    }

    pub(crate) fn detach(&self) {
        self.0.source.detach();
    }

    /// What the answer to a check of `credential` means for this access.
    ///
    /// `number` is that of the check. Two streams of one access may get two answers in any order:
    /// each goes by its own, and what the newest one leaves is what stays.
    pub(crate) fn apply(
        &self,
        credential: &CredentialInUse,
        number: u64,
        answer: Result<Identity, VerifyError>,
    ) -> Effect {
        let identity = answer.and_then(|identity| credential.policy().admit(identity));
        let mut terms = self.terms();
        if !credential.is_current(self) {
            return Effect::Outdated;
        }
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => return Effect::Denied(error.into()),
        };
        // A token that now belongs to somebody else does not open what it opened for the first one.
        if !identity.is_same_caller(&terms.identity) {
            return Effect::Denied(Denied::Rejected);
        }
        let granted = terms.resolve(&identity);
        let expires_at = identity.expires_at();
        let effect = match terms.check(&granted, &terms.requirement) {
            Ok(()) => Effect::Confirmed { expires_at },
            Err(denied) => Effect::Denied(denied),
        };
        if number >= terms.last_applied {
            (terms.identity, terms.granted, terms.last_applied) = (identity, granted, number);
        }
        effect
    }

    // A panic elsewhere leaves the terms whole: each change to them is one assignment.
    pub(super) fn terms(&self) -> MutexGuard<'_, Terms> {
        self.0.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the check of a credential without a key. The streams of this access share it; its address
    /// is nobody else's for as long as one of them is open.
    fn check_name(&self, renewals: u64) -> TokenDigest {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&(Arc::as_ptr(&self.0).addr() as u64).to_ne_bytes());
        name[8..16].copy_from_slice(&renewals.to_ne_bytes());
        TokenDigest::from_bytes(name)
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
