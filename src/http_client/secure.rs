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
///
/// Of a text in which one of them may stand elsewhere, as a password with a slash does, no more is shown than the scheme.
#[cfg(any(feature = "introspection", feature = "jwks", feature = "security-events"))]
pub(crate) fn shown(url: &str) -> String {
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), url),
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(']').map_or(host, |(_, port)| port).split_once(':').map_or("", |(_, port)| port);
    if rest.contains('@') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{scheme}…");
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}{host}{path}")
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
            ("http://[::1]:8080/keys", "http://[::1]:8080/keys"),
            ("https://user:pass@[::1]/keys", "https://[::1]/keys"),
            ("https://idp.example/a@b", "https://…"),
            ("https://idp.example/a?key=b@c", "https://…"),
            ("//user:s3cret@idp/a", "…"),
            ("https:/user:s3cret@idp/a", "…"),
            ("https:///user:s3cret@idp/a", "https://…"),
            ("https://user:s3cr/et@idp/a", "https://…"),
            ("https://user:s3cr?et@idp/a", "https://…"),
            ("https://user:s3cr#et@idp/a", "https://…"),
            ("https://user:s3cr\\et@idp/a", "https://…"),
            ("https://user:s3cret", "https://…"),
            ("user:s3cret://idp/a", "…"),
            ("://", "://"),
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
