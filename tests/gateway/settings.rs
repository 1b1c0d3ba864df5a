//! `openclaw.json` is followed while the gateway runs.

use serde_json::json;

use crate::{
    client::End,
    house::{AT_ONCE, House},
    process::Start,
    state::State,
};

/// A gateway whose token is in openclaw.json.
fn house(token: &str) -> House {
    let state = State::holding("{\"id\":\"m1\",\"message\":{\"role\":\"user\",\"content\":\"0123456789\"}}\n");
    write(&state, token, 8000);
    let gateway = Start::new().arg_state(&state).run();
    House { state, gateway }
}

fn write(state: &State, token: &str, max_chars: usize) {
    let settings =
        json!({ "gateway": { "auth": { "token": token }, "webchat": { "chatHistoryMaxChars": max_chars } } });
    state.file("openclaw.json", &settings.to_string());
}

#[test]
fn a_new_token_in_openclaw_json_ends_the_streams_of_the_old_one() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    write(&house.state, "new", 8000);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by("old", "").status, 401);
    assert_eq!(house.history_by("new", "").status, 200);
}

#[test]
fn a_new_limit_of_text_counts_from_the_next_answer_on() {
    let house = house("same");
    let (mut stream, _) = house.stream_by("same", "");
    write(&house.state, "same", 4);
    house.gateway.has_logged("new settings");
    let text = house.history_by("same", "").text();
    assert!(text.contains(r#""content":"0123\n...(truncated)...""#), "{text}");
    // What has nothing to do with access ends no stream.
    house.state.append(&crate::state::message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
}

#[test]
fn a_broken_openclaw_json_changes_nothing() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    house.state.file("openclaw.json", "{ gateway: ");
    house.gateway.has_logged("the settings stay as they were");
    house.state.append(&crate::state::message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    assert_eq!(house.history_by("old", "").status, 200);
}
