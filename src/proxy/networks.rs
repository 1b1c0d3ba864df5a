//! The networks whose word counts.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net};

/// The networks in which trusted proxies are. Clones share one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedNetworks(Arc<[IpNet]>);

/// A text that is neither an IP address nor a network in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidNetwork {
    /// The text.
    pub text: String,
}

impl TrustedNetworks {
    /// No network: nobody is trusted.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads networks, each an IP address or in CIDR notation (RFC 4632 section 3.1), as
    /// `127.0.0.1`, `10.0.0.0/8` or `2001:db8::/32`.
    ///
    /// # Errors
    ///
    /// If one of them is neither.
    pub fn parse<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, InvalidNetwork> {
        let networks: Result<Vec<_>, _> = networks.into_iter().map(|text| network(text.as_ref())).collect();
        Ok(Self(networks?.into()))
    }

    /// Whether `address` is within one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let trimmed = text.trim();
    let network = match trimmed.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => trimmed.parse().map_err(|_| InvalidNetwork { text: text.to_owned() })?,
    };
    Ok(canonical(network))
}

/// A network of IPv4-mapped addresses as the IPv4 network that it stands for.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let v4 = Ipv6Addr::to_ipv4_mapped(&v6.addr());
    match v4.zip(v6.prefix_len().checked_sub(MAPPED)) {
        Some((address, length)) => Ipv4Net::new(address, length).map_or(network, IpNet::V4),
        None => network,
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither an IP address nor a network in CIDR notation", self.text)
    }
}

impl Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        TrustedNetworks::parse([network]).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("::1", "::1"));
        assert!(!contains("::1", "127.0.0.1"));
    }

    #[test]
    fn a_network_contains_what_begins_as_it_does() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            // Bits behind the prefix do not matter.
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            (" 192.168.4.0/30 ", "192.168.4.3", "192.168.4.4"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
        ] {
            assert!(contains(network, inside), "{network}");
            assert!(!contains(network, outside), "{network}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_on_both_sides() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(contains("::ffff:10.1.1.1", "10.1.1.1"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.1.1"));
        assert!(!contains("::ffff:10.0.0.0/104", "11.1.1.1"));
    }

    #[test]
    fn anything_else_is_an_error_that_quotes_it() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "/8", "300.1.1.1", "10.0.0", "*"] {
            assert_eq!(TrustedNetworks::parse([text]), Err(InvalidNetwork { text: text.to_owned() }));
        }
    }
}
