//! A file system that fails, or hangs, below one session.
//!
//! Which call does is tried out one after the other: of a page, of a stream, and of what follows it.

use std::{
    fs,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{End, PATIENCE, Request, Response},
    files::disk::fault,
    house::{House, READER, key},
};

/// How long what does not hang may take on a busy machine: far less than what hangs is waited for.
const SOON: Duration = Duration::from_secs(5);

fn message(text: &str) -> String {
    format!("{{\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")
}

fn page(session: &str, query: &str) -> Request {
    Request::new("GET", &format!("/sessions/{session}/history{query}"))
        .header("Authorization", &format!("Bearer {READER}"))
}

/// The texts that a viewer of these blocks shows.
fn shown(blocks: &[String]) -> Vec<String> {
    let mut shown = Vec::new();
    let text = |message: &Value| message["content"].as_str().expect("a text").to_owned();
    for block in blocks {
        if let Some(history) = block.strip_prefix("event: history\ndata: ") {
            let history: Value = serde_json::from_str(history).expect("JSON");
            shown = history["messages"].as_array().expect("messages").iter().map(text).collect();
        } else if let Some(event) = block.strip_prefix("event: message\ndata: ") {
            let event: Value = serde_json::from_str(event).expect("JSON");
            shown.push(text(&event["message"]));
        }
    }
    shown
}

#[track_caller]
fn comes_to_show(stream: &mut Response, expected: &[&str], within: Duration) {
    let start = Instant::now();
    loop {
        let blocks = stream.blocks(usize::MAX, Duration::from_millis(20));
        if shown(&blocks) == expected {
            return;
        }
        assert!(start.elapsed() < within, "{blocks:?}");
    }
}

/// Clients who ask for what hangs, in many ways. They are answered in the end, one way or the other.
fn ask_in_vain(house: &House, session: &str) -> Vec<JoinHandle<()>> {
    let requests = (0..12).flat_map(|n| {
        let query = if n % 2 == 0 { String::new() } else { format!("?limit={n}") };
        [page(session, &query), page(session, &query).header("Accept", "text/event-stream")]
    });
    let address = house.served.address;
    let ask = |request: Request| {
        thread::spawn(move || {
            if let Ok(mut response) = request.send(address) {
                // 401 to whom lost access while a page that is remembered was looked at.
                assert!([200, 401, 503].contains(&response.status), "{response:?}");
                response.end_within(Duration::from_secs(1));
            }
        })
    };
    requests.map(ask).collect()
}

/// What hangs hangs; everything else is as it should be.
fn all_else_goes_on(house: &House, hang: &fault::Hang, round: usize) {
    let start = Instant::now();
    while hang.held() == 0 {
        assert!(start.elapsed() < SOON, "round {round}: nothing hangs");
        thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    for limit in 1..4 {
        let answer = page(&key("well"), &format!("?limit={limit}")).send(house.served.address).expect("an answer");
        assert_eq!(answer.status, 200, "round {round}");
        assert!(answer.text().contains("one"), "round {round}");
    }
    let mut stream = house.events("well", "").send(house.served.address).expect("an answer");
    comes_to_show(&mut stream, &["one"], SOON);
    house.append("well", &message("two"));
    comes_to_show(&mut stream, &["one", "two"], SOON);
    house.revoke_reader();
    assert_eq!(stream.end_within(SOON), Some(End::Clean), "round {round}");
    assert!(begun.elapsed() < SOON, "round {round}: {:?}", begun.elapsed());
}

#[test]
fn a_transcript_that_hangs_holds_up_no_other_session_nor_a_revocation_nor_the_end() {
    for calls in [0, 1, 2, 3, 5, 8, 12, 20] {
        let house = House::open(&[]);
        house.sessions(&[("hung", &message("one")), ("well", &message("one"))]);
        let hang = fault::Hang::after(calls, &house.transcript("hung"));
        let clients = ask_in_vain(&house, &key("hung"));
        all_else_goes_on(&house, &hang, calls);
        if [3, 8].contains(&calls) {
            ends_while_it_hangs(house, hang, clients);
        }
    }
}

#[test]
fn a_page_that_is_remembered_and_hangs_holds_up_nobody() {
    let house = House::open(&[]);
    house.sessions(&[("hung", &message("one")), ("well", &message("one"))]);
    thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        assert_eq!(page(&key("hung"), "").send(house.served.address).expect("an answer").status, 200);
        assert_eq!(page(&key("well"), "?limit=1").send(house.served.address).expect("an answer").status, 200);
    }
    let hang = fault::Hang::after(0, &house.transcript("hung"));
    let clients = ask_in_vain(&house, &key("hung"));
    all_else_goes_on(&house, &hang, 0);
    ends_while_it_hangs(house, hang, clients);
}

