//! How a verifier asks its provider: over a client of yours, or over the ready-made `HttpsClient`.
//!
//! An [`HttpClient`] sends one request and gives its response, both whole. A closure is one, so that whatever
//! client a service has already can be used, and a test needs none:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower_reauth::http_client::HttpClient;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_reauth::http_client::BoxError> {
//! let provider = async |request: Request<Bytes>| Ok(Response::new(format!("asked for {}", request.uri()).into()));
//! let request = Request::get("https://issuer.example/keys").body(Bytes::new())?;
//! assert_eq!(provider.send(request).await?.body(), "asked for https://issuer.example/keys");
//! # Ok(())
//! # }
//! ```
//!
//! # What a client of yours should do
//!
//! 1. Speak `https`, and check the certificate: whoever answers in the provider's place decides who is let in.
//! 2. Follow no redirects: what was configured is what is to be asked.
//! 3. Read no more than [`MAX_BODY_LEN`] bytes of a body. A longer one is refused here in any case.
//! 4. Give every status as a response. An error is for a provider that could not be reached.
//!
//! How long a verifier waits for it is the verifier's own limit: a future that is no longer wanted is dropped.

#[cfg(any(feature = "http-client", feature = "http-client-aws-lc-rs"))]
mod https;
#[cfg(any(
    feature = "http-client",
    feature = "http-client-aws-lc-rs",
    feature = "introspection",
    feature = "jwks",
    feature = "security-events"
))]
pub(crate) mod secure;

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};

#[cfg(any(feature = "introspection", feature = "security-events"))]
use crate::unwind::contained;

#[cfg(any(feature = "http-client", feature = "http-client-aws-lc-rs"))]
pub use self::https::{HttpsClient, HttpsError};

/// The longest body of a response that is read, in bytes: 1 MiB.
pub const MAX_BODY_LEN: usize = 1024 * 1024;

/// Why a provider could not be asked.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What an error says. It is a user's own, and may panic as it says so, or as it is dropped.
#[cfg(any(feature = "introspection", feature = "security-events"))]
pub(crate) fn told(error: BoxError) -> String {
    let told = contained(|| error.to_string()).unwrap_or_else(|| "its error panicked".into());
    contained(|| drop(error));
    told
}

/// The response to a request, or why there is none.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

/// Sends a request, and gives its response. See the [module](self).
///
/// Implemented for every closure `Fn(Request<Bytes>) -> impl Future<Output = Result<Response<Bytes>, BoxError>>`,
/// and for [`Arc`]s of clients.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no HTTP client",
    note = "a closure is one: `async |request: Request<Bytes>| -> Result<Response<Bytes>, BoxError> {{ .. }}`"
)]
pub trait HttpClient: Send + Sync + 'static {
    /// Sends `request`, whose target is an absolute URI.
    fn send(&self, request: Request<Bytes>) -> ResponseFuture;
}

impl<F, R> HttpClient for F
where
    F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Bytes>, BoxError>> + Send + 'static,
{
    fn send(&self, request: Request<Bytes>) -> ResponseFuture {
        Box::pin(self(request))
    }
}

impl<C: HttpClient + ?Sized> HttpClient for Arc<C> {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture {
        (**self).send(request)
    }
}
