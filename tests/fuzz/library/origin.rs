//! An origin is printed as one that is read as the same; it is the one that the WHATWG's URL parser takes it for, where that
//! takes it for one; and it is at its own host and port.

use tower_reauth::proxy::Origin;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(origin) = text.parse::<Origin>() else { return };
    let printed = origin.to_string();
    assert_eq!(printed.parse::<Origin>().as_ref(), Ok(&origin));
    let (_, authority) = printed.split_once("://").expect("it has a scheme");
    assert!(origin.is_at(authority), "{printed} is not at {authority}");

    // Browsers send an IPv4 address as four numbers: what else that parser takes for one is a name here, and nobody's.
    let last = origin.host().trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").unwrap_or(last);
    if origin.address().is_none()
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && last.starts_with(|first: char| first.is_ascii_digit())
    {
        return;
    }
    // No page has a host that it refuses: `xn--`, which no name is encoded as, is one.
    let Ok(url) = url::Url::parse(text) else { return };
    let url::Origin::Tuple(scheme, host, port) = url.origin() else { panic!("{text:?} has an opaque origin") };
    let default = if matches!(&*scheme, "http" | "ws") { 80 } else { 443 };
    let port = if port == default { String::new() } else { format!(":{port}") };
    let host = match host {
        url::Host::Ipv6(address) if address.to_ipv4_mapped().is_some() => address.to_canonical().to_string(),
        host => host.to_string(),
    };
    assert_eq!(printed, format!("{scheme}://{host}{port}"), "of {text:?}");
}
