//! A host, with a port perhaps: what `Host`, `:authority` and an origin name.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// Where a request goes to or a page comes from (RFC 3986 section 3.2, without user information).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: Option<u16>,
}

/// A host; IPv4-mapped IPv6 addresses are the IPv4 addresses that they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// ASCII letters, digits, `-`, `.` and `_`, in any case.
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Authority<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        // The last colon, unless it stands within the brackets of an IPv6 address.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let port = match port.as_bytes() {
            [] => None,
            [b'1'..=b'9', ..] | [b'0'] if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        Host::parse(host).map(|host| Self { host, port })
    }
}

impl<'a> Host<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Some(v6) = text.strip_prefix('[') {
            let v6 = v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
            return Some(Self::Address(v6.to_canonical()));
        }
        let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        is_name.then(|| text.parse().map_or(Self::Name(text), |v4| Self::Address(IpAddr::V4(v4))))
    }

    /// Whether it is this machine: 127.0.0.0/8, `::1`, and `localhost` with all names below it (RFC 6761 section 6.3).
    #[cfg(any(feature = "hosts", feature = "resource-metadata"))]
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => relative(name).eq_ignore_ascii_case("localhost") || self.is_below("localhost"),
        }
    }

    /// Whether this is a name below `parent`, which is in lower case and has no dot at its ends.
    #[cfg(any(feature = "hosts", feature = "resource-metadata", feature = "trusted-proxy", test))]
    pub(crate) fn is_below(&self, parent: &str) -> bool {
        let Self::Name(name) = self else { return false };
        let name = relative(name).as_bytes();
        let Some(dot) = name.len().checked_sub(parent.len() + 1) else { return false };
        !parent.is_empty() && dot > 0 && name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(parent.as_bytes())
    }
}

/// A name without the dot of the root at its end, which makes no other host of it.
#[cfg(any(feature = "hosts", feature = "resource-metadata", feature = "trusted-proxy", test))]
pub(crate) fn relative(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// As a URL shows it: in lower case, an IPv6 address in brackets.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.to_ascii_lowercase()),
            Self::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_read() {
        for (text, host, port) in [
            ("Example.org", "example.org", None),
            ("example.org:", "example.org", None),
            ("example.org:80", "example.org", Some(80)),
            ("10.0.0.1:0", "10.0.0.1", Some(0)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0::1]:65535", "[2001:db8::1]", Some(65535)),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1", Some(80)),
        ] {
            let authority = Authority::parse(text).unwrap();
            assert_eq!((authority.host.to_string().as_str(), authority.port), (host, port), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            ":80",
            "a:b",
            "a:+1",
            "a:080",
            "a:65536",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "[fe80::1%25lo]",
            "b\u{fc}cher",
            "*",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_below_another_at_the_border_of_a_label() {
        let is_below = |name: &str, parent| Host::parse(name).unwrap().is_below(parent);
        for name in ["box.ts.net", "a.box.TS.net", "box.ts.net."] {
            assert!(is_below(name, "ts.net"), "{name}");
        }
        for name in ["ts.net", ".ts.net", "evilts.net", "box.ts.net.evil", "box.ts.net..", "net", "10.0.0.1"] {
            assert!(!is_below(name, "ts.net"), "{name}");
        }
        assert!(!is_below("a.", ""));
        assert!(!is_below("10.0.0.1", "0.1"));
    }
}
