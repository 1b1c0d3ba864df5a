//! `/streams`: an admin sees who is in, and shows them out.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{End, Request},
    house::{AT_ONCE, TOKEN},
    operators::{ADMIN, READER, WRITER, house, last_words},
    state::{SESSION, message},
};

#[test]
fn the_list_says_of_each_stream_whose_it_is_and_what_it_did() {
    let house = house(&[]);
    assert_eq!(house.streams(), Vec::<Value>::new());
    let (mut stream, _) = house.stream_by(READER, "");
    let (shared, _) = house.stream("");
    house.state.append(&message(2));
    stream.event();
    let listed = house.streams();
    assert_eq!(listed.len(), 2);
    let entry = listed[0].as_object().expect("an object");
    let expected = json!({
        "id": stream.id(), "label": SESSION, "subject": "rita", "issuer": null, "credential": "reader",
        "method": "token", "scopes": ["operator.read"], "expires": "2999-01-01T00:00:00Z",
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&entry[name], value, "{name}");
    }
    let time = |name: &str| entry[name].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    assert!(time("opened") <= time("confirmed") && time("confirmed") <= jiff::Timestamp::now());
    assert!(time("opened") > jiff::Timestamp::now() - Duration::from_secs(60));
    // The retry, the history and the message.
    assert!(entry["frames"].as_u64() >= Some(3) && entry["bytes"].as_u64() > Some(100), "{entry:?}");
    assert_eq!(listed[1]["id"], shared.id());
    assert_eq!((&listed[1]["method"], &listed[1]["expires"]), (&json!("shared-secret"), &Value::Null));
    let text = house.ask("GET", "/streams", ADMIN).text();
    assert!(!text.contains("secret-of") && !text.contains(TOKEN), "{text}");

    drop((stream, shared));
    house.come_to(0);
}

#[test]
fn one_is_ended_and_no_other_and_is_told_so() {
    let house = house(&[]);
    let (mut first, _) = house.stream_by(READER, "");
    let (mut second, _) = house.stream_by(READER, "");
    let ended = house.ask("DELETE", &format!("/streams/{}", first.id()), ADMIN);
    assert_eq!((ended.status, ended.text()), (204, String::new()));
    let event = first.event();
    assert_eq!((event.name.as_str(), event.data), ("reauth", last_words("closed", false)));
    assert_eq!(first.end_within(AT_ONCE), Some(End::Clean));
    house.come_to(1);
    assert_eq!(house.ask("DELETE", &format!("/streams/{}", first.id()), ADMIN).status, 404);
    // Who was shown out may come back: that is for a revocation to prevent.
    assert_eq!(house.history_by(READER, "").status, 200);
    house.state.append(&message(2));
    assert_eq!(second.event().data["messageId"], "m2");
}

