//! SIGINT and SIGTERM end the process cleanly, open streams too.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    client::{End, PATIENCE},
    house::{AT_ONCE, House, TOKEN},
    operators::last_words,
    state::{SESSION, State},
};

/// With open streams, an idle connection and one that was just opened.
fn ends_cleanly_at(signal: &str) {
    let mut house = House::over(State::of_messages(1));
    let mut streams: Vec<_> = (0..5).map(|_| house.stream("").0).collect();
    let mut idle = TcpStream::connect(house.gateway.address).expect("a connection");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let _opened = TcpStream::connect(house.gateway.address).expect("a connection");

    house.gateway.signal(signal);
    for stream in &mut streams {
        let event = stream.event();
        assert_eq!((event.name.as_str(), event.data), ("reauth", last_words("shutting_down", true)));
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    }
    let status = house.gateway.ended_within(AT_ONCE).expect("the process ends soon");
    assert_eq!(status.code(), Some(0), "{}", house.gateway.log());
    assert!(TcpStream::connect(house.gateway.address).is_err());
}

#[test]
fn ctrl_c_ends_the_gateway_cleanly() {
    ends_cleanly_at("INT");
}

#[test]
fn a_request_to_terminate_ends_the_gateway_cleanly() {
    ends_cleanly_at("TERM");
}

#[test]
fn a_client_that_does_not_read_cannot_hold_the_end_up_for_long() {
    let line = |number: usize| {
        let text = "x".repeat(4000);
        format!(
            "{{\"type\":\"message\",\"id\":\"m{number}\",\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n"
        )
    };
    let flags = ["--token", TOKEN, "--drain", "2s"];
    let mut house = House::with(State::holding(&(1..=4000).map(line).collect::<String>()), flags);
    let mut stalled = TcpStream::connect(house.gateway.address).expect("a connection");
    let request =
        format!("GET /sessions/{SESSION}/history HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    stalled.write_all(request.as_bytes()).expect("a request");
    let mut first = [0; 1];
    stalled.read_exact(&mut first).expect("the answer begins");

    house.gateway.signal("TERM");
    let began = std::time::Instant::now();
    let status = house.gateway.ended_within(PATIENCE).expect("the process ends");
    assert_eq!(status.code(), Some(0));
    let took = began.elapsed().as_millis();
    assert!((1900..9000).contains(&took), "{took} ms");
}
