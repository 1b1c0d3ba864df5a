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
//! your own. A layer that needs an [`Access`] and finds none refuses with 500, and says so on standard
//! error or in the log ([`observe`]). [`ScopeResolverLayer`] and [`StreamReauthLayer`] can be told to let such
//! requests through (`with_missing_access_allowed`); [`RequireScopeLayer`] cannot.
//!
//! # Where they stand
//!
//! From the outside in: CORS, compression, [`BearerAuthLayer`], [`ScopeResolverLayer`],
//! [`RequireScopeLayer`], [`StreamReauthLayer`], the handler. A [`tower::ServiceBuilder`] is read in
//! that order; of an axum `Router`'s `layer`s the one that was added *last* runs first. Both of these are
//! the same:
//!
//! ```
//! use axum::{Router, body::Body, http::{HeaderValue, Request, header}, routing::get};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http::cors::CorsLayer;
//! use tower_reauth::{BearerAuthLayer, RequireScopeLayer, Scope, StaticToken, StreamReauthLayer};
//!
//! const READ: Scope = Scope::from_static("history:read");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let auth = || BearerAuthLayer::new(StaticToken::new("s3cret").with_scopes(READ));
//! let cors = || {
//!     CorsLayer::new()
//!         .allow_origin(HeaderValue::from_static("https://app.example"))
//!         .allow_headers([header::AUTHORIZATION])
//!         .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER])
//! };
//! let routes = || Router::new().route("/history", get(async || "history"));
//!
//! let last_runs_first = routes()
//!     .layer(StreamReauthLayer::new())
//!     .layer(RequireScopeLayer::new(READ))
//!     .layer(auth())
//!     .layer(cors());
//!
//! let first_runs_first = routes().layer(
//!     ServiceBuilder::new()
//!         .layer(cors())
//!         .layer(auth())
//!         .layer(RequireScopeLayer::new(READ))
//!         .layer(StreamReauthLayer::new()),
//! );
//!
//! for app in [last_runs_first, first_runs_first] {
//!     let origin = |method| Request::builder().method(method).header("origin", "https://app.example");
//!
//!     // A preflight carries no credential (Fetch section 3.3.5), so CORS stands outermost and answers it.
//!     let preflight = origin("OPTIONS").uri("/history").header("access-control-request-method", "GET");
//!     let response = app.clone().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
//!     assert_eq!(response.status(), 200);
//!
//!     // There it also makes a 401 one that a script can read.
//!     let response = app.clone().oneshot(origin("GET").uri("/history").body(Body::empty()).unwrap()).await.unwrap();
//!     assert_eq!(response.status(), 401);
//!     assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example");
//!     assert_eq!(response.headers()["access-control-expose-headers"], "www-authenticate,retry-after");
//!
//!     // `layer` is around paths that are unknown too: a stranger does not learn which ones exist.
//!     let response = app.oneshot(origin("GET").uri("/nothing").body(Body::empty()).unwrap()).await.unwrap();
//!     assert_eq!(response.status(), 401);
//! }
//!
//! // `route_layer` is around the routes alone: what is unknown is a 404 to everybody.
//! let app = routes().route_layer(auth());
//! let response = app.oneshot(Request::builder().uri("/nothing").body(Body::empty()).unwrap()).await.unwrap();
//! assert_eq!(response.status(), 404);
//! # }
//! ```
//!
//! [`tower::ServiceBuilder`]: https://docs.rs/tower/0.5/tower/struct.ServiceBuilder.html
//!
//! # What it holds against
//!
//! [`threat_model`] says on one page what is promised, to whom, against whom, and what is not.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum` | [`Access`] and [`Identity`] as extractors, also optional ones; [`Denied`] as a response; `tower_reauth::axum::respond_with` |
//! | `axum-ws` | the module `websocket`: sockets that end, both halves, when access ends |
//! | `cached` | [`Cached`](verify::Cached): a cache around any verifier |
//! | `hosts` | the module `hosts`: requests to other hosts than those that are served are refused |
//! | `http-client` | the module `http_client`, with a client of hyper and rustls for verifiers that ask a provider; its cryptography is that of `ring` |
//! | `http-client-aws-lc-rs` | the same with the cryptography of `aws-lc-rs` |
//! | `http-client-native-roots` | beside one of the two: the certificates that the machine trusts, in place of Mozilla's |
//! | `introspection` | [`Introspection`](verify::Introspection): tokens that their issuer is asked about (RFC 7662) |
//! | `json-rpc` | the module `json_rpc`: calls of JSON-RPC, as those of MCP, are known to who decides, and the stream that answers one ends with an error of it |
//! | `jwks` | beside one of the two below: the keys of an issuer, fetched again and again: the module `verify::jwks` |
//! | `jwt` | the module `verify::jwt`: JSON Web Tokens, with cryptography that needs no C compiler |
//! | `jwt-aws-lc-rs` | the same with the cryptography of `aws-lc-rs` |
//! | `limiter` | the module `limiter`: clients that keep failing are locked out |
//! | `metrics` | counts of refusals, checks, revocations and streams, through the `metrics` facade: [`observe`] |
//! | `redis` | [`RedisLog`](revoke::shared::RedisLog): revocations that nodes share by a log in Redis; and with `limiter` who is locked out: `RedisFailures` |
//! | `resource-metadata` | the module `resource_metadata`: the document of RFC 9728, and the challenge that points to it |
//! | `security-events` | the module [`revoke::events`]: revocations that an identity provider sends (Shared Signals, back-channel logout) |
//! | `session-binding` | the module `session`: a session's id is good for the caller who began it, and for nobody else |
//! | `tracing` | an event for each refusal and end, and who is calling in the request's span: [`observe`] |
//! | `trusted-proxy` | the module `proxy`: callers and client addresses from a proxy's headers |
//!
//! The library is for Rust 1.85 and later; `jwt`, `jwt-aws-lc-rs`, `jwks` and `redis` are for 1.88, as what they stand on is.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// # The order of the modules
//
// Values, and what every module uses (`identity`, `clock`, `counts`, `media_type`, `sync`, `timer`, `unwind`, sets of scopes, then `denied` and
// `ended`) < `verify`, `revoke` < `access`, `observe`, `respond`, how scopes are resolved < the layers of
// the three questions, `bearer`, `scope`, `reauth` < neighbours behind features. A file imports only from its
// own tier or lower; the list is `TIERS` in `.ci/imports.py`, which checks it.
//
// # One law
//
// What a user wrote (a verifier, a resolver, a clock, a closure, a waker, a subscriber, a recorder, the `Drop`
// of claims and bodies) is never called while we hold a lock, for it may block or come back to us, and never
// before our own state is consistent, for it may panic. These keep it:
//
// - `unwind::contained` is around each call of it that may not unwind further.
// - `SharedCheck::begin` calls the verifier between two locks; meanwhile other streams of the
//   credential find `Stage::Starting` and wait.
// - `Guard::ended` makes an end final before anything is dropped, and `Guard::report` counts and logs it
//   after all that is guarded is gone.
// - What a lock gives up is moved out, and dropped after it.

