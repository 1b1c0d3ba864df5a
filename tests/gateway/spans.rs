//! The span of a request: what it says, which lines have it, and how the log shows it.

use std::{fs, os::unix::fs::symlink, process::Output};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    client::{End, Request},
    house::{AT_ONCE, House, TOKEN, history},
    http2,
    operators::{self, ADMIN, READER},
    process::Start,
    state::{SESSION, State, message},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// A gateway that logs all of its own in JSON.
fn house() -> House {
    let state = State::of_messages(1);
    let log = "info,gateway=debug,tower_reauth=debug";
    let gateway = operators::start(&state, &["--log-format", "json"]).env("RUST_LOG", log).run();
    House { state, gateway }
}

impl House {
    /// The lines of the log, each of them JSON of the one shape.
    fn lines(&self) -> Vec<Value> {
        lines(&self.gateway.log())
    }

    /// Waits until there is a line with this message, and gives it.
    fn line_of(&self, message: &str) -> Value {
        self.gateway.has_logged(message);
        let has_it = |line: &Value| line["fields"]["message"].as_str().is_some_and(|text| text.contains(message));
        self.lines().into_iter().find(has_it).expect("a line")
    }
}

fn lines(log: &str) -> Vec<Value> {
    // The last one may be on its way.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let time = line["timestamp"].as_str().expect("a time");
            assert!(time.parse::<Timestamp>().is_ok() && time.ends_with('Z'), "{line}");
            let is_level = |level| ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level);
            assert!(line["level"].as_str().is_some_and(is_level), "{line}");
            assert!(line["target"].is_string() && line["fields"]["message"].is_string(), "{line}");
            line
        })
        .collect()
}

/// A link to itself, which nobody can read.
fn break_transcript(state: &State) {
    fs::remove_file(state.transcript()).expect("a file");
    symlink(state.transcript(), state.transcript()).expect("a link");
}

fn is_id(value: &Value, digits: usize) -> bool {
    let is_hex = |text: &str| text.len() == digits && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    value.as_str().is_some_and(|text| is_hex(text) && text.bytes().any(|byte| byte != b'0'))
}

#[test]
fn a_refusal_is_logged_in_the_span_of_its_request_and_in_the_trace_of_its_caller() {
    let house = house();
    house.send(history("").header("traceparent", &traceparent()).header("Authorization", "Bearer wrong"));
    let span = &house.line_of("request refused")["span"];
    assert!(is_id(&span["span_id"], 16) && span["span_id"] != PARENT, "{span}");
    for (name, value) in [
        ("name", json!("request")),
        ("trace_id", json!(TRACE)),
        ("parent", json!(PARENT)),
        ("http.request.method", json!("GET")),
        ("http.route", json!("/sessions/{key}/history")),
        ("url.path", json!(format!("/sessions/{SESSION}/history"))),
        ("network.protocol.version", json!("1.1")),
        ("client.address", json!("127.0.0.1")),
        ("enduser.id", json!(null)),
    ] {
        assert_eq!(span[name], value, "{name}: {span}");
    }
}

#[test]
fn a_trace_that_is_not_named_well_is_one_of_the_requests_own() {
    let house = house();
    for text in ["", "00", &traceparent().to_uppercase(), &traceparent().replace(TRACE, &"0".repeat(32))] {
        house.send(history("").header("traceparent", text).header("Authorization", "Bearer wrong"));
    }
    let twice = history("").header("traceparent", &traceparent()).header("traceparent", &traceparent());
    house.send(twice);
    house.send(history(""));
    let refused = || house.lines().into_iter().filter(|line| line["target"] == "tower_reauth::observe");
    while refused().count() < 6 {
        std::thread::yield_now();
    }
    let mut traces = std::collections::BTreeSet::new();
    for line in refused() {
        let span = &line["span"];
        assert!(is_id(&span["trace_id"], 32) && span["trace_id"] != TRACE && span["parent"].is_null(), "{span}");
        traces.insert(span["trace_id"].to_string());
    }
    assert_eq!(traces.len(), 6);
}

#[test]
fn the_end_of_a_stream_is_logged_in_the_span_of_its_request() {
    let house = house();
    let request = history("?limit=5").header("Accept", "text/event-stream").header("traceparent", &traceparent());
    let request = request.header("Authorization", &format!("Bearer {READER}"));
    let mut stream = house.send(request);
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    let line = house.line_of("stream ended");
    assert_eq!(line["fields"]["reason"], "revoked");
    let span = &line["span"];
    for (name, value) in [
        ("trace_id", json!(TRACE)),
        ("http.route", json!("/sessions/{key}/history")),
        ("http.response.status_code", json!(200)),
        ("enduser.id", json!("rita")),
        ("credential_id", json!("reader")),
    ] {
        assert_eq!(span[name], value, "{name}: {span}");
    }

    // So is that of one whose client goes.
    let mut other = house.stream_by(ADMIN, "").0;
    house.state.append(&message(2));
    assert_eq!(other.event().data["messageId"], "m2");
    drop(other);
    let line = house.line_of("stream ended: the client has gone");
    assert_eq!(line["span"]["enduser.id"], "olga", "{line}");
}

#[test]
fn what_a_thread_says_that_reads_for_a_request_is_in_its_span() {
    let house = house();
    break_transcript(&house.state);
    let request = history("").header("traceparent", &traceparent());
    assert_eq!(house.send(request.header("Authorization", &format!("Bearer {TOKEN}"))).status, 503);
    let line = house.line_of("a session cannot be read");
    assert_eq!((&line["level"], &line["span"]["trace_id"]), (&json!("ERROR"), &json!(TRACE)), "{line}");
}

