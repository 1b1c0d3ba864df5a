//! Who is at the other end of the connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::Extensions;

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

/// How the peer is found in a request's extensions.
#[derive(Clone)]
pub(super) struct PeerOf(Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>);

impl PeerOf {
    pub(super) fn new(find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(super) fn find(&self, extensions: &Extensions) -> Option<IpAddr> {
        (self.0)(extensions).map(|address| address.to_canonical())
    }
}

impl Default for PeerOf {
    fn default() -> Self {
        Self::new(|extensions| extensions.get().map(PeerAddr::ip))
    }
}

impl fmt::Debug for PeerOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerOf").finish_non_exhaustive()
    }
}
