//! The address of the server that completions are asked for, and of the gateway that an edge asks.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::PathAndQuery;
use url::{Host, Url};

/// An `http` or `https` URL: what comes before `/v1` in the addresses of an API like OpenAI's.
///
/// A `/v1` at its own end is left out, for that is how the base URL of a client is written.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl(Url);

impl UpstreamUrl {
    /// The error ends a sentence about the text, and does not quote it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or("must be an http or https URL, such as https://server.example.org")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "must hold no user and no password: a file has the secret, that of --upstream-key-file or --edge-token-file",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have no query and no fragment");
        }
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix).trim_end_matches('/').to_owned();
        url.set_path(&prefix);
        // What a request's target is made of has to be one.
        let made = Self(url);
        made.at(&PathAndQuery::from_static("/")).ok_or("must be a URL that HTTP can ask for")?;
        Ok(made)
    }

    /// Where this path is there.
    pub fn at(&self, path: &PathAndQuery) -> Option<Uri> {
        format!("{}{path}", self.0.as_str().trim_end_matches('/')).parse().ok()
    }

    #[cfg(feature = "upstream")]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether what is sent there leaves this machine unencrypted.
    pub fn is_read_on_the_way(&self) -> bool {
        let is_here = match self.0.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
            None => false,
        };
        self.0.scheme() == "http" && !is_here
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_behind_its_own_and_v1_is_there_once() {
        for (url, expected) in [
            ("http://localhost:11434", "http://localhost:11434/v1/models?limit=2"),
            ("http://localhost:11434/", "http://localhost:11434/v1/models?limit=2"),
            ("https://api.openai.com/v1", "https://api.openai.com/v1/models?limit=2"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/models?limit=2"),
            ("https://openrouter.example/api", "https://openrouter.example/api/v1/models?limit=2"),
            ("https://openrouter.example/api/v1", "https://openrouter.example/api/v1/models?limit=2"),
            ("HTTP://[::1]:8080/a/b/", "http://[::1]:8080/a/b/v1/models?limit=2"),
        ] {
            let path = PathAndQuery::from_static("/v1/models?limit=2");
            assert_eq!(UpstreamUrl::parse(url).unwrap().at(&path).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_server_is_refused_in_words_that_do_not_quote_it() {
        for (url, expected) in [
            ("", "an http or https URL"),
            ("localhost:11434", "an http or https URL"),
            ("ftp://hunter2.example", "an http or https URL"),
            ("unix:/run/hunter2", "an http or https URL"),
            ("https://", "an http or https URL"),
            ("https://user:hunter2@api.example", "no user and no password"),
            ("https://hunter2@api.example", "no user and no password"),
            ("https://api.example/?key=hunter2", "no query"),
            ("https://api.example/#hunter2", "no fragment"),
        ] {
            let error = UpstreamUrl::parse(url).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_key_goes_in_the_clear_to_no_other_machine() {
        for (url, expected) in [
            ("http://localhost:1", false),
            ("http://127.0.0.2", false),
            ("http://[::1]", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("https://api.example", false),
            ("http://api.example", true),
            ("http://10.0.0.1", true),
            ("http://localhost.example", true),
        ] {
            assert_eq!(UpstreamUrl::parse(url).unwrap().is_read_on_the_way(), expected, "{url}");
        }
    }
}
