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
//! # Where a token may stand
//!
//! In the `Authorization` header, unless [`with_places`](AuthLayer::with_places) names [places](Place):
//!
//! | place | the token is | percent-encoded |
//! | --- | --- | --- |
//! | [`AUTHORIZATION`](Place::AUTHORIZATION) | behind the scheme `Bearer` | no |
//! | [`header`](Place::header) | the whole value | no |
//! | [`QUERY`](Place::QUERY) | the parameter `access_token` (RFC 6750 section 2.3) | yes |
//! | [`cookie`](Place::cookie), [`TokenCookie`] | the value, less a pair of quotes around it | no |
//! | [`subprotocol`](Place::subprotocol) | behind a prefix, in `Sec-WebSocket-Protocol` | yes |
//!
//! 1. Every place that was named is read, whatever is found: their order changes no answer.
//! 2. Two tokens are 400 `invalid_request`, though they be equal: in two places, or twice in one (two headers,
//!    two parameters, two cookies of one name, two subprotocols). A client must not use more than one way (RFC 6750
//!    section 2), so a page that sends a header sends it without its cookies: `credentials: 'omit'`.
//! 3. What is malformed in one place is not made good by a token in another. An empty cookie is none, as a
//!    server leaves it that signs a user out.
//! 4. A token that was read from the query or a subprotocol is taken out of the request, the malformed ones
//!    included: neither its target (nor axum's `OriginalUri`, by the feature `axum`) nor what a handler may choose
//!    among the subprotocols shows it. A door further in finds it all the same. Headers are marked sensitive.
//! 5. The response to a token that stood anywhere but in `Authorization` gets a `Cache-Control: private`, unless it
//!    has that or `no-store` (RFC 6750 section 2.3). Of the header every shared cache knows it by itself.
//! 6. A refusal is the same for all, its challenge included: RFC 9110 section 15.5.2 asks for one, and no browser opens a
//!    dialog for `Bearer`.
//!
//! # Who may send a cookie
//!
//! A browser adds a cookie to what any page asks for, so it is taken only from pages that may send it (CSRF). This
//! holds for `GET` too: a stream is one, and so is the handshake of a WebSocket, whose messages a page of another
//! origin may read. In order; where no rule takes it, the request has no credential, 401:
//!
//! 1. `Sec-Fetch-Site` is `same-origin`, or `none` (an address that was typed, a bookmark): taken. No page can write
//!    this header.
//! 2. `Origin` is one of [`with_origins`](TokenCookie::with_origins): taken. That is how a page of another origin
//!    comes in, one of the same site (`same-site`) included: who has a neighbouring name may be anybody.
//! 3. There is a `Sec-Fetch-Site`, and so it is `same-site`, `cross-site` or unknown: not taken, even where the `Origin`
//!    is of the same host, which is then a page that came by plain HTTP. Unless a link was followed, where
//!    [`with_links`](TokenCookie::with_links) says so.
//! 4. There is no `Sec-Fetch-Site`, for the browser is of before 2023, or was reached by plain HTTP: an `Origin` must be at
//!    the host and port that the request is addressed to. `null`, two of them, and what is no origin are not.
//! 5. There is neither: taken. This is no browser, or an old one's `GET` within its own origin, or what a page of another
//!    origin embeds there, and does not see. Firefox before 70 and Internet Explorer send no `Origin` with the `POST` of a
//!    form either, whichever page has it. Every browser sends one with the handshake of a WebSocket.
//!
//! Set the cookie as `__Host-…; Secure; HttpOnly; SameSite=Lax; Path=/`: by that prefix no neighbouring name can
//! plant another beside it, and `SameSite` keeps it from all that rule 5 cannot tell.
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
//! What stands outside of the door sees what it takes away: a `TraceLayer` there logs the target with its
//! `access_token`, as does every proxy. A proxy that changes `Host` takes the cookies of old browsers away (rule 4):
//! name the origin.
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
// - `authenticate`: the trait `Authenticate`, and `Bearer`, which reads tokens.
// - `place`: where a token may stand: `authorization`, `query`, `cookie`, `subprotocol`, or a header.
// - `layer`, `service`, `future`: the layer, what a request meets in it, and what it waits in.
//
// A request enters at `Auth::call`, is read by `Authenticate::present`, which for `Bearer` is `place::read`, has
// its credential taken out of others' sight by `Authenticate::conceal` and, where the verifier must be
// waited for, waits in a `ResponseFuture`. The verdict is made in `Door::judge`, by `Policy::admit` and then
// `Authenticate::conclude`, and becomes an `Access` in the request's extensions or a response by
// `respond::refuse`.

mod authenticate;
mod authorization;
mod cookie;
mod future;
mod head;
mod layer;
mod place;
mod query;
mod service;
mod subprotocol;

pub use self::{
    authenticate::{Authenticate, Bearer, TokenSyntax},
    cookie::TokenCookie,
    future::{Admission, Admitted, ResponseFuture},
    head::{Head, HeadMut},
    layer::{AuthLayer, BearerAuthLayer},
    place::{InvalidPlace, Place},
    service::Auth,
};
pub use crate::challenge::{Challenge, InvalidParameter};
