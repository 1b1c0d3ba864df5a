//! A stream goes on as the transcript grows, whoever makes it grow.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    house::House,
    state::{State, message},
    stream::{ids, numbered},
};

#[test]
fn an_append_arrives_as_a_message() {
    let house = House::over(State::of_messages(2));
    let (mut stream, history) = house.stream("");
    assert_eq!(ids(&history), numbered(2));

    house.state.append(&message(3));
    let event = stream.event();
    assert_eq!(event.name, "message");
    let message = json!({ "role": "user", "content": "message 3", "__openclaw": { "id": "m3", "seq": 3 } });
    let key = "agent:main:test-session";
    assert_eq!(event.data, json!({ "sessionKey": key, "message": message, "messageId": "m3", "messageSeq": 3 }));
}

#[test]
fn an_append_by_another_process_arrives() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    house
        .state
        .shell(r#"echo '{"type":"message","id":"sh","message":{"role":"user","content":"from a shell"}}' >> "$0""#);
    let event = stream.event();
    assert_eq!((event.name.as_str(), &event.data["messageId"]), ("message", &json!("sh")));
    assert_eq!(event.data["message"]["content"], "from a shell");
}

#[test]
fn an_append_arrives_soon() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    let latency = |number| {
        house.state.append(&message(number));
        let start = Instant::now();
        assert_eq!(stream.event().data["messageSeq"], number);
        start.elapsed()
    };
    let mut latencies: Vec<Duration> = (2..=21).map(latency).collect();
    latencies.sort();
    // The slowest say how busy the machine is, the fastest how fast the gateway is.
    assert!(latencies[0] < Duration::from_millis(50), "{latencies:?}");
    assert!(latencies[10] < Duration::from_millis(500), "{latencies:?}");
}

#[test]
fn every_message_of_a_burst_arrives_once_and_in_order() {
    const COUNT: usize = 300;
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    house.state.shell(&format!(
        r#"n=2; while [ $n -le {COUNT} ]; do
            echo "{{\"type\":\"message\",\"id\":\"m$n\",\"message\":{{\"role\":\"user\",\"content\":\"$n\"}}}}" >> "$0"; n=$((n + 1))
        done"#
    ));
    stream.comes_to_show(&numbered(COUNT));
    assert_eq!(stream.event_within(Duration::from_millis(200)), None);
}

#[test]
fn a_stream_that_is_opened_while_somebody_writes_misses_nothing() {
    const COUNT: usize = 400;
    let house = House::over(State::of_messages(1));
    let script = format!(
        r#"n=2; while [ $n -le {COUNT} ]; do
            echo "{{\"type\":\"message\",\"id\":\"m$n\",\"message\":{{\"role\":\"user\",\"content\":\"$n\"}}}}" >> "$0"; n=$((n + 1))
        done"#
    );
    let mut writer = Command::new("sh").arg("-c").arg(script).arg(house.state.transcript()).spawn().expect("a shell");
    let streams: Vec<_> = (0..8).map(|_| house.stream("")).collect();
    for (mut stream, _) in streams {
        stream.comes_to_show(&numbered(COUNT));
    }
    assert!(writer.wait().expect("a shell").success());
}

#[test]
fn a_silent_reply_takes_a_number_and_shows_nothing() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    let silent = r#"{"type":"message","id":"m2","message":{"role":"assistant","content":"NO_REPLY"}}"#;
    house.state.append(&format!("{silent}\n{}", message(3)));
    let event = stream.event();
    assert_eq!((&event.data["messageId"], &event.data["messageSeq"]), (&json!("m3"), &json!(3)));
}

#[test]
fn a_stream_of_a_page_gets_the_page_again() {
    let house = House::over(State::of_messages(3));
    let (mut newest, history) = house.stream("?limit=2");
    assert_eq!(ids(&history), ["m2", "m3"]);
    let (mut before, history) = house.stream("?limit=2&cursor=3");
    assert_eq!(ids(&history), ["m1", "m2"]);

    house.state.append(&message(4));
    for (stream, expected) in [(&mut newest, ["m3", "m4"]), (&mut before, ["m1", "m2"])] {
        let event = stream.event();
        assert_eq!(event.name, "history");
        assert_eq!(ids(&event.data), expected);
    }
}

#[test]
fn a_heartbeat_is_a_comment() {
    let house = House::with(State::of_messages(1), ["--token", crate::house::TOKEN, "--heartbeat", "100ms"]);
    let (mut stream, _) = house.stream("");
    let comments = stream.comments_within(Duration::from_secs(2));
    assert!((3..=25).contains(&comments), "{comments} comments in two seconds");
}

#[test]
fn no_heartbeat_comes_before_its_time() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    assert_eq!(stream.comments_within(Duration::from_secs(1)), 0);
}

#[test]
fn a_history_on_a_stream_is_the_newest_thousand_and_leads_back_to_the_rest() {
    let house = House::over(State::of_messages(1500));
    let (mut stream, history) = house.stream("");
    let ids: Vec<_> = history["messages"].as_array().expect("a list").iter().map(|m| &m["__openclaw"]["id"]).collect();
    assert_eq!((ids.len(), ids[0], ids[999]), (1000, &"m501".into(), &"m1500".into()));
    assert_eq!((&history["hasMore"], &history["nextCursor"]), (&true.into(), &"501".into()));
    let before = house.page("?limit=1&cursor=501");
    assert_eq!(before["messages"][0]["__openclaw"]["id"], "m500");
    house.state.append(&message(1501));
    assert_eq!(stream.event().data["messageSeq"], 1501);
}
