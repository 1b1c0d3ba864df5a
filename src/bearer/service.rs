//! The service of the first question.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tower_layer::Layer;
use tower_service::Service;

use super::{Admission, AuthLayer, Authenticate, Head, HeadMut, ResponseFuture};
use crate::{
    Access, Denied, Identity,
    access::{self, Policy, Source},
    observe::{self, Occasion},
    respond::{Completion, EmptyBody, Refusal, Respond, refuse},
    revoke::{Answer, AsOf, Confirmed, Flights, Registry, Revision, SharedCheck, Waiting},
    unwind::contained,
    verify::{CredentialKey, Rejection, Verification},
};

/// The service of [`AuthLayer`].
pub struct Auth<S, A, R = EmptyBody> {
    inner: S,
    door: Arc<Door<A>>,
    respond: R,
}

/// What the door knows: shared by every request and by every stream that came through it.
pub(super) struct Door<A> {
    pub(super) authenticator: Arc<A>,
    pub(super) policy: Policy,
    pub(super) verify_timeout: Option<Duration>,
    /// The open streams by credential: shared by all doors of one layer.
    pub(super) shared_checks: Arc<Registry<SharedCheck>>,
    /// The requests that wait for an answer: shared as well.
    pub(super) flights: Arc<Flights>,
}

/// A caller who is not let in, and who that is, if the verifier said so.
pub(super) struct Refused {
    denied: Denied,
    identity: Option<Identity>,
    rejection: Option<Rejection>,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self { denied, identity: None, rejection: None }
    }
}

/// What becomes of a request.
enum Met<C> {
    Admitted(Access),
    /// As soon as the verifier has answered.
    Waits(C, Waiting),
}

impl<S, A: Authenticate> Auth<S, A> {
    /// Asks `authenticator` who calls `inner`. For more than the defaults, see [`AuthLayer`].
    #[must_use]
    pub fn new(inner: S, authenticator: A) -> Self {
        AuthLayer::from_authenticator(authenticator).layer(inner)
    }
}

impl<A: Authenticate> Auth<(), A> {
    /// The layer that makes such services: [`AuthLayer::from_authenticator`].
    #[must_use]
    pub fn layer(authenticator: A) -> AuthLayer<A> {
        AuthLayer::from_authenticator(authenticator)
    }
}

impl<S, A, R> Auth<S, A, R> {
    pub(super) fn behind(door: Door<A>, inner: S, respond: R) -> Self {
        Self { inner, door: Arc::new(door), respond }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
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
    type Future = ResponseFuture<Admission<S, A, R, ReqBody>, S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    // A request that is handed on is copied, unless the one service is compiled into the other: so what is rare stands
    // elsewhere.
    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (met, is_private) = self.door.meet(&mut request);
        match met {
            Ok(Met::Admitted(access)) => {
                let completion = self.door.let_in(&mut request, access);
                ResponseFuture::inner(self.inner.call(request), completion, is_private)
            }
            Ok(Met::Waits(credential, waiting)) => {
                ResponseFuture::waiting(self.wait(credential, waiting, request, is_private))
            }
            Err(refused) => ResponseFuture::refused(self.door.refuse(&mut request, refused, &self.respond)),
        }
    }
}

impl<S: Clone, A: Authenticate, R: Clone> Auth<S, A, R> {
    /// The request, to be let in as soon as the verifier has answered.
    #[inline(never)]
    fn wait<B>(
        &mut self,
        credential: A::Credential,
        waiting: Waiting,
        request: Request<B>,
        is_private: bool,
    ) -> Pin<Box<Admission<S, A, R, B>>> {
        // The service that was polled ready is the one to call; its clone may not be.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let (door, limit) = (Arc::clone(&self.door), self.door.verify_timeout);
        let (request, respond) = ((request, is_private), self.respond.clone());
        Box::pin(Admission::new((credential, waiting), limit, door, request, ready, respond))
    }
}

impl<A: Authenticate> Door<A> {
    /// Takes the credential from a request and out of others' sight, and asks whose it is. Returns what becomes of
    /// the request, and whether its response is the caller's alone.
    fn meet<B>(self: &Arc<Self>, request: &mut Request<B>) -> (Result<Met<A::Credential>, Refused>, bool) {
        contained(|| {
            let met = self.ask(Head::from(&*request));
            (met, self.conceal(request))
        })
        .unwrap_or_else(|| {
            contained(|| self.conceal(request));
            (Err(Denied::CheckPanicked.into()), false)
        })
    }

