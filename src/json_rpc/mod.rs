//! Calls of JSON-RPC, as those of MCP: known to who decides about them, and answered when their stream is cut.
//!
//! To a client of JSON-RPC a stream that ends without a response is a call that never returns: it waits for its time
//! limit, or asks again with the credential that is gone. [`JsonRpcLayer`] reads the call, so that the
//! [`StreamReauthLayer`](crate::StreamReauthLayer) outside it can answer it when access ends:
//!
//! ```text
//! data: {"jsonrpc":"2.0","id":7,"error":{"code":401,"message":"access ended","data":{"reason":"expired","reconnect":false}}}
//! ```
//!
//! The code is the status that the same reason has as a refusal: 401, 403, 429 or 503. Codes of applications lie
//! outside of -32768 to -32000 (JSON-RPC 2.0 section 5.1).
//!
//! # How a request is decided
//!
//! What decides by a call must see each one that the inner service makes, so what cannot be looked into does not go on:
//!
//! 1. A request without a body, or with an empty one, goes on as it is, and so does a `CONNECT`. The body of any other
//!    must be `application/json` without a `Content-Encoding`, or it is 415. It is read to its end, up to
//!    [`with_limit`](JsonRpcLayer::with_limit), and goes on with the body that was read. A longer one is 413, one that
//!    breaks off is 400.
//! 2. What is no JSON object is 400, a batch included: MCP has none. So is an object that has one of the members
//!    `method`, `id` and `params` twice, or whose `params` have `name` twice, in whatever case: who decides by the call
//!    and who makes it may take them for two different ones.
//! 3. An object with a `method` is a call: the [`Call`] is in the request's extensions from here on. That it has no
//!    `id`, as a notification has none, says only that nobody waits for its response.
//! 4. The response to a call with an `id` of up to 256 bytes, a number or a text, has its
//!    [`Ending`](crate::reauth::Ending) in its extensions. What it says stands between two server-sent events, or, in any
//!    other format, on a line of its own.
//!
//! So the layer stands around the route that speaks JSON-RPC, and around no other. Bodies that clients compress are
//! decompressed outside of it.
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::post};
//! use tower::ServiceExt;
//! use tower_reauth::{BearerAuthLayer, StaticToken, StreamReauthLayer, json_rpc::JsonRpcLayer, reauth::Ending};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = Router::new()
//!     .route("/mcp", post(async |body: String| body))
//!     .layer(JsonRpcLayer::new())
//!     .layer(StreamReauthLayer::new())
//!     .layer(BearerAuthLayer::new(StaticToken::new("s3cret")));
//!
//! let call = Request::post("/mcp")
//!     .header("authorization", "Bearer s3cret")
//!     .header("content-type", "application/json")
//!     .body(Body::from(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#))?;
//! let response = app.oneshot(call).await?;
//! assert!(response.extensions().get::<Ending>().is_some());
//! # Ok(())
//! # }
//! ```

// - `call`: which bodies are calls, and how the answer to one ends.
// - `layer`, `service`, `future`: the layer, and how it reads a body before it calls on.

mod call;
mod future;
mod layer;
mod service;

pub use self::{call::Call, future::ResponseFuture, layer::JsonRpcLayer, service::JsonRpc};
