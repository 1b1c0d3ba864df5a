//! The service of the first question.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{Authenticate, ResponseFuture};
use crate::{
    Access, Denied, Identity,
    access::{self, Confirmed, Policy, Source},
    respond::{Respond, refuse},
    revoke::{Registry, Revision, SharedCheck},
    verify::{CredentialKey, Verification, VerifyError},
};

/// The service of [`AuthLayer`](super::AuthLayer).
pub struct Auth<S, A, R> {
    inner: S,
    door: Arc<Door<A>>,
    respond: R,
}

/// What the door knows: shared by every request and by every stream that came through it.
pub(super) struct Door<A> {
    authenticator: Arc<A>,
    policy: Policy,
    /// The open streams by credential: shared by all doors of one layer.
    shared_checks: Arc<Registry<SharedCheck>>,
}

/// A credential on its way in: presented, not yet verified.
pub(super) struct Caller<C> {
    credential: C,
    confirmed: Confirmed,
    epoch: u64,
}

impl<S, A, R> Auth<S, A, R> {
    pub(super) fn new(
        inner: S,
        authenticator: Arc<A>,
        policy: Policy,
        shared_checks: Arc<Registry<SharedCheck>>,
        respond: R,
    ) -> Self {
        Self { inner, door: Arc::new(Door { authenticator, policy, shared_checks }), respond }
    }
}

impl<S, A, R, ReqBody, ResBody> Service<Request<ReqBody>> for Auth<S, A, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    A: Authenticate,
    R: Respond<ResBody> + Clone,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, A, R, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (caller, verification) = match self.door.meet(&request) {
            Ok(met) => met,
            Err(denied) => return ResponseFuture::refused(self.door.refuse(denied, &self.respond)),
        };
        match verification.into_ready() {
            Ok(answer) => match self.door.admit(caller, answer, &mut request) {
                Ok(()) => ResponseFuture::inner(self.inner.call(request)),
                Err(denied) => ResponseFuture::refused(self.door.refuse(denied, &self.respond)),
            },
            Err(verification) => {
                // The service that was polled ready is the one to call; its clone may not be.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                let door = Arc::clone(&self.door);
                ResponseFuture::asking(verification, door, caller, request, ready, self.respond.clone())
            }
        }
    }
}

impl<A: Authenticate> Door<A> {
    fn meet<B>(&self, request: &Request<B>) -> Result<(Caller<A::Credential>, Verification), Denied> {
        let credential = self.authenticator.present(request.into())?;
        let confirmed = Confirmed::by(self.authenticator.revision());
        let epoch = self.policy.epoch();
        let verification = self.authenticator.verify(&credential);
        Ok((Caller { credential, confirmed, epoch }, verification))
    }

    /// Lets the caller in, if the verifier knows them: the request now carries their access.
    pub(super) fn admit<B>(
        self: &Arc<Self>,
        caller: Caller<A::Credential>,
        answer: Result<Identity, VerifyError>,
        request: &mut Request<B>,
    ) -> Result<(), Denied> {
        let verdict = answer.and_then(|identity| self.policy.admit(identity));
        let identity = self.authenticator.conclude(&caller.credential, verdict)?;
        let source = Kept { door: Arc::clone(self), credential: Mutex::new(caller.credential) };
        access::enter(request.extensions_mut(), |outer| {
            Access::from_source(identity, caller.confirmed, caller.epoch, source, outer)
        });
        Ok(())
    }

    pub(super) fn refuse<B>(&self, denied: Denied, respond: &impl Respond<B>) -> Response<B> {
        refuse(&denied, &self.policy.challenge, respond)
    }
}

/// A credential that was let in, kept to be verified again.
struct Kept<A: Authenticate> {
    door: Arc<Door<A>>,
    credential: Mutex<A::Credential>,
}

impl<A: Authenticate> Kept<A> {
    fn credential(&self) -> A::Credential {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<A: Authenticate> Source for Kept<A> {
    fn verify(&self) -> Verification {
        self.door.authenticator.verify_again(&self.credential())
    }

    fn revision(&self) -> Option<&Revision> {
        self.door.authenticator.revision()
    }

    fn key(&self) -> Option<CredentialKey> {
        self.door.authenticator.key(&self.credential())
    }

    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>> {
        Some(&self.door.shared_checks)
    }

    fn detach(&self) {
        let detached = self.door.authenticator.detach(&self.credential());
        *self.credential.lock().unwrap_or_else(PoisonError::into_inner) = detached;
    }

    fn detached(&self) -> Arc<dyn Source> {
        let credential = self.door.authenticator.detach(&self.credential());
        Arc::new(Self { door: Arc::clone(&self.door), credential: Mutex::new(credential) })
    }

    fn policy(&self) -> &Policy {
        &self.door.policy
    }
}

impl<S: Clone, A, R: Clone> Clone for Auth<S, A, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), door: Arc::clone(&self.door), respond: self.respond.clone() }
    }
}

impl<S: fmt::Debug, A: fmt::Debug, R> fmt::Debug for Auth<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("inner", &self.inner)
            .field("authenticator", &self.door.authenticator)
            .finish_non_exhaustive()
    }
}
