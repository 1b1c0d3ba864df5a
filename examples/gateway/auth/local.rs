//! Whether a request comes from this machine, with nobody in between.

use std::net::IpAddr;

use http::HeaderMap;

/// Whether a request from `peer` is local and direct: the peer is loopback, and nothing says that it
/// was forwarded. A blank `X-Forwarded-*` header says so too, a blank `Forwarded` or `X-Real-IP` does
/// not.
pub fn is_local_direct(peer: IpAddr, headers: &HeaderMap) -> bool {
    let says_something = |name| headers.get_all(name).iter().any(|value| !value.is_empty());
    peer.to_canonical().is_loopback()
        && !says_something("forwarded")
        && !says_something("x-real-ip")
        && !headers.keys().any(|name| name.as_str().starts_with("x-forwarded-"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn is_local(peer: &str, header: Option<(&'static str, &'static str)>) -> bool {
        let headers = header.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_local_direct(peer.parse().unwrap(), &headers.into_iter().collect())
    }

    #[test]
    fn a_loopback_peer_is_local() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local(peer, None), "{peer}");
        }
        for peer in ["10.0.0.1", "0.0.0.0", "::", "203.0.113.1"] {
            assert!(!is_local(peer, None), "{peer}");
        }
    }

    #[test]
    fn a_forwarded_request_is_not_direct() {
        for (name, value, expected) in [
            ("forwarded", "for=1.2.3.4", false),
            ("forwarded", "", true),
            ("x-real-ip", "1.2.3.4", false),
            ("x-real-ip", "", true),
            ("x-forwarded-for", "1.2.3.4", false),
            ("x-forwarded-for", "", false),
            ("x-forwarded-zzz", "1", false),
            ("x-forwarded", "1", true),
            ("host", "example.com", true),
        ] {
            assert_eq!(is_local("127.0.0.1", Some((name, value))), expected, "{name}: {value}");
        }
    }
}
