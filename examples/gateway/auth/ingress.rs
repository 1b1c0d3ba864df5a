//! By what way a request came in, and whether it can be told who sent it.

use std::{
    net::IpAddr,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, Method, Request, StatusCode};
#[cfg(feature = "metrics")]
use http::{
    header::{HOST, ORIGIN, VIA},
    uri::Authority,
};
use tower::{Layer, Service};
#[cfg(feature = "metrics")]
use tower_reauth::bearer::Head;

use super::GatewayAuth;
use crate::http::{accept::wants_events, reply};

/// What Tailscale's proxy writes about a request from outside of its network.
pub const FUNNEL: &str = "tailscale-funnel-request";

const TAILSCALE: [&str; 5] =
    [FUNNEL, "tailscale-headers-info", "tailscale-user-login", "tailscale-user-name", "tailscale-user-profile-pic"];

/// Whether a request from `peer` is local and direct: the peer is loopback, and nothing says that the request was
/// forwarded.
pub fn is_local_direct(peer: IpAddr, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback() && !is_forwarded(headers)
}

/// Whether a header, be it blank, says that a proxy passed the request on.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().map(|name| name.as_str()).any(|name| {
        matches!(name, "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-") || TAILSCALE.contains(&name)
    })
}

/// Where the client of a request that may become a stream is, behind the proxies that are trusted, in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ClientAt(pub IpAddr);

/// Whether a program on this machine asks, as far as a request can say: it is local and direct, it is for this
/// machine by a name that nobody else can have, and no page of a browser sent it, unless somebody typed its address.
///
/// By its name a page is found out that had its own name point here (DNS rebinding), and so is a proxy that passes
/// on the name that it was called by and says nothing else of its client.
#[cfg(feature = "metrics")]
pub fn is_from_nearby(peer: IpAddr, head: Head<'_>) -> bool {
    let headers = head.headers();
    let is_of_no_page =
        !headers.contains_key(ORIGIN) && headers.get_all("sec-fetch-site").iter().all(|site| site == "none");
    is_local_direct(peer, headers) && !headers.contains_key(VIA) && is_for_this_machine(head) && is_of_no_page
}

/// Whether each name that a request is for is one of the loopback interface.
#[cfg(feature = "metrics")]
fn is_for_this_machine(head: Head<'_>) -> bool {
    let is_loopback = |host: &str| {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
    };
    let in_header = head.headers().get_all(HOST).iter();
    let in_header =
        in_header.map(|host| Authority::try_from(host.as_bytes()).is_ok_and(|host| is_loopback(host.host())));
    let mut names = in_header.chain(head.uri().host().map(is_loopback)).peekable();
    names.peek().is_some() && names.all(|is_loopback| is_loopback)
}

/// Refuses what a proxy passed on without a word that can be believed about its client: whom to count failures
/// against, and who is local, could not be told.
#[derive(Clone, Debug)]
pub struct AttributedLayer(pub GatewayAuth);

/// The middleware of [`AttributedLayer`].
#[derive(Clone, Debug)]
pub struct Attributed<S> {
    inner: S,
    auth: GatewayAuth,
}

impl<S> Layer<S> for AttributedLayer {
    type Service = Attributed<S>;

    fn layer(&self, inner: S) -> Attributed<S> {
        Attributed { inner, auth: self.0.clone() }
    }
}

impl<S, B> Service<Request<B>> for Attributed<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if self.auth.can_attribute((&request).into()) {
            // A completion says in its body whether it is to be one.
            if (wants_events(request.headers()) || request.method() == Method::POST)
                && let Some(address) = self.auth.client((&request).into())
            {
                request.extensions_mut().insert(ClientAt(address));
            }
            Either::Left(self.inner.call(request))
        } else {
            Either::Right(ready(Ok(unattributed())))
        }
    }
}

/// What is answered to it.
pub fn unattributed() -> Response<Body> {
    reply::refusal(
        StatusCode::FORBIDDEN,
        "proxy_attribution_required",
        "Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy overwrite \
         or safely rebuild forwarded client headers.",
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn is_local(peer: &str, header: Option<(&'static str, &'static str)>) -> bool {
        let headers = header.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_local_direct(peer.parse().unwrap(), &headers.into_iter().collect())
    }

    #[test]
    fn a_loopback_peer_is_local() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_local(peer, None), "{peer}");
        }
        for peer in ["10.0.0.1", "0.0.0.0", "::", "203.0.113.1"] {
            assert!(!is_local(peer, None), "{peer}");
        }
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn a_program_on_this_machine_asks_from_nearby_and_nobody_else() {
        let asks = |peer: &str, uri: &str, headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
            is_from_nearby(peer.parse().unwrap(), (&request.body(()).unwrap()).into())
        };
        let host = ("host", "127.0.0.1:19001");
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(asks(peer, "/metrics", &[host]), "{peer}");
        }
        for peer in ["10.0.0.1", "192.168.1.2", "fe80::1", "::", "0.0.0.0", "203.0.113.1"] {
            assert!(!asks(peer, "/metrics", &[host]), "{peer}");
        }
        for (uri, headers, expected) in [
            ("/metrics", &[("host", "LocalHost")][..], true),
            ("/metrics", &[("host", "[::1]:19001")], true),
            ("/metrics", &[("host", "127.1.2.3")], true),
            // Over HTTP/2 the name is a part of the target.
            ("http://localhost:19001/metrics", &[], true),
            ("http://evil.example/metrics", &[], false),
            ("http://evil.example/metrics", &[host], false),
            ("http://localhost/metrics", &[("host", "evil.example")], false),
            ("/metrics", &[], false),
            ("/metrics", &[("host", "")], false),
            ("/metrics", &[("host", "0.0.0.0:19001")], false),
            ("/metrics", &[("host", "10.0.0.1")], false),
            ("/metrics", &[("host", "localhost.evil.example")], false),
            ("/metrics", &[host, ("host", "evil.example")], false),
            ("/metrics", &[host, ("origin", "")], false),
            ("/metrics", &[host, ("via", "")], false),
            ("/metrics", &[host, ("sec-fetch-site", "none")], true),
            ("/metrics", &[host, ("sec-fetch-site", "same-site")], false),
            ("/metrics", &[host, ("x-real-ip", "127.0.0.1")], false),
        ] {
            assert_eq!(asks("127.0.0.1", uri, headers), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn a_forwarded_request_is_not_direct() {
        for (name, value, expected) in [
            ("forwarded", "for=1.2.3.4", false),
            ("forwarded", "", false),
            ("x-real-ip", "1.2.3.4", false),
            ("x-real-ip", "", false),
            ("x-forwarded-for", "1.2.3.4", false),
            ("x-forwarded-for", "", false),
            ("x-forwarded-zzz", "1", false),
            ("tailscale-user-login", "alice", false),
            ("tailscale-zzz", "1", true),
            ("x-forwarded", "1", true),
            ("host", "example.com", true),
        ] {
            assert_eq!(is_local("127.0.0.1", Some((name, value))), expected, "{name}: {value}");
        }
    }
}
