//! `/revocations`: what an admin takes back is gone at once, and stays so after a restart.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};
use tower_reauth::verify::TokenDigest;

use crate::{
    client::{End, Request},
    house::{AT_ONCE, House, TOKEN},
    operators::{ADMIN, READER, TOKENS, WRITER, house, start},
    state::{State, message},
};

#[test]
fn a_credential_is_revoked_at_once_and_no_other() {
    let house = house(&[]);
    let (mut reader, _) = house.stream_by(READER, "");
    let (mut writer, _) = house.stream_by(WRITER, "");
    let revoked = house.revoke(&json!({ "credential": "reader" }));
    assert_eq!(
        (revoked.status, revoked.text()),
        (200, r#"{"ok":true,"revocation":{"credential":"reader"}}"#.to_owned())
    );
    assert_eq!(reader.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(READER, "").status, 401);
    house.state.append(&message(2));
    assert_eq!(writer.event().data["messageId"], "m2");
    assert_eq!(house.revoked(), [json!({ "credential": "reader" })]);
}

#[test]
fn a_subject_and_everybody_can_be_revoked() {
    let house = house(&[]);
    let (mut reader, _) = house.stream_by(READER, "");
    // Of another issuer nobody is here.
    assert_eq!(house.revoke(&json!({ "subject": "rita", "issuer": "https://other.example" })).status, 200);
    house.state.append(&message(2));
    assert_eq!(reader.event().data["messageId"], "m2");
    assert_eq!(house.revoke(&json!({ "subject": "rita" })).status, 200);
    assert_eq!(reader.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(READER, "").status, 401);

    let (mut shared, _) = house.stream("");
    assert_eq!(house.revoke(&json!({ "all": true })).status, 200);
    assert_eq!(shared.end_within(AT_ONCE), Some(End::Clean));
    // A secret that does not say when it was issued is for its file to take back.
    assert_eq!(house.history("").status, 200);
    let kinds: Vec<_> = house.revoked().iter().map(|one| one.as_object().expect("an object").len()).collect();
    assert_eq!(kinds, [1, 2, 3], "{:?}", house.revoked());
}

#[test]
fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let house = house(&[]);
    for body in
        ["", "{}", "[]", "nonsense", r#"{"credential":"a","subject":"b"}"#, r#"{"until":"2999-01-01T00:00:00Z"}"#]
    {
        let refused = house.revoke_by(ADMIN, body);
        assert_eq!(refused.status, 400, "{body}");
        let text = refused.text();
        assert!(text.contains(r#""type":"invalid_request_error""#), "{text}");
    }
    assert_eq!(house.revoke_by(ADMIN, &format!("{{\"credential\":\"{}\"}}", "x".repeat(70_000))).status, 413);
    let bearer = format!("Bearer {ADMIN}");
    let chunked = Request::new("POST", "/revocations").header("Authorization", &bearer);
    assert_eq!(house.send(chunked.header("Content-Length", "70000")).status, 413);
    assert_eq!(house.revoked(), Vec::<Value>::new());
    assert!(!house.state.path().join("data").exists());
}

#[test]
fn what_was_revoked_stays_so_after_a_restart() {
    let mut house = house(&[]);
    for order in [json!({ "credential": "reader" }), json!({ "subject": "writer" }), json!({ "all": true })] {
        assert_eq!(house.revoke(&order).status, 200);
    }
    let before = house.revoked();
    assert_eq!(before.len(), 3);
    house = restarted(house);
    assert_eq!(house.revoked(), before);
    assert_eq!([READER, WRITER, TOKEN].map(|token| house.history_by(token, "").status), [401, 401, 200]);
    let mode = fs::metadata(house.state.path().join("data/revocations.json")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// As its file has it, and whatever id it has there.
#[test]
fn a_token_is_revoked_by_its_digest_and_stays_so_after_a_restart() {
    let mut house = house(&[]);
    let (mut reader, _) = house.stream_by(READER, "");
    let (mut writer, _) = house.stream_by(WRITER, "");
    let digest = |token: &str| -> String {
        TokenDigest::of(token).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let order = json!({ "sha256": digest(READER) });
    assert_eq!(house.revoke(&order).text(), json!({ "ok": true, "revocation": order }).to_string());
    assert_eq!(reader.end_within(AT_ONCE), Some(End::Clean));
    house.state.append(&message(2));
    assert_eq!(writer.event().data["messageId"], "m2");
    // The shared secret is a token, too.
    assert_eq!(house.revoke(&json!({ "sha256": digest(TOKEN), "until": "2999-01-01T00:00:00Z" })).status, 200);
    for sha256 in ["", "9f86", &digest(READER)[1..]] {
        assert_eq!(house.revoke(&json!({ "sha256": sha256 })).status, 400, "{sha256}");
    }
    house = restarted(house);
    assert_eq!(house.revoked().len(), 2);
    assert_eq!([READER, WRITER, TOKEN].map(|token| house.history_by(token, "").status), [401, 200, 401]);
}

/// A gateway without others is the only one to say what its tokens are.
#[test]
fn a_token_that_is_taken_out_of_the_file_is_good_again_after_a_restart_with_it() {
    let mut house = house(&[]);
    let file = house.state.path().join("tokens.toml");
    let (mut reader, _) = house.stream_by(READER, "");
    house.state.replace(&file, &TOKENS.replace(READER, "another"));
    assert_eq!(reader.end_within(AT_ONCE), Some(End::Clean));
    // It starts with the old ones.
    house = restarted(house);
    assert_eq!((house.history_by(READER, "").status, house.revoked()), (200, vec![]));
}

/// The same after its death, whatever it was doing.
fn restarted(house: House) -> House {
    let House { state, gateway } = house;
    drop(gateway);
    let gateway = start(&state, &[]).run();
    House { state, gateway }
}

#[test]
fn a_death_between_any_two_steps_loses_nothing_that_was_answered() {
    let mut house = house(&[]);
    for round in 0..6_u64 {
        let address = house.gateway.address;
        let orders = std::thread::spawn(move || {
            let mut answered = Vec::new();
            for n in 0.. {
                let id = format!("{round}-{n}");
                let request = Request::new("POST", "/revocations").header("Authorization", &format!("Bearer {ADMIN}"));
                match request.body(&json!({ "credential": id }).to_string()).send(address) {
                    Ok(answer) if answer.status == 200 => answered.push(id),
                    _ => return answered,
                }
            }
            answered
        });
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        house.gateway.signal("KILL");
        let answered = orders.join().expect("no panic");
        assert!(!answered.is_empty());
        house = restarted(house);
        let revoked = house.revoked();
        for id in answered {
            assert!(revoked.contains(&json!({ "credential": id })), "{id} of round {round}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_stops_the_start() {
    let state = State::of_messages(1);
    fs::create_dir(state.path().join("data")).expect("a folder");
    for content in ["", "{", r#"{"revocations":[{"credential":7}]}"#] {
        state.file("data/revocations.json", content);
        let output = start(&state, &[]).output();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("revocations.json") && said.contains("before anybody is let in"), "{said}");
    }
}

#[test]
fn what_cannot_be_kept_holds_and_says_that_it_is_not_kept() {
    let house = house(&[]);
    // A file in the place of the folder.
    house.state.file("data", "");
    let (mut reader, _) = house.stream_by(READER, "");
    let answer = house.revoke(&json!({ "credential": "reader" }));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("could not be kept"));
    assert_eq!(reader.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.history_by(READER, "").status, 401);
    house.gateway.has_logged("lost at the next restart");
    // Once it can be kept, all of it is.
    fs::remove_file(house.state.path().join("data")).expect("a file");
    assert_eq!(house.revoke(&json!({ "credential": "other" })).status, 200);
    let house = restarted(house);
    assert_eq!(house.history_by(READER, "").status, 401);
}

#[test]
fn one_gateway_has_the_folder() {
    let first = house(&[]);
    assert_eq!(first.revoke(&json!({ "credential": "a" })).status, 200);
    let data = first.state.path().join("data");
    let other = State::of_messages(1);
    let tokens = other.file("tokens.toml", crate::operators::TOKENS);
    let gateway = crate::process::Start::new()
        .arg_state(&other)
        .args(["--tokens".as_ref(), tokens.as_os_str(), "--data-dir".as_ref(), data.as_os_str()])
        .run();
    let second = House { state: other, gateway };
    assert_eq!(second.revoked(), [json!({ "credential": "a" })]);
    assert_eq!(second.revoke(&json!({ "credential": "b" })).status, 503);
    second.gateway.has_logged("another gateway has the data folder");
}

#[test]
fn nothing_of_openclaws_is_touched() {
    let state = State::of_messages(1);
    let tokens = state.file("tokens.toml", crate::operators::TOKENS);
    let gateway = crate::process::Start::new().arg_state(&state).args(["--tokens".as_ref(), tokens.as_os_str()]).run();
    let house = House { state, gateway };
    assert_eq!(house.revoke(&json!({ "credential": "a" })).status, 200);
    let kept = house.state.path().join("home/.local/state/tower-reauth-gateway/revocations.json");
    assert_eq!(fs::read_to_string(kept).expect("a file"), "{\"revocations\":[{\"credential\":\"a\"}]}\n");
    let mut names: Vec<_> =
        fs::read_dir(house.state.path()).expect("a folder").map(|e| e.expect("one").file_name()).collect();
    names.sort();
    assert_eq!(names, ["agents", "home", "tokens.toml"]);
}
