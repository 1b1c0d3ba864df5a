//! How much clients may have: streams, heads and bodies of requests, and what HTTP/2 counts.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::{
    client::{PATIENCE, Request, Response},
    house::{AT_ONCE, House, TOKEN, history},
    operators::{self, ADMIN, READER, WRITER},
    process::Start,
    state::{SESSION, State},
};

fn stream_by(token: &str) -> Request {
    history("").header("Accept", "text/event-stream").header("Authorization", &format!("Bearer {token}"))
}

fn asked(house: &House, token: &str) -> Response {
    house.send(stream_by(token))
}

fn is_refused(response: Response, status: u16, kind: &str) {
    assert_eq!((response.status, response.header("retry-after")), (status, Some("10")));
    let body: Value = serde_json::from_str(&response.text()).expect("JSON");
    assert_eq!((&body["ok"], &body["error"]["type"]), (&json!(false), &json!(kind)), "{body}");
}

/// Waits until there is room for a stream.
fn is_let_in(house: &House, token: &str) -> Response {
    let start = Instant::now();
    loop {
        let response = asked(house, token);
        if response.status == 200 {
            return response;
        }
        assert!(start.elapsed() < AT_ONCE, "it stays full");
    }
}

#[test]
fn one_stream_more_than_may_be_open_is_503_until_one_ends() {
    let house = operators::house(&["--max-streams", "2"]);
    let (first, second) = (asked(&house, READER), asked(&house, TOKEN));
    assert_eq!((first.status, second.status), (200, 200));
    is_refused(asked(&house, WRITER), 503, "unavailable");
    // The list of open streams is one too; a page is none, and neither is what there is not.
    let listed = Request::new("GET", "/streams").header("Accept", "text/event-stream");
    is_refused(house.send(listed.header("Authorization", &format!("Bearer {ADMIN}"))), 503, "unavailable");
    assert_eq!(house.history("").status, 200);
    drop(first);
    let third = is_let_in(&house, WRITER);
    is_refused(asked(&house, READER), 503, "unavailable");

    // However it ends: by hand, by a kill, or as its access is taken away.
    let id = third.header("x-stream-id").expect("an id").to_owned();
    assert_eq!(house.ask("DELETE", &format!("/streams/{id}"), ADMIN).status, 204);
    let _third = is_let_in(&house, READER);
    assert_eq!(house.kill(ADMIN, SESSION).status, 200);
    let (_first, _second) = (is_let_in(&house, READER), is_let_in(&house, READER));
    is_refused(asked(&house, WRITER), 503, "unavailable");
    assert_eq!(house.revoke(&json!({ "subject": "rita" })).status, 200);
    let _held = (is_let_in(&house, WRITER), is_let_in(&house, WRITER));
}

#[test]
fn who_has_its_share_is_429_and_others_are_not() {
    let audit = tempfile::tempdir().expect("a folder");
    let log = audit.path().join("audit");
    let house =
        operators::house(&["--max-streams-per-client", "1", "--audit-log", log.to_str().expect("a name in UTF-8")]);
    let reader = asked(&house, READER);
    assert_eq!(reader.status, 200);
    is_refused(asked(&house, READER), 429, "too_many_streams");
    let _others = (is_let_in(&house, WRITER), is_let_in(&house, TOKEN));
    // All who show the shared token from one address are one client.
    is_refused(asked(&house, TOKEN), 429, "too_many_streams");
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log).expect("a log");
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let refused: Vec<_> = events.filter(|event| event["event"] == "refused").collect();
        if refused.len() == 2 {
            assert_eq!(
                (&refused[0]["status"], &refused[0]["reason"], &refused[0]["caller"]["subject"]),
                (&json!(429), &json!("max_streams_per_client"), &json!("rita"))
            );
            break;
        }
        assert!(refused.len() < 2 && start.elapsed() < AT_ONCE, "{text}");
    }
    drop(reader);
    is_let_in(&house, READER);
}

#[test]
fn behind_a_trusted_proxy_clients_are_told_apart_by_their_own_address() {
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let house = House::with(state, ["--token", TOKEN, "--max-streams-per-client", "1"]);
    let from = |client: &str| {
        let request = history("").header("Accept", "text/event-stream").header("X-Forwarded-For", client);
        house.send(request.header("Authorization", &format!("Bearer {TOKEN}")))
    };
    let held = ["203.0.113.1", "203.0.113.2", "2001:db8::1"].map(from);
    assert!(held.iter().all(|response| response.status == 200));
    is_refused(from("203.0.113.1"), 429, "too_many_streams");
    is_refused(from("2001:db8::2"), 429, "too_many_streams");
    // What a client says of itself to the left of that changes nothing.
    is_refused(from("198.51.100.7, 203.0.113.2"), 429, "too_many_streams");
}

