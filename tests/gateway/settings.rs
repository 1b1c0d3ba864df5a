//! `openclaw.json` is followed while the gateway runs.

use std::fs;

use serde_json::json;

use crate::{
    client::End,
    house::{AT_ONCE, House},
    process::Start,
    state::State,
};

/// A gateway whose token is in openclaw.json.
fn house(token: &str) -> House {
    let state = State::holding(
        "{\"type\":\"message\",\"id\":\"m1\",\"message\":{\"role\":\"user\",\"content\":\"0123456789\"}}\n",
    );
    write(&state, token);
    let gateway = Start::new().arg_state(&state).run();
    House { state, gateway }
}

fn write(state: &State, token: &str) {
    state.file("openclaw.json", &json!({ "gateway": { "auth": { "token": token } } }).to_string());
}

#[test]
fn a_new_token_in_openclaw_json_ends_the_streams_of_the_old_one() {
    let house = house("old");
    let (mut stream, _) = house.stream_by("old", "");
    write(&house.state, "new");
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by("old", "").status, 401);
    assert_eq!(house.history_by("new", "").status, 200);
}

#[test]
fn what_is_said_to_be_new_holds_by_then() {
    let house = house("token-0");
    for n in 1..=20 {
        write(&house.state, &format!("token-{n}"));
        let start = std::time::Instant::now();
        while house.gateway.log().matches("new settings").count() < n {
            assert!(start.elapsed() < AT_ONCE, "{}", house.gateway.log());
        }
        assert_eq!(house.history_by(&format!("token-{}", n - 1), "").status, 401, "{n}");
        assert_eq!(house.history_by(&format!("token-{n}"), "").status, 200, "{n}");
    }
}

#[test]
fn a_new_header_counts_from_the_next_answer_on() {
    let house = house("same");
    let (mut stream, _) = house.stream_by("same", "");
    let headers = json!({ "securityHeaders": { "strictTransportSecurity": "max-age=1" } });
    let settings = json!({ "gateway": { "auth": { "token": "same" }, "http": headers } });
    house.state.file("openclaw.json", &settings.to_string());
    house.gateway.has_logged("new settings");
    assert_eq!(house.history_by("same", "").header("strict-transport-security"), Some("max-age=1"));
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

#[test]
fn an_openclaw_json_that_is_away_for_an_instant_opens_nothing() {
    let state = State::seeded();
    write(&state, "strong");
    let gateway = Start::new().arg_state(&state).env("OPENCLAW_GATEWAY_AUTH_MODE", "none").run();
    let mut house = House { state, gateway };
    house.state.file("openclaw.json", "{ gateway: { auth: { mode: 'token', token: 'strong' } } }");
    house.gateway.has_logged("new settings");
    let (mut stream, _) = house.stream_by("strong", "");
    let (file, away) = (house.state.path().join("openclaw.json"), house.state.path().join("away"));
    fs::rename(&file, &away).expect("a file");
    house.gateway.has_logged("the settings stay as they were");
    assert_eq!(house.history_by("", "").status, 401);
    fs::rename(&away, &file).expect("a file");
    house.gateway.has_logged("good again");
    assert_eq!(house.history_by("", "").status, 401);
    house.state.append(&crate::state::message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    house.gateway.signal("TERM");
    assert_eq!(house.gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
}

#[test]
fn a_mode_that_would_open_a_gateway_to_others_is_not_taken_from_a_file_either() {
    let state = State::seeded();
    write(&state, "strong");
    let gateway = Start::new().arg_state(&state).args(["--bind", "0.0.0.0"]).run();
    let house = House { state, gateway };
    house.state.file("openclaw.json", "{ gateway: { auth: { mode: 'none' } } }");
    house.gateway.has_logged("--allow-unauthenticated");
    let port = house.gateway.address.port();
    let answer = crate::house::history("").send(([127, 0, 0, 1], port).into()).expect("an answer");
    assert_eq!(answer.status, 401);
}
