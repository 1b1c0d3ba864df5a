//! How a refusal becomes a response.
//!
//! By default by [`EmptyBody`]: the status of [`Denied`]'s table, and to a gRPC call a response that
//! gRPC understands. A layer's `with_response` takes another [`Respond`]: [`ProblemJson`] or [`OAuthJson`] for a
//! body that says why, a closure for one of your own, [`GrpcOr`] around it, or on axum `respond_with`.
//!
//! What the standards ask for is added afterwards: `WWW-Authenticate` (RFC 9110 section 11.6.1) and
//! `Retry-After` (section 10.2.3), where the response has none of its own; and the [`Denied`] is put
//! into the response's extensions, where a layer further out finds it.
//!
//! # A handler's own refusal
//!
//! A handler refuses in the same way: it answers with a response whose extensions hold a [`Denied`] (on
//! axum, with the [`Denied`] itself). On its way out the layer that asked who is calling adds its
//! challenge, with the realm and metadata that it was given.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{Access, BearerAuthLayer, Scope, StaticToken, bearer::Challenge};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let service = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(StaticToken::new("s3cret")).with_challenge(Challenge::new().with_realm("files")?))
//!     .service_fn(async |request: Request<()>| {
//!         let access: &Access = request.extensions().get().expect("the layer put it there");
//!         let response: Response<String> = match access.require(Scope::from_static("files:write")) {
//!             Ok(_) => Response::new("written".into()),
//!             // With a body that says why: `ProblemJson.response(&denied)`.
//!             Err(denied) => denied.into(),
//!         };
//!         Ok::<_, std::convert::Infallible>(response)
//!     });
//!
//! let request = Request::builder().header("authorization", "Bearer s3cret").body(())?;
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.status(), 403);
//! assert_eq!(
//!     response.headers()["www-authenticate"],
//!     r#"Bearer realm="files", error="insufficient_scope", scope="files:write""#
//! );
//! # Ok(())
//! # }
//! ```

// - `mod`: who makes the response, and what the standards add to it.
// - `problem`, `oauth`: ready answers with a body.

mod oauth;
mod problem;

pub use self::{oauth::OAuthJson, problem::ProblemJson};

use std::{fmt, sync::Arc, time::Duration};

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    Denied, Identity,
    access::Entered,
    challenge::{Challenge, OfRequest},
    grpc::Kind,
    observe,
    verify::Rejection,
};

/// Makes the response to a refusal.
///
/// Implemented by [`EmptyBody`], the default, by [`ProblemJson`], [`OAuthJson`] and [`GrpcOr`], and by every closure
/// `Fn(&Denied) -> Response<B>`, so that a server answers in a format of its own. The body may be one
/// that the service's body is made of: a `String` on axum, the handler's own body inside
/// [`StreamReauthLayer`](crate::StreamReauthLayer).
pub trait Respond<B> {
    /// The response to `refusal`.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B>;
}

/// What is refused, and why.
#[derive(Clone, Copy)]
pub struct Refusal<'a> {
    denied: &'a Denied,
    identity: Option<&'a Identity>,
    rejection: Option<Rejection>,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Refusal<'a> {
    pub(crate) fn new<B>(request: &'a Request<B>, denied: &'a Denied, identity: Option<&'a Identity>) -> Self {
        Self {
            denied,
            identity,
            rejection: None,
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    pub(crate) fn with_rejection(self, rejection: Option<Rejection>) -> Self {
        Self { rejection, ..self }
    }

    /// Why it is refused.
    #[must_use]
    pub fn denied(&self) -> &'a Denied {
        self.denied
    }

    /// Who was refused, where that is known: their credential was good, or was good once.
    #[must_use]
    pub fn identity(&self) -> Option<&'a Identity> {
        self.identity
    }

    /// Why the credential is not good, where its verifier says so: for a log, and not for the response.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's target.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The request's headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The request's extensions.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

/// Answers with the status alone; to a gRPC or gRPC-Web call, as [`GrpcOr`] does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EmptyBody;

impl<B: Default> Respond<B> for EmptyBody {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        GrpcOr(status_alone::<B>).respond(refusal)
    }
}

fn status_alone<B: Default>(denied: &Denied) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = denied.status();
    response
}

/// A handler's refusal: the status alone. The layer that let the request in adds the rest.
impl<B: Default> From<Denied> for Response<B> {
    fn from(denied: Denied) -> Self {
        let mut response = status_alone(&denied);
        response.extensions_mut().insert(denied);
        response
    }
}

/// Answers a gRPC call as gRPC, and every other request by what is inside: for one stack around both.
///
/// A call is known by its content type, `application/grpc` or `application/grpc-web`. The answer is a
/// trailers-only response (HTTP 200, `grpc-status` and `grpc-message` as headers, no body) with the
/// status of [`Denied::grpc_status`] and the word of [`Denied::as_str`].
///
/// ```
/// use http::Response;
/// use tower_reauth::{BearerAuthLayer, Denied, StaticToken, respond::GrpcOr};
///
/// let layer = BearerAuthLayer::new(StaticToken::new("s3cret")).with_response(GrpcOr(|denied: &Denied| {
///     let mut response = Response::new(format!(r#"{{"error":"{}"}}"#, denied.as_str()));
///     *response.status_mut() = denied.status();
///     response
/// }));
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcOr<R>(pub R);

