//! What a client does with its connection: which host it names, how it sends, and when it stops.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    client::{PATIENCE, Request},
    house::{House, TOKEN, history},
    state::{SESSION, State, message},
};

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// All that comes back until the connection is closed.
fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{error} after {answer:?}"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_request_names_one_host() {
    let house = House::over(State::seeded());
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n", "200"),
        ("GET /healthz HTTP/1.1\r\nHost:\r\n", "200"),
        ("GET /healthz HTTP/1.0\r\n", "200"),
        ("GET /healthz HTTP/1.1\r\n", "400"),
        ("GET http://a/healthz HTTP/1.1\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "400"),
        ("GET /healthz HTTP/1.0\r\nHost: a\r\nHost: a\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nHost: a b\r\n", "400"),
    ] {
        let mut socket = connect(house.gateway.address);
        socket.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("a request");
        let answer = rest(&mut socket);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
    }
}

#[test]
fn a_body_is_chunked_once_or_has_a_length() {
    let house = House::over(State::seeded());
    for (head, status) in [
        ("Content-Length: 5\r\n", "405"),
        ("Transfer-Encoding: Chunked\r\n", "405"),
        ("Transfer-Encoding: gzip, chunked\r\n", "501"),
        ("Transfer-Encoding: chunked, chunked\r\n", "501"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "501"),
        ("Transfer-Encoding: identity\r\n", "400"),
        ("Transfer-Encoding: chunked, identity\r\n", "400"),
    ] {
        let mut socket = connect(house.gateway.address);
        let body = if head.starts_with('C') { "12345" } else { "5\r\n12345\r\n0\r\n\r\n" };
        let next = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        socket
            .write_all(format!("POST /healthz HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}{next}").as_bytes())
            .expect("a request");
        let answers = rest(&mut socket);
        assert_eq!(answers.split(' ').nth(1), Some(status), "{head:?}: {answers}");
        // What follows one that others could read in another way is not read.
        assert_eq!(answers.matches("HTTP/1.1 ").count(), if status == "405" { 2 } else { 1 }, "{head:?}: {answers}");
    }
}

