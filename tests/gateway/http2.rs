//! HTTP/2 with prior knowledge, on the same port.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

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

/// A client that opens no window and answers every ping: what it asked for cannot be sent, and it is there.
struct WithoutWindow {
    socket: TcpStream,
}

impl WithoutWindow {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 6;
    const ACK: u8 = 1;

    async fn connect(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let settings = Self::frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        socket
            .write_all(&[Self::PREFACE, &settings, &Self::frame(4, Self::ACK, 0, b"")].concat())
            .await
            .expect("a preface");
        Self { socket }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Header fields that are all spelt out (RFC 7541 section 6.2.2).
    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
        fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
    }

    async fn ask(&mut self, stream: u32) {
        let path = format!("/sessions/{SESSION}/history?limit={}", 800 + stream);
        let bearer = format!("Bearer {TOKEN}");
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("authorization", bearer.as_str()),
        ];
        let headers = Self::frame(1, 5, stream, &Self::block(&fields));
        self.socket.write_all(&headers).await.expect("a request");
    }

    /// Answers pings until the connection is closed, and says how many it answered.
    async fn stay(mut self) -> usize {
        let mut pings = 0;
        loop {
            let mut head = [0; 9];
            if self.socket.read_exact(&mut head).await.is_err() {
                return pings;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            if self.socket.read_exact(&mut payload).await.is_err() {
                return pings;
            }
            if (head[3], head[4] & Self::ACK) == (Self::PING, 0) {
                pings += 1;
                let _ = self.socket.write_all(&Self::frame(Self::PING, Self::ACK, 0, &payload)).await;
            }
        }
    }
}

/// How much memory a process has used at most, in kB.
fn most_memory(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    most.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn pages_that_a_client_has_no_window_for_are_bounded_and_let_go() {
    let text = "x".repeat(5000);
    let line = |n: usize| {
        format!("{{\"type\":\"message\",\"id\":\"m{n}\",\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")
    };
    let state = State::holding(&(0..1000).map(line).collect::<String>());
    let house = House::with(state, ["--token", TOKEN, "--write-timeout", "5s"]);
    let mut client = WithoutWindow::connect(house.gateway.address).await;
    for n in 0..100 {
        client.ask(2 * n + 1).await;
    }
    // Each is some 8 MB: 100 of them would be 800.
    let pings = timeout(Duration::from_secs(120), client.stay()).await.expect("the connection is closed");
    assert!(pings > 0, "it was there");
    let most = most_memory(house.gateway.process());
    assert!(most < 400_000, "{most} kB");
    // Nothing is left of it, and there is room for others.
    let page = history(&mut connect(house.gateway.address).await, TOKEN, "application/json").await;
    assert_eq!(page.status(), 200);
    assert!(page.into_body().collect().await.expect("a body").to_bytes().len() > 1_000_000);
}
