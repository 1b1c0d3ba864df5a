//! What the log says, and that no secret is in it, however much is logged.

use serde_json::json;

use crate::{
    client::End,
    house::{AT_ONCE, House, TOKEN},
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

#[test]
fn the_start_line_says_what_is_served_to_whom_and_what_is_watched() {
    let state = State::seeded();
    let token_file = state.file("token", "s3cret");
    let tokens = state.file("tokens.json", r#"{"token":[]}"#);
    let flags = ["--token-file".as_ref(), token_file.as_os_str(), "--tokens".as_ref(), tokens.as_os_str()];
    let gateway = Start::new().arg_state(&state).args(flags).args(["--history-scopes", "strict"]).run();
    gateway.has_logged("listening address=");
    let log = gateway.log();
    let start = log.lines().find(|line| line.contains("starting")).unwrap_or_else(|| panic!("no start line: {log}"));
    let path = |name: &str| state.path().join(name).display().to_string();
    for part in [
        &format!("state_dir={}", state.path().display()),
        "auth=token",
        "history_scopes=strict",
        &path("openclaw.json"),
        &path("token"),
        &path("tokens.json"),
    ] {
        assert!(start.contains(part), "{part}: {start}");
    }
    assert!(log.contains(&format!("listening address={}", gateway.address)), "{log}");
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let house = House::over(State::seeded());
    house.gateway.has_logged("listening");
    assert!(!house.gateway.log().contains('\x1b'), "{}", house.gateway.log());
}

#[test]
fn new_settings_are_named_and_not_told_by_the_module_that_has_them() {
    let state = State::seeded();
    let token_file = state.file("token", "s3cret-of-today");
    let house = House::with(state, ["--token-file".as_ref(), token_file.as_os_str()]);
    house.state.file(
        "openclaw.json",
        "{ gateway: { trustedProxies: ['10.9.8.7'], auth: { rateLimit: { maxAttempts: 3 } } } }",
    );
    house.gateway.has_logged("changed=\"gateway.auth.rateLimit, gateway.trustedProxies\"");
    house.state.file("token", "s3cret-of-tomorrow");
    house.gateway.has_logged("changed=\"gateway.auth\"");
    let log = house.gateway.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("new settings")).collect();
    assert!(lines.iter().all(|line| line.contains(" gateway::config::live: ")), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("10.9.8.7"), "{log}");
    assert!(!log.contains("gateway::gateway"), "{log}");
}

#[test]
fn a_module_is_logged_by_the_name_that_its_lines_have() {
    let state = State::seeded();
    let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).env("RUST_LOG", "gateway::config=info").run();
    state.file("openclaw.json", "{ gateway: { allowRealIpFallback: true } }");
    gateway.has_logged("new settings");
    assert!(!gateway.log().contains("listening"), "{}", gateway.log());
}

#[test]
fn a_log_in_the_state_folder_does_not_feed_itself() {
    let state = State::of_messages(1);
    let log = std::fs::File::create(state.path().join("log")).expect("a log");
    let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).env("RUST_LOG", "trace").run_with_log(log);
    let house = House { state, gateway };
    let (mut stream, _) = house.stream("");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    let size = || std::fs::metadata(house.state.path().join("log")).expect("a log").len();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = size();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(before > 0 && size() - before < 100_000, "{} bytes in three seconds", size() - before);
}

#[test]
fn a_client_that_is_locked_out_is_in_the_log_once_with_its_address() {
    let state = State::seeded();
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let house = House::with(state, ["--token", TOKEN]);
    let ask = |token: &str| {
        let request = crate::house::history("").header("X-Forwarded-For", "203.0.113.9");
        house.send(request.header("Authorization", &format!("Bearer {token}"))).status
    };
    for n in 0..10 {
        assert_eq!(ask(&format!("s3cret-{n}")), 401);
    }
    for _ in 0..3 {
        assert_eq!(ask(TOKEN), 429);
    }
    house.gateway.has_logged("203.0.113.9");
    let log = house.gateway.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("203.0.113.9")).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains("locked out"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}
