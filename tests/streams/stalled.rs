//! A client that does not read cannot hold a stream.
//!
//! Whether the gateway still holds one is seen from outside: to kill a session says whether it had
//! streams.
//!
//! A stream whose body waits for the next event is no stalled one, whatever its client does: it would
//! end at once. So there has to be an event that nobody takes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::house::{House, READER, key};

const WRITE_TIMEOUT: Duration = Duration::from_secs(8);

/// The timeout, once more for the pings, and time for a machine that has other things to do.
const LONG_ENOUGH: Duration = Duration::from_secs(24);

/// A transcript whose history no socket takes in whole, nor the buffers around it.
fn long() -> String {
    let text = "x".repeat(8000);
    (0..800).map(|_| format!("{{\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")).collect()
}

fn house() -> House {
    let house = House::open(&[&format!("--write-timeout={}s", WRITE_TIMEOUT.as_secs())]);
    let long = long();
    house.sessions(&[("held", &long), ("stalled", &long), ("read", &long)]);
    house
}

/// Asks over HTTP/1.1 and reads nothing of the answer.
fn ask_1(house: &House, session: &str) -> TcpStream {
    let mut socket = TcpStream::connect(house.served.address).unwrap();
    let target = format!("/sessions/{}/history", key(session));
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READER}\r\nAccept: text/event-stream\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Asks over HTTP/2: the socket is read and pings are answered, but nothing is taken of the body.
fn ask_2(house: &House, session: &str) -> Incoming {
    house.served.runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(house.served.address).await.unwrap();
        let client = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(socket)).await;
        let (mut client, connection) = client.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://{}/sessions/{}/history", house.served.address, key(session)))
            .header("authorization", format!("Bearer {READER}"))
            .header("accept", "text/event-stream")
            .body(Empty::<Bytes>::new());
        let response = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    })
}

/// Something for each of the sessions that nobody takes.
fn say_more(house: &House) {
    for session in ["held", "stalled", "read"] {
        house.append(session, "{\"message\":{\"role\":\"user\",\"content\":\"more\"}}\n");
    }
    sleep(WRITE_TIMEOUT / 4);
}

#[test]
fn a_socket_that_takes_nothing_holds_no_stream_over_http_1() {
    let house = house();
    let mut read = house.events("read", "").send(house.served.address).unwrap();
    assert!(read.blocks(2, LONG_ENOUGH).len() >= 2);
    let _held = ask_1(&house, "held");
    let mut stalled = ask_1(&house, "stalled");
    say_more(&house);

    assert!(house.kill("held"), "nothing is let go before its time");
    sleep(LONG_ENOUGH);
    assert!(!house.kill("stalled"));
    assert!(house.kill("read"), "who reads is not let go");

    // The connection is gone too: all that can still be read is what the sockets had taken.
    let mut taken = Vec::new();
    let _ = stalled.read_to_end(&mut taken);
    assert!(taken.len() < 2 * long().len(), "{}", taken.len());
    house.close();
}

#[test]
fn a_window_that_is_never_opened_holds_no_stream_over_http_2() {
    let house = house();
    let _held = ask_2(&house, "held");
    let stalled = ask_2(&house, "stalled");
    let mut read = ask_2(&house, "read");
    let reading = house.served.runtime.spawn(async move {
        let mut length = 0;
        while let Some(frame) = read.frame().await {
            length += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        length
    });
    say_more(&house);

    assert!(house.kill("held"), "nothing is let go before its time");
    sleep(LONG_ENOUGH);
    assert!(!house.kill("stalled"));
    assert!(house.kill("read"), "who reads is not let go");
    let read = house.served.runtime.block_on(reading).unwrap();
    assert!(read > 2 * long().len(), "{read}");

    // What was let go is cut, not ended: the client must not take it for the whole.
    let cut = house.served.runtime.block_on(stalled.collect());
    assert!(cut.is_err());
    house.close();
}

#[test]
fn a_revoked_stream_is_not_held_by_a_client_that_does_not_read() {
    let house = house();
    let _first = ask_1(&house, "held");
    let _second = ask_2(&house, "stalled");
    say_more(&house);
    house.revoke_reader();
    sleep(LONG_ENOUGH);
    assert!(!house.kill("held"));
    assert!(!house.kill("stalled"));
    house.close();
}

#[test]
fn an_http_2_client_that_answers_no_ping_is_gone() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const PING: u8 = 6;

    let house = house();
    let mut socket = TcpStream::connect(house.served.address).unwrap();
    socket.write_all(PREFACE).unwrap();
    socket.set_read_timeout(Some(LONG_ENOUGH)).unwrap();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).expect("the connection is closed");

    let mut rest = &said[..];
    let mut types = Vec::new();
    while let [a, b, c, frame, _, _, _, _, _, payload @ ..] = rest {
        types.push(*frame);
        rest = &payload[u32::from_be_bytes([0, *a, *b, *c]) as usize..];
    }
    assert!(types.contains(&PING), "{types:?}");
    house.close();
}
