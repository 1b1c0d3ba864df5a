//! One host, or the names below a domain.

use std::{error::Error, fmt, net::IpAddr, str::FromStr};

use crate::authority::{Host, relative};

/// A host that requests may be for: a name (`gateway.example.org`), the names below a domain
/// (`*.example.org`, which `example.org` is not), or an address (`10.0.0.5`, `[fd00::5]`, `fd00::5`).
///
/// Names are ASCII, as browsers send them (`xn--...`). A host is allowed at every port, so a port is an
/// error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedHost(Kind);

/// Names are in lower case, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Name(String),
    Below(String),
    Address(IpAddr),
}

/// A text that is neither a host name nor an address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidHost {
    /// The text.
    pub text: String,
}

impl AllowedHost {
    pub(super) fn is(&self, host: Host<'_>) -> bool {
        match (&self.0, host) {
            (Kind::Address(allowed), Host::Address(address)) => *allowed == address,
            (Kind::Name(allowed), Host::Name(name)) => relative(name).eq_ignore_ascii_case(allowed),
            (Kind::Below(domain), host) => host.is_below(domain),
            _ => false,
        }
    }
}

impl FromStr for AllowedHost {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost { text: text.to_owned() };
        let trimmed = text.trim();
        if let Ok(address) = trimmed.parse::<IpAddr>() {
            return Ok(Self(Kind::Address(address.to_canonical())));
        }
        let (name, kind): (_, fn(String) -> Kind) = match trimmed.strip_prefix("*.") {
            Some(domain) => (domain, Kind::Below),
            None => (trimmed, Kind::Name),
        };
        match Host::parse(name).ok_or_else(invalid)? {
            Host::Name(name) if relative(name).split('.').all(|label| !label.is_empty()) => {
                Ok(Self(kind(relative(name).to_ascii_lowercase())))
            }
            Host::Address(address) if name == trimmed => Ok(Self(Kind::Address(address))),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is neither a host name, perhaps with `*.` in front, nor an IP address, without a port",
            self.text
        )
    }
}

impl Error for InvalidHost {}