#[test]
fn of_many_that_come_at_once_as_many_are_let_in_as_may_be() {
    let house = operators::house(&["--max-streams", "5"]);
    let address = house.gateway.address;
    let asking: Vec<_> = (0..30).map(|_| thread::spawn(move || stream_by(READER).send(address))).collect();
    let answers = asking.into_iter().map(|thread| thread.join().expect("a thread").expect("an answer"));
    let answers: Vec<_> = answers.collect();
    let with = |status| answers.iter().filter(|response| response.status == status).count();
    assert_eq!((with(200), with(503)), (5, 25));
}

#[test]
fn a_number_that_is_none_is_an_error_that_says_so() {
    let state = State::seeded();
    for flag in ["--max-streams", "--max-streams-per-client", "--max-connections"] {
        for value in ["0", "-1", "many", "4294967296", ""] {
            let output =
                Start::new().arg_state(&state).args(["--token", TOKEN]).args([format!("{flag}={value}")]).output();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{flag} {value}");
            assert!(error.contains(flag), "{error}");
            assert!(error.contains("must be a number from 1 to 4294967295") || value.is_empty(), "{error}");
        }
    }
}

fn raw(house: &House, said: &[u8]) -> String {
    let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = socket.write_all(said);
    let mut answer = Vec::new();
    // A reset may follow the answer, as not all that was sent is read.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let house = House::over(State::seeded());
    let head = |more: &str| format!("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n");
    let of_bytes = |count: usize| head(&format!("X: {}\r\n", "x".repeat(count)));
    let of_lines = |count: usize| head(&"X: x\r\n".repeat(count));
    for (head, status) in
        [(of_bytes(60_000), "200"), (of_bytes(70_000), "431"), (of_lines(90), "200"), (of_lines(101), "431")]
    {
        let answer = raw(&house, head.as_bytes());
        assert_eq!(answer.split(' ').nth(1), Some(status), "{} bytes: {answer}", head.len());
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_over_http_2_too() {
    let house = House::over(State::seeded());
    let socket = tokio::net::TcpStream::connect(house.gateway.address).await.expect("a connection");
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for (count, expected) in [(60_000, 200), (70_000, 431), (60_000, 200)] {
        let request = http::Request::get("http://localhost/healthz").header("x", "x".repeat(count));
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        assert_eq!(client.send_request(request).await.expect("an answer").status(), expected, "{count}");
    }
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let house = operators::house(&[]);
    let revoke = |length: usize| {
        let body = format!("{{\"subject\":\"{}\"}}", "x".repeat(length));
        house.send(Request::new("POST", "/revocations").header("Authorization", &format!("Bearer {ADMIN}")).body(&body))
    };
    assert_eq!(revoke(64 * 1024).status, 413);
    assert_ne!(revoke(60 * 1024).status, 413);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frames that come until the connection is closed, or for so long.
fn frames(socket: &mut TcpStream, within: Duration) -> Vec<(u8, Vec<u8>)> {
    socket.set_read_timeout(Some(within)).expect("a timeout");
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while socket.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if socket.read_exact(&mut payload).is_err() {
            break;
        }
        frames.push((head[3], payload));
    }
    frames
}

#[test]
fn what_http_2_may_ask_for_is_announced() {
    let house = House::over(State::seeded());
    let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
    socket.write_all(&[PREFACE, &frame(4, 0, 0, b"")].concat()).expect("a preface");
    let frames = frames(&mut socket, Duration::from_secs(1));
    let (_, settings) = frames.iter().find(|(kind, payload)| *kind == 4 && !payload.is_empty()).expect("settings");
    let announced: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]])))
        .collect();
    // RFC 9113 section 6.5.2: concurrent streams, the size of a frame, that of a header list.
    for expected in [(3, 256), (5, 16 * 1024), (6, 64 * 1024)] {
        assert!(announced.contains(&expected), "{expected:?}: {announced:?}");
    }
}

#[test]
fn a_client_that_takes_back_what_it_asks_for_again_and_again_is_sent_away() {
    let house = House::over(State::seeded());
    let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
    let text = |text: &str| [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat();
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/healthz")];
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let mut said = [PREFACE, &frame(4, 0, 0, b"")].concat();
    for n in 0..2000_u32 {
        said.extend(frame(1, 5, 2 * n + 1, &block));
        said.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    // It may be sent away before all is said.
    let _ = socket.write_all(&said);
    let frames = frames(&mut socket, PATIENCE);
    let (_, reason) = frames.iter().find(|(kind, _)| *kind == 7).expect("a GOAWAY");
    // ENHANCE_YOUR_CALM (RFC 9113 section 7).
    assert_eq!(reason[4..8], 11_u32.to_be_bytes(), "{reason:?}");
    assert_eq!(house.history("").status, 200);
}
