//! `--demo`: what it prints works when it is pasted.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::{End, Request, Response},
    house::AT_ONCE,
    process::{Gateway, Start},
    stream::{Stream, ids},
};

/// What stands in for curl: a function that shows with which words it was called.
const SHOW_WORDS: &str = r#"curl() { for word; do printf '%s\n' "$word"; done; }"#;

/// The demo knows no variables: its port is a flag.
fn demo() -> Gateway {
    Start::new().args(["--demo", "--port", "0"]).run()
}

/// The three lines to paste: read, follow, rotate.
struct Lines {
    read: String,
    follow: String,
    rotate: String,
}

impl Lines {
    fn of(gateway: &Gateway) -> Self {
        let mut commands = std::iter::repeat_with(|| gateway.line())
            .filter(|line| line.trim_start().starts_with("curl ") || line.trim_start().starts_with("echo "));
        let mut next = || commands.next().expect("the lines have no end");
        Self { read: next(), follow: next(), rotate: next() }
    }
}

/// What curl would do, by the words that a shell would hand to it.
fn as_curl_would(line: &str, gateway: &Gateway) -> Response {
    let output = Command::new("sh").args(["-c", &format!("{SHOW_WORDS}\n{line}")]).output().expect("a shell");
    assert!(output.status.success());
    let words = String::from_utf8(output.stdout).expect("words are text");
    let mut words = words.lines();
    let (mut headers, mut target) = (Vec::new(), None);
    while let Some(word) = words.next() {
        match word {
            "-N" => {}
            "-H" => headers.push(words.next().and_then(|header| header.split_once(": ")).expect("a header")),
            url => target = url.strip_prefix(&format!("http://{}", gateway.address)),
        }
    }
    let request = Request::new("GET", target.expect("an address of this gateway"));
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    request.send(gateway.address).expect("an answer")
}

fn paste(line: &str) -> Child {
    Command::new("sh").args(["-c", line]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a shell")
}

fn ended_within(time: Duration, child: &mut Child) -> bool {
    let start = Instant::now();
    while child.try_wait().expect("a process").is_none() {
        if start.elapsed() > time {
            child.kill().expect("a process");
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_session_grows_and_the_printed_lines_read_follow_and_rotate() {
    let gateway = demo();
    let lines = Lines::of(&gateway);

    let history: Value = serde_json::from_str(&as_curl_would(&lines.read, &gateway).text()).expect("JSON");
    assert_eq!(history["sessionKey"], "agent:main:test-session");
    assert_eq!(history["messages"][0]["content"][0]["text"], "this is a seeded real-behavior-proof message");

    let (mut stream, history) = Stream::begin(as_curl_would(&lines.follow, &gateway));
    let event = stream.event();
    assert_eq!(event.name, "message");
    assert_eq!(event.data["messageSeq"], ids(&history).len() + 1);

    assert!(paste(&lines.rotate).wait().expect("a shell").success());
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(as_curl_would(&lines.read, &gateway).status, 401);
}

#[test]
fn the_printed_lines_work_with_curl_itself() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("there is no curl on this machine");
        return;
    }
    let gateway = demo();
    let lines = Lines::of(&gateway);

    let read = paste(&lines.read).wait_with_output().expect("curl");
    let history: Value = serde_json::from_slice(&read.stdout).expect("JSON");
    assert_eq!(history["sessionKey"], "agent:main:test-session");

    let mut follow = paste(&lines.follow);
    let mut shown = BufReader::new(follow.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(shown.any(|line| line == "event: history"));
    assert!(shown.any(|line| line == "event: message"));

    assert!(paste(&lines.rotate).wait().expect("a shell").success());
    assert!(ended_within(AT_ONCE, &mut follow), "the stream goes on");
    let read = paste(&lines.read).wait_with_output().expect("curl");
    assert_eq!(read.stdout, br#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
}

#[test]
fn ctrl_c_ends_the_demo_and_takes_its_folder_along() {
    let mut gateway = demo();
    let rotate = Lines::of(&gateway).rotate;
    let file = rotate.split('\'').nth(1).expect("the file of the token").to_owned();
    let folder = std::path::Path::new(&file).parent().expect("a folder").to_owned();
    assert!(folder.exists());
    gateway.signal("INT");
    assert_eq!(gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
    assert!(!folder.exists());
}

#[test]
fn a_task_that_ends_unasked_ends_the_process_with_an_error() {
    let mut gateway = demo();
    let rotate = Lines::of(&gateway).rotate;
    let file = rotate.split('\'').nth(1).expect("the file of the token");
    let folder = std::path::Path::new(file).parent().expect("a folder");
    let database = rusqlite::Connection::open(folder.join("agents/main/agent/openclaw-agent.sqlite"));
    database.and_then(|database| database.execute_batch("DROP TABLE transcript_events")).expect("a database");
    assert_eq!(gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(1));
    assert!(gateway.log().contains("the demo ended, and it must not"), "{}", gateway.log());
    assert!(!folder.exists());
}
