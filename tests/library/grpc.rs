//! Promise 8 for a gRPC call, with tonic on both ends: it ends with a status, never with an error of
//! the connection (trap 9). In real time.

use std::{convert::Infallible, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::service_fn;
use tower_reauth::{BearerAuthLayer, RequireScopeLayer, StreamReauthLayer, reauth::Ending, verify::VerifyError};

use crate::support::{Oracle, READ, alice};

/// A message is its bytes: what a code generator would make of a `.proto` is beside the point.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

fn tick() -> Bytes {
    Bytes::from_static(b"tick")
}

/// Serves one call, which streams `messages`, to whomever the oracle lets in.
async fn serve<M>(oracle: &Oracle, messages: impl Fn() -> M + Clone + Send + Sync + 'static) -> Endpoint
where
    M: Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    serve_with(Ending::GrpcTrailers, oracle, messages).await
}

async fn serve_with<M>(
    ending: Ending,
    oracle: &Oracle,
    messages: impl Fn() -> M + Clone + Send + Sync + 'static,
) -> Endpoint
where
    M: Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    oracle.says(Ok(alice().with_scopes(READ)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let call = service_fn(move |request: http::Request<Body>| {
        let messages = messages.clone();
        async move {
            let watch = service_fn(|_: Request<Bytes>| std::future::ready(Ok(Response::new(messages()))));
            Ok::<_, Infallible>(tonic::server::Grpc::new(Plain).server_streaming(watch, request).await)
        }
    });
    let server = Server::builder()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(RequireScopeLayer::new(READ))
        .layer(StreamReauthLayer::new().with_ending(ending))
        .serve_with_incoming(call, TcpIncoming::from(listener));
    tokio::spawn(server);
    Endpoint::from_shared(format!("http://{address}")).expect("a URI").timeout(Duration::from_secs(5))
}

/// Calls it with a token.
async fn call(server: &Endpoint) -> Result<Streaming<Bytes>, Status> {
    call_with(server, "Bearer t0ken").await
}

async fn call_with(server: &Endpoint, authorization: &'static str) -> Result<Streaming<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(server.connect().await.expect("a server"));
    client.ready().await.expect("a connection");
    let mut request = Request::new(Bytes::new());
    request.metadata_mut().insert("authorization", authorization.parse().expect("ASCII"));
    let answer = client.server_streaming(request, PathAndQuery::from_static("/clock.Clock/Watch"), Plain).await?;
    Ok(answer.into_inner())
}

/// A call that is answered with one message and then silence; what the client sees when that happens.
async fn after(brings_about: fn(&Oracle)) -> Status {
    after_with(Ending::GrpcTrailers, brings_about).await
}

async fn after_with(ending: Ending, brings_about: fn(&Oracle)) -> Status {
    let oracle = Oracle::with_revision();
    let server = serve_with(ending, &oracle, || stream::iter([Ok(tick())]).chain(stream::pending())).await;
    let mut messages = call(&server).await.expect("the door is open");
    assert_eq!(messages.message().await.expect("access holds"), Some(tick()));

    brings_about(&oracle);
    oracle.moves();
    let end = tokio::time::timeout(Duration::from_secs(1), messages.message()).await;
    end.expect("a prompt end").expect_err("a status that is not OK")
}

#[tokio::test]
async fn a_call_whose_token_is_revoked_ends_unauthenticated() {
    let status = after(|oracle| oracle.says(Err(VerifyError::Rejected))).await;
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "revoked"));
}

#[tokio::test]
async fn a_call_whose_token_lost_its_scope_ends_with_permission_denied() {
    let status = after(|oracle| oracle.says(Ok(alice()))).await;
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "scope_lost"));
}

#[tokio::test]
async fn a_call_whose_verifier_is_down_ends_unavailable() {
    let status = after(|oracle| oracle.says(Err(VerifyError::unavailable()))).await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "unavailable"));
}

#[tokio::test]
async fn a_call_that_is_repeated_with_a_dead_token_is_unauthenticated_at_the_door() {
    let oracle = Oracle::with_revision();
    let server = serve(&oracle, stream::pending).await;
    oracle.says(Err(VerifyError::Rejected));
    let status = call(&server).await.expect_err("the door is shut");
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "rejected"));
}

#[tokio::test]
async fn a_call_that_is_refused_is_answered_in_the_words_of_grpc() {
    let wait = Duration::from_secs(7);
    for (authorization, answer, code, word) in [
        ("Bearer a b", Ok(alice()), Code::Unauthenticated, "malformed"),
        ("Basic dXNlcjpwYXNz", Ok(alice()), Code::Unauthenticated, "missing"),
        ("Bearer t0ken", Err(VerifyError::Expired), Code::Unauthenticated, "expired"),
        ("Bearer t0ken", Ok(alice()), Code::PermissionDenied, "insufficient_scope"),
        ("Bearer t0ken", Err(VerifyError::locked_out_for(wait)), Code::Unavailable, "locked_out"),
        ("Bearer t0ken", Err(VerifyError::unavailable_for(wait)), Code::Unavailable, "unavailable"),
    ] {
        let oracle = Oracle::with_revision();
        let server = serve(&oracle, stream::pending).await;
        oracle.says(answer);
        let status = call_with(&server, authorization).await.expect_err("the door is shut");
        assert_eq!((status.code(), status.message()), (code, word));
        let is_known = |name| status.metadata().get(name).is_some();
        assert_eq!(is_known("www-authenticate"), code != Code::Unavailable, "{word}");
        assert_eq!(is_known("retry-after"), code == Code::Unavailable, "{word}");
    }
}

#[tokio::test]
async fn a_call_that_keeps_its_access_keeps_its_messages_and_its_status() {
    let oracle = Oracle::without_revision();
    let failure = || Err(Status::data_loss("by itself"));
    let server = serve(&oracle, move || stream::iter([Ok(tick()), Ok(tick()), failure()])).await;
    let mut messages = call(&server).await.expect("the door is open");
    assert_eq!(messages.message().await.expect("a message"), Some(tick()));
    assert_eq!(messages.message().await.expect("a message"), Some(tick()));
    assert_eq!(messages.message().await.expect_err("its status").code(), Code::DataLoss);
}

#[tokio::test]
async fn a_call_that_was_cut_is_no_success_whatever_ending_was_chosen() {
    let last_bytes = Ending::last_bytes(|_| Bytes::from_static(b"bye"));
    for ending in [Ending::Clean, Ending::LastEvent, last_bytes, Ending::Abort] {
        let status = after_with(ending.clone(), |oracle| oracle.says(Err(VerifyError::Rejected))).await;
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "revoked"), "{ending:?}");
    }
}
