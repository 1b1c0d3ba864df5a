//! What is said of each request: one span, and the time until its answer begins.
//!
//! The span lasts until the last byte of the answer, so that what a stream logs at its end has it too. It is named
//! `request`, of the target `gateway::request` and the level DEBUG, and its fields are those of OpenTelemetry's
//! conventions for HTTP servers, besides the ids of its trace. Where nobody listens to it nothing is made for it, and
//! its answer is passed on as it is.
//!
//! The path, which may hold a capability that is a secret, is not in it before a route is found.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use ::http::{Method, Request, Version};
use axum::{body::Body, extract::MatchedPath, response::Response};
use bytes::Bytes;
use futures_util::future::Either;
use http_body::{Frame, SizeHint};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty};

use super::{names, traceparent::Trace};
use crate::auth::GatewayAuth;

/// Says it of each request: in front of everything.
#[derive(Clone, Debug)]
pub struct RequestLayer(pub GatewayAuth);

/// The middleware of [`RequestLayer`].
#[derive(Clone, Debug)]
pub struct Requests<S> {
    inner: S,
    auth: GatewayAuth,
}

/// What the layers further in find out about a request, in its extensions.
#[derive(Clone)]
struct Found(Arc<(Span, OnceLock<Cow<'static, str>>)>);

impl<S> Layer<S> for RequestLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests { inner, auth: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for Requests<S>
where
    S: Service<Request<Body>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    /// Boxed where something is said: a connection keeps room for it for as long as it is open.
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = span(&request, &self.auth);
        if cfg!(not(feature = "metrics")) && span.is_disabled() {
            return Either::Left(self.inner.call(request));
        }
        let began = Instant::now();
        let method = method(request.method());
        let found = Found(Arc::new((span.clone(), OnceLock::new())));
        request.extensions_mut().insert(found.clone());
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Either::Right(Box::pin(async move {
            let response = answer.await?;
            let Found(found) = found;
            let (span, route) = &*found;
            names::request_answered(method, route.get().map(|route| &**route), response.status(), began.elapsed());
            if span.is_disabled() {
                return Ok(response);
            }
            span.record("http.response.status_code", response.status().as_u16());
            Ok(response.map(|body| match http_body::Body::is_end_stream(&body) {
                true => body,
                false => Body::new(Spanned { body: Some(body), span: span.clone() }),
            }))
        }))
    }
}

/// Notes which route a request is for, by its template.
pub fn note_route(request: &Request<Body>, route: &'static str) {
    note(request, || Cow::Borrowed(route));
}

/// The same of the route that a router has found: around all that it has.
pub fn note_matched(request: Request<Body>) -> Request<Body> {
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        note(&request, || Cow::Owned(route.as_str().to_owned()));
    }
    request
}

fn note(request: &Request<Body>, route: impl FnOnce() -> Cow<'static, str>) {
    if let Some(Found(found)) = request.extensions().get() {
        let ((span, noted), route) = (&**found, route());
        span.record("http.route", &*route);
        span.record("url.path", request.uri().path());
        let _ = noted.set(route);
    }
}

fn span(request: &Request<Body>, auth: &GatewayAuth) -> Span {
    let span = tracing::debug_span!(
        target: "gateway::request",
        "request",
        trace_id = Empty,
        span_id = Empty,
        parent = Empty,
        http.request.method = method(request.method()),
        http.route = Empty,
        url.path = Empty,
        network.protocol.version = version(request.version()),
        client.address = Empty,
        enduser.id = Empty,
        credential_id = Empty,
        http.response.status_code = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(Trace { id, span: own, parent }) = Trace::of(request.headers()) {
        span.record("trace_id", format_args!("{id:032x}"));
        span.record("span_id", format_args!("{own:016x}"));
        if let Some(parent) = parent {
            span.record("parent", format_args!("{parent:016x}"));
        }
    }
    if let Some(client) = auth.client(request.into()) {
        span.record("client.address", tracing::field::display(client));
    }
    span
}

/// The methods of RFC 9110 and RFC 5789, and one word for all that a client may think of besides.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "_OTHER",
    }
}

/// A body that is read, and let go, in the span of its request.
struct Spanned {
    /// Until it is let go.
    body: Option<Body>,
    span: Span,
}

impl http_body::Body for Spanned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, span } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let _entered = span.enter();
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Spanned {
    fn drop(&mut self) {
        let body = self.body.take();
        self.span.in_scope(|| drop(body));
    }
}
