//! What a feed has sent, and what it has to send next.
//!
//! A stream of a page (a limit or a cursor) gets the page again after every change. A stream of the
//! whole history gets, by these rules:
//!
//! 1. A message that was appended is put behind those already shown, and the list is projected
//!    again. If it grew by one, the last one is sent as `message`. If it did not grow, and the new
//!    message is one that would not be shown anyway, nothing is sent.
//! 2. Anything else (the list grew by more, shrank, or lost a message that would be shown by itself)
//!    changed messages that were sent before: the whole `history` is sent.
//! 3. So it is after any change of the transcript that is not an append.
//!
//! Only the end of the list is kept: what is shown of a message depends on few of those before it.

use bytes::Bytes;

use super::{FeedKey, event::event};
use crate::gateway::{
    history::{Page, Query},
    js::{Object, Value},
    now,
    projection::{Before, is_visible_alone, project_window},
    transcript::{Change, Position, Transcripts, View},
};

/// How many messages are kept, unless more are needed to know what is shown.
const KEPT: usize = 128;

/// The state of one feed.
pub struct Shown {
    key: FeedKey,
    /// As of when, once it was read; `None` inside when there is no transcript.
    position: Option<Option<Position>>,
    tail: Tail,
    /// The `history` event as of the position, once somebody asked for it.
    history: Option<Bytes>,
}

/// The last messages that are shown.
struct Tail {
    messages: Vec<Object<'static>>,
    /// Whether there are others before them.
    before: Before,
}

/// What has to be sent.
#[derive(Default)]
pub struct Look {
    /// To those who have had everything before.
    pub events: Vec<Bytes>,
    /// To one who has had nothing, if one asked.
    pub history: Option<Bytes>,
}

/// What an appended message does to what is shown.
enum Step {
    Nothing,
    Message(Bytes),
    /// More than can be said with one message.
    History,
}

impl Shown {
    pub fn new(key: FeedKey) -> Self {
        let tail = Tail { messages: Vec::new(), before: Before::Nothing };
        Self { key, position: None, tail, history: None }
    }

