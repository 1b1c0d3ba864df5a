//! Which addresses are one client.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Who is counted and locked: one address, or a network of them that one subscriber has.
///
/// [`Display`](fmt::Display) writes it and [`FromStr`] reads it, as an address, or as the /64 of one.
///
/// ```
/// use std::net::IpAddr;
///
/// use tower_reauth::limiter::Client;
///
/// let client = |address: &str| Client::from(address.parse::<IpAddr>().unwrap());
/// assert_eq!(client("::ffff:203.0.113.9").to_string(), "203.0.113.9");
/// assert_eq!(client("2001:db8::9").to_string(), "2001:db8::/64");
/// assert_eq!("2001:db8::/64".parse(), Ok(client("2001:db8::1")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(Hosts);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Hosts {
    V4(Ipv4Addr),
    /// The first 64 bits of an address.
    Network(u64),
    /// All of an address whose first 64 bits many hosts share.
    V6(Ipv6Addr),
}

/// A text that names no [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClient;

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Hosts::V4(address),
            IpAddr::V6(address) => Hosts::of_v6(address),
        })
    }
}

impl Client {
    /// Its address, the first one of a network.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self.0 {
            Hosts::V4(address) => address.into(),
            Hosts::Network(bits) => first_of(bits).into(),
            Hosts::V6(address) => address.into(),
        }
    }
}

/// The last address of the network of an address.
fn last_of(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() | u128::from(u64::MAX))
}

/// The first address of a network.
fn first_of(network: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(network) << 64)
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Hosts::V4(address) => address.fmt(f),
            Hosts::Network(bits) => write!(f, "{}/64", first_of(bits)),
            Hosts::V6(address) => address.fmt(f),
        }
    }
}

impl FromStr for Client {
    type Err = InvalidClient;

    fn from_str(text: &str) -> Result<Self, InvalidClient> {
        let client = match text.strip_suffix("/64") {
            // By its last address: the first ones of some networks are those of IPv4 clients, and the others their own.
            Some(first) => first.parse().map(|first: Ipv6Addr| IpAddr::from(last_of(first)).into()),
            None => text.parse::<IpAddr>().map(Self::from),
        };
        // One text for each client.
        client.ok().filter(|client| client.to_string() == text).ok_or(InvalidClient)
    }
}

impl fmt::Display for InvalidClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no address of a client, nor a network of one")
    }
}

impl std::error::Error for InvalidClient {}

impl Hosts {
    fn of_v6(address: Ipv6Addr) -> Self {
        let bits = address.to_bits();
        let ipv4 = |shift: u32| Self::V4(Ipv4Addr::from_bits((bits >> shift) as u32));
        match address.segments() {
            // NAT64 with the well-known prefix 64:ff9b::/96 (RFC 6052 section 2.1).
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => ipv4(0),
            // What a stateless translator makes of IPv4, ::ffff:0:0:0/96 (RFC 2765 section 2.1), and what was
            // once an address compatible with it, ::/96 (RFC 4291 section 2.5.5.1), but for `::` and `::1`.
            [0, 0, 0, 0, 0xffff, 0, _, _] => ipv4(0),
            [0, 0, 0, 0, 0, 0, _, _] if bits > 1 => ipv4(0),
            // NAT64 with a prefix of the network's own choice within 64:ff9b:1::/48 (RFC 8215).
            [0x64, 0xff9b, 1, ..] => Self::V6(address),
            // 6to4 gives a /48 to each IPv4 address, 2002:<address>::/48 (RFC 3056 section 2).
            [0x2002, ..] => ipv4(80),
            // Teredo, 2001::/32, has the client's IPv4 address inverted at the end (RFC 4380 section 4).
            [0x2001, 0, ..] => Self::V4(Ipv4Addr::from_bits(!(bits as u32))),
            _ if address.is_unicast_link_local() => Self::V6(address),
            _ => Self::Network((bits >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv4_address_is_one_client_however_it_is_written() {
        assert_eq!(client("203.0.113.1"), client("::ffff:203.0.113.1"));
        assert_ne!(client("203.0.113.1"), client("203.0.113.2"));
    }

    #[test]
    fn the_64_bits_of_a_subscriber_are_one_client() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    }

    #[test]
    fn ipv4_behind_a_translator_or_a_tunnel_is_the_ipv4_client() {
        for address in [
            "64:ff9b::203.0.113.1",
            "::ffff:0:203.0.113.1",
            "::203.0.113.1",
            "2002:cb00:7101::1",
            "2002:cb00:7101:ffff::1",
            "2001:0:4136:e378:8000:63bf:34ff:8efe",
            "2001:0:c000:201:0:1:34ff:8efe",
        ] {
            assert_eq!(client(address), client("203.0.113.1"), "{address}");
        }
        assert_ne!(client("64:ff9b::203.0.113.1"), client("64:ff9b::203.0.113.2"));
        assert_ne!(client("64:ff9b:1::203.0.113.1"), client("64:ff9b:1::203.0.113.2"));
        assert_ne!(client("2002:cb00:7101::1"), client("2002:cb00:7102::1"));
        // The prefixes end where they end.
        assert_eq!(client("::ffff:1:0:1"), client("::ffff:1:0:2"));
        assert_eq!(client("::1:0:1"), client("::1:0:2"));
        assert_eq!(client("::1"), client("::1:0:1"));
        assert_eq!(client("64:ff9b:0:0:1::1"), client("64:ff9b:0:0:2::1"));
        assert_eq!(client("64:ff9b:2::1"), client("64:ff9b:2::2"));
        assert_eq!(client("2001:1::1"), client("2001:1::2"));
        assert_ne!(client("2003:cb00:7101:1::1"), client("2003:cb00:7101:2::1"));
    }

    #[test]
    fn neighbours_on_a_link_are_clients_of_their_own() {
        assert_ne!(client("fe80::1"), client("fe80::2"));
        assert_ne!(client("febf::1"), client("febf::2"));
        assert_eq!(client("fec0::1"), client("fec0::2"));
        assert_eq!(client("fd00::1"), client("fd00::2"));
    }

    #[test]
    fn a_client_is_written_in_one_way_and_read_again() {
        for address in
            ["203.0.113.1", "2001:db8:0:1::1", "::1", "64:ff9b:0:0:1::1", "fe80::1", "64:ff9b:1::203.0.113.1"]
        {
            let client = client(address);
            assert_eq!(client.to_string().parse(), Ok(client), "{address}");
        }
        for text in ["", "/64", "203.0.113.1/64", "2001:db8::1/64", "2001:db8::1", "::ffff:203.0.113.1", " ::1", "x"] {
            assert_eq!(text.parse::<Client>(), Err(InvalidClient), "{text}");
        }
        // Networks of which each address is a client by itself, or one of IPv4.
        for text in ["fe80::/64", "64:ff9b:1::/64", "2002:cb00:7101::/64", "2001::/64"] {
            assert_eq!(text.parse::<Client>(), Err(InvalidClient), "{text}");
        }
    }
}
