//! SIGHUP: settings are read again, the audit log is begun anew, and what came of it is said.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::End,
    house::{AT_ONCE, House, history},
    operators::{READER, start},
    process::Start,
    state::{State, message},
};

fn with_token_file() -> House {
    let state = State::of_messages(1);
    let file = state.file("token", "old");
    House::with(state, ["--token-file".as_ref(), file.as_os_str()])
}

/// Waits until it has said this so often.
fn has_logged(house: &House, text: &str, times: usize) {
    let start = Instant::now();
    while house.gateway.log().matches(text).count() < times {
        assert!(start.elapsed() < AT_ONCE, "{text} {times}: {}", house.gateway.log());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reload_says_what_it_did_and_drops_no_stream() {
    let house = with_token_file();
    let (mut stream, _) = house.stream_by("old", "");
    house.gateway.signal("HUP");
    house.gateway.has_logged("reloaded changed=\"\" audit_log=\"none\"");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");

    let settings = "{ session: { scope: 'global' }, gateway: { http: { securityHeaders: { strictTransportSecurity: 'max-age=1' } } } }";
    house.state.file("openclaw.json", settings);
    house.gateway.signal("HUP");
    has_logged(&house, "reloaded", 2);
    let answer = house.history_by("old", "");
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, Some("max-age=1")));

    house.state.file("token", "new");
    house.gateway.signal("HUP");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by("new", "").status, 200);
}

#[test]
fn a_reload_of_broken_files_says_each_and_changes_nothing() {
    let house = with_token_file();
    let (mut stream, _) = house.stream_by("old", "");
    house.state.file("token", "\n");
    house.state.file("openclaw.json", "{ gateway: ");
    thread::sleep(Duration::from_millis(300));
    for times in 1..=2 {
        house.gateway.signal("HUP");
        has_logged(&house, "reloaded in part", times);
    }
    let log = house.gateway.log();
    let said = log.lines().rfind(|line| line.contains("reloaded in part")).expect("a line");
    assert!(said.contains("token: the whole of it: is empty") && said.contains("openclaw.json"), "{said}");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    assert_eq!(house.history_by("old", "").status, 200);
    house.state.file("token", "old");
    house.state.file("openclaw.json", "{}");
    house.gateway.signal("HUP");
    house.gateway.has_logged("reloaded changed=");
}

fn events(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let named =
        |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["event"].as_str().map(str::to_owned);
    text.lines().filter_map(named).collect()
}

fn come_to(file: &Path, expected: &[&str]) {
    let start = Instant::now();
    while events(file) != expected {
        assert!(start.elapsed() < AT_ONCE, "{:?}", events(file));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_audit_log_goes_on_in_a_new_file_when_the_old_one_was_moved_away() {
    let state = State::of_messages(1);
    let (log, old) = (state.path().join("audit"), state.path().join("audit.1"));
    let gateway = start(&state, &["--audit-log", log.to_str().expect("a name in UTF-8")]).run();
    let house = House { state, gateway };
    let (stream, _) = house.stream_by(READER, "");
    come_to(&log, &["opened"]);
    fs::rename(&log, &old).expect("a log");
    // Until it is told it goes on in the file that it has.
    drop(stream);
    come_to(&old, &["opened", "ended"]);
    house.gateway.signal("HUP");
    house.gateway.has_logged("audit_log=\"begun anew\"");
    // The old one is let go at once: nothing else of this process has it.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", house.gateway.process())).expect("a process");
    let held = descriptors.filter_map(|one| fs::read_link(one.ok()?.path()).ok()).filter(|file| *file == old).count();
    assert_eq!(held, 0);
    drop(house.stream_by(READER, ""));
    come_to(&log, &["opened", "ended"]);
    come_to(&old, &["opened", "ended"]);

    // One that cannot be made leaves it where it is.
    fs::remove_file(&log).expect("a log");
    fs::create_dir(&log).expect("a folder");
    house.gateway.signal("HUP");
    house.gateway.has_logged("--audit-log: it cannot be opened anew");
    assert_eq!(history("").send(house.gateway.address).expect("an answer").status, 401);
}

#[cfg(feature = "tls")]
#[test]
fn a_broken_pair_of_tls_is_named() {
    let state = State::of_messages(1);
    let cert = state.file("cert.pem", include_str!("tls/first.pem"));
    let key = state.file("key.pem", include_str!("tls/first-key.pem"));
    let flags = ["--tls-cert".as_ref(), cert.as_os_str(), "--tls-key".as_ref(), key.as_os_str()];
    let gateway = Start::new().arg_state(&state).args(["--token", "s3cret"]).args(flags).run();
    state.replace(&cert, include_str!("tls/second.pem"));
    gateway.signal("HUP");
    gateway.has_logged("reloaded in part");
    gateway.has_logged("key.pem: the whole of it: does not belong to the certificate");
    state.replace(&key, include_str!("tls/second-key.pem"));
    gateway.signal("HUP");
    gateway.has_logged("reloaded changed=");
}

#[test]
fn signals_in_quick_succession_are_all_survived() {
    let mut house = with_token_file();
    for _ in 0..50 {
        house.gateway.signal("HUP");
    }
    house.gateway.has_logged("reloaded");
    assert_eq!(house.history_by("old", "").status, 200);
    house.gateway.signal("TERM");
    assert_eq!(house.gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
}

#[test]
fn a_gateway_without_settings_that_can_change_reloads_too() {
    let state = State::of_messages(1);
    let gateway = Start::new().arg_state(&state).args(["--auth", "none"]).run();
    gateway.signal("HUP");
    gateway.has_logged("reloaded changed=");
}
