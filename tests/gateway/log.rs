//! No secret is in the log, however much is logged.

use serde_json::json;

use crate::{
    client::End,
    house::{AT_ONCE, House},
    http2,
    process::Start,
    state::{SESSION, State, message},
};

#[test]
fn no_secret_is_in_the_log() {
    let state = State::of_messages(1);
    let token_file = state.file("token", "s3cret-of-the-file\n");
    let clients = |secret: &str| json!({ "token": [{ "id": "ci", "secret": secret, "scopes": ["operator.admin"] }] });
    let tokens = state.file("tokens.json", &clients("s3cret-of-ci").to_string());
    let flags = ["--token-file".as_ref(), token_file.as_os_str(), "--tokens".as_ref(), tokens.as_os_str()];
    let gateway = Start::new().arg_state(&state).args(flags).env("RUST_LOG", "trace").run();
    let house = House { state, gateway };

    // Each secret is shown, refused, streamed with, rotated and broken.
    assert_eq!(house.history_by("s3cret-of-the-file", "").status, 200);
    assert_eq!(house.history_by("s3cret-that-is-wrong", "").status, 401);
    assert_eq!(http2::status(house.gateway.address, "s3cret-of-the-file"), 200);
    assert_eq!(http2::status(house.gateway.address, "s3cret-that-is-wrong"), 401);
    let (mut shared, _) = house.stream_by("s3cret-of-the-file", "");
    let (mut own, _) = house.stream_by("s3cret-of-ci", "");
    house.state.append(&message(2));
    assert_eq!(shared.event().data["messageId"], "m2");
    assert_eq!(house.kill("s3cret-of-the-file", SESSION).status, 403);
    house.state.file("token", "s3cret-of-tomorrow");
    assert_eq!(shared.end_within(AT_ONCE), Some(End::Clean));
    house.state.file("tokens.json", &clients("s3cret-of-ci-tomorrow").to_string());
    assert_eq!(own.end_within(AT_ONCE), Some(End::Clean));
    house.state.file("tokens.json", r#"{"token":[{"id":"ci","secret":"s3cret-in-a-broken-file","scopes":5}]}"#);
    house.gateway.has_logged("the settings stay as they were");

    let log = house.gateway.log();
    assert!(log.contains("TRACE"), "nothing was logged: {log}");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("s3cret")).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
