//! The layer of the first question.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Auth, Authenticate, Bearer, TokenSyntax};
use crate::{
    Clock, VerifyToken,
    access::Policy,
    challenge::Challenge,
    respond::EmptyBody,
    revoke::{Registry, Revocations, SharedCheck},
};

/// Asks for a bearer token (RFC 6750) and who it belongs to.
pub type BearerAuthLayer<R = EmptyBody> = AuthLayer<Bearer, R>;

/// Asks for a credential and who it belongs to, and puts an [`Access`](crate::Access) into the
/// request's extensions.
///
/// For bearer tokens, use it by its name [`BearerAuthLayer`].
pub struct AuthLayer<A, R = EmptyBody> {
    authenticator: Arc<A>,
    policy: Policy,
    shared_checks: Arc<Registry<SharedCheck>>,
    respond: R,
}

impl AuthLayer<Bearer> {
    /// Accepts the bearer tokens that `verifier` knows.
    #[must_use]
    pub fn new(verifier: impl VerifyToken) -> Self {
        Self::from_authenticator(Bearer::new(verifier))
    }
}

impl<R> AuthLayer<Bearer, R> {
    /// Takes tokens of another syntax than RFC 6750's.
    #[must_use]
    pub fn with_token_syntax(mut self, syntax: TokenSyntax) -> Self {
        self.authenticator = Arc::new(Bearer::clone(&self.authenticator).with_syntax(syntax));
        self
    }
}

impl<A: Authenticate> AuthLayer<A> {
    /// Accepts the credentials that `authenticator` takes from requests and verifies.
    #[must_use]
    pub fn from_authenticator(authenticator: A) -> Self {
        Self {
            authenticator: Arc::new(authenticator),
            policy: Policy::default(),
            shared_checks: Arc::default(),
            respond: EmptyBody,
        }
    }
}

impl<A, R> AuthLayer<A, R> {
    /// Replaces the challenge that 400, 401 and 403 carry, those of the scope layers included.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.policy.challenge = challenge;
        self
    }

    /// Accepts a credential for `leeway` longer than its expiry says, at the door and while a
    /// response streams, for clocks that disagree (RFC 7519 section 4.1.4). Default: zero.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.policy.leeway = leeway;
        self
    }

    /// Reads the wall clock elsewhere.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.policy.clock = clock;
        self
    }

    /// Refuses what `revocations` says is revoked, and ends its open streams. Called again, it adds to
    /// what it was called with before.
    #[must_use]
    pub fn with_revocations(mut self, revocations: &Revocations) -> Self {
        // Not those of the layer that this one is a clone of, which may know other revocations.
        self.shared_checks = Arc::default();
        self.policy.revocations.push(revocations.clone());
        for revocations in &self.policy.revocations {
            revocations.watch(&self.shared_checks);
        }
        self
    }

    /// Answers refusals by `respond`, for instance a closure `Fn(&Denied) -> Response<B>`.
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> AuthLayer<A, T> {
        AuthLayer { authenticator: self.authenticator, policy: self.policy, shared_checks: self.shared_checks, respond }
    }
}

impl<A, R: Clone> Clone for AuthLayer<A, R> {
    fn clone(&self) -> Self {
        Self {
            authenticator: Arc::clone(&self.authenticator),
            policy: self.policy.clone(),
            shared_checks: Arc::clone(&self.shared_checks),
            respond: self.respond.clone(),
        }
    }
}

impl<S, A, R: Clone> Layer<S> for AuthLayer<A, R> {
    type Service = Auth<S, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth::new(
            inner,
            Arc::clone(&self.authenticator),
            self.policy.clone(),
            Arc::clone(&self.shared_checks),
            self.respond.clone(),
        )
    }
}

impl<A: fmt::Debug, R> fmt::Debug for AuthLayer<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("authenticator", &self.authenticator)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
