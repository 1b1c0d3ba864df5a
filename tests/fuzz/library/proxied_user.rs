//! A caller is who a trusted proxy names in one header of its own, and nobody where it names two, or none, or where the
//! request is not the proxy's or comes from a page of another origin.

use std::net::{Ipv4Addr, SocketAddr};

use tower_reauth::{
    bearer::Authenticate,
    proxy::{PeerAddr, TrustedNetworks, TrustedProxy},
};

use crate::support;

const TRUSTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

thread_local! {
    static PROXY: TrustedProxy = {
        let networks = TrustedNetworks::parse(["198.51.100.0/24"]).expect("a network");
        TrustedProxy::new(networks, "x-user".parse().expect("a name")).with_required_header("x-proxy".parse().expect("a name"))
    };
}

pub(crate) fn run(input: &[u8]) {
    let Some(mut request) = support::head(input) else { return };
    let mut presented = |address: Ipv4Addr| {
        request.extensions_mut().insert(PeerAddr(SocketAddr::from((address, 4711))));
        // Within the runtime, whose clock says when to look at the interfaces of this machine.
        support::ready(async { PROXY.with(|proxy| proxy.present((&request).into())) })
    };
    assert!(presented(Ipv4Addr::new(203, 0, 113, 7)).is_err(), "a stranger");
    let Ok(user) = presented(TRUSTED) else { return };

    let all =
        |name: &str| -> Vec<&[u8]> { request.headers().get_all(name).iter().map(|value| value.as_bytes()).collect() };
    let [named] = all("x-user")[..] else { panic!("not one user") };
    let subject = user.identity().subject().to_owned();
    assert!(named.len() <= 1024 && !subject.is_empty());
    assert_eq!(std::str::from_utf8(named).expect("text").trim(), subject);
    assert!(all("x-proxy").iter().any(|value| !value.trim_ascii().is_empty()));
    // No page of another origin may call: none that has a name, and of those that have none what a user follows a link to.
    assert!(all("origin").iter().all(|origin| origin.trim_ascii().is_empty()), "a page of another origin");
    let is_own = all("sec-fetch-site").iter().all(|site| matches!(*site, b"same-origin" | b"none"));
    assert!(is_own || all("sec-fetch-mode").contains(&&b"navigate"[..]), "a page of another site");
}
