//! The address of the client behind trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{FORWARDED, GetAll},
};

use super::{TrustedNetworks, forwarded};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Finds the address of the client behind trusted proxies, as described in the
/// [module's documentation](super).
#[derive(Clone, Debug, Default)]
pub struct ClientAddress {
    trusted: TrustedNetworks,
    forwarded: bool,
    real_ip: bool,
    unreadable_skipped: bool,
}

/// What the hops of a header say, read from the right.
enum Reading {
    /// Who the client is, as far as that can be known.
    Client(IpAddr),
    /// Every hop is trusted: the request began at the farthest, or behind it.
    TrustedOnly(IpAddr),
}

impl ClientAddress {
    /// Believes `X-Forwarded-For` of peers within `trusted`.
    #[must_use]
    pub fn new(trusted: TrustedNetworks) -> Self {
        Self { trusted, ..Self::default() }
    }

    /// Believes `Forwarded` (RFC 7239) of trusted peers too. Where a request has both headers it wins,
    /// and `X-Forwarded-For` is not read.
    ///
    /// A proxy that knows `X-Forwarded-For` alone passes on what its client wrote here: every trusted
    /// proxy must append to this header or remove it.
    #[must_use]
    pub fn with_forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    /// Believes `X-Real-IP` of trusted peers too, where the other headers name trusted proxies at most.
    /// A proxy that does not write this header passes on what its client wrote.
    #[must_use]
    pub fn with_real_ip(mut self) -> Self {
        self.real_ip = true;
        self
    }

    /// Passes over hops that cannot be read and loopback ones, and takes the peer for the client where
    /// every other hop is trusted, in place of the rules of the [module's documentation](super).
    ///
    /// For servers that must find the address that others find. Where a proxy appends a hop that cannot
    /// be read (`unknown`, `unix:`), the client then is whom the request itself names: it chooses the
    /// address that is counted, and whom to lock out.
    #[must_use]
    pub fn with_unreadable_hops_skipped(mut self) -> Self {
        self.unreadable_skipped = true;
        self
    }

    /// The client of a request with these `headers` that `peer` sent.
    #[must_use]
    pub fn resolve(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusted.contains(peer) {
            return peer;
        }
        match self.forwarding(headers, peer) {
            Reading::Client(client) => client,
            Reading::TrustedOnly(farthest) => self.real_ip(headers).unwrap_or(farthest),
        }
    }

    fn forwarding(&self, headers: &HeaderMap, peer: IpAddr) -> Reading {
        let forwarded = headers.get_all(FORWARDED);
        if self.forwarded && names_somebody(&forwarded) {
            let elements = forwarded.iter().rev().flat_map(|value| forwarded::elements_from_right(value.as_bytes()));
            return self.read(elements.map(forwarded::client), peer);
        }
        let forwarded_for = headers.get_all(X_FORWARDED_FOR);
        if names_somebody(&forwarded_for) {
            let entries = forwarded_for.iter().rev().flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
            return self.read(entries.map(address), peer);
        }
        Reading::TrustedOnly(peer)
    }

    /// Reads hops from the right. Each was written by the hop to the right of it, the last one by the
    /// peer: its word counts as long as all of those are trusted.
    fn read(&self, mut hops: impl Iterator<Item = Option<IpAddr>>, peer: IpAddr) -> Reading {
        if self.unreadable_skipped {
            let client = hops.find_map(|hop| hop.filter(|hop| names_a_client(*hop) && !self.trusted.contains(*hop)));
            return client.map_or(Reading::TrustedOnly(peer), Reading::Client);
        }
        let mut farthest = peer;
        for hop in hops {
            match hop {
                Some(hop) if self.trusted.contains(hop) => {
                    // Another machine's loopback is nobody's address here.
                    farthest = Some(hop).filter(|hop| names_a_client(*hop)).unwrap_or(farthest);
                }
                Some(hop) if names_a_client(hop) => return Reading::Client(hop),
                _ => return Reading::Client(farthest),
            }
        }
        Reading::TrustedOnly(farthest)
    }

    fn real_ip(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut values = headers.get_all(X_REAL_IP).iter();
        let only = values.next().filter(|_| self.real_ip && values.next().is_none())?;
        address(only.as_bytes()).filter(|address| names_a_client(*address))
    }
}

fn names_somebody(values: &GetAll<'_, HeaderValue>) -> bool {
    values.iter().any(|value| !value.as_bytes().trim_ascii().is_empty())
}

