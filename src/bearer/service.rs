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
    challenge::OfRequest,
    observe,
    respond::{Refusal, Respond, complete, refuse},
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

/// A caller who is not let in, and who that is, if the verifier said so.
pub(super) struct Refused {
    denied: Denied,
    identity: Option<Identity>,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self { denied, identity: None }
    }
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
            Err(denied) => return ResponseFuture::refused(self.door.refuse(&request, denied.into(), &self.respond)),
        };
        match verification.into_ready() {
            Ok(answer) => match self.door.admit(caller, answer, &mut request) {
                Ok(()) => {
                    let of_request = self.door.of(&request);
                    ResponseFuture::inner(self.inner.call(request), Arc::clone(&self.door), of_request)
                }
                Err(refused) => ResponseFuture::refused(self.door.refuse(&request, refused, &self.respond)),
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
    ) -> Result<(), Refused> {
        let known = answer.as_ref().ok().cloned();
        let verdict = answer.and_then(|identity| self.policy.admit(identity));
        let concluded = self.authenticator.conclude(&caller.credential, verdict);
        let identity = concluded.map_err(|error| Refused { denied: error.into(), identity: known })?;
        let source = Kept { door: Arc::clone(self), credential: Mutex::new(caller.credential) };
        access::enter(request.extensions_mut(), |outer| {
            Access::from_source(identity, caller.confirmed, caller.epoch, source, outer)
        });
        request.extensions().get().into_iter().for_each(observe::admitted);
        Ok(())
    }

    pub(super) fn refuse<T, B>(
        &self,
        request: &Request<T>,
        refused: Refused,
        respond: &impl Respond<B>,
    ) -> Response<B> {
        let refusal = Refusal::new(request, &refused.denied, refused.identity.as_ref());
        let challenge = &self.policy.challenge;
        refuse(&refusal, challenge, &challenge.of(request), respond)
    }

    /// What its challenge says of this request alone.
    pub(super) fn of<B>(&self, request: &Request<B>) -> OfRequest {
        self.policy.challenge.of(request)
    }

    /// What a handler refused leaves with the challenge of this door.
    pub(super) fn complete<B>(&self, response: &mut Response<B>, of_request: &OfRequest) {
        complete(response, &self.policy.challenge, of_request);
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