impl<B: Default, R: Respond<B>> Respond<B> for GrpcOr<R> {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        match Kind::of(refusal.headers) {
            Some(kind) => kind.refuse(refusal.denied),
            None => self.0.respond(refusal),
        }
    }
}

impl<F, B, C> Respond<B> for F
where
    F: Fn(&Denied) -> Response<C>,
    C: Into<B>,
{
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        self(refusal.denied).map(Into::into)
    }
}

/// Beside the [`Denied`] of a response that a layer made or completed.
#[derive(Clone, Copy)]
struct Complete;

/// Beside the [`Denied`] of a response that was made for a handler, and counted: its challenge is a bare
/// one, for a layer that knows better to replace.
#[derive(Clone, Copy)]
struct Provisional;

/// Answers, counts and logs a refusal: the one place where each of a layer's passes.
pub(crate) fn refuse<B>(
    refusal: &Refusal<'_>,
    challenge: &Challenge,
    of_request: &OfRequest,
    respond: &impl Respond<B>,
) -> Response<B> {
    let denied = refusal.denied.told();
    let mut response = respond.respond(&Refusal { denied, ..*refusal });
    add_headers(response.headers_mut(), denied, challenge, of_request);
    response.extensions_mut().insert(denied.clone());
    response.extensions_mut().insert(Complete);
    observe::refused(refusal.denied, refusal.rejection, refusal.identity);
    response
}

/// The response of a handler that refuses, to be completed by the layers outside it.
#[cfg(feature = "axum")]
pub(crate) fn refuse_in_handler<B: Default>(denied: &Denied) -> Response<B> {
    let mut response = status_alone(denied);
    add_headers(response.headers_mut(), denied, &Challenge::new(), &OfRequest::default());
    response.extensions_mut().insert(denied.clone());
    response.extensions_mut().insert(Provisional);
    observe::refused(denied, None, None);
    response
}

/// Completes a response: that of a handler that refuses with the challenge of the door that let the request
/// in, and any with the access that a layer further out has to watch.
pub(crate) struct Completion {
    challenge: Arc<Challenge>,
    of_request: OfRequest,
    entered: Option<Entered>,
}

impl Completion {
    pub(crate) fn new<B>(challenge: &Arc<Challenge>, request: &Request<B>, entered: Option<Entered>) -> Self {
        Self { of_request: challenge.of(request), challenge: Arc::clone(challenge), entered }
    }

    pub(crate) fn complete<B>(&mut self, response: &mut Response<B>) {
        if let Some(entered) = self.entered.take() {
            entered.tell(response.extensions_mut());
        }
        complete(response, &self.challenge, &self.of_request);
    }
}

fn complete<B>(response: &mut Response<B>, challenge: &Challenge, of_request: &OfRequest) {
    let extensions = response.extensions_mut();
    let Some(denied) = extensions.get::<Denied>().cloned() else { return };
    if extensions.insert(Complete).is_some() {
        return;
    }
    let is_provisional = extensions.remove::<Provisional>().is_some();
    let bare = Challenge::new().answer(&denied, &OfRequest::default());
    if is_provisional && response.headers().get_all(WWW_AUTHENTICATE).iter().eq(&bare) {
        response.headers_mut().remove(WWW_AUTHENTICATE);
    }
    add_headers(response.headers_mut(), &denied, challenge, of_request);
    if !is_provisional {
        observe::refused(&denied, None, None);
    }
}

/// A refusal with a body, for a handler to answer with or for a layer to complete.
fn with_body<B>(denied: &Denied, content_type: &'static str, body: String) -> Response<B>
where
    B: From<String>,
{
    let mut response = Response::new(body.into());
    *response.status_mut() = denied.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.extensions_mut().insert(denied.clone());
    response
}

/// What a client is told in words: nothing of what is wrong with the server itself.
fn detail(denied: &Denied) -> Option<String> {
    (denied.status() != StatusCode::INTERNAL_SERVER_ERROR).then(|| denied.to_string())
}

/// The scopes that a client lacks. A scope-token (RFC 6749 section 3.3) has nothing in it that JSON would escape.
fn sufficient_scope(denied: &Denied) -> Option<String> {
    match denied {
        Denied::InsufficientScope { required } => Some(required.sufficient().to_string()).filter(|all| !all.is_empty()),
        _ => None,
    }
}

fn add_headers(headers: &mut HeaderMap, denied: &Denied, challenge: &Challenge, of_request: &OfRequest) {
    if let Some(challenge) = challenge.answer(denied, of_request) {
        // Room for what is added; a map that grows by itself makes room for six.
        headers.reserve(1);
        headers.entry(WWW_AUTHENTICATE).or_insert(challenge);
    }
    if let Some(wait) = denied.retry_after() {
        headers.reserve(1);
        headers.entry(RETRY_AFTER).or_insert(HeaderValue::from(delay_seconds(wait)));
    }
}

/// The `delay-seconds` of RFC 9110 section 10.2.3.
///
/// Rounded up: who comes back at the second that was named must not be early. At most what every client
/// can count to, which is 68 years.
fn delay_seconds(wait: Duration) -> u64 {
    const MOST: u64 = i32::MAX as u64;
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).min(MOST)
}

impl fmt::Debug for Refusal<'_> {
    // The headers stay out, for they hold the credential, and so does the target, which may hold one too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("denied", &self.denied)
            .field("identity", &self.identity)
            .field("rejection", &self.rejection)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
