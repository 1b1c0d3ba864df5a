//! The hosts that a service answers for.
//!
//! [`AllowedHostsLayer`] refuses requests that are meant for another host. A service that believes
//! everybody who can connect (one that listens on loopback without authentication, say) is open to every web
//! page otherwise: an attacker's page has its own name point at `127.0.0.1` after it was loaded (DNS
//! rebinding), the browser takes the service for the page's own origin, and neither CORS nor `Origin`
//! stops it from reading. The `Host` header still has the attacker's name in it.
//!
//! # How a request is decided
//!
//! 1. It names the one host that it is for, by a single `Host` header or, in HTTP/2 and 3, by
//!    `:authority`: else 400 (RFC 9112 section 3.2). HTTP/1 without `Host` names none.
//! 2. That host is allowed; where both `Host` and the target name one, both are. Else 421 (RFC 9110
//!    section 15.5.20).
//! 3. The `Origin` header, if there is one, is a single origin at an allowed host, of any scheme: else
//!    421. `null` is at no host.
//!
//! Ports are never looked at. Names are compared in any case, with or without a dot at the end; an
//! address is compared as an address, an IPv4-mapped one as the IPv4 address that it stands for.
//!
//! Allowed are the loopback names, unless [`without_loopback`](AllowedHostsLayer::without_loopback) says
//! otherwise: `localhost` and names below it (RFC 6761 section 6.3), 127.0.0.0/8 and `[::1]`; and what
//! [`with_allowed`](AllowedHostsLayer::with_allowed) adds.
//!
//! # Deployment
//!
//! - This is the outermost layer: what is refused here should cost nothing and change nothing.
//! - It does not say who calls. Any program can write any `Host`: only a browser is held to it.
//! - Behind a proxy the `Host` is what the proxy sends on: its client's, or the one that it calls. Allow
//!   that. A health check that calls by address has the address in its `Host`.
//! - A page of another site that may call, by CORS, has to be allowed here as well as there.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{Denied, hosts::AllowedHostsLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let hosts = AllowedHostsLayer::new().with_allowed(["gateway.example.org".parse()?]);
//! let handler = async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new()));
//! let service = ServiceBuilder::new().layer(hosts.clone()).service_fn(handler);
//!
//! let to = |host: &str| Request::builder().header("host", host).body(()).unwrap();
//! assert_eq!(service.clone().oneshot(to("localhost:8080")).await?.status(), 200);
//! assert_eq!(service.clone().oneshot(to("gateway.example.org")).await?.status(), 200);
//! assert_eq!(service.oneshot(to("evil.example:8080")).await?.status(), 421);
//!
//! // 403 in place of 421, and a body that says why.
//! let hosts = hosts.with_response(|denied: &Denied| {
//!     let mut response = Response::new(denied.to_string());
//!     *response.status_mut() = StatusCode::FORBIDDEN;
//!     response
//! });
//! let service = ServiceBuilder::new().layer(hosts).service_fn(handler);
//! assert_eq!(service.oneshot(to("evil.example:8080")).await?.status(), 403);
//! # Ok(())
//! # }
//! ```

// - `allowed`: a host that is served; `rules`: which ones are, and how a request is judged by them.
// - `layer`, `service`: the layer. Its future is that of the scope layers.
//
// A request is judged in `AllowedHosts::call` by the rules alone, and goes on or becomes a response by
// `respond::refuse`.

mod allowed;
mod layer;
mod rules;
mod service;

pub use self::{
    allowed::{AllowedHost, InvalidHost},
    layer::AllowedHostsLayer,
    service::AllowedHosts,
};
