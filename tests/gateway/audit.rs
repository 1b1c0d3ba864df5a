//! `--audit-log`: who came, went, was refused and was taken what from, and who did it.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{End, PATIENCE, Request},
    house::{AT_ONCE, House, TOKEN},
    operators::{ADMIN, READER, WRITER, start},
    process::Start,
    state::{SESSION, State},
};

fn house() -> House {
    let state = State::of_messages(1);
    let gateway = start(&state, &["--audit-log", state.path().join("audit").to_str().expect("a name")]).run();
    House { state, gateway }
}

/// Its events, once there are so many of them.
fn events(house: &House, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(house.state.path().join("audit")).expect("a log");
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        if events.len() >= count {
            assert_eq!(events.len(), count, "{text}");
            return events;
        }
        assert!(began.elapsed() < AT_ONCE, "{text}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stream_that_comes_and_goes_is_two_events() {
    let house = house();
    let (stream, _) = house.stream_by(READER, "");
    let id = stream.id().to_owned();
    drop(stream);
    let events = events(&house, 2);
    let rita = json!({ "subject": "rita", "issuer": null, "credential": "reader", "method": "token" });
    for (event, name) in events.iter().zip(["opened", "ended"]) {
        let at: jiff::Timestamp = event["at"].as_str().expect("a time").parse().expect("RFC 3339");
        assert!(at <= jiff::Timestamp::now());
        assert_eq!((&event["event"], &event["stream"]), (&json!(name), &json!(id)));
        assert_eq!((&event["label"], &event["caller"]), (&json!(SESSION), &rita));
    }
    assert_eq!(events[0]["client"], "127.0.0.1");
    assert_eq!((&events[1]["reason"], &events[1]["by"]), (&json!("disconnected"), &Value::Null));
    let mode = fs::metadata(house.state.path().join("audit")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn who_ended_a_stream_is_known() {
    let house = house();
    let (mut ended, _) = house.stream_by(READER, "");
    let (mut killed, _) = house.stream_by(READER, "");
    let (mut revoked, _) = house.stream_by(WRITER, "");
    assert_eq!(house.ask("DELETE", &format!("/streams/{}", ended.id()), ADMIN).status, 204);
    assert_eq!(ended.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.revoke(&json!({ "credential": "writer" })).status, 200);
    assert_eq!(revoked.end_within(AT_ONCE), Some(End::Clean));
    events(&house, 6);
    assert_eq!(house.kill(ADMIN, SESSION).status, 200);
    assert_eq!(killed.end_within(AT_ONCE), Some(End::Clean));
    let events = events(&house, 7);
    let of = |id: &str| {
        events.iter().find(|event| event["event"] == "ended" && event["stream"] == id).expect("an event").clone()
    };
    for (id, reason, by) in [(ended.id(), "closed", json!("olga")), (killed.id(), "closed", json!("olga"))] {
        assert_eq!((&of(id)["reason"], &of(id)["by"]["subject"]), (&json!(reason), &by));
    }
    assert_eq!((&of(revoked.id())["reason"], &of(revoked.id())["by"]), (&json!("revoked"), &Value::Null));
    let order = events.iter().find(|event| event["event"] == "revoked").expect("an event");
    assert_eq!(
        (&order["revocation"], &order["by"]["credential"]),
        (&json!({ "credential": "writer" }), &json!("admin"))
    );
    assert_eq!((&order["is_kept"], &order["client"]), (&json!(true), &json!("127.0.0.1")));
    assert_eq!(order["is_shared"], json!(true), "there is nobody to tell");
}

#[test]
fn of_a_token_that_is_revoked_no_digest_is_in_it() {
    let house = house();
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert_eq!(house.revoke(&json!({ "sha256": digest, "until": "2999-01-01T00:00:00Z" })).status, 200);
    let events = events(&house, 1);
    assert_eq!(events[0]["revocation"], json!({ "sha256": "of a token", "until": "2999-01-01T00:00:00Z" }));
}

#[test]
fn each_refusal_is_one_event_without_a_secret() {
    let house = house();
    let history = format!("/sessions/{SESSION}/history");
    assert_eq!(house.history_by("s3cret-guess", "?token=s3cret-query").status, 401);
    assert_eq!(house.send(Request::new("GET", &history)).status, 401);
    assert_eq!(house.kill(READER, SESSION).status, 403);
    assert_eq!(house.ask("GET", &format!("/__openclaw__/cap/s3cret-capability{history}"), "no").status, 401);
    // No refusals: a session that is not there, and what has no route.
    assert_eq!(house.ask("GET", "/sessions/gone/history", READER).status, 404);
    assert_eq!(house.ask("GET", "/nothing", "no").status, 404);
    let events = events(&house, 4);
    let told = events.iter().map(|event| {
        assert_eq!((&event["event"], &event["client"]), (&json!("refused"), &json!("127.0.0.1")));
        (
            event["status"].as_u64(),
            event["reason"].as_str(),
            event["request"].as_str(),
            event["caller"]["subject"].as_str(),
        )
    });
    let asked = format!("GET {history}");
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (Some(401), Some("rejected"), Some(asked.as_str()), None),
            (Some(401), Some("missing"), Some(&asked), None),
            (Some(403), Some("insufficient_scope"), Some(&format!("POST /sessions/{SESSION}/kill")), Some("rita")),
            (Some(401), Some("rejected"), Some(&asked), None),
        ]
    );
    let text = fs::read_to_string(house.state.path().join("audit")).expect("a log");
    assert!(!text.contains("s3cret") && !text.contains("secret-of") && !text.contains(TOKEN), "{text}");
}

#[test]
fn a_restart_goes_on_at_the_end_of_the_log_and_an_end_is_in_it() {
    let mut house = house();
    let (mut stream, _) = house.stream_by(READER, "");
    house.gateway.signal("TERM");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert!(house.gateway.ended_within(AT_ONCE).is_some());
    assert_eq!(events(&house, 2)[1]["reason"], "shutting_down");
    let audit = house.state.path().join("audit");
    house.gateway = start(&house.state, &["--audit-log", audit.to_str().expect("a name")]).run();
    drop(house.stream_by(READER, ""));
    events(&house, 4);
}

#[test]
fn a_disk_that_is_full_fails_nothing() {
    let state = State::of_messages(1);
    let gateway = start(&state, &["--audit-log", "/dev/full"]).run();
    let house = House { state, gateway };
    let (mut stream, _) = house.stream_by(READER, "");
    assert_eq!(house.history_by("wrong", "").status, 401);
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    house.gateway.has_logged("the audit log cannot be written");
}

#[test]
fn a_disk_that_stays_full_is_told_of_once_and_not_taken_to_have_room() {
    for name in ["/dev/full", "audit"] {
        let state = State::of_messages(1);
        let path = state.path().join(name);
        // No file can be longer than 32 KiB, which is in the middle of a line.
        let gateway = Start::under(r#"trap '' XFSZ; ulimit -f 64; exec "$0" "$@""#)
            .arg_state(&state)
            .args(["--token", TOKEN, "--audit-log", path.to_str().expect("a name")])
            .run();
        let mut house = House { state, gateway };
        for n in 0..120 {
            assert_eq!(house.ask("GET", &format!("/sessions/{}{n}/history", "x".repeat(200)), "wrong").status, 401);
        }
        house.gateway.signal("TERM");
        assert!(house.gateway.ended_within(PATIENCE).is_some());
        let log = house.gateway.log();
        let told = ["the audit log cannot be written", "the audit log can be written again"];
        assert_eq!(told.map(|text| log.matches(text).count()), [1, 0], "{name}: {log}");
    }
}

fn pipe(at: &Path) {
    assert!(Command::new("mkfifo").arg(at).status().expect("a tool").success());
}

#[test]
fn a_reader_that_stands_still_holds_nothing_up_and_what_is_lost_is_counted() {
    let state = State::of_messages(1);
    let path = state.path().join("audit");
    pipe(&path);
    let flags = ["--audit-log", path.to_str().expect("a name")];
    // Nobody reads it: that is an error, and not waited for.
    let output = start(&state, &flags).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--audit-log"));

    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&path).expect("a pipe");
    let gateway = start(&state, &flags).run();
    let house = House { state, gateway };
    // More than a pipe holds.
    for n in 0..400 {
        assert_eq!(house.ask("GET", &format!("/sessions/{}{n}/history", "x".repeat(200)), "wrong").status, 401);
    }
    let (mut stream, _) = house.stream_by(READER, "");
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    // Those that were queued come when it reads again.
    let mut seen = String::new();
    let mut piece = [0; 65536];
    while seen.matches("\"ended\"").count() == 0 {
        let length = reader.read(&mut piece).expect("it is written");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    assert_eq!(seen.matches("\"refused\"").count(), 400);
}