pub mod access;
mod authority;
#[cfg(feature = "axum")]
pub mod axum;
pub mod bearer;
mod challenge;
#[cfg(any(feature = "_jwt", feature = "introspection", feature = "security-events"))]
#[allow(dead_code, reason = "each feature reads some of what there is to read")]
mod claims;
mod clock;
mod counts;
mod denied;
mod ended;
mod fault;
mod grpc;
#[cfg(feature = "hosts")]
pub mod hosts;
#[cfg(any(feature = "_https", feature = "introspection", feature = "jwks", feature = "security-events"))]
pub mod http_client;
mod identity;
#[cfg(feature = "json-rpc")]
pub mod json_rpc;
#[cfg(feature = "limiter")]
pub mod limiter;
mod media_type;
pub mod observe;
#[cfg_attr(not(feature = "trusted-proxy"), allow(unreachable_pub, reason = "its types are exported from there"))]
mod origin;
#[cfg(feature = "trusted-proxy")]
pub mod proxy;
pub mod reauth;
#[cfg(feature = "resource-metadata")]
pub mod resource_metadata;
pub mod respond;
pub mod revoke;
pub mod scope;
#[cfg(feature = "session-binding")]
pub mod session;
mod sync;
#[cfg(doc)]
pub mod threat_model;
mod timer;
mod unwind;
pub mod verify;
#[cfg(feature = "axum-ws")]
pub mod websocket;

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
