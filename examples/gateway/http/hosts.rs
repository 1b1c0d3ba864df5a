//! Where nobody has to say who they are, whom requests are for.
//!
//! With `--auth none` on loopback a web page could have its own name point at this machine, and read. So
//! requests have to be for a loopback name, or one of `--allow-host`, for as long as that is the mode. A gateway
//! that asks for a secret may be called by any name: such a page does not know the secret.
//!
//! The page that calls is asked for too, by `Origin`, where a request changes something. Where it only reads, that is
//! for the rules of [`crate::auth`] to say, as with OpenClaw; and so it is for the pages of `--cors-origin`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{HeaderValue, Request, header::ORIGIN};
use axum::{body::Body, response::Response};
use futures_util::future::Either;
use tokio::sync::watch;
use tower::{Layer, Service, util::MapRequest};
use tower_reauth::{
    Denied,
    hosts::{AllowedHosts, AllowedHostsLayer},
};

use crate::{
    auth::respond,
    config::{Auth, CorsOrigin, Settings},
    http::cors::Pages,
};

type Respond = fn(&Denied) -> Response;

/// Holds requests to the allowed hosts for as long as the settings ask callers for nothing.
#[derive(Clone, Debug)]
pub struct HostsLayer {
    /// `None`: any host is right.
    allowed: Option<AllowedHostsLayer<Respond>>,
    pages: Pages,
    settings: watch::Receiver<Arc<Settings>>,
}

/// The middleware of [`HostsLayer`].
#[derive(Clone, Debug)]
pub struct Hosts<S> {
    any: S,
    allowed: Option<AllowedHosts<MapRequest<S, PutBack>, Respond>>,
    pages: Pages,
    settings: watch::Receiver<Arc<Settings>>,
}

type PutBack = fn(Request<Body>) -> Request<Body>;

/// The page of a request that only reads, on its way past the hosts.
#[derive(Clone)]
struct Page(Option<HeaderValue>);

/// A page that the hosts have judged is not judged again.
fn put_back(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(ORIGIN);
    if let Some(Page(Some(origin))) = request.extensions_mut().remove() {
        request.headers_mut().insert(ORIGIN, origin);
    }
    request
}

impl HostsLayer {
    pub fn new(
        allowed: Option<AllowedHostsLayer>,
        pages: Vec<CorsOrigin>,
        settings: watch::Receiver<Arc<Settings>>,
    ) -> Self {
        let allowed = allowed.map(|allowed| allowed.with_response(respond as Respond));
        Self { allowed, pages: Pages::new(pages), settings }
    }
}

impl<S: Clone> Layer<S> for HostsLayer {
    type Service = Hosts<S>;

    fn layer(&self, inner: S) -> Hosts<S> {
        let allowed =
            self.allowed.as_ref().map(|allowed| allowed.layer(MapRequest::new(inner.clone(), put_back as PutBack)));
        Hosts { any: inner, allowed, pages: self.pages.clone(), settings: self.settings.clone() }
    }
}

impl<S> Service<Request<Body>> for Hosts<S>
where
    S: Service<Request<Body>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    /// Boxed where it is seldom: a connection keeps room for it for as long as it is open.
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Some(allowed) = &mut self.allowed {
            std::task::ready!(allowed.poll_ready(cx))?;
        }
        self.any.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match &mut self.allowed {
            Some(allowed) if self.settings.borrow().auth == Auth::None => {
                if request.method().is_safe() || self.pages.holds(request.headers()) {
                    let page = request.headers_mut().remove(ORIGIN);
                    request.extensions_mut().insert(Page(page));
                }
                Either::Right(Box::pin(allowed.call(request)))
            }
            _ => Either::Left(self.any.call(request)),
        }
    }
}
