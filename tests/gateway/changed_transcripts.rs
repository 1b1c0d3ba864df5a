//! What happens to a transcript under an open stream, other than an append.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    house::House,
    state::{SESSION, State, message},
    stream::{ids, numbered},
};

/// Long enough for what must not come to come.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn a_replaced_transcript_is_shown_anew() {
    let house = House::over(State::of_messages(3));
    let (mut stream, _) = house.stream("");
    house.state.replace(&house.state.transcript(), &(message(7) + &message(8)));
    stream.comes_to_show(&["m7", "m8"]);
    house.state.append(&message(9));
    assert_eq!(stream.event().data["messageSeq"], 3);
}

#[test]
fn a_transcript_that_is_cut_short_is_shown_anew() {
    let house = House::over(State::of_messages(3));
    let (mut stream, _) = house.stream("");
    fs::write(house.state.transcript(), message(1)).expect("a transcript");
    stream.comes_to_show(&["m1"]);
    fs::write(house.state.transcript(), "").expect("a transcript");
    stream.comes_to_show::<&str>(&[]);
    house.state.append(&message(1));
    let event = stream.event();
    assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(1)));
}

#[test]
fn a_transcript_that_was_dropped_shows_nothing_until_it_is_there_again() {
    let house = House::over(State::of_messages(3));
    let (mut stream, _) = house.stream("");
    let dropped = house.state.transcript().with_extension("jsonl.deleted.2026-11-22T10-00-00.000Z");
    fs::rename(house.state.transcript(), dropped).expect("a dropped transcript");
    stream.comes_to_show::<&str>(&[]);
    fs::write(house.state.transcript(), message(1) + &message(2)).expect("a transcript");
    stream.comes_to_show(&["m1", "m2"]);
}

#[test]
fn a_transcript_that_comes_after_the_stream_is_followed() {
    let house = House::over(State::of_messages(0));
    fs::remove_file(house.state.transcript()).expect("a transcript");
    let (mut stream, history) = house.stream("");
    assert!(ids(&history).is_empty());
    fs::write(house.state.transcript(), message(1)).expect("a transcript");
    stream.comes_to_show(&["m1"]);
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn a_line_is_a_message_once_it_is_whole() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    let line = message(2);
    let (start, rest) = line.split_at(20);
    house.state.append(start);
    assert_eq!(stream.event_within(QUIET), None);
    house.state.append(rest);
    assert_eq!(stream.event().data["messageId"], "m2");
    assert_eq!(stream.event_within(QUIET), None);
}

#[test]
fn a_compaction_shows_the_history_anew() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    house.state.append("{\"type\":\"compaction\",\"id\":\"c\",\"timestamp\":\"2026-01-02T03:04:05Z\"}\n");
    stream.comes_to_show(&["m1", "m2", "c"]);
    house.state.append(&message(4));
    assert_eq!(stream.event().data["messageSeq"], 4);
}

/// As OpenClaw does on its first append to a transcript without links.
#[test]
fn a_transcript_that_is_rewritten_as_a_chain_keeps_its_messages() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    let linked = |number: usize, parent: Option<&str>| {
        let message = json!({ "role": "user", "content": "linked" });
        format!(
            "{}\n",
            json!({ "type": "message", "id": format!("m{number}"), "parentId": parent, "message": message })
        )
    };
    let chain = linked(1, None) + &linked(2, Some("m1")) + &linked(3, Some("m2"));
    fs::write(house.state.transcript(), chain).expect("a transcript");
    stream.comes_to_show(&numbered(3));
}

#[test]
fn a_stream_follows_its_session_to_another_transcript() {
    let house = House::over(State::of_messages(1));
    let streams = ["", "?limit=5"].map(|query| house.stream(query).0);
    let other = house.state.sessions().join("other.jsonl");
    fs::write(&other, message(7)).expect("a transcript");
    house.state.write_store(&json!({ SESSION: { "sessionId": "other", "updatedAt": 2 } }));
    for mut stream in streams {
        stream.comes_to_show(&["m7"]);
        house.state.append(&message(2));
        assert_eq!(stream.event_within(QUIET), None, "the transcript that was left");
    }
    let (mut stream, _) = house.stream("");
    fs::write(&other, message(7) + &message(8)).expect("a transcript");
    stream.comes_to_show(&["m7", "m8"]);
}

#[test]
fn a_row_that_is_gone_changes_nothing_for_its_stream() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    house.state.write_store(&json!({}));
    assert_eq!(stream.event_within(2 * QUIET), None);
    house.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn a_burst_is_shown_anew_and_what_comes_after_it_is_a_message() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    let burst: String = (2..=5000).map(message).collect();
    house.state.append(&burst);
    // Of a long history the newest are shown.
    stream.comes_to_show(&numbered(5000)[4000..]);
    house.state.append(&message(5001));
    let event = stream.event();
    assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(5001)));
}

#[test]
fn the_middle_that_is_rewritten_in_place_is_shown_as_it_is() {
    let house = House::over(State::of_messages(30));
    assert_eq!(ids(&house.page("")), numbered(30));
    // Two lines, together as long as before, and an append: nobody looked in between.
    let text = fs::read_to_string(house.state.transcript()).expect("a transcript");
    let other = text.replacen("message 10", "message 1", 1).replacen("message 11", "message 111", 1);
    assert_eq!(other.len(), text.len());
    fs::write(house.state.transcript(), other + &message(31)).expect("a transcript");
    let page = house.page("");
    assert_eq!(ids(&page), numbered(31));
    assert_eq!(page["messages"][9]["content"], "message 1");
}

#[test]
fn whole_records_behind_a_torn_one_are_shown_and_the_log_says_once_what_is_not() {
    let torn = &message(3)[..25];
    let transcript = message(1) + torn + &message(2) + &"\0".repeat(300) + &message(3);
    let house = House::over(State::holding(&transcript));
    let (mut stream, history) = house.stream("");
    assert_eq!(ids(&history), numbered(3));
    assert_eq!(ids(&house.page("?limit=5")), numbered(3));
    house.state.append(torn);
    house.state.append(&message(4));
    assert_eq!(stream.event().data["messageId"], "m4");
    house.gateway.has_logged(&format!("offset={}", transcript.len()));
    let log = house.gateway.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("no records")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    let first = format!("lines=2 offset={}", message(1).len());
    assert!(lines[0].contains("test-session.jsonl") && lines[0].contains(&first), "{log}");
}

#[test]
fn quick_appends_are_messages_and_never_taken_for_a_rewrite() {
    let house = House::over(State::of_messages(1));
    let (mut stream, _) = house.stream("");
    for number in 2..=1000 {
        house.state.append(&message(number));
    }
    for number in 2..=1000 {
        let event = stream.event();
        assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(number)));
    }
}
