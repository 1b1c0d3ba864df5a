//! `POST /sessions/{key}/kill`: ends the streams of one session.

use serde_json::json;

use crate::{
    client::{End, Request},
    house::{AT_ONCE, House, TOKEN},
    state::{SESSION, State, message},
};

const ADMIN: &str = "secret-of-an-admin";
const WRITER: &str = "secret-of-a-writer";

const KILLED: &str = r#"{"ok":true,"killed":true}"#;
const NOTHING_TO_KILL: &str = r#"{"ok":true,"killed":false}"#;

fn house() -> House {
    let state = State::of_messages(1);
    let tokens = json!({ "token": [
        { "id": "admin", "secret": ADMIN, "scopes": ["operator.admin"] },
        { "id": "writer", "secret": WRITER, "scopes": ["operator.write"] },
    ] });
    let tokens = state.file("tokens.json", &tokens.to_string());
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let tokens = tokens.to_str().expect("a name in UTF-8");
    House::with(state, ["--token", TOKEN, "--tokens", tokens])
}

#[test]
fn a_shared_secret_may_not_kill() {
    let house = house();
    let (mut stream, _) = house.stream("");
    for request in [house.kill(TOKEN, SESSION), house.kill(WRITER, SESSION)] {
        assert_eq!(request.status, 403);
        let forbidden = r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.admin","details":{"code":"MISSING_SCOPE","missingScope":"operator.admin","requiredScopes":["operator.admin"]}}}"#;
        assert_eq!(request.text(), forbidden);
    }
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn a_declared_scope_gives_a_shared_secret_nothing() {
    let house = house();
    let request = Request::new("POST", &format!("/sessions/{SESSION}/kill"))
        .header("Authorization", &format!("Bearer {TOKEN}"))
        .header("X-OpenClaw-Scopes", "operator.admin");
    assert_eq!(house.send(request).status, 403);
}

#[test]
fn an_admin_kills_the_streams_of_a_session() {
    let house = house();
    let mut streams = [house.stream("").0, house.stream_by(ADMIN, "").0, house.stream("?limit=1").0];
    let killed = house.kill(ADMIN, SESSION);
    assert_eq!(killed.status, 200);
    assert_eq!(killed.text(), KILLED);
    for stream in &mut streams {
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    }
}

#[test]
fn without_a_stream_there_is_nothing_to_kill() {
    let house = house();
    assert_eq!(house.kill(ADMIN, SESSION).text(), NOTHING_TO_KILL);
    let (mut stream, _) = house.stream("");
    assert_eq!(house.kill(ADMIN, SESSION).text(), KILLED);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.kill(ADMIN, SESSION).text(), NOTHING_TO_KILL);
}

#[test]
fn a_stream_that_its_client_left_is_none() {
    let house = house();
    drop(house.stream(""));
    let start = std::time::Instant::now();
    // The server learns of it when the connection closes, which takes a moment.
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        if house.kill(ADMIN, SESSION).text() == NOTHING_TO_KILL {
            return;
        }
        assert!(start.elapsed() < AT_ONCE);
    }
}

#[test]
fn a_killed_session_can_be_followed_again() {
    let house = house();
    let (mut first, _) = house.stream("");
    assert_eq!(house.kill(ADMIN, SESSION).text(), KILLED);
    assert_eq!(first.end_within(AT_ONCE), Some(End::Clean));
    let (mut second, _) = house.stream("");
    house.state.append(&message(2));
    assert_eq!(second.event().data["messageId"], "m2");
}

#[test]
fn the_streams_of_other_sessions_go_on() {
    let house = house();
    house.state.write_store(&json!({
        SESSION: { "sessionId": "test-session", "updatedAt": 1 },
        "agent:main:other": { "sessionId": "other", "updatedAt": 1 },
    }));
    let (mut stream, _) = house.stream("");
    assert_eq!(house.kill(ADMIN, "agent:main:other").text(), NOTHING_TO_KILL);
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn a_session_that_is_not_there_is_not_found() {
    let house = house();
    let missing = house.kill(ADMIN, "agent:main:gone");
    assert_eq!(missing.status, 404);
    let body = r#"{"ok":false,"error":{"type":"not_found","message":"Session not found: agent:main:gone"}}"#;
    assert_eq!(missing.text(), body);
}

#[test]
fn a_kill_needs_a_key_a_post_and_a_credential() {
    let house = house();
    assert_eq!(house.kill(ADMIN, "%20").status, 400);
    assert_eq!(house.kill("wrong", SESSION).status, 401);
    let get = house.send(Request::new("GET", &format!("/sessions/{SESSION}/kill")));
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[test]
fn a_session_is_killed_by_whichever_of_its_keys() {
    let house = house();
    let (mut stream, _) = house.stream("");
    assert_eq!(house.kill(ADMIN, "test-SESSION").text(), KILLED);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn a_session_whose_row_was_respelled_or_removed_is_killed() {
    let house = house();
    for row in [
        json!({ "Agent:Main:TEST-session": { "sessionId": "test-session", "updatedAt": 1 } }),
        json!({ SESSION: { "updatedAt": 1 } }),
        json!({}),
    ] {
        house.state.write_store(&json!({ SESSION: { "sessionId": "test-session", "updatedAt": 1 } }));
        let (mut stream, _) = house.stream("");
        house.state.write_store(&row);
        assert_eq!(house.kill(ADMIN, SESSION).text(), KILLED, "{row}");
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean), "{row}");
    }
    assert_eq!(house.kill(ADMIN, SESSION).status, 404);
}

#[test]
fn to_kill_takes_an_admin_from_wherever() {
    let house = house();
    let kill = |token: &str| {
        let request = Request::new("POST", &format!("/sessions/{SESSION}/kill"));
        let request =
            request.header("Authorization", &format!("Bearer {token}")).header("X-Forwarded-For", "203.0.113.9");
        house.send(request.header("X-OpenClaw-Requester-Session-Key", SESSION))
    };
    let (mut stream, _) = house.stream("");
    for token in [WRITER, TOKEN] {
        let refused = kill(token);
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("missing scope: operator.admin"));
    }
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    assert_eq!(kill(ADMIN).text(), KILLED);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn a_session_whose_transcript_can_be_nowhere_is_followed_and_killed() {
    let house = house();
    house.state.write_store(&json!({ SESSION: { "sessionId": "a:b", "sessionFile": "../x", "updatedAt": 1 } }));
    let (mut stream, history) = house.stream("");
    assert_eq!(history["messages"], json!([]));
    assert_eq!(house.kill(ADMIN, SESSION).text(), KILLED);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}
