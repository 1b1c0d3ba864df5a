//! Where a web page comes from.

use std::{error::Error, fmt, str::FromStr};

use http::{HeaderMap, Uri, header::HOST};

use crate::authority::Authority;

/// The origin of a web page (RFC 6454): scheme, host and port, in lower case, a default port left out.
///
/// It is read from what a browser writes into the `Origin` header, or an operator into a
/// configuration: a path behind the port is ignored. Hosts are ASCII, as browsers send them
/// (`xn--...`), IPv6 addresses in their shortest form, IPv4-mapped ones as the IPv4 addresses that they
/// stand for; opaque origins (`null`) and hosts with user information are no origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidOrigin;

impl Origin {
    /// Whether a request goes to the host of this origin: by its `Host` header, or in HTTP/2 and 3, which
    /// may do without, by its `:authority`. The scheme is not compared: a request does not say its own.
    pub(crate) fn is_addressed_by(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        match hosts.next() {
            Some(host) => hosts.next().is_none() && host.to_str().is_ok_and(|host| self.is_at(host)),
            None => uri.authority().is_some_and(|authority| self.is_at(authority.as_str())),
        }
    }

    /// Whether this is an origin at `authority`: a host, with the port unless it is the scheme's own.
    #[must_use]
    pub fn is_at(&self, authority: &str) -> bool {
        Authority::parse(authority.trim())
            .is_some_and(|authority| authority.port == self.port && authority.host.to_string() == self.host)
    }
}

#[cfg(feature = "trusted-proxy")]
impl Origin {
    /// The host, as it is written in a URL: an IPv6 address has its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host, if it is an IP address.
    #[must_use]
    pub fn address(&self) -> Option<std::net::IpAddr> {
        use crate::authority::Host;

        match Host::parse(&self.host)? {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(InvalidOrigin)?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" | "ws" => 80,
            "https" | "wss" => 443,
            _ => return Err(InvalidOrigin),
        };

        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Authority { host, port } = Authority::parse(authority).ok_or(InvalidOrigin)?;
        Ok(Self { scheme, host: host.to_string(), port: port.filter(|&port| port != default_port) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is a scheme (http, https, ws, wss), `://`, a host and perhaps a port")
    }
}

impl Error for InvalidOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_default_port_and_path_make_no_difference() {
        for text in [
            "https://app.example.com",
            "HTTPS://APP.example.com",
            "https://app.example.com:443",
            "https://app.example.com:",
            "https://app.example.com/x?y#z",
            " https://app.example.com ",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), "https://app.example.com", "{text}");
        }
        assert_eq!("http://[2001:DB8::1]:8080".parse::<Origin>().unwrap().to_string(), "http://[2001:db8::1]:8080");
        assert_eq!("http://[::1]".parse::<Origin>().unwrap().to_string(), "http://[::1]");
        assert_eq!("http://[::ffff:10.0.0.1]:81".parse(), "http://10.0.0.1:81".parse::<Origin>());
        assert_eq!("http://[::FFFF:a00:1]".parse(), "http://10.0.0.1".parse::<Origin>());
        assert_eq!("http://[2001:db8:0::1]".parse(), "http://[2001:db8::1]".parse::<Origin>());
        assert_eq!("https://a:80".parse::<Origin>().unwrap().to_string(), "https://a:80");
    }

    #[test]
    fn what_is_no_origin_is_an_error() {
        for text in [
            "",
            "null",
            "::::",
            "app.example.com",
            "https://",
            "https:///x",
            "https://:80",
            "https://a b",
            "https://user@app.example.com",
            "https://a:b",
            "https://a:+1",
            "https://a:65536",
            "https://[::1",
            "https://::1",
            "https://[a]:1",
            "https://bücher.example",
            "chrome-extension://abc",
            "*",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text}");
        }
    }

    #[test]
    fn an_origin_is_at_an_authority_with_the_port_that_a_url_shows() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        assert!(origin("http://192.168.1.5:80").is_at("192.168.1.5"));
        assert!(origin("http://192.168.1.5:8080").is_at(" 192.168.1.5:8080 "));
        assert!(origin("https://box.tail.ts.net").is_at("BOX.tail.ts.net"));
        assert!(origin("http://[fd00::1]:81").is_at("[FD00:0::1]:81"));
        assert!(origin("http://10.0.0.1").is_at("[::ffff:10.0.0.1]"));
        for (text, authority) in [
            ("http://192.168.1.5", "192.168.1.5:8080"),
            ("http://192.168.1.5:8080", "192.168.1.5"),
            ("http://192.168.1.5:8080", "192.168.1.5:08080"),
            ("http://[fd00::1]", "fd00::1"),
            ("http://a", ""),
            ("http://a", "b"),
            ("http://a", "user@a"),
        ] {
            assert!(!origin(text).is_at(authority), "{text} {authority}");
        }
    }

    #[cfg(feature = "trusted-proxy")]
    #[test]
    fn an_address_is_found_in_either_notation() {
        let address = |text: &str| text.parse::<Origin>().unwrap().address().map(|address| address.to_string());
        assert_eq!(address("http://10.0.0.1:8080").as_deref(), Some("10.0.0.1"));
        assert_eq!(address("http://[fd00::1]").as_deref(), Some("fd00::1"));
        assert_eq!(address("http://[::ffff:10.0.0.1]").as_deref(), Some("10.0.0.1"));
        assert_eq!(address("http://box.local"), None);
    }
}
