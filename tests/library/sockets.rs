//! What a client sees of an end over a real connection, of HTTP/1.1 and of HTTP/2 (promise 8, traps
//! 2 and 7). In real time: a socket does not wait for a paused clock.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{BearerAuthLayer, StaticToken, StreamReauthLayer, reauth::Ending};

use crate::support::{Feed, handler, script};

const EVENT: &str = "data: 1\n\n";
const MANY: usize = 100;

#[derive(Clone, Copy, Debug)]
pub enum Version {
    Http1,
    Http2,
}

/// What a client read: the status, the bytes, the trailers, and whether the body was complete.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub status: StatusCode,
    pub bytes: Bytes,
    pub trailers: HeaderMap,
    pub is_complete: bool,
}

/// Asks a server of one event stream, to which `script_it` happens.
async fn read(version: Version, ending: Ending, script_it: impl FnOnce(&Feed, StaticToken)) -> Read {
    read_as("text/event-stream", version, ending, script_it).await
}

/// Asks a server of one stream of this type.
pub async fn read_as(
    content_type: &'static str,
    version: Version,
    ending: Ending,
    script_it: impl FnOnce(&Feed, StaticToken),
) -> Read {
    let secret = StaticToken::new("t0ken");
    let (feed, body) = script();
    script_it(&feed, secret.clone());

    let inner = handler(Response::builder().header("content-type", content_type).body(body).expect("a response"));
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(secret))
        .layer(StreamReauthLayer::new().with_ending(ending))
        .service(service_fn(move |_: Request<Incoming>| inner.clone().oneshot(Request::new(()))));
    let response = serve_one(version, service).await;
    let within = tokio::time::timeout(Duration::from_secs(5), collect(response));
    within.await.expect("the stream ends")
}

/// The answer of `service` to one request, over a connection of their own.
pub async fn serve_one<S, B>(version: Version, service: S) -> Response<Incoming>
where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let server = auto::Builder::new(TokioExecutor::new());
        // The connection of an aborted response ends with an error, as it should.
        let _ = server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)).await;
    });
    ask(version, TcpStream::connect(address).await.expect("a server")).await
}

/// A server-sent request over a socket.
async fn ask(version: Version, socket: TcpStream) -> Response<Incoming> {
    let request = Request::builder()
        .uri("http://localhost/")
        .header("host", "localhost")
        .header("authorization", "Bearer t0ken")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let socket = TokioIo::new(socket);
    match version {
        Version::Http1 => {
            let (mut client, connection) = http1::handshake(socket).await.expect("a connection");
            tokio::spawn(connection);
            client.send_request(request).await
        }
        Version::Http2 => {
            let (mut client, connection) = http2::handshake(TokioExecutor::new(), socket).await.expect("a connection");
            tokio::spawn(connection);
            client.send_request(request).await
        }
    }
    .expect("the head of the response arrives, whatever becomes of its body")
}

async fn collect(response: Response<Incoming>) -> Read {
    let (parts, mut body) = response.into_parts();
    let mut read = Read { status: parts.status, bytes: Bytes::new(), trailers: HeaderMap::new(), is_complete: false };
    let mut bytes = BytesMut::new();
    loop {
        match body.frame().await {
            None => read.is_complete = true,
            Some(Err(_)) => {}
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => read.trailers = frame.into_trailers().expect("data or trailers"),
                }
                continue;
            }
        }
        return Read { bytes: bytes.freeze(), ..read };
    }
}

/// Events, and in the same turn of the server a rotation.
fn events_and_a_rotation(feed: &Feed, secret: StaticToken) {
    for _ in 0..MANY {
        feed.data(EVENT);
    }
    feed.aside(move || secret.rotate("another"));
    feed.data("data: stale\n\n");
}

fn events() -> Bytes {
    EVENT.repeat(MANY).into()
}

#[tokio::test]
async fn a_clean_end_is_complete_for_the_client() {
    for version in [Version::Http1, Version::Http2] {
        let seen = read(version, Ending::Clean, events_and_a_rotation).await;
        let expected = Read { status: StatusCode::OK, bytes: events(), trailers: HeaderMap::new(), is_complete: true };
        assert_eq!(seen, expected, "{version:?}");
    }
}

#[tokio::test]
async fn an_abort_is_incomplete_for_the_client_who_loses_nothing_that_came_before() {
    for version in [Version::Http1, Version::Http2] {
        let seen = read(version, Ending::Abort, events_and_a_rotation).await;
        let expected = Read { status: StatusCode::OK, bytes: events(), trailers: HeaderMap::new(), is_complete: false };
        assert_eq!(seen, expected, "{version:?}");
    }
}

#[tokio::test]
async fn a_last_event_arrives_and_the_body_is_complete() {
    for version in [Version::Http1, Version::Http2] {
        let seen = read(version, Ending::LastEvent, events_and_a_rotation).await;
        assert!(seen.is_complete, "{version:?}");
        let last = seen.bytes.strip_prefix(&*events()).expect("all events, and then the last one");
        assert_eq!(last, b"event: reauth\ndata: {\"reason\":\"revoked\",\"reconnect\":false}\n\n");
    }
}

#[tokio::test]
async fn grpc_trailers_arrive_over_http_2() {
    let seen = read(Version::Http2, Ending::GrpcTrailers, events_and_a_rotation).await;
    assert_eq!((seen.is_complete, seen.bytes), (true, events()));
    assert_eq!(seen.trailers["grpc-status"], "16");
}

#[tokio::test]
async fn a_stream_that_keeps_its_access_is_complete() {
    for version in [Version::Http1, Version::Http2] {
        let whole = |feed: &Feed, _: StaticToken| {
            (0..MANY).for_each(|_| feed.data(EVENT));
            feed.end();
        };
        let seen = read(version, Ending::Abort, whole).await;
        assert_eq!((seen.is_complete, seen.bytes), (true, events()), "{version:?}");
    }
}

#[tokio::test]
async fn an_idle_stream_ends_on_the_wire_when_its_secret_is_rotated() {
    for version in [Version::Http1, Version::Http2] {
        let idle = |feed: &Feed, secret: StaticToken| {
            feed.data(EVENT);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                secret.rotate("another");
            });
        };
        let seen = read(version, Ending::Clean, idle).await;
        assert_eq!((seen.is_complete, seen.bytes), (true, Bytes::from(EVENT)), "{version:?}");
    }
}
