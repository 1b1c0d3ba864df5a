//! What the targets of requests are to OpenClaw, for a router that knows paths only.
//!
//! [`ResolveTargetLayer`] stands in front of the router. A request that does not name one host, by `Host` or in
//! HTTP/2 by `:authority`, is refused there (RFC 9112 section 3.2), and so is one whose body has another transfer coding
//! than `chunked` (section 6.1): where it ends is read in one way by some servers, and in another by others. Then:
//!
//! 1. The target is resolved as a URL against `http://localhost`, as a browser does it (WHATWG URL), and only
//!    the path of the result counts: dot segments are gone, a host is ignored. Over HTTP/1.1 a host in the
//!    target still has to be one; over HTTP/2 it is no part of what is resolved.
//! 2. `/__openclaw__/cap/<capability>/` before a session's or a stream's path is left out.
//!
//! [`parsed`] stands around a route, so that a key that cannot be read is answered whatever the method
//! and the caller:
//!
//! 3. A session's key is percent-encoded UTF-8 without a slash, and not blank ([`session_key`]). Without any the path
//!    is not found.
//! 4. A stream's id is one that a stream can have ([`stream_id`]), or the path is not found.

use std::{
    borrow::Cow,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use ::http::{
    HeaderMap, HeaderValue, Uri, Version,
    header::{HOST, TRANSFER_ENCODING},
    uri::{Authority, PathAndQuery},
};
use axum::{
    extract::Request,
    response::Response,
    routing::{MethodRouter, any_service},
};
use futures_util::future::Either;
use percent_encoding::percent_decode_str;
use tower::{Layer, Service};
use tower_reauth::reauth::StreamId;
use url::Url;

use super::reply;
use crate::{http::operate::ids, sessions::store::RequestedKey};

/// Rewrites the target of a request to the path that a router knows. A target that is no URL is refused.
#[derive(Clone, Copy, Debug)]
pub struct ResolveTargetLayer;

/// The middleware of [`ResolveTargetLayer`].
///
/// Its future is boxed: a connection keeps room for the future of a request for as long as it is open.
#[derive(Clone, Debug)]
pub struct ResolveTarget<S> {
    inner: S,
}

impl<S> Layer<S> for ResolveTargetLayer {
    type Service = ResolveTarget<S>;

    fn layer(&self, inner: S) -> ResolveTarget<S> {
        ResolveTarget { inner }
    }
}

impl<S, B> Service<Request<B>> for ResolveTarget<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if !names_one_host(&request) {
            return Box::pin(ready(Ok(reply::malformed_host())));
        }
        if !is_in_known_coding(request.headers()) {
            return Box::pin(ready(Ok(reply::unknown_coding())));
        }
        match resolve(request.uri(), request.version()) {
            Resolved::AsItIs => {}
            Resolved::To(target) => *request.uri_mut() = target,
            Resolved::Unreadable => return Box::pin(ready(Ok(reply::unauthorized()))),
        }
        Box::pin(self.inner.call(request))
    }
}

/// Whether there is one host that the request is for. HTTP/1.0 need not name one, and an empty name is one.
fn names_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let is_host = |host: &HeaderValue| {
        let host = host.as_bytes();
        host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
    };
    match (first, second) {
        (Some(host), None) => is_host(host),
        (None, None) => match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => true,
            Version::HTTP_11 => false,
            _ => request.uri().authority().is_some(),
        },
        _ => false,
    }
}

/// Whether the body is as it is, or in chunks and nothing else. Each says so once.
fn is_in_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// What a target is resolved to.
enum Resolved {
    AsItIs,
    To(Uri),
    /// It names a host that no URL can have.
    Unreadable,
}

fn resolve(uri: &Uri, version: Version) -> Resolved {
    let Some(path) = path(uri, version) else { return Resolved::Unreadable };
    let routed = behind_capability(&path);
    if routed == uri.path() {
        return Resolved::AsItIs;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    PathAndQuery::try_from(format!("{routed}{query}"))
        .map_or(Resolved::Unreadable, |target| Resolved::To(target.into()))
}

/// The path of the target, resolved. `None` if it names a host that no URL can have.
fn path(uri: &Uri, version: Version) -> Option<Cow<'_, str>> {
    // Over HTTP/2 every target is put together with a host, which was no part of the path.
    let names_host = uri.scheme().is_some() && version <= Version::HTTP_11;
    if !names_host && is_plain(uri.path()) {
        return Some(Cow::Borrowed(uri.path()));
    }
    let absolute = match uri.path().as_bytes() {
        _ if names_host => uri.to_string(),
        // What follows two slashes is a host, and a backslash is a slash.
        [b'/', b'/' | b'\\', ..] => format!("http:{}", uri.path()),
        [b'/', ..] => format!("http://localhost{}", uri.path()),
        _ => format!("http://localhost/{}", uri.path()),
    };
    let resolved = Url::parse(&absolute).ok()?;
    Some(Cow::Owned(resolved.path().to_owned()))
}

