//! Which web pages may call.

use std::net::IpAddr;

use http::{HeaderName, Method, header::ORIGIN};

use crate::{authority::Host, bearer::Head, origin::Origin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Which web pages may call a service that a browser sends its credentials to unasked.
///
/// One of the rules that were chosen must let the page's origin in; without any rule, none does.
///
/// A browser leaves `Origin` out of a `GET` within one origin, and of what a page of any origin embeds
/// (`no-cors`: images, scripts). Where it is missing or blank, the `Sec-Fetch-Site` header (W3C Fetch
/// Metadata) decides, which pages cannot write: without one the caller is no browser, or an old one, and
/// passes; `same-origin` and `none` (typed in, a bookmark) pass; any other value is a page of another
/// origin, which nobody can name, so that only [`with_any`](Self::with_any) lets it in. A link that a user
/// follows passes from anywhere: the page that had it does not see the answer. That is a `GET` or `HEAD`
/// with `Sec-Fetch-Mode: navigate` and `Sec-Fetch-Dest: document`, as when a sign-in page leads back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    any: bool,
    allowed: Vec<Origin>,
    same_host: bool,
    /// The rule for private hosts, with the domains below which names count as such.
    same_private_host: Option<Vec<String>>,
}

impl OriginPolicy {
    /// Lets in no page at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets in every page that has an [`Origin`], and what pages embed.
    ///
    /// Opaque origins are none and stay outside: `null`, as sandboxed frames and `file://` pages send it,
    /// and the origins of extensions and apps (`chrome-extension://...`, `tauri://...`).
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
    /// names below one of these domains, as `local` or `ts.net`, with or without a dot in front, in any
    /// case. `box.ts.net` is below `ts.net`; `ts.net` itself and `evilts.net` are not. Never for loopback.
    #[must_use]
    pub fn with_same_private_host<T: AsRef<str>>(mut self, domains: impl IntoIterator<Item = T>) -> Self {
        let domains = domains.into_iter().map(|text| text.as_ref().trim().trim_matches('.').to_ascii_lowercase());
        self.same_private_host.get_or_insert_default().extend(domains);
        self
    }

    /// Whether the page that a request comes from may call.
    #[must_use]
    pub fn allows<'r>(&self, request: impl Into<Head<'r>>) -> bool {
        let head = request.into();
        let mut origins = head.headers().get_all(ORIGIN).iter();
        let Some(value) = origins.next() else { return self.allows_unnamed(head) };
        // Of two nobody can say which one the browser wrote.
        if origins.next().is_some() {
            return false;
        }
        if value.as_bytes().trim_ascii().is_empty() {
            return self.allows_unnamed(head);
        }
        let origin = value.to_str().ok().and_then(|text| text.parse::<Origin>().ok());
        origin.is_some_and(|origin| {
            self.any
                || self.allowed.contains(&origin)
                || (self.trusts_own_host(&origin) && origin.is_addressed_by(head.headers(), head.uri()))
        })
    }

    /// Whether a request without an origin may pass.
    fn allows_unnamed(&self, head: Head<'_>) -> bool {
        let all_are = |name, values: &[&str]| {
            head.headers().get_all(name).iter().all(|sent| values.iter().any(|value| sent == value))
        };
        let follows_a_link = || {
            matches!(*head.method(), Method::GET | Method::HEAD)
                && head.headers().contains_key(SEC_FETCH_MODE)
                && head.headers().contains_key(SEC_FETCH_DEST)
                && all_are(SEC_FETCH_MODE, &["navigate"])
                && all_are(SEC_FETCH_DEST, &["document"])
        };
        self.any || all_are(SEC_FETCH_SITE, &["none", "same-origin"]) || follows_a_link()
    }

    fn trusts_own_host(&self, origin: &Origin) -> bool {
        let private = |domains: &Vec<String>| match Host::parse(origin.host()) {
            Some(Host::Address(address)) => is_private(address),
            Some(name) => domains.iter().any(|domain| name.is_below(domain)),
            None => false,
        };
        self.same_host || self.same_private_host.as_ref().is_some_and(private)
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
            ("http://local", "local", false),
            ("http://ts.net", "ts.net", false),
            ("http://evilts.net", "evilts.net", false),
            ("http://box.ts.net.evil.example", "box.ts.net.evil.example", false),
            ("http://[::ffff:10.0.0.1]", "10.0.0.1", true),
            ("http://10.0.0.1:81", "[::ffff:10.0.0.1]:81", true),
            ("http://[::ffff:127.0.0.1]", "127.0.0.1", false),
        ] {
            assert_eq!(allows(&policy, origin, host), passes, "{origin} {host}");
        }
        assert!(allows(&OriginPolicy::new().with_same_host(), "https://gw.example.org", "gw.example.org"));
    }

    #[test]
    fn a_domain_is_written_with_a_dot_or_without_and_in_any_case() {
        for domain in ["ts.net", ".ts.net", "TS.Net", " .ts.net. "] {
            let policy = OriginPolicy::new().with_same_private_host([domain]);
            assert!(allows(&policy, "https://box.ts.net", "box.ts.net"), "{domain}");
            assert!(allows(&policy, "https://BOX.ts.NET", "box.TS.net"), "{domain}");
            assert!(!allows(&policy, "https://evilts.net", "evilts.net"), "{domain}");
        }
        for blank in ["", ".", " "] {
            let policy = OriginPolicy::new().with_same_private_host([blank]);
            for host in ["a.example", "a.", "a"] {
                assert!(!allows(&policy, &format!("https://{host}"), host), "{blank:?} {host}");
            }
        }
    }

    #[test]
    fn without_an_origin_the_browser_says_whether_the_page_is_of_another_one() {
        let sent = |site| [("sec-fetch-site", site), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        let allowed = || OriginPolicy::new().with_same_host().with_allowed(["https://a".parse().unwrap()]);
        for (site, passes) in
            [("none", true), ("same-origin", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            assert_eq!(allowed().allows(&request(&sent(site))), passes, "{site}");
            let blank = [&sent(site)[..], &[("origin", "")]].concat();
            assert_eq!(allowed().allows(&request(&blank)), passes, "{site}");
            assert!(OriginPolicy::new().with_any().allows(&request(&sent(site))), "{site}");
            // An origin that is there is what counts.
            let named = [&sent(site)[..], &[("origin", "https://a")]].concat();
            assert!(allowed().allows(&request(&named)), "{site}");
        }
        let two = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert!(!allowed().allows(&request(&two)));
    }

    #[test]
    fn a_link_that_is_followed_passes_from_anywhere() {
        let sent = |mode, destination| {
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", destination)]
        };
        let policy = OriginPolicy::new();
        assert!(policy.allows(&request(&sent("navigate", "document"))));
        assert!(!policy.allows(&request(&sent("navigate", "iframe"))));
        assert!(!policy.allows(&request(&sent("no-cors", "document"))));
        assert!(!policy.allows(&request(&sent("navigate", "document")[..2])));
        let mut form = request(&sent("navigate", "document"));
        *form.method_mut() = Method::POST;
        assert!(!policy.allows(&form));
    }

    #[test]
    fn without_a_host_header_the_authority_of_the_target_counts() {
        let request = Request::builder().uri("http://box.local:8080/").header("origin", "http://box.local:8080");
        let request = request.body(()).unwrap();
        assert!(OriginPolicy::new().with_same_private_host([".local"]).allows(&request));
    }
}
