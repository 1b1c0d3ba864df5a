//! **For how long?**
//!
//! [`StreamReauthLayer`] wraps the body of a response that streams in a [`StreamReauth`], which checks
//! everything again (who and what) and ends the stream when access is gone.
//!
//! # Words
//!
//! | word | means |
//! | --- | --- |
//! | door | the layer that lets a request in: [`BearerAuthLayer`](crate::BearerAuthLayer), or a source of your own |
//! | check | the verifier is asked whether a credential is good, and the answer is judged |
//! | recheck | a check for a stream that is open; the door's is the first one |
//! | shared check | a recheck that all streams of one credential use |
//! | confirmation | what shows that access holds: a check, as of when it began, or an unmoved revision |
//! | denial | an answer by which access is gone |
//! | revision | a verifier's counter that moves when its answers may have changed: [`Revision`](crate::revoke::Revision) |
//! | alert | a denial or a revocation; it wakes all streams of its credential |
//! | subscriber | a stream's share in the shared check of its credential |
//! | holder | whose credential it is, as an answer named them: what a revocation finds a stream by |
//! | heartbeat | the recheck of a stream that nothing else has checked for an interval, and its comment |
//! | grace | the time for which a stream outlives a verifier that cannot be reached |
//! | ending | what the client sees of the end: [`Ending`] |
//!
//! # How a stream is decided
//!
//! Each time the body is polled, in this order:
//!
//! 1. The credential was [renewed](crate::Access::renew): the stream goes by the fresh one from here on.
//! 2. The credential was revoked by [`Revocations`](crate::revoke::Revocations): the stream ends, whatever
//!    the verifier would say.
//! 3. The credential has reached its expiry: the stream ends, and the verifier is not asked.
//! 4. The verifier's revision has moved for this credential, another stream of it got a denial, or a
//!    heartbeat is due: access is checked again.
//! 5. The verifier rejects, names another caller, cannot tell, does not answer in time or panics, or a
//!    required scope is gone: the stream ends. A grace for a verifier that cannot be reached is opt-in and
//!    bounded; while it lasts, frames pass without a confirmation.
//! 6. A frame of the inner body is ready: it is passed on if access was confirmed after that, by an
//!    unmoved revision or by an answer, or within `max_age` before. Else it waits for an answer.
//! 7. A confirmed heartbeat writes a comment into an event stream, between two events.
//!
//! However it ends, the inner body is dropped there and then, and the ending says what the client sees. An
//! idle stream is woken for all of this as [`revoke`](crate::revoke) says.
//!
//! # How late a revocation is
//!
//! No frame passes after it, but within a [`max_age`](StreamReauthLayer::with_max_age) or a
//! [grace](StreamReauthLayer::with_grace) that was chosen. An idle stream ends at once where a revision moves or
//! [`Revocations`](crate::revoke::Revocations) have it. Where the verifier says nothing of itself, the
//! revocation is late by a heartbeat and the time limit of a check at most: 20 s by default, and by a grace
//! where one was chosen and the verifier is silent. A `Cached` around it answers from memory: its `max_age`
//! adds to all of that, and frames pass for as long, unless its rechecks are fresh or it is told to forget the token.
//!
//! # What streams share
//!
//! Streams that were opened with one credential, through the doors of one layer, share their checks: each
//! uses one that began after its own reason to check arose. So any number of idle streams cost one check
//! per interval, and have their heartbeats about 64 at a time; with a jitter of `j` two checks may be as little as
//! `1 - j` of it apart. Two layers around one verifier ask it twice, and under a limiter each client's address
//! asks for itself. What an answer means, which scopes it leaves and when it is too late, each stream decides
//! for itself.
//!
//! # What a stream costs
//!
//! An idle stream keeps at most 1 KiB, its [`Access`](crate::Access) included; what its identity holds, and the
//! scopes that a caller who is taken at their word declares, come on top. The streams of one credential
//! keep at most 608 bytes and the text of the token together. While a revision stands still a frame
//! allocates nothing; where the verifier is asked about it, no more than its answer does.
//!
//! # Which responses are streams
//!
//! Those whose length is not known when they start. A response with a `Content-Length` or an exact
//! size, without a body, or to a `HEAD` or `CONNECT` request passes untouched.
//!
//! # Deployment
//!
//! - Put this layer *inside* the layers of the other two questions and inside compression: it reads
//!   their [`Access`](crate::Access), and it cannot write between the events of a compressed body. What a door
//!   or a scope layer further in decides holds for the stream as well, but a door further in is not asked
//!   about [uploads](StreamReauthLayer::with_uploads).
//! - Streams need a tokio runtime with its timer enabled: without one they are checked when they are polled,
//!   and an idle one outlives its expiry.
//! - What is promised is that no frame *leaves this wrapper* after access is gone. Bytes that were
//!   handed to the server before still arrive, and a server does not poll a body while its client
//!   does not read: give its connections a write deadline, and [`supervise`](StreamReauthLayer::supervise) a
//!   response whose resources cannot wait for that.
//! - A clean end makes a browser's `EventSource` reconnect, with the credential that is no longer
//!   good. The answer is a 401 that costs next to nothing, and the browser then gives up.
//! - A browser gives up just as much when that answer is a 503: whatever is no 200 is the end for an
//!   `EventSource` (WHATWG HTML section 9.2.3). So give a verifier that can be away for a moment a
//!   [grace](StreamReauthLayer::with_grace) of some minutes: streams that stay open need not come back.
//!
//! # gRPC
//!
//! Whichever [`Ending`] is chosen, a native gRPC call ends with `UNAUTHENTICATED`, `PERMISSION_DENIED` or
//! `UNAVAILABLE`, as its client expects; what gRPC-Web gets, [`Ending`] says. The three layers go around a tonic server as around any other
//! service, and refuse a call in the way of gRPC by themselves: see [`respond`](crate::respond).
//!
//! For browsers put them *inside* `tonic_web::GrpcWebLayer`, which makes of the trailers a frame that a
//! browser can read. A CORS layer outside of that exposes `grpc-status` and `grpc-message`.
//!
//! # WebSockets
//!
//! A socket is no response body. On axum the module `websocket`, by the feature `axum-ws`, watches it; elsewhere its
//! handler does so by hand, with a clone of the layer:
//! [`watch_stream`](StreamReauthLayer::watch_stream) what is sent, or
//! [`watch_sink`](StreamReauthLayer::watch_sink) the whole socket, which after access ends is neither written
//! to nor read from. A close frame with a code that says why is its
//! [farewell](GuardedSink::with_farewell), or is sent by hand:
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

