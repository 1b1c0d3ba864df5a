//! The two services of the second question.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{RequireScopeLayer, Requirement, Resolution, ResolveScopes, ResponseFuture, ScopeResolverLayer};
use crate::{
    Access, Denied, access,
    challenge::Challenge,
    respond::{EmptyBody, Refusal, Respond, refuse},
};

/// The service of [`ScopeResolverLayer`].
#[derive(Clone)]
pub struct ScopeResolver<S, R = EmptyBody> {
    pub(super) inner: S,
    pub(super) resolution: Arc<Resolution>,
    pub(super) missing_access_allowed: bool,
    pub(super) respond: R,
}

/// The service of [`RequireScopeLayer`].
#[derive(Clone)]
pub struct RequireScope<S, R = EmptyBody> {
    pub(super) inner: S,
    pub(super) requirement: Requirement,
    pub(super) respond: R,
}

impl<S> ScopeResolver<S> {
    /// Resolves scopes by `resolver` for `inner`. For more than the defaults, see [`ScopeResolverLayer`].
    #[must_use]
    pub fn new(inner: S, resolver: impl ResolveScopes) -> Self {
        ScopeResolverLayer::new(resolver).layer(inner)
    }
}

impl ScopeResolver<()> {
    /// The layer that makes such services: [`ScopeResolverLayer::new`].
    #[must_use]
    pub fn layer(resolver: impl ResolveScopes) -> ScopeResolverLayer {
        ScopeResolverLayer::new(resolver)
    }
}

impl<S> RequireScope<S> {
    /// Requires `requirement` of the callers of `inner`. For more than the defaults, see
    /// [`RequireScopeLayer`].
    #[must_use]
    pub fn new(inner: S, requirement: impl Into<Requirement>) -> Self {
        RequireScopeLayer::new(requirement).layer(inner)
    }
}

impl RequireScope<()> {
    /// The layer that makes such services: [`RequireScopeLayer::new`].
    #[must_use]
    pub fn layer(requirement: impl Into<Requirement>) -> RequireScopeLayer {
        RequireScopeLayer::new(requirement)
    }
}

impl<S, R> ScopeResolver<S, R> {
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

impl<S, R> RequireScope<S, R> {
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

    // A request that is handed on is copied, unless the one service is compiled into the other.
    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.resolve(&mut request) {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(refused) => ResponseFuture::answered(refused),
        }
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

    // A request that is handed on is copied, unless the one service is compiled into the other.
    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.check(&mut request) {
            Ok(()) => ResponseFuture::inner(self.inner.call(request)),
            Err(refused) => ResponseFuture::answered(refused),
        }
    }
}

impl<S, R> ScopeResolver<S, R> {
    #[inline(never)]
    fn resolve<ReqBody, ResBody>(&self, request: &mut Request<ReqBody>) -> Result<(), Response<ResBody>>
    where
        R: Respond<ResBody>,
    {
        let declared = self.resolution.declared(request.headers());
        let resolved = match access::of_mut(request, "ScopeResolverLayer") {
            Err(_) if self.missing_access_allowed => return Ok(()),
            Err(denied) => Err(denied),
            Ok(access) => declared.and_then(|declared| access.resolve(&self.resolution, declared)),
        };
        resolved.map_err(|denied| refused(request, &denied, &self.respond))
    }
}

impl<S, R> RequireScope<S, R> {
    #[inline(never)]
    fn check<ReqBody, ResBody>(&self, request: &mut Request<ReqBody>) -> Result<(), Response<ResBody>>
    where
        R: Respond<ResBody>,
    {
        let access = access::of_mut(request, "RequireScopeLayer");
        let required = access.and_then(|access| access.require_first(&self.requirement));
        required.map_err(|denied| refused(request, &denied, &self.respond))
    }
}

/// The response to a refusal, with the challenge of the door that the access came from.
fn refused<ReqBody, ResBody>(
    request: &Request<ReqBody>,
    denied: &Denied,
    respond: &impl Respond<ResBody>,
) -> Response<ResBody> {
    let access: Option<&Access> = request.extensions().get();
    let identity = access.map(Access::identity);
    let refusal = Refusal::new(request, denied, identity.as_ref());
    let bare = Challenge::new();
    let challenge = access.map_or(&bare, |access| &access.policy().challenge);
    refuse(&refusal, challenge, &challenge.of(request), respond)
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
