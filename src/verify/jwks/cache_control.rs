//! How long a response is fresh.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{AGE, CACHE_CONTROL},
};

/// How long a response is still fresh by its `Cache-Control` and `Age` (RFC 9111 sections 4.2 and 5.2.2); `None`
/// if it does not say.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut lifetime = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => lifetime = seconds(argument.trim().trim_matches('"')),
                _ => {}
            }
        }
    }
    let age = headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?.trim())).unwrap_or_default();
    lifetime.map(|lifetime| lifetime.saturating_sub(age))
}

/// `delay-seconds` (RFC 9111 section 1.2.2): a number that is too large is the largest.
fn seconds(digits: &str) -> Option<Duration> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse::<u32>().unwrap_or(u32::MAX).into()))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_response_says_how_long_it_is_fresh() {
        for (headers, expected) in [
            (&[][..], None),
            (&[("cache-control", "max-age=300")], Some(300)),
            (&[("cache-control", "public, MAX-AGE=300, must-revalidate")], Some(300)),
            (&[("cache-control", "max-age=\"300\"")], Some(300)),
            (&[("cache-control", "public"), ("cache-control", "max-age=300")], Some(300)),
            (&[("cache-control", "max-age=300"), ("age", "100")], Some(200)),
            (&[("cache-control", "max-age=300"), ("age", "1000")], Some(0)),
            (&[("cache-control", "max-age=300, no-store")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "max-age=99999999999999999999")], Some(u32::MAX.into())),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "max-age=")], None),
            (&[("cache-control", "max-age=+3")], None),
            (&[("cache-control", "s-maxage=300")], None),
            (&[("age", "100")], None),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header's value")));
            assert_eq!(freshness(&map.collect()), expected.map(Duration::from_secs), "{headers:?}");
        }
    }
}
