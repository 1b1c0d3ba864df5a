//! `--tokens`: each client has a token of its own, and what happens to one concerns no other.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    client::{End, PATIENCE},
    house::{AT_ONCE, House, TOKEN},
    state::{State, message},
    stream::Stream,
};

const READ: &str = "operator.read";

fn client(id: &str, scopes: &[&str]) -> Value {
    json!({ "id": id, "secret": format!("secret-of-{id}"), "scopes": scopes })
}

fn secret(id: &str) -> String {
    format!("secret-of-{id}")
}

/// A gateway that knows these clients, and the shared token.
fn house(clients: &[Value]) -> House {
    house_with(clients, &[])
}

fn house_with(clients: &[Value], flags: &[&str]) -> House {
    let state = State::of_messages(1);
    let file = state.file("tokens.json", &json!({ "token": clients }).to_string());
    let file = file.to_str().expect("a name in UTF-8");
    House::with(state, [&["--tokens", file, "--token", TOKEN], flags].concat())
}

fn rewrite(house: &House, clients: &[Value]) {
    house.state.replace(&house.state.path().join("tokens.json"), &json!({ "token": clients }).to_string());
}

/// The stream goes on.
fn goes_on(house: &House, stream: &mut Stream, number: usize) {
    house.state.append(&message(number));
    assert_eq!(stream.event().data["messageId"], format!("m{number}"));
}

#[test]
fn removing_one_of_two_tokens_cuts_its_stream_and_no_other() {
    let house = house(&[client("a", &[READ]), client("b", &[READ])]);
    let (mut a, _) = house.stream_by(&secret("a"), "");
    let (mut b, _) = house.stream_by(&secret("b"), "");
    let (mut shared, _) = house.stream("");

    rewrite(&house, &[client("b", &[READ])]);
    assert_eq!(a.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(&secret("a"), "").status, 401);
    house.state.append(&message(2));
    assert_eq!(b.event().data["messageId"], "m2");
    assert_eq!(shared.event().data["messageId"], "m2");
}

#[test]
fn narrowing_a_token_below_what_is_needed_cuts_its_stream_and_no_other() {
    let house = house(&[client("a", &[READ]), client("b", &[READ])]);
    let (mut a, _) = house.stream_by(&secret("a"), "");
    let (mut b, _) = house.stream_by(&secret("b"), "");

    rewrite(&house, &[client("a", &["operator.pairing"]), client("b", &[READ])]);
    assert_eq!(a.end_within(AT_ONCE), Some(End::Clean));
    let refused = house.history_by(&secret("a"), "");
    assert_eq!(refused.status, 403);
    let forbidden = r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.read","details":{"code":"MISSING_SCOPE","missingScope":"operator.read","requiredScopes":["operator.read"]}}}"#;
    assert_eq!(refused.text(), forbidden);
    goes_on(&house, &mut b, 2);
}

#[test]
fn narrowing_a_token_to_what_is_needed_lets_its_stream_go_on() {
    let house = house(&[client("a", &["operator.admin"])]);
    let (mut stream, _) = house.stream_by(&secret("a"), "");
    rewrite(&house, &[client("a", &[READ])]);
    house.gateway.has_logged("new settings");
    goes_on(&house, &mut stream, 2);
    assert_eq!(house.kill(&secret("a"), "agent:main:test-session").status, 403);
}

#[test]
fn a_stream_ends_when_its_token_expires_and_not_before() {
    let expires_at = SystemTime::now() + Duration::from_secs(3);
    let mut brief = client("brief", &[READ]);
    brief["expires_at"] = Timestamp::try_from(expires_at).expect("a time").to_string().into();
    let house = house(&[brief, client("b", &[READ])]);
    let (mut brief, _) = house.stream_by(&secret("brief"), "");
    let (mut other, _) = house.stream_by(&secret("b"), "");

    assert_eq!(brief.end_within(PATIENCE), Some(End::Clean));
    let late = SystemTime::now().duration_since(expires_at).expect("it does not end before its time");
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert_eq!(house.history_by(&secret("brief"), "").status, 401);
    goes_on(&house, &mut other, 2);
}

#[test]
fn a_nearer_expiry_is_kept_too() {
    let house = house(&[client("a", &[READ])]);
    let (mut stream, _) = house.stream_by(&secret("a"), "");
    let mut expired = client("a", &[READ]);
    expired["expires_at"] = "2020-01-01T00:00:00Z".into();
    rewrite(&house, &[expired]);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(&secret("a"), "").status, 401);
}

