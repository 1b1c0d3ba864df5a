//! Bad input: the peer's answer or a clear error of ours; never a panic, a hang or a loss.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use serde_json::json;

use crate::{
    client::{PATIENCE, Request, Response},
    house::{House, TOKEN, history},
    process::{Start, binary},
    state::{SESSION, State, message},
    stream::{ids, numbered},
};

const UNREADABLE: &str =
    r#"{"ok":false,"error":{"type":"unavailable","message":"The session cannot be read at the moment."}}"#;
const EMPTY: &str = r#"{"sessionKey":"agent:main:test-session","items":[],"messages":[],"hasMore":false}"#;
const NOT_FOUND: &str =
    r#"{"ok":false,"error":{"type":"not_found","message":"Session not found: agent:main:test-session"}}"#;

/// Each way of asking gives the one error, to be asked again soon.
#[track_caller]
fn assert_unreadable(house: &House) {
    for query in ["", "?limit=1", "?cursor=9", "?limit=1&cursor=9"] {
        let response = house.history(query);
        assert_eq!(response.header("retry-after"), Some("1"), "{query}");
        assert_answer(response, 503, UNREADABLE);
    }
    let response = house.send(stream_of_events());
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_answer(response, 503, UNREADABLE);
}

#[track_caller]
fn assert_answer(response: Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
}

#[test]
fn a_key_that_cannot_be_read_is_refused_before_anything_else() {
    let house = House::over(State::seeded());
    for key in ["%zz", "%", "a%2", "%ff", "%c0%af", "%ed%a0%80", "%f5%80%80%80"] {
        let invalid = r#"{"error":{"message":"invalid session key","type":"invalid_request_error"}}"#;
        assert_answer(house.send(Request::new("GET", &format!("/sessions/{key}/history"))), 400, invalid);
        assert_answer(house.send(Request::new("DELETE", &format!("/sessions/{key}/kill"))), 400, invalid);
    }
}

#[test]
fn a_body_that_nobody_asked_for_is_passed_over() {
    let house = House::over(State::of_messages(1));
    let body = "{\"key\":1}".repeat(10_000);
    let request = history("").header("Authorization", &format!("Bearer {TOKEN}")).body(&body);
    let response = house.send(request);
    assert_eq!((response.status, response.text()), (200, house.history("").text()));
}

#[test]
fn a_blank_key_is_malformed_and_without_any_there_is_no_such_path() {
    let house = House::over(State::seeded());
    for key in ["%20", "%09%0a", "%e2%80%83"] {
        let malformed = r#"{"error":{"message":"invalid session key","type":"invalid_request_error"}}"#;
        assert_answer(house.send(Request::new("GET", &format!("/sessions/{key}/history"))), 400, malformed);
    }
    assert_answer(house.send(Request::new("GET", "/sessions//history")), 404, "Not Found");
}

#[test]
fn a_key_that_looks_like_a_path_reads_nothing_outside() {
    let house = House::over(State::seeded());
    for key in ["agent:..%2F..%2F..:x", "..%2F..%2Fetc%2Fpasswd", "agent:main:a%00b", "agent:%2Fetc:passwd"] {
        let request = Request::new("GET", &format!("/sessions/{key}/history"));
        let response = house.send(request.header("Authorization", &format!("Bearer {TOKEN}")));
        assert_eq!(response.status, 404, "{key}");
    }
    let long = "k".repeat(8000);
    let request = Request::new("GET", &format!("/sessions/{long}/history"));
    assert_eq!(house.send(request.header("Authorization", &format!("Bearer {TOKEN}"))).status, 404);
}