// - `layer`, `service`, `future`: the layer, what a request meets in it, and what is made of its response.
// - `rules`: what the builder methods set.
// - `gate`: when to check and what the answer means; time and revisions in, decisions out.
// - `guard`: carries these decisions out, with a timer, a subscriber and the verifier.
// - `subscriber`: one stream's subscription to the credential that it goes by.
// - `body`, `stream`, `sink`, `upload`: a guard around what may stream.
// - `until_ended`: `Access::ended`, for work that streams nothing.
// - `supervised`: a body with a task of its own, for a server that does not poll; `wakers`: its wakers.
// - `open_streams`, `listed`: the registry of open streams, and what it keeps of one.
// - `end`, `farewell`: what a client sees of the end, of a body and of a socket.
// - `format`, `sse`, `grpc_messages`, `mark`: where in its format a body stands.
//
// A frame passes from the inner body through `StreamReauth::poll`, which asks `Guard::poll_verdict` whether
// access holds and then `Guard::admit_frame` whether this frame may pass. Both go by what `Gate::next` says;
// where that is `Ask`, `Subscriber::begin` finds or begins the shared check, and `Access::apply` judges its
// answer. An end is recorded by `Guard::ended`, then the inner body is dropped, then `Guard::report` counts
// and logs it.

mod body;
mod end;
mod farewell;
mod format;
mod future;
mod gate;
mod grpc_messages;
mod guard;
mod layer;
mod listed;
mod mark;
mod open_streams;
mod rules;
mod service;
mod sink;
mod sse;
mod stream;
mod subscriber;
mod supervised;
mod until_ended;
mod upload;
mod wakers;

#[cfg(feature = "axum-ws")]
pub(crate) use self::wakers::TwoWakers;
pub use self::{
    body::StreamReauth,
    end::{CutBody, Ending, LastBytes},
    future::ResponseFuture,
    layer::{ResponsesOnly, StreamReauthLayer, UploadsToo},
    open_streams::{OpenStreams, StreamInfo, StreamLabel},
    service::StreamReauthService,
    sink::{GuardedSink, SendError},
    stream::GuardedStream,
    supervised::SupervisedBody,
    until_ended::UntilEnded,
    upload::{UploadReauth, WithUploads},
};
pub use crate::ended::{AccessEnded, EndReason, Ended, StreamId};
