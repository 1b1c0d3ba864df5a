//! `WWW-Authenticate`: how one who was refused gets in (RFC 9110 section 11.6.1).

use serde_json::json;

use crate::{
    client::{Request, Response},
    house::{House, TOKEN, history},
    state::{SESSION, State},
};

const ADMIN: &str = "secret-of-an-admin";

/// A gateway with the shared token and an admin.
fn house() -> House {
    let state = State::of_messages(1);
    let tokens = json!({ "token": [{ "id": "admin", "secret": ADMIN, "scopes": ["operator.admin"] }] });
    let tokens = state.file("tokens.json", &tokens.to_string());
    let tokens = tokens.to_str().expect("a name in UTF-8");
    House::with(state, ["--token", TOKEN, "--tokens", tokens])
}

/// A gateway behind a proxy on this machine, with more of `gateway.auth`.
fn behind_a_proxy(auth: &str) -> House {
    let state = State::of_messages(1);
    let proxy = "mode: 'trusted-proxy', trustedProxy: { userHeader: 'x-user', allowLoopback: true }";
    let config = format!("{{ gateway: {{ trustedProxies: ['127.0.0.1'], auth: {{ {proxy}, {auth} }} }} }}");
    state.file("openclaw.json", &config);
    House::with(state, [""; 0])
}

fn kill() -> Request {
    Request::new("POST", &format!("/sessions/{SESSION}/kill"))
}

fn refused(answer: &Response) -> (u16, Vec<&str>) {
    (answer.status, answer.lines("www-authenticate"))
}

#[test]
fn a_kill_and_a_renewal_challenge_as_a_history_does() {
    let house = house();
    let (stream, _) = house.stream("");
    let renewal = format!("/streams/{}/renew", stream.id());
    let with = |request: Request, token: &str| house.send(request.header("Authorization", &format!("Bearer {token}")));

    let lacks_a_scope = r#"Bearer error="insufficient_scope", scope="operator.admin""#;
    assert_eq!(refused(&with(kill(), TOKEN)), (403, vec![lacks_a_scope]));
    let unknown = r#"Bearer error="invalid_token""#;
    assert_eq!(refused(&with(history(""), "wrong")), (401, vec![unknown]));
    assert_eq!(refused(&with(kill(), "wrong")), (401, vec![unknown]));
    assert_eq!(refused(&with(Request::new("POST", &renewal), "wrong")), (401, vec![unknown]));
    assert_eq!(refused(&house.send(kill())), (401, vec!["Bearer"]));

    // No scope would help here.
    assert_eq!(refused(&with(Request::new("POST", &renewal), ADMIN)), (403, vec![]));
}

#[test]
fn behind_a_proxy_no_bearer_token_is_asked_for() {
    let house = behind_a_proxy("");
    for request in [history(""), kill(), history("").header("Authorization", &format!("Bearer {TOKEN}"))] {
        let answer = house.send(request);
        assert_eq!(refused(&answer), (401, vec!["TrustedProxy"]), "{answer:?}");
    }
    let lacks_a_scope = r#"TrustedProxy error="insufficient_scope", scope="operator.admin""#;
    let proxied = |request: Request| request.header("X-User", "alice").header("X-Forwarded-For", "203.0.113.9");
    let limited = proxied(kill()).header("X-OpenClaw-Scopes", "operator.read");
    assert_eq!(refused(&house.send(limited)), (403, vec![lacks_a_scope]));
    assert_eq!(house.send(proxied(history(""))).status, 200);
    // Nothing that a caller could send would help where it is the proxy that says too little.
    assert_eq!(refused(&house.send(history("").header("X-User", "alice"))), (403, vec![]));
}

#[test]
fn behind_a_proxy_a_password_for_local_callers_is_asked_for_beside() {
    let house = behind_a_proxy("password: 'pw'");
    assert_eq!(refused(&house.send(history(""))), (401, vec!["TrustedProxy", "Bearer"]));
    let wrong = house.send(history("").header("Authorization", "Bearer wrong"));
    let unknown = r#"error="invalid_token""#;
    assert_eq!(refused(&wrong), (401, vec![&*format!("TrustedProxy {unknown}"), &*format!("Bearer {unknown}")]));
    assert_eq!(house.send(history("").header("Authorization", "Bearer pw")).status, 200);
}

#[test]
fn where_nobody_is_asked_who_they_are_there_is_no_challenge() {
    let house = House::with(State::of_messages(1), ["--auth", "none"]);
    let limited = kill().header("X-OpenClaw-Scopes", "operator.read");
    assert_eq!(refused(&house.send(limited)), (403, vec![]));
}
