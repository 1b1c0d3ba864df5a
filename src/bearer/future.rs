//! The inner response, a refusal, or first the verifier's answer.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Authenticate,
    service::{Caller, Door},
};
use crate::{challenge::OfRequest, respond::Respond, verify::Verification};

pin_project! {
    /// The response future of [`AuthLayer`](super::AuthLayer).
    pub struct ResponseFuture<S, A, R, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
        A: Authenticate,
    {
        #[pin]
        state: State<S, A, R, ReqBody, ResBody, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, A: Authenticate, R, ReqBody, ResBody, F> {
        // Boxed, and only for a verifier that must be waited for: it is what makes the future large.
        PendingCheck { asking: Option<Box<PendingCheck<S, A, R, ReqBody>>> },
        Inner { #[pin] future: F, door: Arc<Door<A>>, of_request: OfRequest },
        Refused { response: Option<Response<ResBody>> },
    }
}

/// A request that waits for the verifier, with the service that is ready for it.
struct PendingCheck<S, A: Authenticate, R, ReqBody> {
    verification: Verification,
    door: Arc<Door<A>>,
    caller: Caller<A::Credential>,
    request: Request<ReqBody>,
    ready: S,
    respond: R,
}

impl<S, A, R, ReqBody, ResBody> ResponseFuture<S, A, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
    A: Authenticate,
{
    pub(super) fn asking(
        verification: Verification,
        door: Arc<Door<A>>,
        caller: Caller<A::Credential>,
        request: Request<ReqBody>,
        ready: S,
        respond: R,
    ) -> Self {
        let asking = Box::new(PendingCheck { verification, door, caller, request, ready, respond });
        Self { state: State::PendingCheck { asking: Some(asking) } }
    }

    pub(super) fn inner(future: S::Future, door: Arc<Door<A>>, of_request: OfRequest) -> Self {
        Self { state: State::Inner { future, door, of_request } }
    }

    pub(super) fn refused(response: Response<ResBody>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }
}

impl<S, A, R, ReqBody, ResBody> Future for ResponseFuture<S, A, R, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Authenticate,
    R: Respond<ResBody>,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Inner { future, door, of_request } => {
                    let mut response = ready!(future.poll(cx))?;
                    door.complete(&mut response, of_request);
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("a future is not polled after it was ready")));
                }
                StateProj::PendingCheck { asking } => {
                    let waiting = asking.as_mut().expect("the question is there until it is answered");
                    let answer = ready!(Pin::new(&mut waiting.verification).poll(cx));
                    let asked = asking.take().expect("the question was there a line ago");
                    state.set(asked.answered(answer));
                }
            }
        }
    }
}

impl<S, A: Authenticate, R, ReqBody> PendingCheck<S, A, R, ReqBody> {
    fn answered<ResBody>(
        mut self,
        answer: <Verification as Future>::Output,
    ) -> State<S, A, R, ReqBody, ResBody, S::Future>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        R: Respond<ResBody>,
    {
        match self.door.admit(self.caller, answer, &mut self.request) {
            Ok(()) => {
                let of_request = self.door.of(&self.request);
                State::Inner { future: self.ready.call(self.request), door: self.door, of_request }
            }
            Err(refused) => State::Refused { response: Some(self.door.refuse(&self.request, refused, &self.respond)) },
        }
    }
}