#[test]
fn a_file_that_is_broken_keeps_the_old_tokens() {
    let house = house(&[client("a", &[READ])]);
    let (mut stream, _) = house.stream_by(&secret("a"), "");
    house.state.file("tokens.json", r#"{"token":["#);
    house.gateway.has_logged("the settings stay as they were");
    goes_on(&house, &mut stream, 2);
    assert_eq!(house.history_by(&secret("a"), "").status, 200);
}

#[test]
fn a_token_may_be_given_by_its_digest_and_in_toml() {
    let digest: String = Sha256::digest("s3cret").iter().map(|byte| format!("{byte:02x}")).collect();
    let state = State::of_messages(1);
    let toml = format!("[[token]]\nid = 'ci'\nsha256 = '{digest}'\nscopes = ['operator.write']\n");
    let file = state.file("tokens.toml", &toml);
    // No shared token is needed beside them.
    let house = House::with(state, ["--tokens".as_ref(), file.as_os_str()]);
    assert_eq!(house.history_by("s3cret", "").status, 200);
    assert_eq!(house.history_by(&digest, "").status, 401);
    assert_eq!(house.history("").status, 401);
}

#[test]
fn strict_scopes_leave_the_shared_secret_nothing_to_read() {
    let house = house_with(&[client("a", &[READ])], &["--history-scopes", "strict"]);
    let refused = house.history("");
    assert_eq!(refused.status, 403);
    let forbidden = r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.read","details":{"code":"MISSING_SCOPE","missingScope":"operator.read","requiredScopes":["operator.read"]}}}"#;
    assert_eq!(refused.text(), forbidden);
    assert_eq!(house.history_by(&secret("a"), "").status, 200);
    let (mut stream, _) = house.stream_by(&secret("a"), "");
    goes_on(&house, &mut stream, 2);
}

#[test]
fn a_rotation_back_and_forth_is_heard_each_time() {
    let house = house(&[client("a", &[READ])]);
    for _ in 0..5 {
        let (mut stream, _) = house.stream_by(&secret("a"), "");
        rewrite(&house, &[]);
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
        rewrite(&house, &[client("a", &[READ])]);
        let start = std::time::Instant::now();
        while house.history_by(&secret("a"), "").status != 200 {
            assert!(start.elapsed() < AT_ONCE, "{}", house.gateway.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn toml(id: &str, more: &str) -> String {
    format!("[[token]]\nid = '{id}'\nsecret = 'secret-of-{id}'\nscopes = ['{READ}']\n{more}")
}

#[test]
fn a_file_that_is_cut_at_the_end_of_a_line_revives_no_token_and_takes_none_away_at_once() {
    let whole = toml("b", "") + &toml("a", "expires_at = 2020-01-01T00:00:00Z\n");
    let state = State::of_messages(1);
    let file = state.file("tokens.toml", &whole);
    let house = House::with(state, ["--tokens".as_ref(), file.as_os_str()]);
    let (mut b, _) = house.stream_by(&secret("b"), "");
    let is = |b: u16, a: u16| {
        assert_eq!([("b", b), ("a", a)].map(|(id, _)| house.history_by(&secret(id), "").status), [b, a]);
    };
    is(200, 401);
    for lines in 1..=8 {
        let cut: String = whole.split_inclusive('\n').take(lines).collect();
        house.state.file("tokens.toml", &cut);
        thread::sleep(Duration::from_millis(300));
        is(200, 401);
    }
    house.gateway.has_logged("looks cut short");
    house.state.file("tokens.toml", &whole);
    goes_on(&house, &mut b, 2);

    // Another file in its place is as it is meant.
    house.state.replace(&file, &(toml("b", "") + &toml("a", "")));
    let start = std::time::Instant::now();
    while house.history_by(&secret("a"), "").status != 200 {
        assert!(start.elapsed() < AT_ONCE, "{}", house.gateway.log());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_last_token_of_a_file_can_be_taken_away_in_place() {
    let state = State::of_messages(1);
    let file = state.file("tokens.toml", &(toml("a", "") + &toml("b", "")));
    let house = House::with(state, ["--tokens".as_ref(), file.as_os_str()]);
    let (mut b, _) = house.stream_by(&secret("b"), "");
    house.state.file("tokens.toml", &toml("a", ""));
    assert_eq!(b.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(&secret("b"), "").status, 401);
    assert_eq!(house.history_by(&secret("a"), "").status, 200);
}
