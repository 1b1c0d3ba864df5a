//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderName, Request, Response};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Learning, SessionBindingLayer,
    layer::Sessions,
    table::{self, Caller, Id},
};
use crate::{
    Denied, Identity, access,
    challenge::{Challenge, OfRequest},
    respond::{EmptyBody, Refusal, Respond, refuse},
    scope::ResponseFuture,
    verify::TokenDigest,
};

/// The service of [`SessionBindingLayer`].
#[derive(Clone)]
pub struct SessionBinding<S, R = EmptyBody> {
    pub(super) inner: S,
    pub(super) header: HeaderName,
    pub(super) sessions: Arc<Sessions>,
    pub(super) respond: R,
}

impl<S> SessionBinding<S> {
    /// Binds the sessions of `inner`. For more than the defaults, see [`SessionBindingLayer`].
    #[must_use]
    pub fn new(inner: S) -> Self {
        SessionBindingLayer::new().layer(inner)
    }
}

impl SessionBinding<()> {
    /// The layer that makes such services: [`SessionBindingLayer::new`].
    #[must_use]
    pub fn layer() -> SessionBindingLayer {
        SessionBindingLayer::new()
    }
}

impl<S, R> SessionBinding<S, R> {
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

    /// The caller, and the session that they name and may use.
    fn check<B>(&self, request: &Request<B>) -> Result<(Caller, Option<Id>), (Denied, Option<Identity>)> {
        let access = access::of(request, "SessionBindingLayer").map_err(|denied| (denied, None))?;
        let identity = access.identity();
        let caller = table::caller(&identity);
        let mut named = request.headers().get_all(&self.header).iter();
        let id = match (named.next(), named.next()) {
            (None, _) => return Ok((caller, None)),
            (Some(id), None) => TokenDigest::of(id),
            (Some(_), Some(_)) => return Err((Denied::Malformed, Some(identity))),
        };
        let claimed = self.sessions.table().claim(id, caller, Instant::now(), &self.sessions.limits);
        claimed.map(|()| (caller, Some(id))).map_err(|denied| (denied, Some(identity)))
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for SessionBinding<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: Respond<ResBody>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<Learning<S::Future>, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.check(&request) {
            Ok((caller, named)) => {
                let method = request.method().clone();
                let future = self.inner.call(request);
                let (header, sessions) = (self.header.clone(), Arc::clone(&self.sessions));
                ResponseFuture::inner(Learning::new(future, header, sessions, caller, named, method))
            }
            Err((denied, identity)) => {
                let refusal = Refusal::new(&request, &denied, identity.as_ref());
                let response = refuse(&refusal, &Challenge::new(), &OfRequest::default(), &self.respond);
                ResponseFuture::answered(response)
            }
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for SessionBinding<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBinding")
            .field("inner", &self.inner)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
