//! An output that cannot be written, or a folder that is gone, is no reason to stop serving or to end badly.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::fd::AsFd,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::json;

use crate::{
    client::{End, PATIENCE},
    house::{AT_ONCE, House, TOKEN},
    process::{Gateway, Start},
    state::State,
};

/// What a process writes to when nobody reads it.
fn closed_pipe() -> Stdio {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().expect("a process");
    let writer = reader.stdin.take().expect("a pipe");
    assert!(reader.wait().expect("an end").success());
    writer.into()
}

/// What a process writes to on a disk that is full.
fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a full device").into()
}

#[track_caller]
fn assert_ends_well(gateway: &mut Gateway) {
    gateway.signal("TERM");
    let status = gateway.ended_within(PATIENCE).expect("the process ends");
    let log = gateway.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let is_complaint =
        |line: &&str| line.contains("panicked") || line.contains("ERROR") || line.starts_with("gateway: ");
    assert_eq!(log.lines().find(is_complaint), None, "{log}");
}

#[test]
fn an_output_that_cannot_be_written_is_no_error() {
    for output in [closed_pipe(), full_disk()] {
        let state = State::seeded();
        let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).run_with_output(output);
        let mut house = House { state, gateway };
        assert_eq!(house.history("").status, 200);
        assert_ends_well(&mut house.gateway);
    }
}

#[test]
fn the_demo_runs_without_an_output() {
    for output in [closed_pipe(), full_disk()] {
        let mut gateway = Start::new().args(["--demo"]).run_with_output(output);
        assert_ends_well(&mut gateway);
    }
}

#[test]
fn a_log_that_cannot_be_written_is_no_error() {
    for log in [closed_pipe(), full_disk()] {
        let state = State::seeded();
        let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).run_with_log(log);
        let mut house = House { state, gateway };
        house.state.file("openclaw.json", "{ gateway: ");
        assert_eq!(house.history("").status, 200);
        house.gateway.signal("TERM");
        assert_eq!(house.gateway.ended_within(PATIENCE).expect("the process ends").code(), Some(0));
    }
}

/// What a process writes to when its reader has stopped reading: a pipe that is full, and stays so for as long as
/// the reader is held.
fn full_pipe() -> (Stdio, std::process::Child) {
    let mut reader = Command::new("sleep").arg("1000").stdin(Stdio::piped()).spawn().expect("a process");
    let mut writer = reader.stdin.take().expect("a pipe");
    // Whole pages first, and then what is left.
    let filled = std::thread::spawn(move || {
        let duplicate = writer.as_fd().try_clone_to_owned().expect("a descriptor");
        let _ = writer.write_all(&[b'x'; 64 * 1024]);
        Stdio::from(duplicate)
    });
    (filled.join().expect("a full pipe"), reader)
}

#[test]
fn a_log_that_cannot_be_written_holds_up_no_revocation_no_answer_and_no_end() {
    let (stopped, mut reader) = full_pipe();
    for log in [closed_pipe(), full_disk(), stopped] {
        let state = State::of_messages(1);
        let client = |id: &str| json!({ "id": id, "secret": id, "scopes": ["operator.read"] });
        let tokens = |ids: &[&str]| json!({ "token": ids.iter().map(|id| client(id)).collect::<Vec<_>>() }).to_string();
        let file = state.file("tokens.json", &tokens(&["a", "b"]));
        let start = Start::new().arg_state(&state).args(["--tokens".as_ref(), file.as_os_str()]);
        let gateway = start.env("RUST_LOG", "debug").run_with_log(log);
        let mut house = House { state, gateway };
        let replace = |house: &House, ids: &[&str]| house.state.replace(&file, &tokens(ids));
        let becomes = |house: &House, id: &str, status: u16| {
            let start = Instant::now();
            while house.history_by(id, "").status != status {
                assert!(start.elapsed() < AT_ONCE, "{id} is not {status}");
            }
        };
        for _ in 0..3 {
            let (mut a, _) = house.stream_by("a", "");
            replace(&house, &["b"]);
            assert_eq!(a.end_within(AT_ONCE), Some(End::Clean));
            assert_eq!(house.history_by("a", "").status, 401);
            assert_eq!(house.history_by("b", "").status, 200);
            replace(&house, &["a", "b"]);
            becomes(&house, "a", 200);
        }
        house.gateway.signal("TERM");
        assert_eq!(house.gateway.ended_within(PATIENCE).expect("the process ends").code(), Some(0));
    }
    reader.kill().expect("a process");
    reader.wait().expect("an end");
}

#[test]
fn a_start_that_fails_without_a_log_still_says_so_by_its_status() {
    for log in [closed_pipe(), full_disk()] {
        let state = State::seeded();
        let status = Start::new().arg_state(&state).with(|command| _ = command.stderr(log)).status();
        assert_eq!(status.code(), Some(1));
    }
}

#[test]
fn a_state_folder_that_is_gone_at_the_end_is_no_error() {
    let mut house = House::over(State::seeded());
    let (mut stream, _) = house.stream("");
    fs::remove_dir_all(house.state.path()).expect("the folder goes");
    assert!(!house.state.path().exists());
    stream.event();
    assert_ends_well(&mut house.gateway);
}
