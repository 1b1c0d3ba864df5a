//! Where no one listens on the way, and what is shown of it.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

/// Whether what is sent there is read by nobody on the way.
pub(crate) fn is_secure(url: &Uri) -> bool {
    url.scheme() == Some(&Scheme::HTTPS) || url.host().is_some_and(is_this_machine)
}

fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A URL for a log, a `Debug` or an error: without user, password, query and fragment, any of which may hold a secret.
#[cfg(any(feature = "introspection", feature = "jwks", feature = "security-events"))]
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

/// The same of a URL that is one.
#[cfg(any(feature = "introspection", feature = "jwks", feature = "security-events"))]
pub(crate) fn shown_url(url: &Uri) -> Uri {
    shown(&url.to_string()).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "introspection", feature = "jwks", feature = "security-events"))]
    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, expected) in [
            ("https://idp.example/introspect", "https://idp.example/introspect"),
            ("https://user:pass@idp.example:8443/a/b?code=key#part", "https://idp.example:8443/a/b"),
            ("https://user:p@ss@idp.example", "https://idp.example"),
            ("user:pass@idp.example/a?b", "idp.example/a"),
            ("https://idp.example/a@b", "https://idp.example/a@b"),
            ("://", ""),
            ("", ""),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
        let url = Uri::from_static("https://user:pass@idp.example/keys?code=key");
        assert_eq!(shown_url(&url), "https://idp.example/keys");
    }

    #[test]
    fn only_what_stays_on_this_machine_may_go_in_the_clear() {
        for (url, expected) in [
            ("https://issuer.example/keys", true),
            ("http://issuer.example/keys", false),
            ("http://localhost:8080/keys", true),
            ("http://LOCALHOST/keys", true),
            ("http://127.0.0.1:8080/keys", true),
            ("http://127.255.0.9/keys", true),
            ("http://[::1]:8080/keys", true),
            ("http://[::ffff:127.0.0.1]/keys", false),
            ("http://127.0.0.1.example/keys", false),
            ("http://localhost.example/keys", false),
            ("http://127.0.0.1@issuer.example/keys", false),
            ("http://128.0.0.1/keys", false),
            ("/keys", false),
        ] {
            assert_eq!(is_secure(&url.parse().expect("a URI")), expected, "{url}");
        }
    }
}