#[test]
fn a_limit_or_a_cursor_that_is_no_number_is_refused() {
    let house = House::over(State::of_messages(3));
    let refusal = |what: &str| {
        format!(r#"{{"error":{{"message":"{what} must be a positive integer","type":"invalid_request_error"}}}}"#)
    };
    for limit in ["", "%20", "abc", "-1", "0", "1.5", "1e3", "%00", "0x10"] {
        assert_answer(house.history(&format!("?limit={limit}")), 400, &refusal("limit"));
    }
    for cursor in ["abc", "-1", "99999999999999999999", "0", "%zz", "seq:"] {
        assert_answer(house.history(&format!("?cursor={cursor}")), 400, &refusal("cursor"));
    }
    for query in ["limit=9007199254740991", "limit=99999999999999999999", "limit=1000", "cursor=", "cursor=%20"] {
        assert_eq!(ids(&house.page(&format!("?{query}"))), numbered(3), "{query}");
    }
}

#[test]
fn a_torn_last_line_is_left_out_and_nothing_else() {
    let third = message(3);
    let house = House::over(State::holding(&(message(1) + &message(2) + &third[..15])));
    assert_eq!(ids(&house.page("")), numbered(2));
    assert_eq!(ids(&house.page("?limit=5")), numbered(2));
    house.state.append(&third[15..]);
    assert_eq!(ids(&house.page("")), numbered(3));
}

#[test]
fn lines_that_are_no_records_are_left_out_and_nothing_else() {
    let deep = "[".repeat(200_000);
    let junk = ["not JSON", "", " \t ", "[1,2]", "null", "\"text\"", "\u{feff}{}", "{\"message\":", "\0", &deep];
    let transcript = message(1) + &junk.join("\n") + "\n" + &message(2) + &junk.join("\r\n") + "\n" + &message(3);
    let house = House::over(State::holding(&transcript));
    assert_eq!(ids(&house.page("")), numbered(3));
    assert_eq!(ids(&house.page("?limit=2")), ["m2", "m3"]);
    let (_, history) = house.stream("");
    assert_eq!(ids(&history), numbered(3));
}

#[test]
fn a_transcript_that_is_empty_or_not_there_is_an_empty_history() {
    let house = House::over(State::holding(""));
    for query in ["", "?limit=1", "?cursor=5", "?limit=1&cursor=5"] {
        assert_answer(house.history(query), 200, EMPTY);
    }
    fs::remove_file(house.state.transcript()).expect("a transcript");
    for query in ["", "?limit=1", "?cursor=5", "?limit=1&cursor=5"] {
        assert_answer(house.history(query), 200, EMPTY);
    }
}

#[test]
fn a_transcript_that_is_no_file_is_never_waited_for() {
    let house = House::over(State::holding(""));
    let transcript = house.state.transcript();
    fs::remove_file(&transcript).expect("a transcript");
    fs::create_dir(&transcript).expect("a folder");
    assert_answer(house.history(""), 200, EMPTY);
    assert_answer(house.history("?limit=1"), 200, EMPTY);
    assert!(ids(&house.stream("").1).is_empty());

    fs::remove_dir(&transcript).expect("a folder");
    let made = Command::new("mkfifo").arg(&transcript).status().expect("mkfifo");
    assert!(made.success());
    assert_unreadable(&house);

    fs::remove_file(&transcript).expect("a pipe");
    std::os::unix::fs::symlink(&transcript, &transcript).expect("a loop");
    assert_unreadable(&house);
    fs::remove_file(&transcript).expect("a loop");
    fs::write(&transcript, message(1)).expect("a transcript");
    assert_eq!(ids(&house.page("")), ["m1"]);
}

#[test]
fn a_store_that_is_no_file_is_never_waited_for() {
    let house = House::over(State::seeded());
    fs::remove_file(house.state.store()).expect("a store");
    let made = Command::new("mkfifo").arg(house.state.store()).status().expect("mkfifo");
    assert!(made.success());
    assert_unreadable(&house);
    fs::remove_file(house.state.store()).expect("a pipe");
    fs::create_dir(house.state.store()).expect("a folder");
    assert_unreadable(&house);
}

#[test]
fn a_replaced_store_counts_from_the_next_request_on() {
    let house = House::over(State::of_messages(1));
    let other = house.state.sessions().join("other.jsonl");
    fs::write(other, message(7)).expect("a transcript");
    assert_eq!(ids(&house.page("")), ["m1"]);

    house.state.write_store(&json!({ SESSION: { "sessionId": "other", "updatedAt": 2 } }));
    assert_eq!(ids(&house.page("")), ["m7"]);

    for broken in ["", "{", "[]", "null", "\u{feff}{}"] {
        house.state.replace(&house.state.store(), broken);
        assert_answer(house.history(""), 404, NOT_FOUND);
    }
    fs::remove_file(house.state.store()).expect("a store");
    assert_answer(house.history(""), 404, NOT_FOUND);
    house.state.write_store(&json!({ SESSION: { "sessionId": "test-session", "updatedAt": 3 } }));
    assert_eq!(ids(&house.page("")), ["m1"]);
}

#[test]
fn what_may_not_be_read_is_an_answer_and_no_end() {
    let state = State::of_messages(1);
    let scratch = tempfile::tempdir().expect("a folder");
    let start = under_permissions(scratch.path(), &state);
    let gateway = start.arg_state(&state).args(["--token", TOKEN]).run();
    let house = House { state, gateway };
    assert_eq!(ids(&house.page("")), ["m1"]);

    let (mut stream, _) = house.stream("");

    let shut = |path: &Path| set_mode(path, 0o000);
    shut(&house.state.transcript());
    assert_unreadable(&house);
    set_mode(&house.state.transcript(), 0o644);
    assert_eq!(ids(&house.page("?limit=1")), ["m1"]);
    // A stream that is open waits for better times, and misses nothing.
    house.state.append(&message(2));
    let event = stream.event();
    assert_eq!((event.name.as_str(), &event.data["messageId"]), ("message", &json!("m2")));

    shut(&house.state.sessions());
    assert_unreadable(&house);
    set_mode(&house.state.sessions(), 0o755);
    assert_eq!(ids(&house.page("")), numbered(2));
}

/// A stream is not begun with an empty history that is none.
fn stream_of_events() -> Request {
    history("").header("Accept", "text/event-stream").header("Authorization", &format!("Bearer {TOKEN}"))
}

/// A gateway whom permissions bind. They do not bind root: then it runs as somebody else, out of a
/// copy that this somebody can reach.
fn under_permissions(scratch: &Path, state: &State) -> Start {
    const NOBODY: u32 = 65534;
    let probe = scratch.join("probe");
    fs::write(&probe, "").expect("a file");
    set_mode(&probe, 0o000);
    if File::open(&probe).is_err() {
        return Start::new();
    }
    let copy = scratch.join("gateway");
    // By another process: a file that is open for writing in this one, or in what another test has just
    // started, cannot be run.
    assert!(Command::new("cp").arg(binary()).arg(&copy).status().expect("cp").success());
    for folder in [scratch, state.path(), &state.sessions()] {
        set_mode(folder, 0o755);
    }
    Start::of(&copy).with(|command| {
        command.uid(NOBODY).gid(NOBODY).current_dir(scratch);
    })
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

#[test]
fn what_is_no_http_is_refused_and_the_next_request_is_answered() {
    let house = House::over(State::of_messages(1));
    let large = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2_000_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(5000));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all",
        large.as_bytes(),
        many.as_bytes(),
    ] {
        let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may be refused before all of it is sent.
        let _ = socket.write_all(bytes);
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2") && !answer.starts_with(b"HTTP/1.1 5"), "{answer:?}");
    }
    assert_eq!(ids(&house.page("")), ["m1"]);
}
