//! What keeps the gateway from starting is said clearly, and secrets come from where they should.

use std::{net::TcpListener, process::Output};

use crate::{
    client::Request,
    house::{House, history},
    process::Start,
    state::State,
};

/// Why a start with these flags fails.
fn failure(start: Start) -> String {
    let Output { status, stdout, stderr } = start.output();
    let stderr = String::from_utf8(stderr).expect("an error is text");
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stdout.is_empty(), "it should not have said that it listens");
    stderr
}

fn on(state: &State) -> Start {
    Start::new().arg_state(state)
}

#[test]
fn a_missing_token_is_an_error_that_says_what_to_set() {
    let state = State::seeded();
    // An empty variable counts as unset.
    for start in [on(&state), on(&state).env("OPENCLAW_GATEWAY_TOKEN", "")] {
        let error = failure(start);
        for remedy in ["--token-file", "--token", "--tokens", "gateway.auth.token", "OPENCLAW_GATEWAY_TOKEN"] {
            assert!(error.contains(remedy), "{error}");
        }
    }
}

#[test]
fn a_missing_password_is_an_error_that_says_what_to_set() {
    let error = failure(on(&State::seeded()).args(["--auth", "password"]));
    for remedy in ["--password", "gateway.auth.password", "OPENCLAW_GATEWAY_PASSWORD"] {
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn a_missing_or_broken_file_is_an_error_that_names_it() {
    let state = State::seeded();
    let broken = state.file("broken.json", r#"{"token":["#);
    let empty = state.file("empty", "\n");
    let missing = state.path().join("missing");
    for (flag, file) in [("--token-file", &missing), ("--token-file", &empty), ("--tokens", &broken)] {
        let error = failure(on(&state).args([flag.as_ref(), file.as_os_str()]));
        assert!(error.contains(file.to_str().expect("a name in UTF-8")), "{error}");
    }
    state.file("openclaw.json", "{ gateway: ");
    let error = failure(on(&state).args(["--token", "x"]));
    assert!(error.contains("openclaw.json"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let error = failure(on(&State::seeded()).args(["--token", "x", "--port", &port]));
    assert!(error.contains(&port), "{error}");
}

#[test]
fn the_token_may_come_from_the_variable_the_file_or_the_flag_and_the_flag_wins() {
    let status = |start: Start, token: &str| {
        let gateway = start.run();
        let request = history("").header("Authorization", &format!("Bearer {token}"));
        request.send(gateway.address).expect("an answer").status
    };
    let state = State::seeded();
    let by_variable = || on(&state).env("OPENCLAW_GATEWAY_TOKEN", "of-the-variable");
    assert_eq!(status(by_variable(), "of-the-variable"), 200);

    state.file("openclaw.json", "{ gateway: { auth: { token: 'of-the-file' } } } // JSON5");
    assert_eq!(status(by_variable(), "of-the-file"), 200);
    assert_eq!(status(by_variable(), "of-the-variable"), 401);

    let by_flag = || by_variable().args(["--token", "of-the-flag"]);
    assert_eq!(status(by_flag(), "of-the-flag"), 200);
    assert_eq!(status(by_flag(), "of-the-file"), 401);
}

#[test]
fn a_password_is_shown_as_a_bearer_token() {
    let house = House::with(State::seeded(), ["--auth", "password", "--password", "open sesame"]);
    assert_eq!(house.history_by("open sesame", "").status, 200);
    assert_eq!(house.history_by("open", "").status, 401);
}

#[test]
fn without_authentication_nothing_is_asked_for() {
    let house = House::with(State::seeded(), ["--auth", "none"]);
    assert_eq!(house.send(history("")).status, 200);
    // Whoever says what it may do is believed, and held to it.
    let narrowed = history("").header("X-OpenClaw-Scopes", "operator.pairing");
    assert_eq!(house.send(narrowed).status, 403);
    assert_eq!(house.send(Request::new("POST", "/sessions/agent:main:test-session/kill")).status, 200);
}
