//! The two layers of the second question.

use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::{RequireScope, Requirement, Resolution, ResolveScopes, ScopeHierarchy, ScopeResolver};
use crate::respond::EmptyBody;

/// Decides which scopes the caller has, by a strategy: [`Strict`](super::Strict),
/// [`Compat`](super::Compat), or a closure.
#[derive(Clone, Debug)]
pub struct ScopeResolverLayer<R = EmptyBody> {
    resolution: Arc<Resolution>,
    missing_access_allowed: bool,
    respond: R,
}

impl ScopeResolverLayer {
    /// Resolves scopes by `resolver`; nothing implies anything, and no header is looked at.
    #[must_use]
    pub fn new(resolver: impl ResolveScopes) -> Self {
        let resolution = Resolution { resolver: Arc::new(resolver), hierarchy: ScopeHierarchy::new(), header: None };
        Self { resolution: Arc::new(resolution), missing_access_allowed: false, respond: EmptyBody }
    }
}

impl<R> ScopeResolverLayer<R> {
    /// Says which scope implies which.
    #[must_use]
    pub fn with_hierarchy(mut self, hierarchy: ScopeHierarchy) -> Self {
        Arc::make_mut(&mut self.resolution).hierarchy = hierarchy;
        self
    }

    /// Reads declared scopes from `header`: a comma-separated list (RFC 9110 section 5.6.1) of at most
    /// 16 KiB. A longer one is refused with 400.
    #[must_use]
    pub fn with_declared_header(mut self, header: HeaderName) -> Self {
        Arc::make_mut(&mut self.resolution).header = Some(header);
        self
    }

    /// Lets requests without an [`Access`](crate::Access) through, unresolved, in place of a 500.
    #[must_use]
    pub fn with_missing_access_allowed(mut self) -> Self {
        self.missing_access_allowed = true;
        self
    }

    /// Answers refusals by `respond`, for instance a closure `Fn(&Denied) -> Response<B>`.
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> ScopeResolverLayer<T> {
        ScopeResolverLayer { resolution: self.resolution, missing_access_allowed: self.missing_access_allowed, respond }
    }
}

impl<S, R: Clone> Layer<S> for ScopeResolverLayer<R> {
    type Service = ScopeResolver<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        ScopeResolver {
            inner,
            resolution: Arc::clone(&self.resolution),
            missing_access_allowed: self.missing_access_allowed,
            respond: self.respond.clone(),
        }
    }
}

/// Refuses callers that were not granted what the route requires.
///
/// Nested layers add up: a caller must meet the requirements of all of them.
#[derive(Clone, Debug)]
pub struct RequireScopeLayer<R = EmptyBody> {
    requirement: Requirement,
    respond: R,
}

impl RequireScopeLayer {
    /// Requires a [`Scope`](super::Scope), every scope of an array or a [`ScopeSet`](super::ScopeSet), or a [`Requirement`].
    #[must_use]
    pub fn new(requirement: impl Into<Requirement>) -> Self {
        Self { requirement: requirement.into(), respond: EmptyBody }
    }
}

impl<R> RequireScopeLayer<R> {
    /// Answers refusals by `respond`, for instance a closure `Fn(&Denied) -> Response<B>`.
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> RequireScopeLayer<T> {
        RequireScopeLayer { requirement: self.requirement, respond }
    }
}

impl<S, R: Clone> Layer<S> for RequireScopeLayer<R> {
    type Service = RequireScope<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScope { inner, requirement: self.requirement.clone(), respond: self.respond.clone() }
    }
}
