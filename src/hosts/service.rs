//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{AllowedHostsLayer, rules::Rules};
use crate::{
    challenge::{Challenge, OfRequest},
    respond::{EmptyBody, Refusal, Respond, refuse},
    scope::ResponseFuture,
};

/// The service of [`AllowedHostsLayer`].
#[derive(Clone)]
pub struct AllowedHosts<S, R = EmptyBody> {
    pub(super) inner: S,
    pub(super) rules: Arc<Rules>,
    pub(super) respond: R,
}

impl<S> AllowedHosts<S> {
    /// Answers for loopback alone by `inner`. For more hosts, see [`AllowedHostsLayer`].
    #[must_use]
    pub fn new(inner: S) -> Self {
        AllowedHostsLayer::new().layer(inner)
    }
}

impl AllowedHosts<()> {
    /// The layer that makes such services: [`AllowedHostsLayer::new`].
    #[must_use]
    pub fn layer() -> AllowedHostsLayer {
        AllowedHostsLayer::new()
    }
}

impl<S, R> AllowedHosts<S, R> {
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

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for AllowedHosts<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: Respond<ResBody>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.rules.check(&request) {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(denied) => {
                let refusal = Refusal::new(&request, &denied, None);
                let response = refuse(&refusal, &Challenge::new(), &OfRequest::default(), &self.respond);
                ResponseFuture::answered(response)
            }
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for AllowedHosts<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowedHosts").field("inner", &self.inner).field("rules", &self.rules).finish_non_exhaustive()
    }
}
