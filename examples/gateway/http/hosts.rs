//! Where nobody has to say who they are, whom requests are for.
//!
//! With `--auth none` on loopback a web page could have its own name point at this machine, and read. So
//! requests have to be for a loopback name, or one of `--allow-host`, for as long as that is the mode. A gateway
//! that asks for a secret may be called by any name: such a page does not know the secret.
//!
//! The page that calls is asked for too, by `Origin`, where a request changes something. Where it only reads, any
//! page may, as with OpenClaw: no browser shows the answer to a page of another origin.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{Request, header::ORIGIN};
use axum::response::Response;
use futures_util::future::Either;
use tokio::sync::watch;
use tower::{Layer, Service};
use tower_reauth::{
    Denied,
    hosts::{AllowedHosts, AllowedHostsLayer},
};

use crate::{
    auth::respond,
    config::{Auth, Settings},
};

type Respond = fn(&Denied) -> Response;

/// Holds requests to the allowed hosts for as long as the settings ask callers for nothing.
#[derive(Clone, Debug)]
pub struct HostsLayer {
    /// `None`: any host is right.
    allowed: Option<AllowedHostsLayer<Respond>>,
    settings: watch::Receiver<Arc<Settings>>,
}

/// The middleware of [`HostsLayer`].
#[derive(Clone, Debug)]
pub struct Hosts<S> {
    any: S,
    allowed: Option<AllowedHosts<S, Respond>>,
    settings: watch::Receiver<Arc<Settings>>,
}

impl HostsLayer {
    pub fn new(allowed: Option<AllowedHostsLayer>, settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self { allowed: allowed.map(|allowed| allowed.with_response(respond as Respond)), settings }
    }
}

impl<S: Clone> Layer<S> for HostsLayer {
    type Service = Hosts<S>;

    fn layer(&self, inner: S) -> Hosts<S> {
        let allowed = self.allowed.as_ref().map(|allowed| allowed.layer(inner.clone()));
        Hosts { any: inner, allowed, settings: self.settings.clone() }
    }
}

impl<S, B> Service<Request<B>> for Hosts<S>
where
    S: Service<Request<B>, Response = Response>,
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match &mut self.allowed {
            Some(allowed) if self.settings.borrow().auth == Auth::None => {
                if request.method().is_safe() {
                    request.headers_mut().remove(ORIGIN);
                }
                Either::Right(Box::pin(allowed.call(request)))
            }
            _ => Either::Left(self.any.call(request)),
        }
    }
}
