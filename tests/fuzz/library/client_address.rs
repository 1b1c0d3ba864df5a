//! Whatever a client writes into `Forwarded`, `X-Forwarded-For` and `X-Real-IP`, the address that a trusted proxy appends
//! is the client's; and who is not trusted is nobody but themselves.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use tower_reauth::proxy::{ClientAddress, TrustedNetworks};

use crate::support;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

thread_local! {
    static RESOLVERS: [ClientAddress; 4] = {
        let networks = || TrustedNetworks::parse(["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"]).expect("networks");
        let new = || ClientAddress::new(networks());
        [new(), new().with_forwarded(), new().with_forwarded().with_real_ip(), new().with_forwarded().with_unreadable_hops_skipped()]
    };
}

pub(crate) fn run(input: &[u8]) {
    RESOLVERS.with(|resolvers| resolvers.iter().enumerate().for_each(|(n, resolver)| check(input, n, resolver)));
}

fn check(input: &[u8], n: usize, resolver: &ClientAddress) {
    let mut headers = support::headers(input);
    assert_eq!(resolver.resolve(&headers, STRANGER), STRANGER);
    let client = resolver.resolve(&headers, PROXY);
    assert!(!client.is_unspecified(), "an address that is nobody's");
    assert_eq!(client, client.to_canonical(), "a client has one address");
    let named = |name: &str| headers.get_all(name).iter().any(|value| names(value.as_bytes(), client));
    assert!(
        client == PROXY || ["forwarded", "x-forwarded-for", "x-real-ip"].into_iter().any(named),
        "an address that nobody wrote"
    );

    // The proxy appends to the last line of the header that counts, and then in a line of its own.
    let is_forwarded =
        n > 0 && headers.get_all("forwarded").iter().any(|value| !value.as_bytes().trim_ascii().is_empty());
    let (name, hop) = if is_forwarded { ("forwarded", "for=203.0.113.7") } else { ("x-forwarded-for", "203.0.113.7") };
    if let Some(last) = headers.get_all(name).iter().next_back() {
        let appended =
            HeaderValue::from_bytes(&[last.as_bytes(), b", ", hop.as_bytes()].concat()).expect("both were values");
        let mut headers = headers.clone();
        headers.append(name, appended);
        assert_eq!(resolver.resolve(&headers, PROXY), STRANGER);
    }
    if is_forwarded {
        // Behind a proxy that quotes, whose comma parts nothing.
        let mut headers = headers.clone();
        headers.append(name, HeaderValue::from_static(r#"for=203.0.113.7, for=10.0.0.2;by="a\",b""#));
        assert_eq!(resolver.resolve(&headers, PROXY), STRANGER);
    }
    headers.append(name, HeaderValue::from_static(hop));
    assert_eq!(resolver.resolve(&headers, PROXY), STRANGER);
}

/// Whether the address stands somewhere in the value, written in whichever way.
fn names(value: &[u8], address: IpAddr) -> bool {
    let text: String = String::from_utf8_lossy(value).replace('\\', "");
    let is_part = |character: char| character.is_ascii_hexdigit() || matches!(character, ':' | '.');
    text.split(|character| !is_part(character)).any(|part| {
        let mut ends = part.match_indices(':').map(|(at, _)| at).chain([part.len()]);
        ends.any(|end| part[..end].parse::<IpAddr>().is_ok_and(|named| named.to_canonical() == address))
    })
}
