//! [`Tail`]: the last message that is shown, and what an appended message does to it.
//!
//! 1. A message that was appended is projected by itself, with what is pending, and behind the last one that is shown.
//!    If that shows one message more, it is sent as `message`; if neither shows any, nothing is.
//! 2. Anything else (a failed turn is mended, a copy is hidden, audio is merged into an answer, commentary is set
//!    apart) changed messages that were sent before: the whole `history` is sent.

use std::{io, ops::Range};

use crate::{
    json::{Fields as _, Object, Value},
    sessions::{
        history::{self, Query},
        now,
        projection::{META, State, project, seq},
        record::History,
        transcript::{RawMessages, View},
    },
};

/// How many shown messages are looked for to know what is pending.
const LOOKED_AT: usize = 8;

/// The last message that is shown, and what is pending after it.
#[derive(Default)]
pub struct Tail {
    last: Option<Object>,
    pending: State,
}

/// One more message is shown: this, by the id of its record and its number.
pub struct Shown {
    pub message: Object,
    pub id: Option<String>,
    pub seq: u64,
}

impl Tail {
    /// The end of what is shown of this many messages from the start of the history.
    pub fn read(view: &View, total: usize) -> io::Result<Self> {
        let query = Query { limit: Some(LOOKED_AT), cursor: None };
        let mut window = history::read(&Start { view, total }, query, now())?;
        Ok(Self { last: window.page.messages.pop(), pending: window.after })
    }

    /// Takes in messages that were appended, and says what has to be sent. `None`: more has changed than messages
    /// say, and what is kept is worth nothing.
    pub fn append(&mut self, messages: Vec<Value>) -> Option<Vec<Shown>> {
        let mut shown = Vec::new();
        for message in messages {
            // What is no object takes a number and is never shown.
            if let Value::Object(message) = message {
                shown.extend(self.append_one(message)?);
            }
        }
        Some(shown)
    }

    /// `Some(None)`: it is not shown, and changes nothing.
    fn append_one(&mut self, mut message: Object) -> Option<Option<Shown>> {
        let Some(Value::Object(meta)) = message.get_mut(META) else { return None };
        // A message is announced by what is known of it when it comes.
        ["recordTimestampMs", "transcriptPosition"].iter().for_each(|key| drop(meta.take(key)));
        let id = meta.text("id").map(str::to_owned);
        let is_spoken = message.contains_key("openclawTtsSupplement");
        let message = Value::from(message);
        let mut alone = project(vec![message.clone()], self.pending);
        let last = self.last.iter().cloned().map(Value::from);
        let mut all = project(last.chain([message]).collect(), State::default()).messages;
        if alone.mended || is_spoken || alone.messages.len() > 1 {
            return None;
        }
        self.pending = alone.after;
        let Some(message) = alone.messages.pop() else {
            return (all.len() == usize::from(self.last.is_some())).then_some(None);
        };
        all.pop()?;
        if all.first() != self.last.as_ref() {
            return None;
        }
        let seq = seq(&message)?;
        self.last = Some(message.clone());
        Some(Some(Shown { message, id, seq }))
    }
}

/// The first messages of a history.
struct Start<'a> {
    view: &'a View,
    total: usize,
}

impl History for Start<'_> {
    fn len(&self) -> usize {
        self.total
    }

    fn sizes(&self, range: Range<usize>) -> io::Result<Vec<u64>> {
        self.view.sizes(range)
    }

    fn read(&self, range: Range<usize>) -> io::Result<RawMessages> {
        self.view.read(range)
    }
}
