//! An event stream as a viewer follows it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{End, PATIENCE, Response};

pub struct Stream {
    response: Response,
    /// How many blocks were looked at.
    seen: usize,
    comments: usize,
    /// What the viewer's list holds by now, by the ids of its messages.
    list: Vec<String>,
}

/// An event with its data. Comments are counted, and are no events.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Stream {
    /// Takes the answer for a stream, and reads up to the first event, a `history`.
    pub fn begin(response: Response) -> (Self, Value) {
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let mut stream = Self { response, seen: 0, comments: 0, list: Vec::new() };
        assert_eq!(stream.block(PATIENCE).as_deref(), Some("retry: 1000"));
        let history = stream.event();
        assert_eq!(history.name, "history");
        (stream, history.data)
    }

    /// Takes the answer for a stream that begins with no history.
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status, 200);
        Self { response, seen: 0, comments: 0, list: Vec::new() }
    }

    /// What it is renewed by.
    pub fn id(&self) -> &str {
        self.response.header("x-stream-id").expect("an id")
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        self.event_within(PATIENCE).unwrap_or_else(|| panic!("no event came: {:?}", self.response))
    }

    pub fn event_within(&mut self, time: Duration) -> Option<Event> {
        let deadline = Instant::now() + time;
        loop {
            let block = self.block(deadline.saturating_duration_since(Instant::now()))?;
            if block.starts_with(':') {
                self.comments += 1;
                continue;
            }
            if block.starts_with("retry: ") {
                continue;
            }
            let lines = block.strip_prefix("event: ").and_then(|block| block.split_once("\ndata: "));
            let (name, data) = lines.unwrap_or_else(|| panic!("a block of an unknown kind: {block}"));
            let data: Value = serde_json::from_str(data).expect("data is JSON");
            match name {
                "history" => self.list = ids(&data),
                "message" => self.list.push(id(&data["message"])),
                "reauth" => {}
                "streams" => {}
                other => panic!("an event of an unknown kind: {other}"),
            }
            return Some(Event { name: name.to_owned(), data });
        }
    }

    /// Reads events until the viewer's list is this one, by the ids of its messages. How many events
    /// it takes depends on how much of a change the gateway sees at once.
    pub fn comes_to_show<I: AsRef<str>>(&mut self, expected: &[I]) {
        let expected: Vec<_> = expected.iter().map(AsRef::as_ref).collect();
        while self.list != expected {
            let event = self.event_within(PATIENCE);
            assert!(event.is_some(), "it shows {:?} and not {expected:?}", self.list);
        }
    }

    /// How the stream ended, if it does in this time. Whatever still comes is read over.
    pub fn end_within(&mut self, time: Duration) -> Option<End> {
        self.response.end_within(time)
    }

    /// Comments of the next while.
    pub fn comments_within(&mut self, time: Duration) -> usize {
        let before = self.comments;
        assert_eq!(self.event_within(time), None);
        self.comments - before
    }

    fn block(&mut self, within: Duration) -> Option<String> {
        let block = self.response.blocks(self.seen + 1, within).into_iter().nth(self.seen)?;
        self.seen += 1;
        Some(block)
    }
}

/// The ids of a history's messages.
pub fn ids(history: &Value) -> Vec<String> {
    history["messages"].as_array().expect("a list of messages").iter().map(id).collect()
}

fn id(message: &Value) -> String {
    message["__openclaw"]["id"].as_str().expect("a message has an id").to_owned()
}

/// `m1` to `m<count>`.
pub fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("m{number}")).collect()
}
