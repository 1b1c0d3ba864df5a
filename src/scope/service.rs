//! The two services of the second question.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{Requirement, Resolution, ResponseFuture};
use crate::{
    Denied, Identity, access,
    challenge::{Challenge, OfRequest},
    respond::{Refusal, Respond, refuse},
};

/// The service of [`ScopeResolverLayer`](super::ScopeResolverLayer).
#[derive(Clone)]
pub struct ScopeResolver<S, R> {
    pub(super) inner: S,
    pub(super) resolution: Arc<Resolution>,
    pub(super) missing_access_allowed: bool,
    pub(super) respond: R,
}

/// The service of [`RequireScopeLayer`](super::RequireScopeLayer).
#[derive(Clone)]
pub struct RequireScope<S, R> {
    pub(super) inner: S,
    pub(super) requirement: Requirement,
    pub(super) respond: R,
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for ScopeResolver<S, R>
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
        match access::of(&request, "ScopeResolverLayer") {
            Ok(access) => access.resolve(&self.resolution, self.resolution.declared(request.headers())),
            Err(_) if self.missing_access_allowed => {}
            Err(denied) => {
                let refusal = Refusal::new(&request, &denied, None);
                let everyone = OfRequest::default();
                return ResponseFuture::refused(refuse(&refusal, &Challenge::new(), &everyone, &self.respond));
            }
        }
        ResponseFuture::inner(self.inner.call(request))
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScope<S, R>
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
        match self.check(&request) {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(refused) => ResponseFuture::refused(refused),
        }
    }
}

impl<S, R> RequireScope<S, R> {
    fn check<ReqBody, ResBody>(&self, request: &Request<ReqBody>) -> Result<(), Response<ResBody>>
    where
        R: Respond<ResBody>,
    {
        let refused = |denied: Denied, identity: Option<Identity>, challenge: &Challenge| {
            let refusal = Refusal::new(request, &denied, identity.as_ref());
            refuse(&refusal, challenge, &challenge.of(request), &self.respond)
        };
        match access::of(request, "RequireScopeLayer") {
            Err(denied) => Err(refused(denied, None, &Challenge::new())),
            Ok(access) => access
                .require(self.requirement.clone())
                .map_err(|denied| refused(denied, Some(access.identity()), &access.policy().challenge)),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for ScopeResolver<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeResolver")
            .field("inner", &self.inner)
            .field("resolution", &self.resolution)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, R> fmt::Debug for RequireScope<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScope")
            .field("inner", &self.inner)
            .field("requirement", &self.requirement)
            .finish_non_exhaustive()
    }
}
