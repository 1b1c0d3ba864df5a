//! Who is calling, and what they were granted: a request extension.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{CredentialInUse, Effect, Policy, Source, own::Own, terms::Terms};
use crate::{
    Denied, Identity, ScopeSet,
    ended::EndReason,
    revoke::{Confirmed, Entry, SharedCheck, Subscription},
    scope::{Grant, Granted, Requirement, Resolution},
    unwind::contained,
    verify::{TokenDigest, Verification, VerifyError},
};

/// Who is calling, what they were granted, and all that is needed to check it again.
///
/// A request extension: [`BearerAuthLayer`](crate::BearerAuthLayer) puts it there, the scope layers
/// fill it in, [`StreamReauthLayer`](crate::StreamReauthLayer) checks it again while the response
/// streams. A handler reads it. Clones share one state, and a recheck that leaves a stream with fewer
/// scopes, or with more, shows in every clone; [`fork`](Self::fork) makes one with a state of its own.
///
/// Behind two doors it is the inner one's, and goes on only for as long as the outer one's does too.
#[derive(Clone)]
pub struct Access(pub(super) Arc<Inner<dyn Source>>);

pub(super) struct Inner<S: ?Sized> {
    terms: Mutex<Terms>,
    /// The number of times that another credential replaced the one in use.
    pub(super) renewals: AtomicU64,
    pub(super) confirmed: Confirmed,
    pub(super) epoch: u64,
    /// The access of the door outside of this one.
    pub(super) outer: Option<Access>,
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

    /// Access for `identity`, which `recheck` confirms again for as long as a response streams. For
    /// callers that share checks, a revision, a clock or revocations, see
    /// [`AccessSource`](super::AccessSource).
    #[must_use]
    pub fn with_recheck(identity: Identity, recheck: impl Fn() -> Verification + Send + Sync + 'static) -> Self {
        Self::from_source(identity, Confirmed::by(None), 0, Own::alone(recheck))
    }

    /// `epoch` was read before the check, as `confirmed` was.
    pub(crate) fn from_source(
        identity: Identity,
        confirmed: Confirmed,
        epoch: u64,
        source: impl Source + 'static,
    ) -> Self {
        let terms = Mutex::new(Terms::new(identity));
        Self(Arc::new(Inner { terms, renewals: AtomicU64::new(0), confirmed, epoch, outer: None, source }))
    }

