//! By what way a request came in, and whether it can be told who sent it.

use std::{
    net::IpAddr,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, Request, StatusCode};
use tower::{Layer, Service};

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

/// Where the client of a request for a stream is, behind the proxies that are trusted, in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct ClientAt(pub IpAddr);

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
            if wants_events(request.headers())
                && let Some(address) = self.auth.client((&request).into())
            {
                request.extensions_mut().insert(ClientAt(address));
            }
            Either::Left(self.inner.call(request))
        } else {
            Either::Right(ready(Ok(refusal())))
        }
    }
}

fn refusal() -> Response<Body> {
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
