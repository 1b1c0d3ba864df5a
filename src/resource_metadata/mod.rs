//! How a protected resource describes itself: which scopes it knows, and who gives tokens for it (RFC 9728).
//!
//! A client that is refused finds the way to a token from here: the challenge names the document, the document the
//! authorization server. That is how a client of MCP finds out where to send its user.
//! [`ResourceMetadataLayer`] serves the document at its well-known path, and makes the challenge that points there.
//!
//! # How a request is decided
//!
//! 1. The path is compared with the well-known path of each resource: `/.well-known/oauth-protected-resource`, then
//!    the path of the resource (section 3.1). Where a resource has a query, that is compared too. A path that is none
//!    of them goes on to the inner service.
//! 2. Of several resources with the same well-known path the one at the request's host is described; at another host,
//!    the request goes on. Where a path has one resource only, every host gets it: a proxy may have changed the
//!    `Host`, and a client compares `resource` with the URL that it calls (section 3.3). Ports are never looked at.
//! 3. `GET` and `HEAD` are answered with the document, `OPTIONS` as the preflight of a page, anything else with 405.
//!    A page of any origin may read it: nothing in it is secret.
//!
//! # Deployment
//!
//! - The layer stands outside [`BearerAuthLayer`](crate::BearerAuthLayer): the document is for those who have no token.
//! - `resource` is the URL that clients call, path included, and not the address that the server listens on.
//! - On axum it goes around the whole router and not into one that is nested, whose requests have lost the start of
//!   their path.
//! - A server that the layer cannot stand around, as its body is made of something else, asks
//!   [`answer`](ResourceMetadataLayer::answer) first.
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::post};
//! use tower::ServiceExt;
//! use tower_reauth::{
//!     BearerAuthLayer, Scope, StaticToken,
//!     resource_metadata::{ResourceMetadata, ResourceMetadataLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metadata = ResourceMetadataLayer::new([ResourceMetadata::new("https://mcp.example.com/mcp")?
//!     .with_authorization_servers(["https://login.example.com"])?
//!     .with_scopes_supported([Scope::from_static("tools:call")])]);
//!
//! let app = Router::new()
//!     .route("/mcp", post(async || "called"))
//!     .layer(BearerAuthLayer::new(StaticToken::new("s3cret")).with_challenge(metadata.challenge()))
//!     .layer(metadata);
//!
//! let response = app.clone().oneshot(Request::post("/mcp").body(Body::empty())?).await?;
//! assert_eq!(
//!     response.headers()["www-authenticate"],
//!     r#"Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp""#
//! );
//!
//! let document = Request::get("/.well-known/oauth-protected-resource/mcp").body(Body::empty())?;
//! assert_eq!(app.oneshot(document).await?.status(), 200);
//! # Ok(())
//! # }
//! ```

// - `metadata`: one resource and its document; `invalid`: why a text is no resource.
// - `resources`: those that are served, which one a request asks for, and the answer.
// - `layer`, `service`: the layer. Its future is that of the scope layers.

mod invalid;
mod layer;
mod metadata;
mod resources;
mod service;

pub use self::{
    invalid::InvalidUrl, layer::ResourceMetadataLayer, metadata::ResourceMetadata, service::ResourceMetadataService,
};