    fn ask(self: &Arc<Self>, head: Head<'_>) -> Result<Met<A::Credential>, Refused> {
        let Self { authenticator, policy, verify_timeout, flights, .. } = &**self;
        let credential = authenticator.present(head)?;
        let as_of = AsOf { confirmed: Confirmed::by(authenticator.revision()), epoch: policy.epoch() };
        let is_shared = Cell::new(true);
        let verify = || {
            is_shared.set(false);
            observe::check(Occasion::Door, as_of.confirmed.at, || authenticator.verify(&credential))
        };
        let asked = if authenticator.coalesces() {
            Flights::ask_alone(as_of, verify)
        } else {
            flights.ask(as_of, *verify_timeout, || authenticator.key(&credential), verify)
        };
        match asked {
            Ok(answer) => self.judge(credential, as_of, answer).map(Met::Admitted),
            Err(waiting) => {
                if is_shared.get() {
                    observe::check_shared(Occasion::Door);
                }
                Ok(Met::Waits(credential, waiting))
            }
        }
    }

    fn conceal<B>(&self, request: &mut Request<B>) -> bool {
        hide_authorization(request.headers_mut());
        let mut head = HeadMut::new(request);
        self.authenticator.conceal(&mut head);
        head.is_response_private()
    }

    /// Lets the caller in, if the verifier knows them.
    pub(super) fn admit(
        self: &Arc<Self>,
        credential: A::Credential,
        as_of: AsOf,
        answer: Answer,
    ) -> Result<Access, Refused> {
        contained(|| self.judge(credential, as_of, answer)).unwrap_or_else(|| Err(Denied::CheckPanicked.into()))
    }

    fn judge(self: &Arc<Self>, credential: A::Credential, as_of: AsOf, answer: Answer) -> Result<Access, Refused> {
        let Answer::Said(answer) = answer else { return Err(Denied::CheckPanicked.into()) };
        let known = answer.as_ref().ok().cloned();
        let token = || self.authenticator.key(&credential).map(|key| key.credential());
        let verdict = answer.and_then(|identity| self.policy.admit(identity, token));
        match self.authenticator.conclude(&credential, verdict) {
            Ok(identity) => {
                let source = Kept::new(Arc::clone(self), credential);
                Ok(Access::from_source(identity, as_of.confirmed, as_of.epoch, source))
            }
            Err(error) => {
                contained(|| drop(credential));
                Err(Refused { denied: error.into(), identity: known, rejection: error.rejection() })
            }
        }
    }

    /// The request carries the access from now on. Returns what completes the response.
    pub(super) fn let_in<B>(&self, request: &mut Request<B>, access: Access) -> Completion {
        let (access, entered) = access::enter(request.extensions_mut(), access);
        observe::admitted(access);
        Completion::new(&self.policy.challenge, request, entered)
    }

    pub(super) fn refuse<T, B>(
        &self,
        request: &mut Request<T>,
        refused: Refused,
        respond: &impl Respond<B>,
    ) -> Response<B> {
        let refusal =
            Refusal::new(request, &refused.denied, refused.identity.as_ref()).with_rejection(refused.rejection);
        let challenge = &self.policy.challenge;
        refuse(&refusal, challenge, &challenge.of(request), respond)
    }
}

/// What was read is not for the logs of whoever sees the request later, its refusal included.
fn hide_authorization(headers: &mut HeaderMap) {
    // All are passed over: to find one by its name costs more than to look at the names of most requests.
    for (name, value) in headers {
        if name == AUTHORIZATION {
            value.set_sensitive(true);
        }
    }
}

/// A credential that was let in, kept to be verified again.
struct Kept<A: Authenticate> {
    door: Arc<Door<A>>,
    held: Mutex<Held<A::Credential>>,
}

/// How a credential is held on to. Its code is its author's: it is cloned and dropped while no lock is
/// held.
struct Held<C> {
    /// As it was presented; gone when it is asked for.
    presented: Option<C>,
    shared: Option<Arc<C>>,
}

impl<A: Authenticate> Kept<A> {
    fn new(door: Arc<Door<A>>, credential: A::Credential) -> Self {
        Self { door, held: Mutex::new(Held { presented: Some(credential), shared: None }) }
    }

    fn credential(&self) -> Arc<A::Credential> {
        let mut held = self.held();
        if let Some(presented) = held.presented.take() {
            held.shared = Some(Arc::new(presented));
        }
        Arc::clone(held.shared.as_ref().expect("a credential is held one way or the other"))
    }

    // A panic elsewhere leaves it whole: nothing in here calls foreign code.
    fn held(&self) -> MutexGuard<'_, Held<A::Credential>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
        let detached = Arc::new(self.door.authenticator.detach(&self.credential()));
        let replaced = self.held().shared.replace(detached);
        contained(|| drop(replaced));
    }

    fn detached(&self) -> Arc<dyn Source> {
        let credential = self.door.authenticator.detach(&self.credential());
        Arc::new(Self::new(Arc::clone(&self.door), credential))
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
