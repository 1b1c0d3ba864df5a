//! **For how long?**
//!
//! [`StreamReauthLayer`] wraps the body of a response that streams in a [`StreamReauth`], which asks
//! everything again (who and what) and ends the stream when access is gone.
//!
//! # How a stream is decided
//!
//! Each time the body is polled, in this order:
//!
//! 1. The credential was [renewed](crate::Access::renew): the stream goes by the fresh one from here on.
//! 2. The credential was revoked by [`Revocations`]: the stream ends, whatever the verifier would say.
//! 3. The credential has reached its expiry: the stream ends.
//! 4. The verifier's [`Revision`] has moved for this credential, another stream of it heard a denial,
//!    or a heartbeat is due: access is asked for again.
//! 5. The verifier rejects, cannot tell, does not answer in time or panics: the stream ends. A grace
//!    for a verifier that cannot be reached is opt-in and bounded.
//! 6. A frame of the inner body is ready: it is passed on if access was confirmed after that, by an
//!    unmoved revision or by an answer, or within `max_age` before. Else it waits for an answer.
//! 7. A confirmed heartbeat writes a comment into an event stream, between two events.
//!
//! However it ends, the inner body is dropped there and then, and the [`Ending`] says what the client
//! sees.
//!
//! # What streams share
//!
//! Streams that were opened with one credential, through the doors of one layer, share their
//! questions: each takes over a question that was put after its own reason to ask arose. So any number
//! of idle streams cost one check per interval; with a jitter of `j` at most one in `1 - j` of it. What
//! an answer means, which scopes it leaves and when it is too late, each stream decides for itself.
//!
//! # Which responses are streams
//!
//! Those whose length is not known when they start. A response with a `Content-Length` or an exact
//! size, without a body, or to a `HEAD` or `CONNECT` request passes untouched.
//!
//! # Deployment
//!
//! - Put this layer *inside* the layers of the other two questions and inside compression: it reads
//!   their [`Access`](crate::Access), and it cannot write between the events of a compressed body.
//! - What is promised is that no frame *leaves this wrapper* after access is gone. Bytes that were
//!   handed to the server before still arrive, and a server does not poll a body while its client
//!   does not read: give its connections a write deadline, and [`hold`](StreamReauthLayer::hold) a
//!   response whose resources cannot wait for that.
//! - A clean end makes a browser's `EventSource` reconnect, with the credential that is no longer
//!   good. The answer is a 401 that costs next to nothing, and the browser then gives up.
//! - A browser gives up just as much when that answer is a 503: whatever is no 200 is the end for an
//!   `EventSource` (WHATWG HTML section 9.2.3). So give a verifier that can be away for a moment a
//!   [grace](StreamReauthLayer::with_grace) of some minutes: streams that stay open need not come back.
//!
//! # gRPC
//!
//! [`Ending::GrpcTrailers`] ends a call with `UNAUTHENTICATED`, `PERMISSION_DENIED` or `UNAVAILABLE`,
//! as its client expects. The three layers go around a tonic server as around any other service, and
//! refuse a call in the way of gRPC by themselves: see [`respond`](crate::respond).
//!
//! For browsers put them *inside* `tonic_web::GrpcWebLayer`, which makes of the trailers a frame that a
//! browser can read. A CORS layer outside of that exposes `grpc-status` and `grpc-message`.
//!
//! # WebSockets
//!
//! A socket is no response body, so its handler watches it by hand, with a clone of the layer:
//! [`watch_stream`](StreamReauthLayer::watch_stream) what is sent, or
//! [`watch_sink`](StreamReauthLayer::watch_sink) the socket itself. What the server *sends* is gated:
//! to stop reading from a client whose access is gone keeps nothing from it.
//!
//! ```
//! use futures_util::SinkExt;
//! use tower_reauth::{Access, AuthMethod, Identity, StreamReauthLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let access = Access::new(Identity::new("alice", AuthMethod::Token).with_expires_at(std::time::SystemTime::now()));
//! # let (socket, mut client) = tokio::sync::mpsc::channel(1);
//! # let mut socket = tokio_util::sync::PollSender::new(socket);
//! // Lent, so that it can still be closed with a reason when access has ended.
//! let mut watched = StreamReauthLayer::new().watch_sink(&access, &mut socket);
//! while watched.send("tick".to_owned()).await.is_ok() {}
//! if let Some(reason) = watched.end_reason() {
//!     let _ = socket.send(format!("close {}", reason.close_code())).await;
//! }
//! # assert_eq!(client.recv().await.as_deref(), Some("close 1008"));
//! # }
//! ```
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, channel::Channel};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_reauth::{BearerAuthLayer, StaticToken, StreamReauthLayer, reauth::Ending};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let secret = StaticToken::new("s3cret");
//! let service = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(secret.clone()))
//!     .layer(StreamReauthLayer::new().with_ending(Ending::LastEvent))
//!     .service_fn(async |_: Request<()>| {
//!         let (mut events, body) = Channel::<Bytes>::new(8);
//!         tokio::spawn(async move {
//!             // One event, and then silence for ever.
//!             let _ = events.send_data("data: hello\n\n".into()).await;
//!             std::future::pending::<()>().await;
//!         });
//!         let mut response = Response::new(body);
//!         response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
//!         Ok::<_, Infallible>(response)
//!     });
//!
//! let request = Request::builder().header("authorization", "Bearer s3cret").body(())?;
//! let mut body = service.oneshot(request).await?.into_body();
//! let first = body.frame().await.unwrap()?.into_data().unwrap();
//! assert_eq!(first, "data: hello\n\n");
//!
//! secret.rotate("another");
//! let last = body.collect().await?.to_bytes();
//! assert_eq!(last, "event: reauth\ndata: {\"reason\":\"revoked\",\"reconnect\":false}\n\n");
//! # Ok(())
//! # }
//! ```

mod body;
mod end;
mod farewell;
mod format;
mod future;
mod gate;
mod grpc_messages;
mod guard;
mod layer;
mod mark;
mod service;
mod sink;
mod sse;
mod stream;
mod subscriber;
mod supervised;
mod upload;
mod wakers;

pub use self::{
    body::StreamReauth,
    end::{CutBody, Ending, LastBytes},
    future::ResponseFuture,
    layer::{ResponsesOnly, StreamReauthLayer, UploadsToo},
    service::StreamReauthService,
    sink::{GuardedSink, SendError},
    stream::GuardedStream,
    supervised::SupervisedBody,
    upload::{UploadReauth, WithUploads},
};
pub use crate::ended::{AccessEnded, EndReason, Ended};