/// Whether resolving would leave the path as it is. Most are like that.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '.', '%'])
}

fn behind_capability(path: &str) -> &str {
    let rest = path.strip_prefix("/__openclaw__/cap/").and_then(|rest| Some(&rest[rest.find('/')?..]));
    rest.filter(|rest| rest.starts_with("/sessions/") || rest.starts_with("/streams/")).unwrap_or(path)
}

/// What is answered to a path that cannot be parsed.
type Refusal = fn() -> Response;

/// A route whose path is parsed before its method is checked.
pub fn parsed<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> Result<T, Refusal>,
    methods: MethodRouter,
) -> MethodRouter {
    // Not `methods.layer`, by which an answer to the path would say in `Allow` which methods there are.
    any_service(ParsePathLayer(parse).layer(methods))
}

/// Parses the second segment of a route's path, percent-encoded as it is, into an extension of the request,
/// or answers in place of the route.
#[derive(Debug)]
struct ParsePathLayer<T>(fn(&str) -> Result<T, Refusal>);

/// The middleware of [`ParsePathLayer`].
#[derive(Debug)]
struct ParsePath<S, T> {
    inner: S,
    parse: fn(&str) -> Result<T, Refusal>,
}

impl<T> Clone for ParsePathLayer<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S: Clone, T> Clone for ParsePath<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), parse: self.parse }
    }
}

impl<S, T> Layer<S> for ParsePathLayer<T> {
    type Service = ParsePath<S, T>;

    fn layer(&self, inner: S) -> ParsePath<S, T> {
        ParsePath { inner, parse: self.0 }
    }
}

impl<S, T> Service<Request> for ParsePath<S, T>
where
    S: Service<Request, Response = Response>,
    T: Clone + Send + Sync + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let segment = request.uri().path().split('/').nth(2).unwrap_or_default();
        match (self.parse)(segment) {
            Ok(parsed) => {
                request.extensions_mut().insert(parsed);
                Either::Left(self.inner.call(request))
            }
            Err(refusal) => Either::Right(ready(Ok(refusal()))),
        }
    }
}

/// The key of a session.
pub fn session_key(segment: &str) -> Result<RequestedKey, Refusal> {
    if segment.is_empty() {
        return Err(reply::not_found);
    }
    decoded(segment).and_then(|key| RequestedKey::parse(&key)).ok_or(reply::malformed_key)
}

/// The id of a stream.
pub fn stream_id(segment: &str) -> Result<StreamId, Refusal> {
    ids::parse(segment).ok_or(reply::not_found)
}

