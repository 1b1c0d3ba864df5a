//! An output that cannot be written, or a folder that is gone, is no reason to stop serving or to end badly.

use std::{
    fs::{self, OpenOptions},
    process::{Command, Stdio},
};

use crate::{
    client::PATIENCE,
    house::{House, TOKEN},
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