/// Whether a header that names `address` says where a client is: not for this machine's own, nor for
/// the address that stands for none.
fn names_a_client(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

/// Reads an entry: an address, an IPv4 address with a port, or an address in brackets, whatever
/// follows them.
pub(super) fn address(entry: &[u8]) -> Option<IpAddr> {
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

    const UNREADABLE: [&str; 12] = [
        "unknown",
        "_hidden",
        "unix:",
        "junk",
        "fe80::1%eth0",
        "[2001:db8::2",
        "300.1.1.1",
        "1.2.3",
        "",
        "\u{e9}",
        "0.0.0.0",
        "::",
    ];
    const LOOPBACK: [&str; 5] = ["127.0.0.1", "127.9.9.9:80", "::1", "[::1]:80", "::ffff:127.0.0.1"];

    fn resolve(resolver: &ClientAddress, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        resolver.resolve(&map, peer.parse().unwrap()).to_string()
    }

    fn forwarded_for(resolver: &ClientAddress, hops: &str) -> String {
        resolve(resolver, "10.0.0.1", &[("x-forwarded-for", hops)])
    }

    fn resolver() -> ClientAddress {
        ClientAddress::new(TrustedNetworks::parse(["127.0.0.1", "10.0.0.0/8"]).unwrap())
    }

    fn remote_only() -> ClientAddress {
        ClientAddress::new(TrustedNetworks::parse(["10.0.0.0/8"]).unwrap())
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        for (hops, client) in [
            ("203.0.113.1", "203.0.113.1"),
            ("203.0.113.1, 10.9.9.9", "203.0.113.1"),
            ("203.0.113.1, 203.0.113.60", "203.0.113.60"),
            ("203.0.113.1,10.1.1.1 ,\t10.2.2.2", "203.0.113.1"),
            // A loopback hop that is trusted is as any other.
            ("203.0.113.1, 10.1.1.1, 127.0.0.1", "203.0.113.1"),
        ] {
            assert_eq!(forwarded_for(&resolver(), hops), client, "{hops}");
        }
    }

    #[test]
    fn of_trusted_hops_alone_the_farthest_is_the_client_unless_it_is_loopback() {
        for (hops, client) in [
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("127.0.0.1, 10.2.2.2", "10.2.2.2"),
            ("127.0.0.1", "10.0.0.1"),
            ("", "10.0.0.1"),
            (" ", "10.0.0.1"),
        ] {
            assert_eq!(forwarded_for(&resolver(), hops), client, "{hops}");
        }
    }

    #[test]
    fn what_stands_left_of_a_hop_that_cannot_be_read_is_a_strangers_word() {
        for seen in UNREADABLE.into_iter().chain(LOOPBACK) {
            for resolver in [remote_only(), remote_only().with_real_ip()] {
                let real_ip = ("x-real-ip", "6.6.6.6");
                for (hops, client) in [
                    (format!("6.6.6.6, {seen}"), "10.0.0.1"),
                    (format!("6.6.6.6, {seen}, 10.1.1.1"), "10.1.1.1"),
                    (format!("6.6.6.6, {seen}, 10.1.1.1, 10.2.2.2"), "10.1.1.1"),
                    (format!("{seen}, 203.0.113.1"), "203.0.113.1"),
                ] {
                    let found = resolve(&resolver, "10.0.0.1", &[("x-forwarded-for", &hops), real_ip]);
                    assert_eq!(found, client, "{hops:?}");
                }
            }
            let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", seen)];
            assert_eq!(resolve(&remote_only(), "10.0.0.1", &lines), "10.0.0.1", "{seen:?}");
        }
    }

    #[test]
    fn hops_that_cannot_be_read_are_passed_over_on_request() {
        let lenient = resolver().with_unreadable_hops_skipped();
        for (hops, client) in [
            ("203.0.113.1, junk, 300.1.1.1, unknown, [2001:db8::2, 1.2.3, , \u{e9}", "203.0.113.1"),
            ("203.0.113.1, 127.0.0.1, ::1", "203.0.113.1"),
            ("10.1.1.1, 10.2.2.2", "10.0.0.1"),
            ("junk", "10.0.0.1"),
        ] {
            assert_eq!(forwarded_for(&lenient, hops), client, "{hops}");
        }
        let real_ip = [("x-forwarded-for", "junk"), ("x-real-ip", "203.0.113.1")];
        assert_eq!(resolve(&lenient.with_real_ip(), "10.0.0.1", &real_ip), "203.0.113.1");
    }

    #[test]
    fn ports_and_brackets_are_removed() {
        for (hops, client) in [
            ("203.0.113.1:5555", "203.0.113.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
            ("[::ffff:203.0.113.1]:80", "203.0.113.1"),
        ] {
            assert_eq!(forwarded_for(&resolver(), hops), client, "{hops}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let headers = [("x-forwarded-for", "203.0.113.1, 203.0.113.2"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(resolve(&resolver(), "127.0.0.1", &headers), "203.0.113.2");
        let headers = [("forwarded", "for=203.0.113.1, for=203.0.113.2"), ("forwarded", "for=10.1.1.1")];
        assert_eq!(resolve(&resolver().with_forwarded(), "127.0.0.1", &headers), "203.0.113.2");
    }

    #[test]
    fn forwarded_counts_only_when_allowed_and_then_it_wins() {
        let both = [("forwarded", "for=203.0.113.1"), ("x-forwarded-for", "203.0.113.50")];
        assert_eq!(resolve(&resolver(), "10.0.0.1", &both), "203.0.113.50");
        assert_eq!(resolve(&resolver().with_forwarded(), "10.0.0.1", &both), "203.0.113.1");
        assert_eq!(resolve(&resolver().with_forwarded(), "10.0.0.1", &both[1..]), "203.0.113.50");
        let unreadable = [("forwarded", "for=unknown"), ("x-forwarded-for", "203.0.113.50")];
        assert_eq!(resolve(&resolver().with_forwarded(), "10.0.0.1", &unreadable), "10.0.0.1");
        let blank = [("forwarded", " "), ("x-forwarded-for", "203.0.113.50")];
        assert_eq!(resolve(&resolver().with_forwarded(), "10.0.0.1", &blank), "203.0.113.50");
    }

    #[test]
    fn elements_of_forwarded_are_read_as_the_hops_of_x_forwarded_for_are() {
        for (elements, client) in [
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=198.51.100.17;by=10.1.1.1;proto=https, for=\"10.1.1.1:80\"", "198.51.100.17"),
            ("for=6.6.6.6, for=unknown, for=10.1.1.1", "10.1.1.1"),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
            ("for=6.6.6.6, proto=https", "10.0.0.1"),
            ("for=6.6.6.6, for=\"[::1]\"", "10.0.0.1"),
            ("for=6.6.6.6,", "10.0.0.1"),
            // What a client leaves open does not swallow what a proxy appends.
            ("for=\"6.6.6.6, for=198.51.100.17", "198.51.100.17"),
            ("for=\"6.6.6.6\\, for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
        ] {
            let found = resolve(&remote_only().with_forwarded(), "10.0.0.1", &[("forwarded", elements)]);
            assert_eq!(found, client, "{elements}");
        }
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        let headers =
            [("x-forwarded-for", "203.0.113.1"), ("x-real-ip", "203.0.113.1"), ("forwarded", "for=203.0.113.1")];
        let believing = resolver().with_real_ip().with_forwarded();
        assert_eq!(resolve(&believing, "198.51.100.7", &headers), "198.51.100.7");
        assert_eq!(resolve(&believing, "::ffff:198.51.100.7", &headers), "198.51.100.7");
        assert_eq!(resolve(&ClientAddress::default(), "127.0.0.1", &headers), "127.0.0.1");
    }

    #[test]
    fn real_ip_counts_only_when_allowed_and_only_without_a_forwarded_hop() {
        let real_ip = [("x-real-ip", "203.0.113.1")];
        assert_eq!(resolve(&resolver(), "127.0.0.1", &real_ip), "127.0.0.1");
        assert_eq!(resolve(&resolver().with_real_ip(), "127.0.0.1", &real_ip), "203.0.113.1");
        let both = [("x-real-ip", "203.0.113.1"), ("x-forwarded-for", "203.0.113.50")];
        assert_eq!(resolve(&resolver().with_real_ip(), "127.0.0.1", &both), "203.0.113.50");
        let proxies_only = [("x-real-ip", "203.0.113.1"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(resolve(&resolver().with_real_ip(), "127.0.0.1", &proxies_only), "203.0.113.1");
    }

    #[test]
    fn a_doubled_unreadable_or_loopback_real_ip_names_nobody() {
        let resolver = resolver().with_real_ip();
        let doubled = [("x-real-ip", "203.0.113.1"), ("x-real-ip", "203.0.113.2")];
        assert_eq!(resolve(&resolver, "10.0.0.1", &doubled), "10.0.0.1");
        for value in UNREADABLE.into_iter().chain(LOOPBACK) {
            assert_eq!(resolve(&resolver, "10.0.0.1", &[("x-real-ip", value)]), "10.0.0.1", "{value}");
        }
    }
}
