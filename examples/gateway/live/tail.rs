//! [`Tail`]: the last messages that are shown, and what an appended message does to them.
//!
//! 1. A message that was appended is put behind those already shown, and the list is projected
//!    again. If it grew by one, the last one is sent as `message`. If it did not grow, and the new
//!    message is one that would not be shown anyway, nothing is sent.
//! 2. Anything else (the list grew by more, shrank, or lost a message that would be shown by itself)
//!    changed messages that were sent before: the whole `history` is sent.
//!
//! Only the end of the list is kept: what is shown of a message depends on few of those before it.

use crate::{
    json::{Object, Value},
    sessions::{
        now,
        projection::{Preceding, is_visible_alone, project_window},
        transcript::View,
    },
};

/// How many messages are kept, unless more are needed to know what is shown.
const KEPT: usize = 32;

/// The last messages that are shown.
pub struct Tail {
    messages: Vec<Object<'static>>,
    /// Whether there are others before them.
    preceding: Preceding,
}

/// What an appended message does to what is shown.
pub enum Step {
    Nothing,
    /// One more message is shown: this, by the id of its record and its number.
    Message {
        message: Object<'static>,
        id: Option<Value<'static>>,
        seq: f64,
    },
    /// More than one message says.
    History,
}

impl Default for Tail {
    /// Of a transcript without messages.
    fn default() -> Self {
        Self { messages: Vec::new(), preceding: Preceding::None }
    }
}

impl Tail {
    /// The end of what is shown of this many messages from the start of the history.
    pub fn read(view: &View, total: usize, max_chars: usize) -> Self {
        let mut kept = KEPT;
        loop {
            let from = total.saturating_sub(kept);
            let preceding = if from == 0 { Preceding::None } else { Preceding::Unknown };
            let raw = view.history().read(from..total).unwrap_or_default();
            let shown = project_window(raw.values(now()), preceding, &[], max_chars);
            if from == 0 || !shown.is_empty() {
                let messages = shown.into_iter().map(|shown| shown.message.into_owned()).collect();
                return Self { messages, preceding };
            }
            kept *= 2;
        }
    }

    /// Whether it has grown to so many messages that it is cheaper to read it again.
    pub fn is_long(&self) -> bool {
        self.messages.len() > 4 * KEPT
    }

    /// Takes in one message that was appended.
    pub fn append(&mut self, message: Value<'_>, max_chars: usize) -> Step {
        // What is no object takes a number and is never shown.
        let Value::Object(mut message) = message.into_owned() else { return Step::Nothing };
        let Some(Announced { id, seq }) = Announced::of(&mut message) else { return Step::History };

        let project = |messages: Vec<Object<'static>>| {
            let messages = messages.into_iter().map(Value::Object).collect();
            project_window(messages, self.preceding, &[], max_chars)
        };
        let count_before = match self.preceding {
            Preceding::None => self.messages.len(),
            // Counted from the first message on that no earlier one can change.
            Preceding::Unknown => project(self.messages.clone()).len(),
        };
        let shown = project([&self.messages[..], &[message.clone()]].concat());

        if shown.last().is_some_and(|last| last.depends_on.is_some()) || shown.len() < count_before {
            return Step::History;
        }
        let grown = shown.len() - count_before;
        if grown > 1 || grown == 0 && is_visible_alone(message.into(), max_chars) {
            return Step::History;
        }
        self.messages = shown.into_iter().map(|shown| shown.message).collect();
        match self.messages.last() {
            Some(last) if grown == 1 => Step::Message { message: last.clone(), id, seq },
            _ => Step::Nothing,
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