#[test]
fn without_authentication_only_those_who_call_it_by_its_own_name_are_answered() {
    let kill = || Request::new("POST", &format!("/sessions/{SESSION}/kill"));
    let house = House::with(State::seeded(), ["--auth", "none", "--allow-host", "gateway.example"]);
    for host in ["localhost:19001", "127.0.0.1", "[::1]:80", "app.localhost", "gateway.example"] {
        assert_eq!(house.send(history("").header("Host", host)).status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:19001", "localhost.evil.example", "192.0.2.1"] {
        assert_eq!(house.send(history("").header("Host", host)).status, 421, "{host}");
        assert_eq!(house.send(kill().header("Host", host)).status, 421, "{host}");
    }
    for (origin, to_kill, to_read) in [
        ("http://localhost:3000", 200, 200),
        ("http://gateway.example", 200, 401),
        ("http://evil.example", 421, 401),
        ("null", 421, 401),
    ] {
        let from_there =
            |request: Request| house.send(request.header("Host", "localhost").header("Origin", origin)).status;
        assert_eq!(from_there(kill()), to_kill, "{origin}");
        assert_eq!(from_there(history("")), to_read, "{origin}");
        assert_eq!(from_there(Request::new("GET", "/healthz")), 200, "{origin}");
    }

    // Who has to show a secret may call it by any name.
    let house = House::over(State::seeded());
    let request = history("").header("Host", "gateway.example").header("Authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(house.send(request).status, 200);
}

#[test]
fn an_answer_arrives_though_the_body_of_the_request_is_large_and_sent_first() {
    let house = House::over(State::seeded());
    let zeroes = vec![0; 1024 * 1024];
    for megabytes in [1, 20, 64] {
        for (method, target, token, expected) in [
            ("POST", format!("/sessions/{SESSION}/kill"), "wrong", "401"),
            ("GET", format!("/sessions/{SESSION}/history"), TOKEN, "200"),
            ("PUT", "/healthz".to_owned(), "wrong", "405"),
        ] {
            let mut socket = connect(house.gateway.address);
            let length = megabytes * zeroes.len();
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).expect("a head");
            for _ in 0..megabytes {
                socket.write_all(&zeroes).expect("the body is taken");
            }
            // The connection is good for another request.
            let again = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            socket.write_all(again.as_bytes()).expect("a request");
            let answers = rest(&mut socket);
            assert!(answers.starts_with(&format!("HTTP/1.1 {expected}")), "{megabytes} MB: {answers}");
            assert!(answers.ends_with(r#"{"ok":true,"status":"live"}"#), "{megabytes} MB: {answers}");
        }
    }
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_not_to() {
    let house = House::over(State::seeded());
    let mut socket = connect(house.gateway.address);
    let head = format!(
        "POST /sessions/{SESSION}/kill HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).expect("a head");
    assert!(rest(&mut socket).starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn an_answer_arrives_though_the_body_of_the_request_is_large_over_http_2() {
    let house = House::over(State::seeded());
    for megabytes in [1, 20, 64] {
        let socket = tokio::net::TcpStream::connect(house.gateway.address).await.expect("a connection");
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost/sessions/{SESSION}/kill"))
            .body(Full::new(Bytes::from(vec![0; megabytes * 1024 * 1024])))
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 401);
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
    }
}

fn request(headers: &str) -> String {
    format!("GET /sessions/{SESSION}/history HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n")
}

#[test]
fn a_client_that_closes_its_half_after_the_request_is_answered() {
    let house = House::over(State::of_messages(1000));
    for bytes in [request(""), "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()] {
        let mut socket = connect(house.gateway.address);
        socket.write_all(bytes.as_bytes()).expect("a request");
        socket.shutdown(Shutdown::Write).expect("half of a socket");
        let answer = rest(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('}'), "{answer}");
    }
}

#[test]
fn a_client_that_closes_its_half_follows_a_stream_all_the_same() {
    let house = with_admin();
    let mut socket = connect(house.gateway.address);
    socket.write_all(request("Accept: text/event-stream\r\n").as_bytes()).expect("a request");
    socket.shutdown(Shutdown::Write).expect("half of a socket");
    let mut read = String::new();
    let mut until = |text: &str| {
        let mut buffer = [0; 4096];
        while !read.contains(text) {
            let length = socket.read(&mut buffer).expect("the stream goes on");
            assert!(length > 0, "no {text:?} in {read:?}");
            read.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    until("event: history");
    std::thread::sleep(Duration::from_secs(3));
    house.state.append(&message(2));
    until(r#""messageId":"m2""#);
}

#[test]
fn a_client_that_goes_is_let_go_before_a_heartbeat() {
    let house = with_admin();
    let mut socket = connect(house.gateway.address);
    socket.write_all(request("Accept: text/event-stream\r\n").as_bytes()).expect("a request");
    assert!(socket.read(&mut [0; 4096]).expect("the stream begins") > 0);
    drop(socket);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(house.kill("admin", SESSION).text(), r#"{"ok":true,"killed":false}"#);
}

/// A gateway that an admin may ask whether a session has streams, with a heartbeat that is far away.
fn with_admin() -> House {
    let state = State::of_messages(1);
    let tokens = r#"{"token":[{"id":"admin","secret":"admin","scopes":["operator.admin"]}]}"#;
    let tokens = state.file("tokens.json", tokens);
    let tokens = tokens.to_str().expect("a name in UTF-8");
    House::with(state, ["--tokens", tokens, "--token", TOKEN, "--heartbeat", "1h"])
}

#[test]
fn many_that_come_at_once_are_kept_until_they_are_accepted() {
    let house = House::over(State::seeded());
    // Stopped, it accepts nobody: what is kept is for the system to say.
    house.gateway.signal("STOP");
    let connects = |_: &u32| TcpStream::connect_timeout(&house.gateway.address, Duration::from_millis(500)).is_ok();
    let kept = (0..1000_u32).take_while(connects).count();
    house.gateway.signal("CONT");
    assert_eq!(kept, 1000);
}
