//! Tower middleware that asks three questions, and keeps asking the third one until the last byte.
//!
//! | question | layer | refuses with |
//! | --- | --- | --- |
//! | **who** is calling? | [`BearerAuthLayer`] | 401 (400 malformed, 429 locked out, 503 verifier down) |
//! | **what** may they do? | [`ScopeResolverLayer`], [`RequireScopeLayer`] | 403 |
//! | **for how long?** | [`StreamReauthLayer`] | the stream ends |
//!
//! Other middleware asks for a credential once, at the door, so a response that streams for an hour
//! is trusted for an hour. Here a stream ends when access ends: at the expiry of the credential, the
//! moment it is revoked, at a heartbeat, or before the next frame.
//!
//! # Example
//!
//! One secret, one required scope, and streams that end when the secret is rotated:
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{BearerAuthLayer, RequireScopeLayer, Scope, StaticToken, StreamReauthLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! const READ: Scope = Scope::from_static("history:read");
//!
//! let service = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(StaticToken::new("s3cret").with_scopes(READ)))
//!     .layer(RequireScopeLayer::new(READ))
//!     .layer(StreamReauthLayer::new())
//!     .service_fn(async |_request: http::Request<()>| {
//!         Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
//!     });
//!
//! let nobody = http::Request::new(());
//! assert_eq!(service.clone().oneshot(nobody).await?.status(), 401);
//!
//! let caller = http::Request::builder().header("authorization", "Bearer s3cret").body(())?;
//! assert_eq!(service.oneshot(caller).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # How the layers meet
//!
//! They share one value, [`Access`], in the request's extensions: [`BearerAuthLayer`] puts it there,
//! the scope layers fill it in, [`StreamReauthLayer`] takes from it all that is needed to ask
//! everything again. No layer names another's type, so each works with a source of [`Access`] of
//! your own. A layer that needs an [`Access`] and finds none refuses with 500: letting such requests
//! through is an explicit choice of its builder.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum` | [`Access`] and [`Identity`] as extractors, [`Denied`] as a response |
//! | `limiter` | the module `limiter`: clients that keep failing are locked out |
//! | `metrics` | a counter for each refusal and each end of a stream, through the `metrics` facade |
//! | `tracing` | an event for each |
//! | `trusted-proxy` | the module `proxy`: callers and client addresses from a proxy's headers |

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod access;
#[cfg(feature = "axum")]
mod axum;
pub mod bearer;
mod challenge;
mod clock;
mod denied;
mod ended;
mod grpc;
mod identity;
#[cfg(feature = "limiter")]
pub mod limiter;
pub mod observe;
#[cfg(feature = "trusted-proxy")]
pub mod proxy;
pub mod reauth;
pub mod respond;
pub mod revoke;
pub mod scope;
mod sync;
mod unwind;
pub mod verify;

#[doc(inline)]
pub use self::{
    access::Access,
    bearer::BearerAuthLayer,
    clock::Clock,
    denied::Denied,
    identity::{AuthMethod, Identity},
    reauth::{StreamReauth, StreamReauthLayer},
    scope::{Compat, RequireScopeLayer, Scope, ScopeResolverLayer, ScopeSet, Strict},
    verify::{StaticToken, Tokens, VerifyToken},
};