    /// The same caller with a state of its own, for a request within a request: what that requires, and
    /// which scopes it is left with, is no concern of the stream that this access belongs to.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut terms = self.terms().clone();
        let credential = self.credential(&terms);
        terms.renewed = None;
        (terms.shared_check, terms.last_applied, terms.streams) = (std::sync::Weak::new(), 0, 0);
        (terms.is_watched, terms.closed) = (false, None);
        let (confirmed, epoch) = (credential.confirmed(), credential.epoch());
        let outer = self.0.outer.as_ref().map(Self::fork);
        let (terms, renewals) = (Mutex::new(terms), AtomicU64::new(0));
        Self(Arc::new(Inner { terms, renewals, confirmed, epoch, outer, source: credential }))
    }

    /// Who is calling.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.terms().identity.clone()
    }

    /// What the caller may do now: nothing once the credential has expired or was revoked. Without a
    /// [`ScopeResolverLayer`](crate::ScopeResolverLayer), the scopes of the credential itself.
    #[must_use]
    pub fn granted(&self) -> Granted {
        if self.judge().is_err() { Granted::default() } else { self.terms().granted() }
    }

    /// What the route required.
    #[must_use]
    pub fn required(&self) -> Requirement {
        self.terms().requirement.clone()
    }

    /// Adds to what is required, now and at every recheck: for a handler that finds out only from
    /// the request what it takes. Where it can be said of a route, use
    /// [`RequireScopeLayer`](crate::RequireScopeLayer).
    ///
    /// # Errors
    ///
    /// [`Denied::InsufficientScope`] when the caller was not granted all that would be required by then,
    /// [`Denied::Expired`] and [`Denied::Revoked`] when the credential is no longer good; what is
    /// required then stays as it was.
    pub fn require(&self, requirement: impl Into<Requirement>) -> Result<(), Denied> {
        self.judge()?;
        // Before the lock: it may be a user's own.
        let requirement = requirement.into();
        self.terms().require(requirement)
    }

    /// [`require`](Self::require), by the layer that has the request: mostly nobody else has this access yet,
    /// and there is no lock to take.
    pub(crate) fn require_first(&mut self, requirement: &Requirement) -> Result<(), Denied> {
        let requirement = requirement.clone();
        match self.own() {
            Some(inner) => {
                inner.judge()?;
                inner.own_terms().require(requirement)
            }
            None => self.require(requirement),
        }
    }

    /// Decides what the identity has, now and at every recheck. What another layer decided before holds
    /// too.
    ///
    /// # Errors
    ///
    /// [`Denied::InsufficientScope`] where a layer further out required what this leaves the caller
    /// without.
    pub(crate) fn resolve(&mut self, resolution: &Arc<Resolution>, declared: Option<ScopeSet>) -> Result<(), Denied> {
        if let Some(inner) = self.own() {
            let terms = inner.own_terms();
            terms.grants = terms.grants_and(Grant::new(resolution, &terms.identity, declared));
            return Terms::check(&terms.identity, &terms.grants, &terms.requirement);
        }
        let grant = Grant::new(resolution, &self.identity(), declared);
        let mut terms = self.terms();
        let grants = terms.grants_and(grant);
        let checked = Terms::check(&terms.identity, &grants, &terms.requirement);
        let replaced = std::mem::replace(&mut terms.grants, grants);
        drop(terms);
        drop(replaced);
        checked
    }

    /// Whether access still holds, as far as that can be said without asking the verifier.
    pub(super) fn judge(&self) -> Result<(), Denied> {
        let outer = || self.0.outer.as_ref().map_or(Ok(()), Self::judge);
        let (credential, identity, ended) = {
            let terms = self.terms();
            // Most have nothing that could have ended them unheard.
            let cannot_end = terms.identity.expires_at().is_none() && self.policy().revocations.is_empty();
            if cannot_end && terms.are_as_at_the_door() {
                drop(terms);
                return outer();
            }
            (self.credential(&terms), terms.identity.clone(), terms.closed.or(terms.ended))
        };
        credential.judge(&identity)?;
        match ended {
            None => outer(),
            Some(EndReason::Expired) => Err(Denied::Expired),
            Some(_) => Err(Denied::Revoked),
        }
    }

    /// For a stream that starts: the credential that it goes by, and a subscription to the check that
    /// it shares with the other streams of that credential. It subscribes before it reads anything, so
    /// that nothing is missed.
    pub(crate) fn subscribe(&self) -> (CredentialInUse, Subscription<SharedCheck>) {
        loop {
            let (credential, known) = {
                let terms = self.terms();
                (self.credential(&terms), terms.shared_check.upgrade())
            };
            let source = credential.source();
            let (key, revision) = (source.key(), source.revision());
            let named = key.map(|key| key.credential());
            let check = key.map_or_else(|| self.check_name(credential.renewals), |key| key.check());
            let revocations = &source.policy().revocations;
            let new = || SharedCheck::new(named, revision.map(|revision| revision.watch(named, check)), revocations);
            let subscription = match (source.shared_checks(), known) {
                (Some(registry), _) => registry.subscribe(check, new),
                (None, Some(shared_check)) => Subscription::unlisted(shared_check),
                (None, None) => Subscription::unlisted(Entry::new(check, new())),
            };

            let subscribed = Arc::downgrade(subscription.entry());
            let mut terms = self.terms();
            if !credential.is_current(self) {
                continue;
            }
            if !subscribed.ptr_eq(&terms.shared_check) {
                // Another shared check numbers its checks anew.
                terms.last_applied = 0;
                terms.shared_check = subscribed;
            }
            drop(terms);
            return (credential, subscription);
        }
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
        let answer = answer.and_then(|identity| credential.policy().admit(identity, || credential.token()));
        let identity = match answer {
            _ if !credential.is_current(self) => return Effect::Outdated,
            Ok(identity) => identity,
            Err(error) => return Effect::Denied(error.into()),
        };
        loop {
            let (grants, known) = {
                let terms = self.terms();
                (terms.grants.clone(), terms.identity.clone())
            };
            // A token that now belongs to somebody else does not open what it opened for the first one.
            if !identity.is_same_caller(&known) {
                return Effect::Denied(Denied::Rejected);
            }
            let grants = grants.map(|grant| grant.renewed(&identity));

            let mut terms = self.terms();
            if !credential.is_current(self) {
                return Effect::Outdated;
            }
            if terms.grants.as_slice().len() != grants.as_slice().len() {
                continue;
            }
            let expires_at = identity.expires_at();
            let effect = match Terms::check(&identity, &grants, &terms.requirement) {
                Ok(()) => Effect::Confirmed { expires_at },
                Err(denied) => Effect::Denied(denied),
            };
            let mut replaced = None;
            if number >= terms.last_applied {
                terms.last_applied = number;
                let old =
                    (std::mem::replace(&mut terms.identity, identity), std::mem::replace(&mut terms.grants, grants));
                replaced = Some(old);
            }
            drop(terms);
            // With an identity go its claims, which are a user's own.
            contained(|| drop((replaced, known)));
            return effect;
        }
    }

    /// A layer is going to watch the response to the request.
    pub(crate) fn is_watched(&self) {
        self.terms().is_watched = true;
    }

    /// A stream of this access starts.
    pub(crate) fn stream_starts(&self) {
        self.terms().streams += 1;
    }

    /// A stream of this access ends because access to `credential` has. `false` if the access was renewed
    /// with another: then it goes on.
    pub(crate) fn stream_ends(&self, credential: &CredentialInUse, reason: EndReason) -> bool {
        let mut terms = self.terms();
        if !credential.is_current(self) {
            return false;
        }
        terms.streams = terms.streams.saturating_sub(1);
        if terms.streams == 0 {
            terms.ended = Some(reason);
        }
        true
    }

    /// A stream of this access ends, though access has not.
    pub(crate) fn stream_closes(&self) {
        let mut terms = self.terms();
        terms.streams = terms.streams.saturating_sub(1);
    }

    /// Ends all streams of this access, for the first reason that it is given. `false` if it was given one before.
    pub(crate) fn close(&self, reason: EndReason) -> bool {
        let reason = if reason.is_access() { reason } else { EndReason::Closed };
        let (is_first, shared_check) = {
            let mut terms = self.terms();
            let is_first = terms.closed.is_none();
            terms.closed.get_or_insert(reason);
            (is_first, terms.shared_check.upgrade())
        };
        // Streams that are alerted look at what has become of their access.
        if let Some(shared_check) = shared_check {
            shared_check.alert();
        }
        is_first
    }

    /// Why all of its streams are to end, if they are.
    pub(crate) fn closed(&self) -> Option<EndReason> {
        self.terms().closed
    }

    pub(crate) fn outer(&self) -> Option<&Self> {
        self.0.outer.as_ref()
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.0.source.policy()
    }

    pub(crate) fn detach(&self) {
        self.0.source.detach();
    }

    pub(super) fn credential(&self, terms: &Terms) -> CredentialInUse {
        let renewals = self.0.renewals.load(Ordering::Acquire);
        CredentialInUse { access: self.clone(), renewed: terms.renewed.clone(), renewals }
    }

    /// All of it, where nobody else has a hold on this access and so nobody ever waits for a lock of it, and while it
    /// is as the door left it.
    fn own(&mut self) -> Option<&mut Inner<dyn Source>> {
        let inner = Arc::get_mut(&mut self.0)?;
        if inner.own_terms().are_as_at_the_door() { Some(inner) } else { None }
    }

    // No code of a user's runs under this lock, and each change to the terms is whole.
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

impl Inner<dyn Source> {
    /// [`Access::judge`] for one that is as the door left it.
    fn judge(&mut self) -> Result<(), Denied> {
        let Self { terms, epoch, outer, source, .. } = self;
        let terms = terms.get_mut().unwrap_or_else(PoisonError::into_inner);
        source.policy().judge_since(*epoch, &terms.identity, || source.token())?;
        outer.as_ref().map_or(Ok(()), Access::judge)
    }

    fn own_terms(&mut self) -> &mut Terms {
        self.terms.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, granted, required) = {
            let terms = self.terms();
            (terms.identity.clone(), terms.granted(), terms.requirement.clone())
        };
        f.debug_struct("Access")
            .field("identity", &identity)
            .field("granted", granted.scopes())
            .field("required", &required)
            .finish_non_exhaustive()
    }
}
