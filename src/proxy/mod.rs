//! Behind a proxy: whom it vouches for, and where its clients are.
//!
//! [`TrustedProxy`] takes callers from a header that a proxy in front of the service writes;
//! [`ClientAddress`] finds the address of the client behind it. Both believe a peer within the
//! [`TrustedNetworks`] and nobody else, and both need to know who the peer is: the server puts a
//! [`PeerAddr`] into each request's extensions, or [`with_peer`](TrustedProxy::with_peer) says where else
//! to look (axum's `ConnectInfo`).
//!
//! # How a caller is decided
//!
//! In this order; the first rule that fails refuses the request:
//!
//! 1. The peer is known, or the server is put together wrongly: 500.
//! 2. The peer is within the trusted networks. Else nothing it says counts: no credential, 401.
//! 3. A loopback peer is believed only where
//!    [`with_loopback_allowed`](TrustedProxy::with_loopback_allowed) says so, and a peer at another
//!    address of this very machine never: any local program could be it. 401. Which addresses these are
//!    the interfaces say, which are read again when 5 seconds have passed. Where the system does not
//!    answer, for it is short of descriptors perhaps, the last list serves for a minute, and then
//!    nobody is let in: 503 with `Retry-After`.
//! 4. Every required header is there, and not blank: 401.
//! 5. The user header is there, once, and not blank: 401, for two of them, or more than 1 KiB, 400. Its text
//!    without the white space around it is the user.
//! 6. The user is one of the allowed ones, if they are named, letter by letter: 401.
//! 7. The [`OriginPolicy`] lets the web page call, if a browser says that one does: 401. A proxy knows
//!    its users by cookies, which a browser adds to the calls of any page.
//!
//! While a response streams, a recheck applies 2, 3 and 6 again, before its next frame if this machine's
//! addresses were seen to change. The headers are gone by then: a caller that was let in under other
//! header rules than those of now is rejected.
//!
//! # Where a client is
//!
//! Each proxy appends the address that it saw to `X-Forwarded-For`, so the hops are read from the right,
//! all headers of that name as one list, and what a hop says counts as long as all hops to the right of
//! it are trusted.
//!
//! 1. Behind a peer that is not trusted there is nobody: the client is the peer.
//! 2. A hop that is trusted is passed: the one to the left of it is looked at next.
//! 3. The first hop that is not trusted is the client. Brackets and ports are removed.
//! 4. A hop that is no address (`unknown`, `unix:`, an address with a zone, a blank one), or the loopback
//!    address of a machine, ends the reading: what stands left of it is a stranger's word. The client is
//!    then the nearest address that is known: the last hop that was passed, or the peer. All who come
//!    through that hop unseen are one client, and none of them can choose to be another.
//! 5. Where every hop is trusted, or there is none, `X-Real-IP` is the client, if
//!    [`with_real_ip`](ClientAddress::with_real_ip) allows it and it is a readable address other than
//!    loopback. Else it is the farthest hop, or the peer. No header makes a client loopback.
//!
//! [`with_forwarded`](ClientAddress::with_forwarded) reads the `for` of `Forwarded` (RFC 7239) by the
//! same rules, in place of `X-Forwarded-For` where a request has both. An element with no `for`, or an
//! obfuscated or broken one, is a hop that is no address.
//! [`with_unreadable_hops_skipped`](ClientAddress::with_unreadable_hops_skipped) gives up rule 4.
//!
//! IPv4-mapped IPv6 addresses are the IPv4 addresses that they stand for, everywhere.
//!
//! # Deployment
//!
//! - The proxy must overwrite or remove the user header, the required headers and `X-Real-IP` of its
//!   clients, and append to `X-Forwarded-For` (and to `Forwarded`, where it is read). Whatever it passes
//!   on unchanged, a client can write.
//! - Everybody who can connect from a trusted network is trusted. Name the proxy's own addresses, not the
//!   network that others share with it.
//!
//! # Example
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use http::{HeaderName, Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{
//!     Access,
//!     bearer::AuthLayer,
//!     proxy::{PeerAddr, TrustedNetworks, TrustedProxy},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let proxy = TrustedProxy::new(TrustedNetworks::parse(["10.0.0.0/8"])?, HeaderName::from_static("x-auth-user"));
//! let service = ServiceBuilder::new()
//!     .layer(AuthLayer::from_authenticator(proxy))
//!     .service_fn(async |request: Request<()>| {
//!         let caller = request.extensions().get::<Access>().map(Access::identity);
//!         Ok::<_, std::convert::Infallible>(Response::new(caller.map_or(String::new(), |c| c.subject().to_owned())))
//!     });
//!
//! let from = |peer: [u8; 4]| {
//!     let peer = PeerAddr(SocketAddr::from((peer, 40_000)));
//!     Request::builder().header("x-auth-user", "alice").extension(peer).body(()).unwrap()
//! };
//! assert_eq!(service.clone().oneshot(from([10, 0, 0, 1])).await?.body(), "alice");
//! assert_eq!(service.oneshot(from([203, 0, 113, 9])).await?.status(), 401);
//! # Ok(())
//! # }
//! ```

// - `peer`: who is on the other end of the connection; `machine`: whether that is this machine.
// - `networks`: whom to trust. `origin_policy`: which web pages may call.
// - `trusted`: callers from a header. `client`, `forwarded`: clients' addresses from headers.
//
// A caller is decided in `TrustedProxy::present`, and rechecked by `TrustedProxy::verify`, which has no
// headers any more. An address is resolved by `ClientAddress::resolve`, for a limiter or a log.

mod client;
mod forwarded;
mod machine;
mod networks;
mod origin_policy;
mod peer;
mod trusted;

pub use self::{
    client::ClientAddress,
    networks::{InvalidNetwork, TrustedNetworks},
    origin_policy::OriginPolicy,
    peer::PeerAddr,
    trusted::{ProxiedUser, TrustedProxy},
};
pub use crate::origin::{InvalidOrigin, Origin};
