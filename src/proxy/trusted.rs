//! Callers that a proxy vouches for.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName};

use super::{
    OriginPolicy, TrustedNetworks,
    machine::{Machine, Unknown},
    peer::PeerOf,
};
use crate::{
    AuthMethod, Denied, Identity,
    bearer::{Authenticate, Head},
    revoke::Revision,
    verify::{CredentialKey, TokenDigest, Verification, VerifyError},
};

/// How many bytes of a user header are read.
const MOST_USER: usize = 1024;

/// Takes the caller from a header that a trusted proxy writes.
///
/// The rules are fixed: to change them, build another one and put it in this one's place. A caller that
/// this one let in can be verified by the other, as described in the
/// [module's documentation](super).
#[derive(Clone, Debug)]
pub struct TrustedProxy {
    peer_of: PeerOf,
    trusted: TrustedNetworks,
    loopback_allowed: bool,
    /// Anyone, if not named.
    allowed_users: Option<Arc<HashSet<String>>>,
    headers: Arc<HeaderRules>,
    machine: Arc<Machine>,
}

/// What is read in a request's head, which is gone when a stream is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderRules {
    user: HeaderName,
    required: Vec<HeaderName>,
    origins: OriginPolicy,
}

/// A caller that a proxy vouched for: what a recheck needs, and nothing of the request's buffers.
#[derive(Clone, Debug)]
pub struct ProxiedUser {
    identity: Identity,
    peer: IpAddr,
    judged_by: Arc<HeaderRules>,
}

impl TrustedProxy {
    /// Believes what peers within `trusted` write into `user_header`. No page of another origin may
    /// call.
    #[must_use]
    pub fn new(trusted: TrustedNetworks, user_header: HeaderName) -> Self {
        Self {
            peer_of: PeerOf::default(),
            trusted,
            loopback_allowed: false,
            allowed_users: None,
            headers: Arc::new(HeaderRules { user: user_header, required: Vec::new(), origins: OriginPolicy::new() }),
            machine: Arc::default(),
        }
    }

    /// Finds the peer of a request elsewhere than in a [`PeerAddr`](super::PeerAddr): where the server
    /// that is used puts it.
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// # use axum::extract::ConnectInfo;
    /// # use tower_reauth::proxy::{TrustedNetworks, TrustedProxy};
    /// # let networks = TrustedNetworks::none();
    /// # let user_header = http::HeaderName::from_static("x-auth-user");
    /// // axum, with `into_make_service_with_connect_info::<SocketAddr>()`
    /// let proxy = TrustedProxy::new(networks, user_header)
    ///     .with_peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    /// ```
    #[must_use]
    pub fn with_peer(mut self, find: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer_of = PeerOf::new(find);
        self
    }

    /// Believes a proxy on this machine, if its loopback address is within the trusted networks. Every
    /// local program can then name any user.
    #[must_use]
    pub fn with_loopback_allowed(mut self) -> Self {
        self.loopback_allowed = true;
        self
    }

    /// Requires a header that only the proxy writes, whatever its value.
    #[must_use]
    pub fn with_required_header(mut self, header: HeaderName) -> Self {
        Arc::make_mut(&mut self.headers).required.push(header);
        self
    }

    /// Lets in these users and no others.
    #[must_use]
    pub fn with_allowed_users<T: Into<String>>(mut self, users: impl IntoIterator<Item = T>) -> Self {
        self.allowed_users = Some(Arc::new(users.into_iter().map(Into::into).collect()));
        self
    }

    /// Says which web pages may call.
    #[must_use]
    pub fn with_origins(mut self, origins: OriginPolicy) -> Self {
        Arc::make_mut(&mut self.headers).origins = origins;
        self
    }