    /// Looks at the transcript. All of the answer is as of one moment.
    pub fn look(&mut self, transcripts: &Transcripts, someone_joins: bool) -> Look {
        if self.position.is_none() && !someone_joins {
            return Look::default();
        }
        let path = self.key.candidates.iter().find(|path| path.exists());
        let transcript = path.map(|path| transcripts.at(path));
        let view = transcript.as_ref().and_then(|transcript| match transcript.view() {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::debug!(%error, "a transcript cannot be read");
                None
            }
        });
        let position = view.as_ref().map(View::position);
        let events = match self.position.replace(position) {
            Some(before) if before == position => Vec::new(),
            Some(before) => self.advance(before, view.as_ref()),
            None => {
                self.reset(view.as_ref());
                Vec::new()
            }
        };
        let history = someone_joins.then(|| self.history(view.as_ref()));
        Look { events, history }
    }

    fn advance(&mut self, before: Option<Position>, view: Option<&View>) -> Vec<Bytes> {
        let Some((before, view)) = before.zip(view) else { return vec![self.rewritten(view)] };
        let appended = match view.since(before) {
            Change::Appended(range) if range.is_empty() => return Vec::new(),
            Change::Appended(range) if self.key.query == Query::default() => range,
            _ => return vec![self.rewritten(Some(view))],
        };
        self.history = None;
        let Ok(raw) = view.history().read(appended) else { return vec![self.rewritten(Some(view))] };
        let mut events = Vec::new();
        for message in raw.values(now()) {
            match self.step(message) {
                Step::Nothing => {}
                Step::Message(event) => events.push(event),
                Step::History => {
                    events.push(self.rewritten(Some(view)));
                    return events;
                }
            }
        }
        if self.tail.messages.len() > 4 * KEPT {
            self.tail = Tail::read(view, self.key.max_chars);
        }
        events
    }

    /// Takes in one message that was appended.
    fn step(&mut self, message: Value<'_>) -> Step {
        // What is no object takes a number and is never shown.
        let Value::Object(mut message) = message.into_owned() else { return Step::Nothing };
        let Some(Announced { id, seq }) = Announced::of(&mut message) else { return Step::History };

        let max_chars = self.key.max_chars;
        let project = |messages: Vec<Object<'static>>| {
            let messages = messages.into_iter().map(Value::Object).collect();
            project_window(messages, self.tail.before, &[], max_chars)
        };
        let shown_before = match self.tail.before {
            Before::Nothing => self.tail.messages.len(),
            // It is compared from the first message on that is settled.
            Before::Unknown => project(self.tail.messages.clone()).len(),
        };
        let shown = project([&self.tail.messages[..], &[message.clone()]].concat());

        if shown.last().is_some_and(|last| last.doubt.is_some()) || shown.len() < shown_before {
            return Step::History;
        }
        let grown = shown.len() - shown_before;
        if grown > 1 || grown == 0 && is_visible_alone(message.into(), max_chars) {
            return Step::History;
        }
        self.tail.messages = shown.into_iter().map(|shown| shown.message).collect();
        match self.tail.messages.last() {
            Some(last) if grown == 1 => Step::Message(self.message_event(last.clone(), id, seq)),
            _ => Step::Nothing,
        }
    }

    fn message_event(&self, mut message: Object<'static>, id: Option<Value<'static>>, seq: f64) -> Bytes {
        // A reply that was sent with a tool is shown when the silent message after it arrives, and
        // has the number of that.
        if let Some(Value::Object(meta)) = message.get_mut("__openclaw") {
            meta.insert("seq", seq);
        }
        let mut body = Object::new();
        body.insert("sessionKey", self.key.session.clone());
        body.insert("message", message);
        if let Some(id) = id {
            body.insert("messageId", id);
        }
        body.insert("messageSeq", seq);
        let mut data = Vec::new();
        body.write(&mut data);
        event("message", &data)
    }

    /// All was read anew: the `history` that says so.
    fn rewritten(&mut self, view: Option<&View>) -> Bytes {
        self.reset(view);
        self.history(view)
    }

    fn reset(&mut self, view: Option<&View>) {
        self.history = None;
        self.tail = match view {
            Some(view) if self.key.query == Query::default() => Tail::read(view, self.key.max_chars),
            _ => Tail { messages: Vec::new(), before: Before::Nothing },
        };
    }

    fn history(&mut self, view: Option<&View>) -> Bytes {
        let FeedKey { session, query, max_chars, .. } = &self.key;
        let history = self.history.get_or_insert_with(|| {
            let page = view.map(|view| Page::of(view, *query, *max_chars, now())).transpose();
            let page = page.unwrap_or_else(|error| {
                tracing::warn!(%error, "a transcript cannot be read");
                None
            });
            event("history", &page.unwrap_or_default().body(session))
        });
        history.clone()
    }
}

impl Tail {
    /// The end of what is shown of the full history.
    fn read(view: &View, max_chars: usize) -> Self {
        let total = view.total();
        let mut kept = KEPT;
        loop {
            let from = total.saturating_sub(kept);
            let before = if from == 0 { Before::Nothing } else { Before::Unknown };
            let raw = view.history().read(from..total).unwrap_or_default();
            let shown = project_window(raw.values(now()), before, &[], max_chars);
            if from == 0 || !shown.is_empty() {
                let messages = shown.into_iter().map(|shown| shown.message.into_owned()).collect();
                return Self { messages, before };
            }
            kept *= 2;
        }
    }
}

/// How a new message is announced: by the id of its record and its number, and without its time.
struct Announced {
    id: Option<Value<'static>>,
    seq: f64,
}

impl Announced {
    fn of(message: &mut Object<'static>) -> Option<Self> {
        let Some(Value::Object(meta)) = message.get_mut("__openclaw") else { return None };
        meta.remove("recordTimestampMs");
        Some(Self { id: meta.get("id").cloned(), seq: meta.number("seq")? })
    }
}
