//! Clients that keep failing are locked out for a while.
//!
//! A [`FailureLimiter`] counts failures per client address; [`Limited`] puts it around any
//! [`Authenticate`](crate::bearer::Authenticate).
//!
//! # How a request is decided
//!
//! 1. A client that is locked out is refused with 429 and `Retry-After`, whatever it presents, nothing
//!    included. That neither counts nor makes the lock longer.
//! 2. A request that presents no credential, or a malformed one, is refused without being counted.
//! 3. A credential that the door rejects counts, whether it is found in the request or by the verifier.
//!    The failure that makes the count reach
//!    [`max_attempts`](FailureLimits::with_max_attempts) within the
//!    [`window`](FailureLimits::with_window) locks the client; that failure itself is answered as any
//!    other.
//! 4. A credential that the door lets in clears the count. A verifier that cannot tell, or a credential
//!    that was good once and has expired or was revoked, does neither.
//! 5. While a response streams, a recheck honours a lock and never counts: a stream that is asked
//!    again is no attempt.
//!
//! # Who is one client
//!
//! - An IPv4 address. An IPv4-mapped IPv6 address is the same client, and so is an address of IPv6 that
//!   stands for a host of IPv4: behind NAT64 with the well-known prefix `64:ff9b::/96` (RFC 6052), behind a
//!   stateless translator (`::ffff:0:0:0/96`), IPv4-compatible (`::/96`), 6to4 (`2002::/16`) or Teredo
//!   (`2001::/32`). 6to4 gives each IPv4 address a /48, and all clients of a
//!   Teredo server are in one /64.
//! - The /64 of an IPv6 address: that is the least that one subscriber is given.
//! - A whole IPv6 address where a /64 has many hosts in it: on the link (`fe80::/10`), whose hosts can
//!   choose among its addresses, and behind NAT64 with a prefix of `64:ff9b:1::/48` (RFC 8215). Behind
//!   NAT64 with any other prefix all of IPv4 is one client: count at the translator instead.
//! - All requests without an address, together: [`Limited`] counts them as `0.0.0.0`. One that fails
//!   locks out all.
//!
//! Loopback addresses are exempt unless [`with_loopback_counted`](FailureLimits::with_loopback_counted)
//! says otherwise.
//!
//! # What is said of a lock
//!
//! [`on_lock`](FailureLimiter::on_lock) calls a function once for each lock; with the feature `tracing`
//! each is a warning too, with the address and the time.
//!
//! # Several nodes
//!
//! Behind a balancer each node would allow as many attempts as one. [`FailureLimiter::shared`] has them count together,
//! by what several machines reach: see [`shared`].
//!
//! # Memory
//!
//! Fixed: at most [`capacity`](FailureLimits::with_capacity) clients, each with at most
//! `max_attempts` times. When one more fails, a lock that is over is forgotten first, then the client
//! whose last failure is the oldest. When every client that is remembered is locked out, the lock that
//! would end soonest ends there and then: to lock everybody else out instead would hand the door to
//! the attacker.
//!
//! # Deployment
//!
//! - Behind a proxy every client has the proxy's address, and one that fails locks out all: resolve
//!   the address from the headers of proxies that you trust, and of no others.
//! - Who holds a good credential can clear the count between two guesses at another one. A limiter
//!   slows guessing down; a secret that cannot be guessed is what stops it.
//! - A lock is seen by open streams at their next frame or heartbeat and not before, so that strangers
//!   cannot wake every stream by being locked out.
//!
//! # Example
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{
//!     StaticToken,
//!     bearer::{AuthLayer, Bearer},
//!     limiter::{FailureLimiter, FailureLimits, Limited},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let limiter = FailureLimiter::new(FailureLimits::new().with_max_attempts(3));
//! let limited = Limited::new(Bearer::new(StaticToken::new("s3cret")), limiter, |_headers, extensions| {
//!     extensions.get::<SocketAddr>().map(SocketAddr::ip)
//! });
//! let service = ServiceBuilder::new()
//!     .layer(AuthLayer::from_authenticator(limited))
//!     .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
//!
//! let ask = async |token: &str| {
//!     let request = Request::builder()
//!         .header("authorization", format!("Bearer {token}"))
//!         .extension(SocketAddr::from(([203, 0, 113, 9], 40_000)))
//!         .body(())
//!         .unwrap();
//!     service.clone().oneshot(request).await.unwrap().status().as_u16()
//! };
//! assert_eq!([ask("a").await, ask("b").await, ask("c").await], [401, 401, 401]);
//! assert_eq!(ask("s3cret").await, 429);
//! # Ok(())
//! # }
//! ```

// - `limits`: how many failures are too many; `client`: who is one client.
// - `table`: the failures, the locks and their order; `failure_limiter`: a handle on it, with hooks.
// - `limited`: any authenticator with a limiter in front.
// - `shared`: a limiter that several nodes have in common.
//
// An attempt passes `Limited::present`, which refuses a locked client, and comes back to `Limited::conclude`
// with the door's verdict, which is what counts. A recheck passes `Limited::verify_again` alone.

mod client;
mod failure_limiter;
mod limited;
mod limits;
pub mod shared;
mod table;

pub use self::{
    client::{Client, InvalidClient},
    failure_limiter::FailureLimiter,
    limited::{Attempt, Limited},
    limits::FailureLimits,
};
