//! An origin is printed as one that is read as the same; it is the one that the WHATWG's URL parser takes it for; and it is
//! at its own host and port.

use tower_reauth::proxy::Origin;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(origin) = text.parse::<Origin>() else { return };
    let printed = origin.to_string();
    assert_eq!(printed.parse::<Origin>().as_ref(), Ok(&origin));
    let (_, authority) = printed.split_once("://").expect("it has a scheme");
    assert!(origin.is_at(authority), "{printed} is not at {authority}");

    let url = url::Url::parse(text).unwrap_or_else(|error| panic!("{text:?} is an origin, and no URL: {error}"));
    let url::Origin::Tuple(scheme, host, port) = url.origin() else { panic!("{text:?} has an opaque origin") };
    let default = if matches!(&*scheme, "http" | "ws") { 80 } else { 443 };
    let port = if port == default { String::new() } else { format!(":{port}") };
    let host = match host {
        url::Host::Ipv6(address) if address.to_ipv4_mapped().is_some() => address.to_canonical().to_string(),
        host => host.to_string(),
    };
    assert_eq!(printed, format!("{scheme}://{host}{port}"), "of {text:?}");
}
