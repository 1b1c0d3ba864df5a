//! `--token-file`: rotation ends what the old token opened, at once.

use std::fs;

use crate::{
    client::End,
    house::{AT_ONCE, House},
    process::Start,
    state::{State, message},
};

fn house(token: &str) -> House {
    let state = State::of_messages(1);
    let file = state.file("token", &format!("{token}\n"));
    House::with(state, ["--token-file".as_ref(), file.as_os_str()])
}

/// The file, written over in place, as `echo` does it.
fn rewrite(house: &House, content: &str) {
    house.state.file("token", content);
}

#[test]
fn a_rotation_ends_an_open_stream_at_once() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    assert_eq!(house.history_by("new", "").status, 401);

    rewrite(&house, "new\n");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by("old", "").status, 401);
    assert_eq!(house.history_by("new", "").status, 200);
}

#[test]
fn a_replaced_file_rotates_too() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    house.state.replace(&house.state.path().join("token"), "new");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    let (mut stream, _) = house.stream_by("new", "");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn nothing_is_sent_after_the_rotation() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    rewrite(&house, "new");
    house.gateway.has_logged("new settings");
    house.state.append(&message(2));
    assert_eq!(stream.event_within(AT_ONCE), None);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn an_emptied_a_blank_and_a_removed_file_keep_the_old_token_and_the_log_says_so() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    let warnings = || house.gateway.log().matches("the settings stay as they were").count();
    let warned_after = |change: &dyn Fn()| {
        let before = warnings();
        change();
        let start = std::time::Instant::now();
        while warnings() == before {
            assert!(start.elapsed() < AT_ONCE, "{}", house.gateway.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(house.history_by("old", "").status, 200);
        assert_eq!(house.history_by("", "").status, 401);
    };
    warned_after(&|| rewrite(&house, ""));
    warned_after(&|| rewrite(&house, " \n"));
    warned_after(&|| fs::remove_file(house.state.path().join("token")).expect("a file"));

    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    rewrite(&house, "new");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn writing_the_same_token_again_ends_nothing() {
    let house = house("same");
    let (mut stream, _) = house.stream_by("same", "");
    rewrite(&house, "same\n\n");
    house.state.replace(&house.state.path().join("token"), "same");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn all_the_streams_of_a_token_end() {
    let house = house("old");
    let mut streams: Vec<_> = (0..20).map(|_| house.stream_by("old", "").0).collect();
    rewrite(&house, "new");
    for stream in &mut streams {
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    }
}

#[test]
fn a_rotation_that_could_not_be_read_is_not_lost() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    // A name that cannot be looked up stands for a process that has no descriptors: nothing tells when it can.
    let at = |name: &str| house.state.path().join(name);
    std::os::unix::fs::symlink(at("loop"), at("loop")).expect("a link");
    fs::rename(at("loop"), at("token")).expect("a link in its place");
    house.gateway.has_logged("the settings stay as they were");
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(house.gateway.log().matches("the settings stay as they were").count() <= 2, "{}", house.gateway.log());

    house.state.replace(&at("token"), "new");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by("new", "").status, 200);
    house.gateway.has_logged("good again");
}

#[test]
fn descriptors_that_strangers_use_up_do_not_hold_up_a_rotation() {
    let state = State::of_messages(1);
    let file = state.file("token", "old");
    let limited = Start::under("ulimit -n 64; exec \"$0\" \"$@\"");
    let gateway = limited.arg_state(&state).args(["--token-file".as_ref(), file.as_os_str()]).run();
    let house = House { state, gateway };
    let (mut stream, _) = house.stream_by("old", "");
    let strangers: Vec<_> =
        (0..100).map(|_| std::net::TcpStream::connect(house.gateway.address).expect("a connection")).collect();
    house.gateway.has_logged("as many connections are open as may be");
    house.state.replace(&house.state.path().join("token"), "new");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    drop(strangers);
    assert_eq!(house.history_by("old", "").status, 401);
    assert_eq!(house.history_by("new", "").status, 200);
}
