//! **Who** is calling?
//!
//! [`BearerAuthLayer`] takes the bearer token of a request, asks a [`VerifyToken`](crate::VerifyToken) whose it is, and
//! hands the answer on as an [`Access`](crate::Access). A verifier is a [`StaticToken`](crate::StaticToken), a set
//! of [`Tokens`](crate::Tokens), a closure by [`verify_fn`](crate::verify::verify_fn) or
//! [`verify_async`](crate::verify::verify_async), or an implementation of your own.
//!
//! # How a request is decided
//!
//! 1. Two `Authorization` headers, whatever is in them: 400 `invalid_request`, for nobody can say which
//!    one was meant.
//! 2. No such header, or one of another scheme: 401 with a bare challenge, so that nothing is said to one
//!    who did not ask (RFC 6750 section 3.1). The scheme is recognised in any case (RFC 9110 section 11.1).
//! 3. A token outside the syntax, or one of more than [16 KiB](crate::verify::BearerToken::MAX_LEN): 400
//!    `invalid_request`.
//! 4. The verifier rejects the token, or its identity has expired or was revoked by
//!    [`Revocations`](crate::revoke::Revocations): 401 `invalid_token`. An expired credential is never
//!    a reason to treat a caller as anonymous.
//! 5. The verifier locks the caller out: 429. It cannot tell, or does not answer within
//!    [`with_verify_timeout`](AuthLayer::with_verify_timeout): 503. Both with `Retry-After`. It panics:
//!    500, and the connection lives on.
//! 6. Else the request goes on, with an [`Access`](crate::Access) in its extensions.
//!
//! Scopes come after: one who is not authenticated never learns which scope is needed.
//!
//! # Requests that arrive together
//!
//! A verifier that must be waited for is asked once for equal tokens that arrive together: while it has
//! not answered and its [`Revision`](crate::revoke::Revision) stands still or, for one without a
//! revision, within 100 ms. A verifier that knows is asked by each request.
//!
//! # Where a token is kept
//!
//! As plain text in two places, both in memory: in the header of its request for as long as that lives,
//! marked sensitive once it was read; and once for all open streams that came in with it, which
//! the verifier is asked about again and again. That copy is overwritten when the last of them ends. Everywhere else there
//! is its SHA-256, and [`StaticToken`](crate::StaticToken) and [`Tokens`](crate::Tokens) keep no more of
//! it than that.
//!
//! # Deployment
//!
//! A proxy that adds an `Authorization` header of its own to one that the client sent makes two of
//! them, and every request is answered with 400: let it replace the header.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{Access, BearerAuthLayer, Tokens, verify::Token};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let tokens = Tokens::new([Token::new("ci", "t0ken-1").with_subject("build server")])?;
//! let service = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tokens.clone()))
//!     .service_fn(async |request: Request<()>| {
//!         let caller = request.extensions().get::<Access>().map(Access::identity);
//!         Ok::<_, std::convert::Infallible>(Response::new(caller.map_or(String::new(), |c| c.subject().to_owned())))
//!     });
//!
//! let request = || Request::builder().header("authorization", "Bearer t0ken-1").body(()).unwrap();
//! assert_eq!(service.clone().oneshot(request()).await?.body(), "build server");
//!
//! tokens.replace([])?;
//! let refused = service.oneshot(request()).await?;
//! assert_eq!(refused.status(), 401);
//! assert_eq!(refused.headers()["www-authenticate"], r#"Bearer error="invalid_token""#);
//! # Ok(())
//! # }
//! ```

// - `head`: what a credential is taken from.
// - `authenticate`: the trait `Authenticate`, and `Bearer`, which reads the header.
// - `layer`, `service`, `future`: the layer, what a request meets in it, and what it waits in.
//
// A request enters at `Auth::call`, is read by `Authenticate::present` and, where the verifier must be
// waited for, waits in a `ResponseFuture`. The verdict is made in `Door::judge`, by `Policy::admit` and then
// `Authenticate::conclude`, and becomes an `Access` in the request's extensions or a response by
// `respond::refuse`.

mod authenticate;
mod future;
mod head;
mod layer;
mod service;

pub use self::{
    authenticate::{Authenticate, Bearer, TokenSyntax},
    future::{Admission, Admitted, ResponseFuture},
    head::Head,
    layer::{AuthLayer, BearerAuthLayer},
    service::Auth,
};
pub use crate::challenge::{Challenge, InvalidParameter};
