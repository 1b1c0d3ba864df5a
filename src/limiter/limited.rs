//! Any authentication, with a limiter in front of it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::{Extensions, HeaderMap, Request};

use super::FailureLimiter;
use crate::{
    Clock, Denied, Identity,
    bearer::Authenticate,
    revoke::Revision,
    verify::{CredentialKey, Verification, VerifyError},
};

/// An [`Authenticate`] whose clients are locked out when they keep failing.
#[derive(Clone)]
pub struct Limited<A> {
    inner: A,
    client: Arc<ClientOf>,
    counter: Counter,
    revision: Option<Revision>,
}

type ClientOf = dyn Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync;

/// What the answers of the verifier are counted in.
#[derive(Clone, Debug)]
struct Counter {
    limiter: FailureLimiter,
    clock: Clock,
}

/// A credential, and the client that presents it.
#[derive(Clone, Debug)]
pub struct Attempt<C> {
    credential: C,
    client: IpAddr,
}

impl<A: Authenticate> Limited<A> {
    /// Asks `inner`, and counts in `limiter` by the address that `client` finds in a request's headers
    /// and extensions. Requests for which it finds none are counted as one client.
    #[must_use]
    pub fn new(
        inner: A,
        limiter: FailureLimiter,
        client: impl Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        // An inner verifier that cannot tell when its answers change must be asked each time.
        let revision = inner.revision().map(|inner| Revision::merged([inner, limiter.revision()]));
        let counter = Counter { limiter, clock: Clock::system() };
        Self { inner, client: Arc::new(client), counter, revision }
    }
}

impl<A> Limited<A> {
    /// Reads the wall clock elsewhere: an identity that has expired by it clears no count.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.counter.clock = clock;
        self
    }
}

impl<A: Authenticate> Authenticate for Limited<A> {
    type Credential = Attempt<A::Credential>;

    fn present<B>(&self, request: &Request<B>) -> Result<Self::Credential, Denied> {
        let client = (self.client)(request.headers(), request.extensions());
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.counter.check(client)?;
        Ok(Attempt { credential: self.inner.present(request)?, client })
    }

    fn verify(&self, attempt: &Self::Credential) -> Verification {
        let client = attempt.client;
        match self.inner.verify(&attempt.credential).into_ready() {
            Ok(answer) => self.counter.count(client, answer).into(),
            Err(unknown) => {
                let counter = self.counter.clone();
                Verification::pending(async move { counter.count(client, unknown.await) })
            }
        }
    }

    fn verify_again(&self, attempt: &Self::Credential) -> Verification {
        match self.counter.check(attempt.client) {
            Ok(()) => self.inner.verify_again(&attempt.credential),
            Err(locked_out) => Err(locked_out).into(),
        }
    }

    fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    // A client that is locked out is answered otherwise than another with the same credential.
    fn key(&self, attempt: &Self::Credential) -> Option<CredentialKey> {
        self.inner.key(&attempt.credential).map(|key| key.and(attempt.client.to_string()))
    }

    fn detach(&self, attempt: &Self::Credential) -> Self::Credential {
        Attempt { credential: self.inner.detach(&attempt.credential), client: attempt.client }
    }
}

impl Counter {
    fn check(&self, client: IpAddr) -> Result<(), VerifyError> {
        self.limiter.check(client).map_err(VerifyError::locked_out_for)
    }

    /// Counts an answer. A client that was locked out while it waited for one does not learn it: or
    /// who asks often enough at once would not be limited at all.
    fn count(&self, client: IpAddr, answer: Result<Identity, VerifyError>) -> Result<Identity, VerifyError> {
        self.check(client)?;
        match &answer {
            Ok(identity) if identity.expires_at().is_some_and(|end| end <= self.clock.now()) => {}
            Ok(_) => self.limiter.succeeded(client),
            Err(VerifyError::Rejected) => self.limiter.failed(client),
            Err(_) => {}
        }
        answer
    }
}

impl<A: fmt::Debug> fmt::Debug for Limited<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("inner", &self.inner).field("counter", &self.counter).finish_non_exhaustive()
    }
}