    /// Whom the proxy vouches for, by the rules 1 to 6 of the [module's documentation](super): all but
    /// the one about web pages.
    ///
    /// # Errors
    ///
    /// [`Denied::NoPeer`] without a peer, [`Denied::Missing`] where nobody is vouched for,
    /// [`Denied::Malformed`] where the user cannot be read, [`Denied::Rejected`] where they are not
    /// allowed, [`Denied::Unavailable`] where this machine's own addresses cannot be found out.
    pub fn identify<'r>(&self, request: impl Into<Head<'r>>) -> Result<ProxiedUser, Denied> {
        let head = request.into();
        let peer = self.peer_of.find(head.extensions()).ok_or(Denied::NoPeer)?;
        let trusts = self.trusts(peer).map_err(|Unknown| Denied::Unavailable { retry_after: Machine::RETRY })?;
        if !trusts {
            return Err(Denied::Missing);
        }
        let user = self.headers.read(head.headers())?;
        if !self.allows(user) {
            return Err(Denied::Rejected);
        }
        let identity = Identity::new(user, AuthMethod::TrustedProxy);
        Ok(ProxiedUser { identity, peer, judged_by: Arc::clone(&self.headers) })
    }

    /// Which web pages may call.
    #[must_use]
    pub fn origins(&self) -> &OriginPolicy {
        &self.headers.origins
    }

    fn trusts(&self, peer: IpAddr) -> Result<bool, Unknown> {
        if !self.trusted.contains(peer) {
            return Ok(false);
        }
        if peer.is_loopback() { Ok(self.loopback_allowed) } else { self.machine.owns(peer).map(|own| !own) }
    }

    fn allows(&self, user: &str) -> bool {
        self.allowed_users.as_ref().is_none_or(|allowed| allowed.contains(user))
    }
}

impl Authenticate for TrustedProxy {
    type Credential = ProxiedUser;

    fn present(&self, head: Head<'_>) -> Result<ProxiedUser, Denied> {
        let user = self.identify(head)?;
        if self.origins().allows(head) { Ok(user) } else { Err(Denied::Rejected) }
    }

    fn verify(&self, user: &ProxiedUser) -> Verification {
        let same_rules = Arc::ptr_eq(&self.headers, &user.judged_by) || self.headers == user.judged_by;
        if !same_rules || !self.allows(user.identity.subject()) {
            return Err(VerifyError::Rejected).into();
        }
        match self.trusts(user.peer) {
            Ok(true) => Ok(user.identity.clone()),
            Ok(false) => Err(VerifyError::Rejected),
            Err(Unknown) => Err(VerifyError::unavailable_for(Machine::RETRY)),
        }
        .into()
    }

    /// Of the user, whatever of a request was believed, and from whom.
    fn key(&self, user: &ProxiedUser) -> Option<CredentialKey> {
        let ProxiedUser { identity, peer, judged_by } = user;
        let name = TokenDigest::of(format!("a user of a proxy: {}", identity.subject()));
        Some(CredentialKey::new(name).and(peer.to_string()).and(format!("{judged_by:?}")))
    }

    /// Moves when this machine is seen to have other addresses than before, quietly; the rules are fixed.
    fn revision(&self) -> Option<&Revision> {
        Some(self.machine.revision())
    }
}

impl HeaderRules {
    /// The user that the headers name.
    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, Denied> {
        let is_there = |name| headers.get_all(name).iter().any(|value| !value.as_bytes().trim_ascii().is_empty());
        if !self.required.iter().all(is_there) {
            return Err(Denied::Missing);
        }
        let mut users = headers.get_all(&self.user).iter();
        let user = users.next().ok_or(Denied::Missing)?;
        // Of two of them, one may be the client's own.
        if users.next().is_some() {
            return Err(Denied::Malformed);
        }
        // Each stream of the user keeps it.
        if user.len() > MOST_USER {
            return Err(Denied::Malformed);
        }
        match std::str::from_utf8(user.as_bytes()).map(str::trim) {
            Err(_) => Err(Denied::Malformed),
            Ok("") => Err(Denied::Missing),
            Ok(user) => Ok(user),
        }
    }
}

impl ProxiedUser {
    /// Who is vouched for.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_recheck_asks_whether_the_peer_is_this_machine_by_now() {
        let everywhere = TrustedNetworks::parse(["0.0.0.0/0", "::/0"]).unwrap();
        let proxy = TrustedProxy::new(everywhere, HeaderName::from_static("x-user"));
        let from = |peer| ProxiedUser {
            identity: Identity::new("alice", AuthMethod::TrustedProxy),
            peer,
            judged_by: Arc::clone(&proxy.headers),
        };
        // 192.0.2.0/24 is for documentation (RFC 5737): nobody has it.
        assert!(proxy.verify(&from([192, 0, 2, 1].into())).await.is_ok());
        let interfaces = if_addrs::get_if_addrs().unwrap();
        for own in interfaces.iter().map(if_addrs::Interface::ip) {
            assert_eq!(proxy.verify(&from(own)).await.unwrap_err(), VerifyError::Rejected, "{own}");
        }
    }
}
