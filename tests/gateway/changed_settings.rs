//! What happens to an open stream when the settings say that its session is elsewhere.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    client::End,
    house::{AT_ONCE, House},
    state::{SESSION, State, message},
    stream::numbered,
};

/// Long enough for what must not come to come.
const QUIET: Duration = Duration::from_millis(300);

/// The settings say where stores are, and more.
fn store_at(house: &House, folder: &str, more: &str) {
    let store = house.state.path().join(folder).join("{agentId}/sessions.json");
    let config = format!("{{ session: {{ store: {} }}, {more} }}", json!(store));
    house.state.replace(&house.state.path().join("openclaw.json"), &config);
}

/// A store in this folder with these rows, and its transcript `other`.
fn store(house: &House, folder: &str, rows: &Value, transcript: &str) -> PathBuf {
    let folder = house.state.path().join(folder).join("main");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("other.jsonl"), transcript).expect("a transcript");
    house.state.replace(&folder.join("sessions.json"), &rows.to_string());
    folder.join("other.jsonl")
}

fn rows() -> Value {
    json!({ SESSION: { "sessionId": "other", "updatedAt": 2 } })
}

#[test]
fn a_stream_goes_over_to_the_store_that_the_settings_name() {
    let house = House::over(State::of_messages(2));
    let streams = ["", "?limit=5"].map(|query| house.stream(query).0);
    let other = store(&house, "stores", &rows(), &message(7));
    store_at(&house, "stores", "");
    for mut stream in streams {
        stream.comes_to_show(&["m7"]);
        house.state.append(&message(3));
        assert_eq!(stream.event_within(QUIET), None, "the transcript that was left");
    }
    let (mut stream, _) = house.stream("");
    fs::write(&other, message(7) + &message(8)).expect("a transcript");
    stream.comes_to_show(&["m7", "m8"]);

    // And back.
    fs::remove_file(house.state.path().join("openclaw.json")).expect("settings");
    house.state.replace(&house.state.path().join("openclaw.json"), "{}");
    fs::remove_dir_all(house.state.path().join("stores")).expect("a store");
    stream.comes_to_show(&["m1", "m2", "m3", "m3"]);
}

#[test]
fn a_stream_whose_session_is_in_no_store_any_more_shows_nothing_until_it_is() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    let emptied = house.state.path().join("emptied.json");
    fs::write(&emptied, "{}").expect("a store");
    let config = format!("{{ session: {{ store: {} }} }}", json!(emptied));
    house.state.replace(&house.state.path().join("openclaw.json"), &config);
    stream.comes_to_show::<&str>(&[]);
    assert_eq!(house.history("").status, 404);
    house.state.append(&message(3));
    assert_eq!(stream.event_within(QUIET), None, "the transcript that was left");

    fs::write(house.state.path().join("other.jsonl"), message(7)).expect("a transcript");
    house.state.replace(&emptied, &rows().to_string());
    stream.comes_to_show(&["m7"]);
}

#[test]
fn settings_of_something_else_leave_a_stream_where_it_is() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    house.state.write_store(&json!({}));
    house.state.replace(&house.state.path().join("openclaw.json"), "{ gateway: { trustedProxies: ['10.0.0.1'] } }");
    house.gateway.has_logged("new settings");
    assert_eq!(stream.event_within(QUIET), None);
    house.state.append(&message(3));
    stream.comes_to_show(&numbered(3));
}

#[test]
fn a_stream_ends_when_its_key_means_another_session() {
    let house = House::over(State::of_messages(2));
    let request = crate::client::Request::new("GET", "/sessions/test-session/history");
    let request = request.header("Accept", "text/event-stream");
    let request = request.header("Authorization", &format!("Bearer {}", crate::house::TOKEN));
    let (mut by_bare_key, _) = crate::stream::Stream::begin(house.send(request.clone()));
    let (mut by_full_key, _) = house.stream("");
    let ops = house.state.path().join("agents/ops/sessions");
    fs::create_dir_all(&ops).expect("a folder");
    fs::write(ops.join("o.jsonl"), message(9)).expect("a transcript");
    fs::write(ops.join("sessions.json"), json!({ "agent:ops:test-session": { "sessionId": "o" } }).to_string())
        .expect("a store");
    let agents = "{ agents: { list: [{ id: 'main' }, { id: 'ops', default: true }] } }";
    house.state.replace(&house.state.path().join("openclaw.json"), agents);
    assert_eq!(by_bare_key.end_within(AT_ONCE), Some(End::Clean));
    let (_, history) = crate::stream::Stream::begin(house.send(request));
    assert_eq!(history["sessionKey"], "agent:ops:test-session");
    house.state.append(&message(3));
    by_full_key.comes_to_show(&numbered(3));
}
