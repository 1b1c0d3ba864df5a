//! Any authentication, with a limiter in front of it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::{Extensions, HeaderMap};

use super::FailureLimiter;
use crate::{
    Denied, Identity,
    bearer::{Authenticate, Head, HeadMut},
    revoke::Revision,
    verify::{CredentialKey, Verification, VerifyError},
};

/// An [`Authenticate`] whose clients are locked out when they keep failing.
#[derive(Clone)]
pub struct Limited<A> {
    inner: A,
    client: Arc<ClientOf>,
    limiter: FailureLimiter,
    revision: Option<Revision>,
}

type ClientOf = dyn Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync;

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
        Self { inner, client: Arc::new(client), limiter, revision }
    }
}

impl<A> Limited<A> {
    fn check(&self, client: IpAddr) -> Result<(), VerifyError> {
        self.limiter.check(client).map_err(VerifyError::locked_out_for)
    }
}

impl<A: Authenticate> Authenticate for Limited<A> {
    type Credential = Attempt<A::Credential>;

    fn present(&self, head: Head<'_>) -> Result<Self::Credential, Denied> {
        let client = (self.client)(head.headers(), head.extensions());
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.check(client)?;
        let presented = self.inner.present(head);
        if let Err(Denied::Rejected) = presented {
            self.limiter.failed(client);
        }
        Ok(Attempt { credential: presented?, client })
    }

    fn conceal(&self, head: &mut HeadMut<'_>) {
        self.inner.conceal(head);
    }

    fn verify(&self, attempt: &Self::Credential) -> Verification {
        self.inner.verify(&attempt.credential)
    }

    fn verify_again(&self, attempt: &Self::Credential) -> Verification {
        match self.check(attempt.client) {
            Ok(()) => self.inner.verify_again(&attempt.credential),
            Err(locked_out) => Err(locked_out).into(),
        }
    }

    fn coalesces(&self) -> bool {
        self.inner.coalesces()
    }

    /// Counts the verdict. A client that was locked out while it waited for one does not learn it: or
    /// who asks often enough at once would not be limited at all.
    fn conclude(
        &self,
        attempt: &Self::Credential,
        verdict: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        let verdict = self.inner.conclude(&attempt.credential, verdict);
        self.check(attempt.client)?;
        match &verdict {
            Ok(_) => self.limiter.succeeded(attempt.client),
            Err(error) if error.is_rejected() => self.limiter.failed(attempt.client),
            Err(_) => {}
        }
        verdict
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

impl<A: fmt::Debug> fmt::Debug for Limited<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("inner", &self.inner).field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
