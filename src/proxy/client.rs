//! The address of the client behind trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};

use super::TrustedNetworks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Finds the address of the client behind trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct ClientAddress {
    trusted: TrustedNetworks,
    real_ip: bool,
}

impl ClientAddress {
    /// Believes `X-Forwarded-For` of peers within `trusted`.
    #[must_use]
    pub fn new(trusted: TrustedNetworks) -> Self {
        Self { trusted, real_ip: false }
    }

    /// Believes `X-Real-IP` of trusted peers too, where `X-Forwarded-For` names nobody. A proxy that
    /// does not write this header passes on what its client wrote.
    #[must_use]
    pub fn with_real_ip(mut self) -> Self {
        self.real_ip = true;
        self
    }

    /// The client of a request with these `headers` that `peer` sent.
    #[must_use]
    pub fn resolve(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusted.contains(peer) {
            return peer;
        }
        self.forwarded_for(headers).or_else(|| self.real_ip(headers)).unwrap_or(peer)
    }

    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let hops = headers.get_all(X_FORWARDED_FOR).iter().rev().flat_map(|value| {
            let entries = value.as_bytes().rsplit(|&byte| byte == b',');
            entries.filter_map(address)
        });
        hops.into_iter().find(|hop| !hop.is_loopback() && !self.trusted.contains(*hop))
    }

    fn real_ip(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut values = headers.get_all(X_REAL_IP).iter();
        let only = values.next().filter(|_| self.real_ip && values.next().is_none())?;
        address(only.as_bytes()).filter(|address| !address.is_loopback())
    }
}

/// Reads an entry: an address, an IPv4 address with a port, or an address in brackets, whatever
/// follows them.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let address = if let Some(bracketed) = entry.strip_prefix('[') {
        bracketed.split_once(']')?.0.parse::<Ipv6Addr>().ok()?.into()
    } else if let Some((address, _port)) = entry.split_once(':').filter(|(address, _)| address.contains('.')) {
        address.parse::<Ipv4Addr>().ok()?.into()
    } else {
        entry.parse::<IpAddr>().ok()?
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(resolver: &ClientAddress, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        resolver.resolve(&map, peer.parse().unwrap()).to_string()
    }

    fn resolver() -> ClientAddress {
        ClientAddress::new(TrustedNetworks::parse(["127.0.0.1", "10.0.0.0/8"]).unwrap())
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        for (forwarded_for, client) in [
            ("203.0.113.1", "203.0.113.1"),
            ("203.0.113.1, 10.9.9.9", "203.0.113.1"),
            ("203.0.113.1, 203.0.113.60", "203.0.113.60"),
            ("203.0.113.1, 127.0.0.1, ::1", "203.0.113.1"),
            ("203.0.113.1,10.1.1.1 ,\t10.2.2.2", "203.0.113.1"),
            // Of trusted hops alone none is the client.
            ("10.1.1.1, 10.2.2.2", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(
                resolve(&resolver(), "127.0.0.1", &[("x-forwarded-for", forwarded_for)]),
                client,
                "{forwarded_for}"
            );
        }
    }

    #[test]
    fn ports_and_brackets_are_removed_and_garbage_is_passed_over() {
        for (forwarded_for, client) in [
            ("203.0.113.1:5555", "203.0.113.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
            ("[::ffff:203.0.113.1]:80", "203.0.113.1"),
            ("203.0.113.1, junk, 300.1.1.1, unknown, [2001:db8::2, 1.2.3, , \u{e9}", "203.0.113.1"),
        ] {
            assert_eq!(
                resolve(&resolver(), "10.0.0.1", &[("x-forwarded-for", forwarded_for)]),
                client,
                "{forwarded_for}"
            );
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let headers = [("x-forwarded-for", "203.0.113.1, 203.0.113.2"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(resolve(&resolver(), "127.0.0.1", &headers), "203.0.113.2");
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        let headers = [("x-forwarded-for", "203.0.113.1"), ("x-real-ip", "203.0.113.1")];
        assert_eq!(resolve(&resolver().with_real_ip(), "198.51.100.7", &headers), "198.51.100.7");
        assert_eq!(resolve(&resolver().with_real_ip(), "::ffff:198.51.100.7", &headers), "198.51.100.7");
        assert_eq!(resolve(&ClientAddress::default(), "127.0.0.1", &headers), "127.0.0.1");
    }

    #[test]
    fn real_ip_counts_only_when_allowed_and_only_without_a_forwarded_hop() {
        let real_ip = [("x-real-ip", "203.0.113.1")];
        assert_eq!(resolve(&resolver(), "127.0.0.1", &real_ip), "127.0.0.1");
        assert_eq!(resolve(&resolver().with_real_ip(), "127.0.0.1", &real_ip), "203.0.113.1");
        let both = [("x-real-ip", "203.0.113.1"), ("x-forwarded-for", "203.0.113.50")];
        assert_eq!(resolve(&resolver().with_real_ip(), "127.0.0.1", &both), "203.0.113.50");
    }

    #[test]
    fn a_doubled_unreadable_or_loopback_real_ip_names_nobody() {
        let resolver = resolver().with_real_ip();
        let doubled = [("x-real-ip", "203.0.113.1"), ("x-real-ip", "203.0.113.2")];
        assert_eq!(resolve(&resolver, "10.0.0.1", &doubled), "10.0.0.1");
        for value in ["junk", "127.0.0.1", "::1", ""] {
            assert_eq!(resolve(&resolver, "10.0.0.1", &[("x-real-ip", value)]), "10.0.0.1", "{value}");
        }
    }
}
