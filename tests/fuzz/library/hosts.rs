//! A request goes on only if each host that it names, by `Host`, target and `Origin`, is one that is allowed, as the
//! WHATWG's URL parser reads it, and if there is but one of each header.

use std::{convert::Infallible, future::Ready, net::Ipv4Addr};

use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_reauth::hosts::AllowedHostsLayer;

use crate::support;

pub(crate) fn run(input: &[u8]) {
    let Some(request) = support::head(input) else { return };
    let headers = request.headers();
    let all =
        |name: &str| -> Vec<Vec<u8>> { headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect() };
    let (hosts, origins) = (all("host"), all("origin"));
    let target = request.uri().authority().map(|authority| authority.as_str().to_owned());

    let handler = service_fn(|_: Request<()>| -> Ready<Result<Response<()>, Infallible>> {
        std::future::ready(Ok(Response::new(())))
    });
    let layer = AllowedHostsLayer::new().with_allowed(["gateway.example.org".parse().expect("a host")]);
    let Ok(response) = support::ready(layer.layer(handler).call(request));
    if response.status() != 200 {
        assert!(response.status() == 400 || response.status() == 421);
        return;
    }

    assert!(hosts.len() == 1 && origins.len() <= 1);
    let authorities =
        hosts.into_iter().chain(target.map(String::into_bytes)).map(|text| [b"http://".to_vec(), text].concat());
    for url in authorities.chain(origins) {
        let url = String::from_utf8(url).expect("what was let in is text");
        let (_, rest) = url.split_once("://").expect("an origin has a scheme");
        // Of which scheme an origin is does not matter, and that parser reads hosts of those that it knows.
        let read = url::Url::parse(&format!("http://{}", rest.trim())).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(read.username().is_empty() && read.password().is_none(), "{url} names somebody");
        let is_allowed = match read.host().expect("it has a host") {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name == "gateway.example.org" || name == "localhost" || name.ends_with(".localhost")
            }
            url::Host::Ipv4(address) => address.is_loopback(),
            url::Host::Ipv6(address) => {
                address.is_loopback() || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
            }
        };
        assert!(is_allowed, "{url} is of another host");
    }
}
