//! Who is at the other end of the connection.

use std::net::{IpAddr, SocketAddr};

/// The address of the peer, as the socket knows it: a request extension that the server inserts for
/// each connection that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// The address without the port; an IPv4-mapped IPv6 address as the IPv4 address that it stands
    /// for.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}