#[test]
fn a_client_behind_a_proxy_is_named_where_the_proxy_is_trusted() {
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let gateway =
        operators::start(&state, &["--log-format", "json"]).env("RUST_LOG", "tower_reauth=debug,gateway=debug").run();
    let house = House { state, gateway };
    assert_eq!(house.send(history("").header("X-Forwarded-For", "203.0.113.9")).status, 401);
    assert_eq!(house.line_of("request refused")["span"]["client.address"], "203.0.113.9");
}

#[test]
fn http_2_is_named_as_what_it_is() {
    let house = house();
    assert_eq!(http2::status(house.gateway.address, "wrong"), 401);
    assert_eq!(house.line_of("request refused")["span"]["network.protocol.version"], "2");
}

#[test]
fn no_secret_is_in_the_log_or_the_metrics_however_much_is_logged() {
    const CANARY: &str = "c4nary";
    for format in ["text", "json"] {
        let state = State::of_messages(1);
        let gateway = operators::start(&state, &["--log-format", format]).env("RUST_LOG", "trace").run();
        let house = House { state, gateway };
        let bearer = format!("Bearer {CANARY}");
        for target in [
            format!("/sessions/{SESSION}/history"),
            format!("/__openclaw__/cap/{CANARY}/sessions/{SESSION}/history"),
            format!("/__openclaw__/cap/{CANARY}/healthz"),
            format!("/__openclaw__/cap/{CANARY}/../../../metrics"),
        ] {
            house.send(Request::new("GET", &target).header("Authorization", &bearer));
            house.send(Request::new("GET", &target));
        }
        assert_eq!(http2::status(house.gateway.address, CANARY), 401);
        for token in [ADMIN, READER] {
            house.stream_by(token, "").0.id();
        }
        house.gateway.has_logged("http.route");
        let log = house.gateway.log();
        assert!(log.contains("TRACE"), "{log}");
        let metrics = house.send(Request::new("GET", "/metrics")).text();
        for secret in [CANARY, ADMIN, READER, TOKEN] {
            let lines: Vec<_> = log.lines().filter(|line| line.contains(secret)).collect();
            assert!(lines.is_empty(), "{format}: {}", lines.join("\n"));
            assert!(!metrics.contains(secret), "{metrics}");
        }
    }
}

#[test]
fn no_value_begins_a_line_of_its_own() {
    const FORGED: &str = "2030-01-01T00:00:00Z ERROR forged";
    for format in ["text", "json"] {
        let state = State::of_messages(1);
        let folder = state.path().join(format!("a\n{FORGED}\r\n{{\"level\":\"ERROR\"}}\n"));
        fs::create_dir(&folder).expect("a folder");
        let start = Start::new().args(["--token", TOKEN, "--log-format", format]).env("HOME", state.path());
        let gateway = start.args(["--state-dir".as_ref(), folder.as_os_str()]).run();
        gateway.has_logged("listening");
        let log = gateway.log();
        assert!(log.contains("forged"), "{log}");
        assert!(log.lines().all(|line| !line.starts_with(FORGED) && !line.starts_with("{\"level\"")), "{log}");
        assert_eq!(log.matches('\n').count(), 2, "{log}");
        if format == "json" {
            assert_eq!(lines(&log)[0]["fields"]["state_dir"], folder.display().to_string());
        }
    }
}

#[test]
fn a_line_of_text_has_no_span_unless_it_is_asked_for_and_a_line_of_json_has() {
    for (format, filter, expected) in [
        ("text", None, false),
        ("json", None, true),
        ("json", Some("info"), false),
        ("text", Some("info,gateway::request=debug"), true),
    ] {
        let state = State::of_messages(1);
        break_transcript(&state);
        let start = operators::start(&state, &["--log-format", format]);
        let gateway = filter.into_iter().fold(start, |start, filter| start.env("RUST_LOG", filter)).run();
        let house = House { state, gateway };
        assert_eq!(house.history("").status, 503);
        house.gateway.has_logged("a session cannot be read");
        let log = house.gateway.log();
        assert_eq!(log.contains("trace_id"), expected, "{format} {filter:?}: {log}");
    }
}

#[test]
fn the_format_is_said_by_a_flag_a_variable_or_a_key() {
    let failed = |start: Start| -> Output {
        let output = start.output();
        assert!(!output.status.success());
        output
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "log-format = 'json'\n").expect("a file");
    // Without a secret it does not start, and says so in the format that it has by then.
    let start = || Start::new().env("HOME", folder.path());
    for start in [
        start().args(["--log-format", "json"]),
        start().env("OPENCLAW_GATEWAY_LOG_FORMAT", "json"),
        start().args(["--config".as_ref(), file.as_os_str()]),
        start().args(["--log-format", "json"]).env("RUST_LOG", "off"),
        start().args(["--log-format", "json"]).env("OPENCLAW_GATEWAY_PORT", "hunter2"),
    ] {
        let log = String::from_utf8(failed(start).stderr).expect("UTF-8");
        let lines = lines(&log);
        let last = lines.last().expect("a line");
        assert_eq!((&last["level"], &last["target"]), (&json!("ERROR"), &json!("gateway")), "{log}");
        assert!(!log.contains("hunter"), "{log}");
    }
    let text = failed(start().args(["--log-format", "text"]).args(["--config".as_ref(), file.as_os_str()]));
    assert!(String::from_utf8_lossy(&text.stderr).starts_with("gateway: "), "{text:?}");
    let unknown = failed(start().args(["--log-format", "xml"]));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("text, json"), "{unknown:?}");
    let unknown = failed(start().env("OPENCLAW_GATEWAY_LOG_FORMAT", "hunter2"));
    let error = String::from_utf8_lossy(&unknown.stderr);
    assert!(error.contains("OPENCLAW_GATEWAY_LOG_FORMAT must be one of text, json") && !error.contains("hunter"));
}
