//! A client that was cut goes on where it was.

use std::time::Duration;

use crate::{
    client::{PATIENCE, Response},
    house::House,
};

fn said(text: &str) -> String {
    format!("{{\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")
}

fn silent() -> &'static str {
    "{\"message\":{\"role\":\"assistant\",\"content\":\"NO_REPLY\"}}\n"
}

fn house() -> House {
    let house = House::open(&[]);
    house.sessions(&[("a", &said("a 1")), ("b", &said("b 1"))]);
    house
}

fn open(house: &House, session: &str, last: &str) -> Response {
    house.events(session, "").header("Last-Event-ID", last).send(house.served.address).expect("an answer")
}

/// The events so far, once there are so many: the id of each, and the rest of it.
fn events(stream: &mut Response, count: usize) -> Vec<(String, String)> {
    let blocks = stream.blocks(count + 1, PATIENCE);
    assert_eq!(blocks[0], "retry: 1000");
    let events = blocks[1..].iter().map(|block| {
        let (id, event) = block.split_once('\n').expect("an id and an event");
        (id.strip_prefix("id: ").expect("an id").to_owned(), event.to_owned())
    });
    events.collect()
}

/// The one event that a stream begins with has to be a history of that one session.
fn begins_with_history(stream: &mut Response, session: &str) {
    let events = events(stream, 1);
    let (_, history) = &events[0];
    assert!(history.starts_with(&format!("event: history\ndata: {{\"sessionKey\":\"agent:main:{session}\"")));
    assert!(history.contains(&format!("{session} 1")), "{history}");
}

#[test]
fn who_does_not_ask_gets_no_ids() {
    let house = house();
    let mut stream = house.events("a", "?limit=5").send(house.served.address).unwrap();
    house.append("a", &said("a 2"));
    for block in stream.blocks(3, PATIENCE) {
        assert!(!block.contains("id: "), "{block}");
    }
    house.close();
}

#[test]
fn a_cut_stream_goes_on_without_gap_or_repeat_after_any_of_its_events() {
    let house = house();
    let mut whole = house.events("a", "?resume").send(house.served.address).unwrap();
    assert_eq!(events(&mut whole, 1).len(), 1);
    for text in ["a 2", "a 3", "a 4"] {
        house.append("a", &said(text));
        house.append("a", silent());
    }
    let whole = events(&mut whole, 4);
    assert_eq!(whole.len(), 4);

    for cut in 1..=whole.len() {
        let mut stream = open(&house, "a", &whole[cut - 1].0);
        let after = cut + whole.len();
        house.append("a", &said(&format!("after the cut at {cut}")));
        // What was missed, what was said to those who were cut before, and what comes live: each once.
        let seen = events(&mut stream, after - cut);
        assert_eq!(seen[..whole.len() - cut], whole[cut..]);
        let texts = seen[whole.len() - cut..].iter().map(|(_, event)| event);
        for (n, text) in texts.enumerate() {
            assert!(text.contains(&format!("after the cut at {}\"", n + 1)), "{text}");
        }
        assert_eq!(stream.blocks(99, Duration::from_millis(300)).len(), 1 + whole.len());
    }
    house.close();
}

#[test]
fn an_id_of_another_session_gets_the_history_of_this_one() {
    let house = house();
    let mut stream = house.events("a", "?resume").send(house.served.address).unwrap();
    let (id, _) = events(&mut stream, 1).remove(0);
    house.append("a", &said("a 2"));
    house.append("b", &said("b 2"));
    begins_with_history(&mut open(&house, "b", &id), "b");
    begins_with_history(&mut open(&house, "a", "1.1-0000000000000000"), "a");
    begins_with_history(&mut open(&house, "a", "anything"), "a");
    house.close();
}

#[test]
fn an_id_of_a_gateway_that_is_gone_gets_the_history() {
    let house = house();
    let mut stream = house.events("a", "?resume").send(house.served.address).unwrap();
    let (id, _) = events(&mut stream, 1).remove(0);
    drop(stream);
    let house = house.restart();
    begins_with_history(&mut open(&house, "a", &id), "a");
    house.close();
}

#[test]
fn a_transcript_that_was_replaced_gets_the_history() {
    let house = house();
    let mut stream = house.events("a", "?resume").send(house.served.address).unwrap();
    let (id, _) = events(&mut stream, 1).remove(0);
    drop(stream);
    let new = house.transcript("new");
    std::fs::write(&new, said("a 1") + &said("a new 2")).unwrap();
    std::fs::rename(new, house.transcript("a")).unwrap();
    begins_with_history(&mut open(&house, "a", &id), "a");
    house.close();
}
