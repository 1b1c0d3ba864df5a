//! **What** may they do?
//!
//! [`ScopeResolverLayer`] turns an identity into a granted scope set, [`RequireScopeLayer`] compares
//! that with what a route requires. They are two layers because the first is a policy of the whole
//! service and the second belongs to each route.
//!
//! # How a request is decided
//!
//! 1. Without an [`Access`](crate::Access) in its extensions it is refused with 500: nobody has asked
//!    who is calling.
//! 2. [`ScopeResolverLayer`] asks its strategy ([`Strict`], [`Compat`], your own) which scopes the
//!    identity has. Where no such layer stands, an identity has the scopes that are bound to its
//!    credential.
//! 3. A declared-scopes header, if one is configured, narrows scopes that are bound to a credential
//!    and never widens them; only an identity that somebody else vouches for is taken at its word.
//! 4. [`RequireScopeLayer`] refuses with 403 `insufficient_scope` unless the granted set, read under
//!    the [`ScopeHierarchy`], has what is required. The challenge names scopes that are enough.
//! 5. What was decided here is decided again, by the same strategy and for the same requirement, each
//!    time a stream is rechecked.
//!
//! # Deployment
//!
//! A declared-scopes header is believed when the identity comes from a trusted proxy. That proxy must
//! overwrite or remove the header that a client sends, or the client declares for itself.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{
//!     BearerAuthLayer, Compat, RequireScopeLayer, Scope, ScopeResolverLayer, ScopeSet, StaticToken, Strict,
//!     scope::ScopeHierarchy,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! const ADMIN: Scope = Scope::from_static("operator.admin");
//! const READ: Scope = Scope::from_static("operator.read");
//!
//! async fn status(resolver: ScopeResolverLayer) -> u16 {
//!     let service = ServiceBuilder::new()
//!         .layer(BearerAuthLayer::new(StaticToken::new("s3cret")))
//!         .layer(resolver.with_hierarchy(ScopeHierarchy::new().with_all(ADMIN)))
//!         .layer(RequireScopeLayer::new(READ))
//!         .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
//!     let request = Request::builder().header("authorization", "bearer s3cret").body(()).unwrap();
//!     service.oneshot(request).await.unwrap().status().as_u16()
//! }
//!
//! // A shared secret declares nothing, so strictly it has nothing; by the compat rule it is the operator.
//! assert_eq!(status(ScopeResolverLayer::new(Strict::new(ADMIN))).await, 403);
//! assert_eq!(status(ScopeResolverLayer::new(Compat::new(ADMIN))).await, 200);
//! # Ok(())
//! # }
//! ```

// - `set`, `hierarchy`, `requirement`, `granted`: scopes, what implies what, what is required, what is had.
// - `few`: none, one or several values, the first two without a `Vec`.
// - `resolve`: the strategies; `resolution`: one layer's strategy, and what it granted a caller.
// - `layer`, `service`, `future`: the two layers.
//
// A request passes `ScopeResolver::call`, which has `Access::resolve` keep a `Grant` of the layer, and
// `RequireScope::call`, which has `Access::require` compare. At a recheck `Access::apply` renews each grant
// by `Grant::renewed` and compares again, by the same `Terms::check`. A refusal goes through `refused` (in
// `service`) to `respond::refuse`, whose status is `Denied::status`'s: 403.

mod few;
mod future;
mod granted;
mod hierarchy;
mod layer;
mod requirement;
mod resolution;
mod resolve;
mod service;
mod set;

pub(crate) use self::{
    few::Few,
    resolution::{Grant, Resolution},
};
pub use self::{
    future::ResponseFuture,
    granted::Granted,
    hierarchy::ScopeHierarchy,
    layer::{RequireScopeLayer, ScopeResolverLayer},
    requirement::Requirement,
    resolve::{Compat, Declared, ResolveScopes, Strict},
    service::{RequireScope, ScopeResolver},
    set::{InvalidScope, Scope, ScopeSet},
};
