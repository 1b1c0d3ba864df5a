//! Which web pages may call.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};

use super::Origin;
use crate::bearer::Head;

/// Which web pages may call a service that a browser sends its credentials to unasked.
///
/// A request without an `Origin` header, or with a blank one, is not from a page of another origin and
/// passes. Else one of the rules that were chosen must let its origin in; without any, none does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    any: bool,
    allowed: Vec<Origin>,
    same_host: bool,
    /// The rule for private hosts, with the endings of names that count as such.
    same_private_host: Option<Vec<String>>,
}

impl OriginPolicy {
    /// Lets in no page at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets in every page.
    #[must_use]
    pub fn with_any(mut self) -> Self {
        self.any = true;
        self
    }

    /// Lets in the pages of these origins too.
    #[must_use]
    pub fn with_allowed(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.allowed.extend(origins);
        self
    }

    /// Lets in pages from the host, and port, that the request itself is addressed to.
    ///
    /// Dangerous where a service does not know its own names: an attacker's name can be made to point
    /// at it, and its pages then come from the same host (DNS rebinding).
    #[must_use]
    pub fn with_same_host(mut self) -> Self {
        self.same_host = true;
        self
    }

    /// As [`with_same_host`](Self::with_same_host), but only for hosts that no stranger's name can
    /// stand for: addresses of private, link-local, shared (RFC 6598) and unique local networks, and
    /// names with one of these endings, as `.local`. Never for loopback.
    #[must_use]
    pub fn with_same_private_host<T: Into<String>>(mut self, endings: impl IntoIterator<Item = T>) -> Self {
        let endings = endings.into_iter().map(Into::into);
        self.same_private_host.get_or_insert_default().extend(endings);
        self
    }

    /// Whether the page that a request comes from may call.
    #[must_use]
    pub fn allows<'r>(&self, request: impl Into<Head<'r>>) -> bool {
        let head = request.into();
        let mut origins = head.headers().get_all(ORIGIN).iter();
        let Some(value) = origins.next() else { return true };
        // Of two nobody can say which one the browser wrote.
        if origins.next().is_some() {
            return false;
        }
        if value.as_bytes().trim_ascii().is_empty() {
            return true;
        }
        let origin = value.to_str().ok().and_then(|text| text.parse::<Origin>().ok());
        origin.is_some_and(|origin| {
            self.any
                || self.allowed.contains(&origin)
                || (self.trusts_own_host(&origin) && is_addressed_to(head, &origin))
        })
    }

    fn trusts_own_host(&self, origin: &Origin) -> bool {
        let private = |endings: &Vec<String>| match origin.address() {
            Some(address) => is_private(address),
            None => endings.iter().any(|ending| origin.host().ends_with(ending.as_str())),
        };
        self.same_host || self.same_private_host.as_ref().is_some_and(private)
    }
}

/// Whether the request is addressed to the host of `origin`: by its `Host` header, or in HTTP/2 and 3,
/// which may do without, by its `:authority`.
fn is_addressed_to(head: Head<'_>, origin: &Origin) -> bool {
    match head.headers().get(HOST) {
        Some(host) => host.to_str().is_ok_and(|host| origin.is_at(host)),
        None => head.uri().authority().is_some_and(|authority| origin.is_at(authority.as_str())),
    }
}

/// Addresses that only the same network reaches, this machine's own excepted.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 0x40;
            v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().uri("/");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn allows(policy: &OriginPolicy, origin: &str, host: &str) -> bool {
        policy.allows(&request(&[("origin", origin), ("host", host)]))
    }

    #[test]
    fn a_request_that_no_other_page_makes_passes() {
        assert!(OriginPolicy::new().allows(&request(&[])));
        assert!(allows(&OriginPolicy::new(), " ", "a"));
        assert!(!allows(&OriginPolicy::new(), "https://a", "a"));
    }

    #[test]
    fn an_origin_that_cannot_be_read_or_stands_there_twice_never_passes() {
        let any = OriginPolicy::new().with_any().with_same_host();
        assert!(allows(&any, "https://anywhere.example", "a"));
        for origin in ["null", "::::", "https://\u{e9}.example"] {
            assert!(!allows(&any, origin, "a"), "{origin}");
        }
        assert!(!any.allows(&request(&[("origin", "https://a"), ("origin", "https://a")])));
    }

    #[test]
    fn an_allowed_origin_is_compared_as_an_origin() {
        let policy = OriginPolicy::new().with_allowed(["HTTPS://App.example.com".parse().unwrap()]);
        assert!(allows(&policy, "https://app.example.com:443/x", "gateway"));
        assert!(!allows(&policy, "http://app.example.com", "gateway"));
        assert!(!allows(&policy, "https://app.example.com:8443", "gateway"));
    }

    #[test]
    fn the_same_host_passes_only_where_it_is_private() {
        let policy = OriginPolicy::new().with_same_private_host([".local", ".ts.net"]);
        for (origin, host, passes) in [
            ("http://192.168.1.5:80", "192.168.1.5", true),
            ("http://192.168.1.5:8080", "192.168.1.5:8080", true),
            ("http://192.168.1.5:8080", "192.168.1.6:8080", false),
            ("http://10.0.0.1", "10.0.0.1", true),
            ("http://172.31.0.1", "172.31.0.1", true),
            ("http://172.32.0.1", "172.32.0.1", false),
            ("http://169.254.1.1", "169.254.1.1", true),
            ("http://100.64.0.1", "100.64.0.1", true),
            ("http://100.128.0.1", "100.128.0.1", false),
            ("http://[fd00::1]", "[fd00::1]", true),
            ("http://[fe80::1]", "[fe80::1]", true),
            ("http://[2001:db8::1]", "[2001:db8::1]", false),
            ("http://203.0.113.7:8080", "203.0.113.7:8080", false),
            ("http://127.0.0.1:1", "127.0.0.1:1", false),
            ("http://[::1]", "[::1]", false),
            ("http://localhost:3000", "localhost:3000", false),
            ("http://box.local:1", "box.local:1", true),
            ("https://box.tail.ts.net", "BOX.tail.ts.net", true),
            ("https://gw.example.org", "gw.example.org", false),
            ("https://notlocal", "notlocal", false),
        ] {
            assert_eq!(allows(&policy, origin, host), passes, "{origin} {host}");
        }
        assert!(allows(&OriginPolicy::new().with_same_host(), "https://gw.example.org", "gw.example.org"));
    }

    #[test]
    fn without_a_host_header_the_authority_of_the_target_counts() {
        let request = Request::builder().uri("http://box.local:8080/").header("origin", "http://box.local:8080");
        let request = request.body(()).unwrap();
        assert!(OriginPolicy::new().with_same_private_host([".local"]).allows(&request));
    }
}
