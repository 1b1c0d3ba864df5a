//! What a request asks for, read off its target.
//!
//! 1. The target is resolved as a URL against `http://localhost`, as a browser would, and only the
//!    path of the result counts: dot segments are gone, a host is ignored. Over HTTP/1.1 a host in the
//!    target still has to be one; over HTTP/2 it is no part of what is resolved.
//! 2. `/__openclaw__/cap/<capability>/…` stands for what follows.
//! 3. `/sessions/<key>/history` and `/sessions/<key>/kill` are ours, to the letter; `<key>` is
//!    percent-encoded UTF-8 without a slash.
//! 4. `/streams/<id>/renew` is ours alone, if the id is one that a stream can have.
//! 5. A blank key is no history, and a malformed one to kill.

use std::borrow::Cow;

use http::{Uri, Version};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::{live::StreamId, sessions::store::RequestedKey};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    History(RequestedKey),
    Kill(RequestedKey),
    /// A fresh credential for an open stream.
    Renew(StreamId),
    /// A route of ours with a key that cannot be read.
    MalformedKey,
    /// The process is up.
    Live,
    /// The process can serve.
    Ready,
    /// A target that is no URL.
    Unreadable,
    /// Nothing of ours.
    Unclaimed,
}

impl Target {
    pub fn of(uri: &Uri, version: Version) -> Self {
        match path(uri, version) {
            Some(path) => Self::of_path(&path),
            None => Self::Unreadable,
        }
    }

    fn of_path(path: &str) -> Self {
        match path {
            "/health" | "/healthz" => return Self::Live,
            "/ready" | "/readyz" => return Self::Ready,
            _ => {}
        }
        let path = behind_capability(path);
        if let Some(id) = path.strip_prefix("/streams/").and_then(|rest| rest.strip_suffix("/renew")) {
            return StreamId::parse(id).map_or(Self::Unclaimed, Self::Renew);
        }
        let Some((key, action)) = path.strip_prefix("/sessions/").and_then(|rest| rest.split_once('/')) else {
            return Self::Unclaimed;
        };
        if key.is_empty() || !matches!(action, "history" | "kill") {
            return Self::Unclaimed;
        }
        let Some(key) = decoded(key) else { return Self::MalformedKey };
        match (RequestedKey::parse(&key), action) {
            (Some(key), "history") => Self::History(key),
            (Some(key), _) => Self::Kill(key),
            (None, "history") => Self::Unclaimed,
            (None, _) => Self::MalformedKey,
        }
    }
}

/// The path of the target, resolved. `None` if it names a host that no URL can have.
fn path(uri: &Uri, version: Version) -> Option<Cow<'_, str>> {
    // Over HTTP/2 every target is put together with a host, which was no part of the path.
    let names_host = uri.scheme().is_some() && version <= Version::HTTP_11;
    if !names_host && is_plain(uri.path()) {
        return Some(Cow::Borrowed(uri.path()));
    }
    let absolute = match uri.path().as_bytes() {
        _ if names_host => uri.to_string(),
        // What follows two slashes is a host, and a backslash is a slash.
        [b'/', b'/' | b'\\', ..] => format!("http:{}", uri.path()),
        [b'/', ..] => format!("http://localhost{}", uri.path()),
        _ => format!("http://localhost/{}", uri.path()),
    };
    let resolved = Url::parse(&absolute).ok()?;
    Some(Cow::Owned(resolved.path().to_owned()))
}

/// Whether resolving would leave the path as it is. Most are like that.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '.', '%'])
}

fn behind_capability(path: &str) -> &str {
    let rest = path.strip_prefix("/__openclaw__/cap/");
    let slash = rest.and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
    slash.unwrap_or(path)
}

/// Percent-decodes as JavaScript's `decodeURIComponent` does: a `%` without two hexadecimal digits,
/// or bytes that are not UTF-8, are an error.
fn decoded(key: &str) -> Option<Cow<'_, str>> {
    let stray = key.bytes().enumerate().any(|(at, byte)| {
        let digits = key.as_bytes().get(at + 1..at + 3);
        byte == b'%' && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if stray { None } else { percent_decode_str(key).decode_utf8().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::of(&text.parse().unwrap(), Version::HTTP_11)
    }

    fn history(key: &str) -> Target {
        Target::History(RequestedKey::parse(key).unwrap())
    }

    #[test]
    fn targets_are_resolved_as_urls() {
        let id = format!("{:032x}", 1);
        for (text, expected) in [
            ("/sessions/agent:main:main/history", history("agent:main:main")),
            ("/sessions/k/history?limit=1", history("k")),
            ("/sessions/x/../k/history", history("k")),
            ("/sessions/%2e%2e/sessions/k/history", history("k")),
            ("/sessions\\k\\history", history("k")),
            ("//evil.example/sessions/k/history", history("k")),
            ("http://other.example/sessions/k/history", history("k")),
            ("/__openclaw__/cap/abc/sessions/k/history", history("k")),
            ("*", Target::Unclaimed),
            ("http://x:99999999/sessions/k/history", Target::Unreadable),
            ("///sessions/k/history", Target::Unclaimed),
            ("//x:99999999/sessions/k/history", Target::Unreadable),
            ("/sessions/./history", Target::Unclaimed),
            ("/sessions/k/history/", Target::Unclaimed),
            ("/sessions/k/History", Target::Unclaimed),
            ("/sessions//history", Target::Unclaimed),
            ("/sessions/a/b/history", Target::Unclaimed),
            ("/", Target::Unclaimed),
            ("/streams/00000000000000000000000000000001/renew", Target::Renew(StreamId::parse(&id).unwrap())),
            ("/streams/1/renew", Target::Unclaimed),
            ("/streams/renew", Target::Unclaimed),
            ("/healthz", Target::Live),
            ("/ready", Target::Ready),
        ] {
            assert_eq!(target(text), expected, "{text}");
        }
    }

    #[test]
    fn the_host_that_http_2_puts_into_the_target_is_ignored() {
        for (target, expected) in [
            ("http://x:99999999/sessions/k/history", history("k")),
            ("https://a_b:99999/sessions/x/../k/history", history("k")),
            ("http://localhost//evil.example/sessions/k/history", history("k")),
            ("http://localhost/healthz", Target::Live),
        ] {
            assert_eq!(Target::of(&target.parse().unwrap(), Version::HTTP_2), expected, "{target}");
        }
    }

    #[test]
    fn keys_are_percent_decoded_utf_8() {
        for (key, expected) in [
            ("a%2Fb", history("a/b")),
            ("%E2%82%AC", history("€")),
            ("a+b", history("a+b")),
            ("%20k%20", history("k")),
            ("a%253A", history("a%3A")),
            ("a%00b", history("a\0b")),
            ("%zz", Target::MalformedKey),
            ("%", Target::MalformedKey),
            ("a%2", Target::MalformedKey),
            ("%ff", Target::MalformedKey),
            ("%c0%af", Target::MalformedKey),
            ("%ed%a0%80", Target::MalformedKey),
            ("%20", Target::Unclaimed),
        ] {
            assert_eq!(target(&format!("/sessions/{key}/history")), expected, "{key}");
        }
        assert_eq!(target("/sessions/%20/kill"), Target::MalformedKey);
        assert_eq!(target("/sessions/k/kill"), Target::Kill(RequestedKey::parse("k").unwrap()));
    }
}
