//! What browsers let the pages of other origins read (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! 1. A page of `--cors-origin` may read every answer, refusals too, and the headers that a client needs of one. Where
//!    callers show nothing, or a proxy names them, it counts as one of `gateway.controlUi.allowedOrigins` besides:
//!    what may read may ask. Those themselves are OpenClaw's, and let nobody read.
//! 2. A browser that asks beforehand is answered without a credential: it shows none.
//! 3. Cookies are never asked for (`Access-Control-Allow-Credentials`): a page shows its own token, or none.
//! 4. `*` lets every page read, which must hold a token then. It makes no page a caller where none is needed, and is
//!    refused at the start beside `--auth none`.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
};
use axum::{body::Body, response::Response};
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_http::cors::{self, AllowOrigin, Cors};
use tower_reauth::proxy::Origin;

use crate::config::CorsOrigin;

/// How long a browser may go by what it was answered beforehand.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// The pages of `--cors-origin`.
#[derive(Clone, Debug)]
pub struct Pages(Arc<[CorsOrigin]>);

/// Answers browsers, where there are pages that may read.
#[derive(Clone, Debug)]
pub struct CorsLayer(Option<cors::CorsLayer>);

/// The middleware of [`CorsLayer`].
#[derive(Clone, Debug)]
pub struct Answered<S> {
    inner: S,
    cors: Option<Cors<S>>,
}

impl Pages {
    pub fn new(pages: Vec<CorsOrigin>) -> Self {
        Self(pages.into())
    }

    /// Whether a request comes from one of these, by name.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        origins.next().is_some_and(|origin| self.names(origin)) && origins.next().is_none()
    }

    fn names(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().ok().and_then(|origin| Some((origin, origin.parse::<Origin>().ok()?)));
        // A browser writes it in one way.
        origin.is_some_and(|(text, origin)| text == origin.to_string() && self.0.contains(&CorsOrigin::Of(origin)))
    }
}

impl CorsLayer {
    pub fn new(pages: Vec<CorsOrigin>) -> Self {
        if pages.is_empty() {
            return Self(None);
        }
        let origins = if pages.contains(&CorsOrigin::Any) {
            AllowOrigin::any()
        } else {
            let pages = Pages::new(pages);
            AllowOrigin::predicate(move |origin, _| pages.names(origin))
        };
        let own = HeaderName::from_static;
        Self(Some(
            cors::CorsLayer::new()
                .allow_origin(origins)
                .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
                .allow_headers([AUTHORIZATION, CONTENT_TYPE, own("last-event-id"), own("x-openclaw-scopes")])
                .expose_headers([own("x-stream-id"), WWW_AUTHENTICATE, RETRY_AFTER])
                .max_age(MAX_AGE),
        ))
    }
}

impl<S: Clone> Layer<S> for CorsLayer {
    type Service = Answered<S>;

    fn layer(&self, inner: S) -> Answered<S> {
        Answered { cors: self.0.as_ref().map(|cors| cors.layer(inner.clone())), inner }
    }
}

impl<S> Service<Request<Body>> for Answered<S>
where
    S: Service<Request<Body>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, <Cors<S> as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Some(cors) = &mut self.cors {
            std::task::ready!(Service::<Request<Body>>::poll_ready(cors, cx))?;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // What else is asked by this method no page asked for.
        let is_foreign = request.method() == Method::OPTIONS
            && !(request.headers().contains_key(ORIGIN)
                && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD));
        match &mut self.cors {
            Some(cors) if !is_foreign => Either::Right(cors.call(request)),
            _ => Either::Left(self.inner.call(request)),
        }
    }
}
