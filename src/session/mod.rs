//! A session's id is good for the caller who began it, and for nobody else.
//!
//! A server that answers with the id of a session, and finds the session by that id afterwards, makes of it a second
//! credential: whoever learns it (from a log, a proxy, another client) is in somebody else's session, with a token of
//! their own. [`SessionBindingLayer`] remembers to whom each id was given, and refuses it from any other. For MCP's
//! streamable HTTP (the specifications until 2025-11-25; that of 2026-07-28 has no sessions) it takes no setting.
//!
//! # How a request is decided
//!
//! 1. There is no [`Access`](crate::Access): 500. A door has to ask who is calling first.
//! 2. It names no session: it goes on. The ids that its response names, if that is a success, are the caller's from now on. An
//!    id that is somebody's already stays theirs.
//! 3. It names two: 400, for nobody can say which one was meant.
//! 4. Nobody began that session, or it is forgotten: 404, by which MCP's clients know that they have to begin a new
//!    one.
//! 5. Another caller began it: the same 404, so that nobody learns which sessions there are. What makes the response is
//!    given a [`Denied::UnknownSession`](crate::Denied::UnknownSession) for both; the two differ in what is counted and
//!    logged, which is a [`Denied::ForeignSession`](crate::Denied::ForeignSession).
//! 6. Else it goes on. Where it is a `DELETE` that succeeds, or the response is 404, the session is forgotten.
//!
//! A caller is a subject of an issuer, by whichever token: a fresh one goes on with the session of the old one. All
//! callers with one shared secret are one caller.
//!
//! # What is remembered
//!
//! The SHA-256 of the id and that of the caller, for at most [`capacity`](SessionBindingLayer::with_capacity) sessions, and
//! at most [`per_caller`](SessionBindingLayer::with_per_caller) of one caller, whose oldest gives way to a new one: nobody
//! pushes out the sessions of others alone. That is less than 300 bytes a session. A session is forgotten when it was not named for an
//! [`idle time`](SessionBindingLayer::with_idle_time); a response that is still streaming does not count.
//!
//! # Deployment
//!
//! - It remembers in this process: behind a load balancer the requests of a session must come to one node, as they must
//!   for servers that keep sessions in memory anyway. After a restart all sessions are unknown, and clients begin new ones.
//! - Clones of a layer share what they remember. Two layers of their own do not.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{BearerAuthLayer, Tokens, session::SessionBindingLayer, verify::Token};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let tokens = Tokens::new([
//!     Token::new("a1", "t0ken-1").with_subject("alice"),
//!     Token::new("a2", "t0ken-2").with_subject("alice"),
//!     Token::new("b1", "t0ken-3").with_subject("bob"),
//! ])?;
//! let service = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tokens))
//!     .layer(SessionBindingLayer::new())
//!     .service_fn(async |_: Request<()>| {
//!         let response = Response::builder().header("mcp-session-id", "7f3a").body(String::new());
//!         Ok::<_, std::convert::Infallible>(response.unwrap())
//!     });
//!
//! let ask = async |token: &str, session: Option<&str>| {
//!     let request = Request::builder().header("authorization", format!("Bearer {token}"));
//!     let request = session.into_iter().fold(request, |request, id| request.header("mcp-session-id", id));
//!     service.clone().oneshot(request.body(()).unwrap()).await.unwrap().status().as_u16()
//! };
//! assert_eq!(ask("t0ken-1", None).await, 200);
//! // Alice again, by another token; and Bob, who has learned her session's id.
//! assert_eq!(ask("t0ken-2", Some("7f3a")).await, 200);
//! assert_eq!(ask("t0ken-3", Some("7f3a")).await, 404);
//! # Ok(())
//! # }
//! ```

// - `layer`, `service`, `future`: the layer, what a request meets in it, and what is learned from its response.
// - `table`: who began which session.
//
// A request is decided in `SessionBinding::call`, by `Table::claim`; its response passes `Learning`, which calls
// `Table::bind` or `Table::release`.

mod future;
mod layer;
mod service;
mod table;

pub use self::{future::Learning, layer::SessionBindingLayer, service::SessionBinding};
