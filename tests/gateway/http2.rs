//! HTTP/2 with prior knowledge, on the same port.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    house::{AT_ONCE, House, TOKEN},
    state::{SESSION, State, message},
};

type Client = http2::SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Client {
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

async fn history(client: &mut Client, token: &str, accept: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://localhost/sessions/{SESSION}/history"))
        .header("authorization", format!("Bearer {token}"))
        .header("accept", accept)
        .body(Empty::new())
        .expect("a request");
    client.send_request(request).await.expect("an answer")
}

/// The status that a token gets over a connection of its own.
pub fn status(address: SocketAddr, token: &str) -> u16 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { history(&mut connect(address).await, token, "*/*").await.status().as_u16() })
}

/// Reads on until the body holds this.
async fn read_until(body: &mut Incoming, read: &mut String, text: &str) {
    let reading = async {
        while !read.contains(text) {
            let frame = body.frame().await.expect("the stream goes on").expect("a frame");
            read.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("text"));
        }
    };
    timeout(Duration::from_secs(20), reading).await.unwrap_or_else(|_| panic!("no {text:?} in {read:?}"));
}

#[tokio::test]
async fn a_page_and_several_streams_share_one_connection() {
    let house = House::over(State::of_messages(1));
    let client = &mut connect(house.gateway.address).await;
    let page = history(client, TOKEN, "application/json").await;
    assert_eq!(page.status(), 200);
    let page = page.into_body().collect().await.expect("a body").to_bytes();
    assert!(page.starts_with(br#"{"sessionKey":"agent:main:test-session","items":["#));

    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = history(client, TOKEN, "text/event-stream").await;
        assert_eq!(stream.status(), 200);
        // It would be a protocol error (RFC 9113 section 8.2.2).
        assert!(!stream.headers().contains_key("connection"));
        let (mut body, mut read) = (stream.into_body(), String::new());
        read_until(&mut body, &mut read, "event: history\n").await;
        streams.push((body, read));
    }
    house.state.append(&message(2));
    for (body, read) in &mut streams {
        read_until(body, read, r#""messageId":"m2""#).await;
    }
}

#[tokio::test]
async fn a_rotation_ends_the_streams_and_leaves_the_connection() {
    let state = State::of_messages(1);
    let file = state.file("token", "old");
    let house = House::with(state, ["--token-file".as_ref(), file.as_os_str()]);
    let client = &mut connect(house.gateway.address).await;
    let mut body = history(client, "old", "text/event-stream").await.into_body();
    read_until(&mut body, &mut String::new(), "event: history\n").await;

    house.state.file("token", "new");
    let rest = timeout(AT_ONCE, body.collect()).await.expect("the stream ends at once");
    rest.expect("the stream ends cleanly");
    assert_eq!(history(client, "old", "text/event-stream").await.status(), 401);
    assert_eq!(history(client, "new", "text/event-stream").await.status(), 200);
}

#[tokio::test]
async fn shutdown_ends_streams_and_connections() {
    let mut house = House::over(State::of_messages(1));
    let client = &mut connect(house.gateway.address).await;
    let mut body = history(client, TOKEN, "text/event-stream").await.into_body();
    read_until(&mut body, &mut String::new(), "event: history\n").await;
    house.gateway.signal("TERM");
    timeout(AT_ONCE, body.collect()).await.expect("the stream ends at once").expect("the stream ends cleanly");
    let ended = tokio::task::spawn_blocking(move || house.gateway.ended_within(AT_ONCE));
    assert_eq!(ended.await.expect("a thread").expect("the process ends").code(), Some(0));
}