/// Percent-decodes as JavaScript's `decodeURIComponent` does: a `%` without two hexadecimal digits,
/// or bytes that are not UTF-8, are an error.
fn decoded(key: &str) -> Option<Cow<'_, str>> {
    let stray = key.bytes().enumerate().any(|(at, byte)| {
        let digits = key.as_bytes().get(at + 1..at + 3);
        byte == b'%' && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if stray { None } else { percent_decode_str(key).decode_utf8().ok() }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, Router, body::Body, routing::any};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    /// What a request asks for.
    #[derive(Debug, PartialEq)]
    enum Target {
        /// A route, and what its path names.
        Route(String),
        MalformedKey,
        Unreadable,
        Unclaimed,
    }

    fn history(key: &str) -> Target {
        Target::Route(format!("history of {key}"))
    }

    async fn target_over(version: Version, target: &str) -> Target {
        let history = async |Extension(key): Extension<RequestedKey>| format!("history of {}", key.as_str());
        let kill = async |Extension(key): Extension<RequestedKey>| format!("kill {}", key.as_str());
        let renew = async |Extension(id): Extension<StreamId>| format!("renew {}", ids::text(id));
        let routes = Router::new()
            .route("/sessions/{key}/history", parsed(session_key, any(history)))
            .route("/sessions/{key}/kill", parsed(session_key, any(kill)))
            .route("/streams/{id}/renew", parsed(stream_id, any(renew)))
            .route("/healthz", any("live"))
            .route("/ready", any("ready"))
            .fallback(async || reply::not_found());
        let request = Request::builder().uri(target).version(version).header("host", "localhost");
        let request = request.body(Body::empty()).unwrap();
        let response = ResolveTargetLayer.layer(routes).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        match status {
            200 => Target::Route(String::from_utf8(body.to_vec()).unwrap()),
            400 => Target::MalformedKey,
            401 => Target::Unreadable,
            404 => Target::Unclaimed,
            other => panic!("{target}: {other}"),
        }
    }

    async fn target(target: &str) -> Target {
        target_over(Version::HTTP_11, target).await
    }

    #[tokio::test]
    async fn targets_are_resolved_as_urls() {
        let id = format!("{:016x}", 1);
        for (text, expected) in [
            ("/sessions/agent:main:main/history", history("agent:main:main")),
            ("/sessions/k/history?limit=1", history("k")),
            ("/sessions/x/../k/history", history("k")),
            ("/sessions/%2e%2e/sessions/k/history", history("k")),
            ("/sessions\\k\\history", history("k")),
            ("//evil.example/sessions/k/history", history("k")),
            ("http://other.example/sessions/k/history", history("k")),
            ("/__openclaw__/cap/abc/sessions/k/history", history("k")),
            ("/__openclaw__/cap/abc/sessions/x/../k/history?limit=1", history("k")),
            ("/__openclaw__/cap/abc/healthz", Target::Unclaimed),
            ("*", Target::Unclaimed),
            ("http://x:99999999/sessions/k/history", Target::Unreadable),
            ("///sessions/k/history", Target::Unclaimed),
            ("//x:99999999/sessions/k/history", Target::Unreadable),
            ("/sessions/./history", Target::Unclaimed),
            ("/sessions/k/history/", Target::Unclaimed),
            ("/sessions/k/History", Target::Unclaimed),
            ("/sessions//history", Target::Unclaimed),
            ("/sessions/a/b/history", Target::Unclaimed),
            ("/", Target::Unclaimed),
            ("/streams/0000000000000001/renew", Target::Route(format!("renew {id}"))),
            ("/streams/1/renew", Target::Unclaimed),
            ("/streams/renew", Target::Unclaimed),
            ("/healthz", Target::Route("live".to_owned())),
            ("/ready", Target::Route("ready".to_owned())),
        ] {
            assert_eq!(target(text).await, expected, "{text}");
        }
    }

    #[tokio::test]
    async fn the_host_that_http_2_puts_into_the_target_is_ignored() {
        for (target, expected) in [
            ("http://x:99999999/sessions/k/history", history("k")),
            ("https://a_b:99999/sessions/x/../k/history", history("k")),
            ("http://localhost//evil.example/sessions/k/history", history("k")),
            ("http://localhost/healthz", Target::Route("live".to_owned())),
        ] {
            assert_eq!(target_over(Version::HTTP_2, target).await, expected, "{target}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let names_one = |version, uri, hosts: &[&str]| {
            let request = Request::builder().version(version).uri(uri);
            let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
            names_one_host(&request.body(()).unwrap())
        };
        for (hosts, expected) in [
            (&["localhost:80"][..], true),
            (&["[::1]:80"], true),
            (&[""], true),
            (&[], false),
            (&["a", "a"], false),
            (&["a", "b"], false),
            (&["a b"], false),
            (&["user@a"], false),
            (&["a/b"], false),
        ] {
            assert_eq!(names_one(Version::HTTP_11, "/", hosts), expected, "{hosts:?}");
        }
        assert!(!names_one(Version::HTTP_11, "http://a/", &[]));
        assert!(names_one(Version::HTTP_10, "/", &[]));
        assert!(!names_one(Version::HTTP_10, "/", &["a", "b"]));
        assert!(names_one(Version::HTTP_2, "http://a/", &[]));
        assert!(!names_one(Version::HTTP_2, "/", &[]));
    }

    #[tokio::test]
    async fn keys_are_percent_decoded_utf_8() {
        for (key, expected) in [
            ("a%2Fb", history("a/b")),
            ("%E2%82%AC", history("€")),
            ("a+b", history("a+b")),
            ("%20k%20", history("k")),
            ("a%253A", history("a%3A")),
            ("a%00b", history("a\0b")),
            ("%zz", Target::MalformedKey),
            ("%", Target::MalformedKey),
            ("a%2", Target::MalformedKey),
            ("%ff", Target::MalformedKey),
            ("%c0%af", Target::MalformedKey),
            ("%ed%a0%80", Target::MalformedKey),
            ("%20", Target::MalformedKey),
        ] {
            assert_eq!(target(&format!("/sessions/{key}/history")).await, expected, "{key}");
        }
        assert_eq!(target("/sessions/%20/kill").await, Target::MalformedKey);
        assert_eq!(target("/sessions/k/kill").await, Target::Route("kill k".to_owned()));
    }
}
