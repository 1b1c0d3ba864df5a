//! What comes out, to the byte, and with which headers.

use crate::{
    client::Request,
    house::{House, TOKEN, history},
    state::State,
};

const SEEDED_HISTORY: &str = r#"{"sessionKey":"agent:main:test-session","items":[{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}],"__openclaw":{"id":"msg-1","seq":1}}],"messages":[{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}],"__openclaw":{"id":"msg-1","seq":1}}],"hasMore":false}"#;

#[test]
fn the_seeded_session_comes_out_byte_for_byte() {
    let house = House::over(State::seeded());
    let response = house.history("");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    let length = SEEDED_HISTORY.len().to_string();
    assert_eq!(response.header("content-length"), Some(length.as_str()));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.text(), SEEDED_HISTORY);
}

#[test]
fn the_seeded_session_streams_byte_for_byte() {
    let house = House::over(State::seeded());
    let request = history("").header("Accept", "text/event-stream");
    let mut response = house.send(request.header("Authorization", &format!("Bearer {TOKEN}")));
    assert_eq!(response.status, 200);
    for (name, value) in
        [("content-type", "text/event-stream; charset=utf-8"), ("x-accel-buffering", "no"), ("vary", "Accept")]
    {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    assert_eq!(response.lines("cache-control"), ["no-transform", "no-cache"]);
    let expected = ["retry: 1000".to_owned(), format!("event: history\ndata: {SEEDED_HISTORY}")];
    assert_eq!(response.blocks(2, crate::client::PATIENCE), expected);
}

#[test]
fn every_answer_has_the_common_headers() {
    let house = House::over(State::seeded());
    let answers = [
        house.history(""),
        house.history_by("wrong", ""),
        house.kill(TOKEN, "no-such-session"),
        house.send(Request::new("GET", "/healthz")),
        house.send(Request::new("GET", "/nothing/here")),
        house.send(Request::new("GET", "/sessions/%zz/history")),
        house.send(Request::new("PUT", "/sessions/a/history")),
    ];
    let statuses = [200, 401, 403, 200, 404, 400, 405];
    for (answer, status) in answers.into_iter().zip(statuses) {
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("permissions-policy", "camera=(), microphone=(self), geolocation=()"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} of {status}");
        }
    }
}

#[test]
fn a_refusal_challenges_and_says_no_more_than_it_must() {
    let house = House::over(State::seeded());
    for request in [
        history(""),
        history("").header("Authorization", "Bearer wrong"),
        history("").header("Authorization", "Basic dXNlcjpwYXNz"),
        history(&format!("?token={TOKEN}")),
        history("").header("Authorization", "Bearer wrong").header("Accept", "text/event-stream"),
        history("").header("Authorization", &format!("Bearer {TOKEN}")).header("Authorization", "Bearer wrong"),
    ] {
        let response = house.send(request);
        assert_eq!(response.status, 401);
        assert!(response.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
        assert_eq!(response.text(), r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
    }
}

#[test]
fn whether_it_is_up_is_told_to_everyone() {
    let house = House::over(State::seeded());
    for (path, body) in [
        ("/health", r#"{"ok":true,"status":"live"}"#),
        ("/healthz", r#"{"ok":true,"status":"live"}"#),
        ("/ready", r#"{"ok":true,"status":"ready"}"#),
        ("/readyz", r#"{"ok":true,"status":"ready"}"#),
    ] {
        let response = house.send(Request::new("GET", path));
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.text(), body, "{path}");
    }
}

#[test]
fn whether_it_is_up_can_only_be_read() {
    let house = House::over(State::seeded());
    for path in ["/health", "/healthz", "/ready", "/readyz"] {
        for method in ["PUT", "DELETE", "POST", "PATCH", "OPTIONS"] {
            let response = house.send(Request::new(method, path));
            assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
        assert_eq!(house.send(Request::new("HEAD", path)).status, 200, "{path}");
    }
}

#[test]
fn a_refusal_is_not_kept_by_a_cache_either() {
    let house = House::over(State::seeded());
    let request = Request::new("GET", "/sessions/nothing/history").header("Authorization", &format!("Bearer {TOKEN}"));
    let missing = house.send(request);
    assert_eq!((missing.status, missing.header("cache-control")), (404, Some("no-store")));
}