#[test]
fn the_list_says_of_those_that_ended_lately_why() {
    let house = house(&[]);
    let ended = || house.get("/streams", ADMIN)["ended"].as_array().expect("a list").clone();
    assert_eq!(ended(), Vec::<Value>::new());
    let mut watch = house.watch();
    let (first, _) = house.stream_by(READER, "");
    let (second, _) = house.stream("");
    let (first, id) = (first.id().to_owned(), second.id().to_owned());
    assert_eq!(house.ask("DELETE", &format!("/streams/{first}"), ADMIN).status, 204);
    let start = Instant::now();
    while ended().is_empty() {
        assert!(start.elapsed() < AT_ONCE);
    }
    drop(second);
    let live = loop {
        let event = watch.event();
        if event.data["ended"].as_array().map(Vec::len) == Some(2) {
            break event.data["ended"].clone();
        }
        assert!(start.elapsed() < AT_ONCE);
    };
    assert_eq!(live, Value::from(ended()));
    let known = |at: usize| (live[at]["id"].clone(), live[at]["reason"].clone(), live[at]["subject"].clone());
    assert_eq!(known(0), (first.into(), "closed".into(), "rita".into()));
    assert_eq!(known(1), (id.into(), "disconnected".into(), "shared-secret".into()));
    assert_eq!(live[0]["label"], SESSION);
    live[0]["ended"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    for _ in 0..20 {
        drop(house.stream_by(READER, ""));
    }
    house.come_to(1);
    while ended().len() != 16 || ended().iter().any(|end| end["reason"] == "closed") {
        assert!(start.elapsed() < 4 * AT_ONCE);
    }
    let text = house.ask("GET", "/streams", ADMIN).text();
    assert!(!text.contains("secret-of") && !text.contains(TOKEN), "{text}");
}

#[test]
fn it_takes_an_admin_and_a_shared_secret_is_none() {
    let house = house(&[]);
    let (stream, _) = house.stream_by(READER, "");
    let end = format!("/streams/{}", stream.id());
    for (method, target) in [("GET", "/streams"), ("DELETE", &end), ("GET", "/revocations"), ("POST", "/revocations")] {
        for token in [TOKEN, READER, WRITER] {
            let refused = house.ask(method, target, token);
            assert_eq!(refused.status, 403, "{method} {target} {token}");
            assert!(refused.text().contains("missing scope: operator.admin"));
        }
        let request = Request::new(method, target).header("X-OpenClaw-Scopes", "operator.admin");
        let declared = house.send(request.header("Authorization", &format!("Bearer {TOKEN}")));
        assert_eq!(declared.status, 403, "{method} {target}");
        assert_eq!(house.ask(method, target, "wrong").status, 401);
    }
    house.come_to(1);
}

#[test]
fn other_methods_and_ids_are_answered_as_elsewhere() {
    let house = house(&[]);
    for (method, target, allow) in [
        ("POST", "/streams", "GET"),
        ("HEAD", "/streams", "GET"),
        ("GET", "/streams/0123456789abcdef", "DELETE"),
        ("PUT", "/revocations", "GET, POST"),
    ] {
        let answer = house.ask(method, target, ADMIN);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
    }
    for id in ["0123456789abcdef", "0000000000000000", "1", "%20", "0123456789ABCDEF", "..%2fstreams"] {
        assert_eq!(house.ask("DELETE", &format!("/streams/{id}"), ADMIN).status, 404, "{id}");
    }
}

#[test]
fn the_list_comes_again_whenever_somebody_comes_or_goes() {
    let house = house(&[]);
    let mut watch = house.watch();
    let ids = |data: &Value| -> Vec<String> {
        let streams = data["streams"].as_array().expect("a list");
        streams.iter().map(|stream| stream["id"].as_str().expect("an id").to_owned()).collect()
    };
    // It is in the list itself, as soon as it has begun.
    let own = watch.id().to_owned();
    let mut comes_to = |expected: &[&str]| {
        let start = Instant::now();
        loop {
            let event = watch.event();
            assert_eq!(event.name, "streams");
            if ids(&event.data) == expected {
                return start.elapsed();
            }
        }
    };
    comes_to(&[&own]);
    let (stream, _) = house.stream_by(READER, "");
    comes_to(&[&own, stream.id()]);
    let id = stream.id().to_owned();
    assert_eq!(house.ask("DELETE", &format!("/streams/{id}"), ADMIN).status, 204);
    assert!(comes_to(&[&own]) < AT_ONCE);
}

#[test]
fn many_that_come_at_once_are_few_events() {
    let house = house(&[]);
    let mut watch = house.watch();
    while watch.event().data["streams"].as_array().map(Vec::len) != Some(1) {}
    let start = Instant::now();
    let streams: Vec<_> = (0..60).map(|_| house.stream_by(READER, "").0).collect();
    let mut events = 0_u32;
    while watch.event().data["streams"].as_array().map(Vec::len) != Some(streams.len() + 1) {
        events += 1;
    }
    let most = start.elapsed().as_millis() / 100 + 2;
    assert!(u128::from(events) <= most, "{events} events in {:?}", start.elapsed());
    // Nothing is said of nothing.
    sleep(Duration::from_millis(300));
    assert_eq!(watch.event_within(Duration::from_millis(500)), None);
}

#[test]
fn who_asks_is_told_of_every_end_why_it_was() {
    let house = house(&[]);
    let (mut asks, _) = house.stream_by(READER, "?reasons");
    let (mut silent, _) = house.stream_by(READER, "");
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    let event = asks.event();
    assert_eq!((event.name.as_str(), event.data), ("reauth", last_words("revoked", false)));
    assert_eq!(asks.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(silent.event_within(Duration::from_millis(200)), None);
    assert_eq!(silent.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn an_admin_who_is_revoked_sees_nothing_more() {
    let house = house(&[]);
    let mut watch = house.watch();
    watch.event();
    assert_eq!(house.revoke(&json!({ "subject": "olga" })).status, 200);
    assert_eq!(watch.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(house.ask("GET", "/streams", ADMIN).status, 401);
}
