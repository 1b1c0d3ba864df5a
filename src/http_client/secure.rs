//! Where no one listens on the way.

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

#[cfg(test)]
mod tests {
    use super::*;

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