#[test]
fn the_store_of_an_agent_that_hangs_holds_up_no_other_agent() {
    for calls in [0, 1, 2, 3, 5] {
        let house = House::open(&[]);
        house.sessions(&[("well", &message("one"))]);
        let agents = house.transcript("").ancestors().nth(3).expect("a folder").to_owned();
        let sessions = agents.join("hung/sessions");
        fs::create_dir_all(&sessions).expect("a folder");
        let row = |n: usize| (format!("agent:hung:{n}"), json!({ "sessionId": "s", "updatedAt": 1 }));
        let rows: serde_json::Map<_, _> = (0..100).map(row).collect();
        fs::write(sessions.join("sessions.json"), Value::from(rows).to_string()).expect("rows");
        fs::write(sessions.join("s.jsonl"), message("one")).expect("a transcript");
        let hang = fault::Hang::after(calls, &agents.join("hung"));
        let mut clients = Vec::new();
        for n in 0..20 {
            clients.extend(ask_in_vain(&house, &format!("agent:hung:{n}")));
        }
        all_else_goes_on(&house, &hang, calls);
        if calls == 2 {
            ends_while_it_hangs(house, hang, clients);
        }
    }
}

/// The gateway ends, though what hangs is waited for as long as `--drain` says.
fn ends_while_it_hangs(mut house: House, hang: fault::Hang, clients: Vec<JoinHandle<()>>) {
    house.served.stop();
    drop(hang);
    drop(house);
    for client in clients {
        client.join().expect("an answer, or none");
    }
}

#[test]
fn whichever_call_fails_a_stream_shows_its_session_in_the_end_and_nothing_else() {
    const CALLS: usize = 16;
    let house = House::open(&[]);
    let tried: Vec<(String, fn() -> std::io::Error, usize)> = fault::ERRORS
        .into_iter()
        .enumerate()
        .flat_map(|(n, error)| (0..CALLS).map(move |calls| (format!("e{n}-{calls}"), error, calls)))
        .collect();
    let one = message("one");
    let sessions: Vec<_> = tried.iter().map(|(name, ..)| (name.as_str(), one.as_str())).collect();
    house.sessions(&sessions);
    let broken: Vec<_> = tried
        .iter()
        .map(|(name, error, calls)| fault::Broken::after(*calls, Path::new(&house.transcript(name)), *error))
        .collect();
    let mut streams: Vec<_> = tried.iter().map(|(name, ..)| opened(&house, name)).collect();
    for (name, ..) in &tried {
        house.append(name, &message("two"));
    }
    for stream in &mut streams {
        comes_to_show(stream, &["one", "two"], PATIENCE);
    }
    for (name, ..) in &tried {
        fs::write(house.transcript(name), message("three")).expect("a transcript");
    }
    for (stream, (name, ..)) in streams.iter_mut().zip(&tried) {
        comes_to_show(stream, &["three"], PATIENCE);
        let page = page(&key(name), "").send(house.served.address).expect("an answer");
        assert_eq!(page.status, 200);
    }
    // All of one, two and three met their fault; the last of them may have been met by nobody.
    assert!(broken.iter().filter(|broken| broken.has_failed()).count() > broken.len() / 2);
    house.close();
}

/// A stream, opened once more if that failed.
fn opened(house: &House, session: &str) -> Response {
    for _ in 0..2 {
        let stream = house.events(session, "").send(house.served.address).expect("an answer");
        match stream.status {
            200 => return stream,
            status => assert_eq!((status, stream.header("retry-after")), (503, Some("1")), "{session}"),
        }
    }
    panic!("{session} is not opened");
}
