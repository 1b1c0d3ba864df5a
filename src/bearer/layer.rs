//! The layer of the first question.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Auth, Authenticate, Bearer, Place, TokenSyntax, service::Door};
use crate::{
    Clock, VerifyToken,
    access::Policy,
    challenge::Challenge,
    respond::EmptyBody,
    revoke::{Flights, Registry, Revocations, SharedCheck},
};

/// How long a request waits for the verifier, unless another limit is chosen: the first one may find it
/// cold, with its keys to be fetched.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks for a bearer token (RFC 6750) and who it belongs to.
pub type BearerAuthLayer<R = EmptyBody> = AuthLayer<Bearer, R>;

/// Asks for a credential and who it belongs to, and puts an [`Access`](crate::Access) into the
/// request's extensions.
///
/// For bearer tokens, use it by its name [`BearerAuthLayer`].
pub struct AuthLayer<A, R = EmptyBody> {
    authenticator: Arc<A>,
    policy: Policy,
    verify_timeout: Option<Duration>,
    shared_checks: Arc<Registry<SharedCheck>>,
    flights: Arc<Flights>,
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

    /// Takes tokens from these places, in place of the `Authorization` header alone: see
    /// [where a token may stand](super#where-a-token-may-stand).
    ///
    /// ```
    /// use tower_reauth::{BearerAuthLayer, StaticToken, bearer::Place};
    ///
    /// # fn main() -> Result<(), tower_reauth::bearer::InvalidPlace> {
    /// let layer = BearerAuthLayer::new(StaticToken::new("s3cret"))
    ///     .with_places([Place::AUTHORIZATION, Place::cookie("__Host-session")?, Place::subprotocol("bearer.")?]);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_places(mut self, places: impl IntoIterator<Item = Place>) -> Self {
        self.authenticator = Arc::new(Bearer::clone(&self.authenticator).with_places(places));
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
            verify_timeout: Some(VERIFY_TIMEOUT),
            shared_checks: Arc::default(),
            flights: Arc::default(),
            respond: EmptyBody,
        }
    }
}

impl<A, R> AuthLayer<A, R> {
    /// Replaces the challenge that 400, 401 and 403 carry, those of the scope layers included.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        self.policy.challenge = Arc::new(challenge);
        self
    }

    /// Accepts a credential for `leeway` longer than its expiry says and from as much earlier on than it begins,
    /// at the door and while a response streams, for clocks that disagree (RFC 7519 section 4.1.4). Default: zero.
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

    /// How long a request waits for the verifier before it is answered with 503 and `Retry-After`; `None`
    /// for as long as it takes. Default: 15 seconds. For a recheck of a stream see
    /// [`with_check_timeout`](crate::StreamReauthLayer::with_check_timeout).
    ///
    /// The time is [`tokio::time`]'s: outside of a runtime, and in one whose timer is not enabled, there is no
    /// limit.
    #[must_use]
    pub fn with_verify_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.verify_timeout = limit.into();
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
        let Self { authenticator, policy, verify_timeout, shared_checks, flights, respond: _ } = self;
        AuthLayer { authenticator, policy, verify_timeout, shared_checks, flights, respond }
    }
}

impl<A, R: Clone> Clone for AuthLayer<A, R> {
    fn clone(&self) -> Self {
        Self {
            authenticator: Arc::clone(&self.authenticator),
            policy: self.policy.clone(),
            verify_timeout: self.verify_timeout,
            shared_checks: Arc::clone(&self.shared_checks),
            flights: Arc::clone(&self.flights),
            respond: self.respond.clone(),
        }
    }
}

impl<S, A, R: Clone> Layer<S> for AuthLayer<A, R> {
    type Service = Auth<S, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let door = Door {
            authenticator: Arc::clone(&self.authenticator),
            policy: self.policy.clone(),
            verify_timeout: self.verify_timeout,
            shared_checks: Arc::clone(&self.shared_checks),
            flights: Arc::clone(&self.flights),
        };
        Auth::behind(door, inner, self.respond.clone())
    }
}

impl<A: fmt::Debug, R> fmt::Debug for AuthLayer<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("authenticator", &self.authenticator)
            .field("policy", &self.policy)
            .field("verify_timeout", &self.verify_timeout)
            .finish_non_exhaustive()
    }
}
