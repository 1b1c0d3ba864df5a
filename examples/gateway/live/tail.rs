//! [`Tail`]: the last messages that are shown, and what an appended message does to them.
//!
//! 1. A message that was appended is put behind those already shown, and the list is projected
//!    again. If it grew by one, the last one is sent as `message`. If it did not grow, and the new
//!    message is one that would not be shown anyway, nothing is sent.
//! 2. Of several messages each is taken in as if it were the only one; where each of them is shown and changes
//!    nothing, that is found out by projecting the list once.
//! 3. Anything else (the list grew by more, shrank, or lost a message that would be shown by itself)
//!    changed messages that were sent before: the whole `history` is sent.
//!
//! Only the end of the list is kept: what is shown of a message depends on few of those before it.

use std::io;

use crate::{
    json::{Object, Value},
    sessions::{
        now,
        projection::{Preceding, Projected, is_visible_alone, project_window, seq},
        transcript::View,
    },
};

/// How many messages are kept, unless more are needed to know what is shown.
pub const KEPT: usize = 32;

/// The last messages that are shown.
pub struct Tail {
    messages: Vec<Object<'static>>,
    /// Whether there are others before them.
    preceding: Preceding,
}

/// One more message is shown: this, by the id of its record and its number.
pub struct Shown {
    pub message: Object<'static>,
    pub id: Option<Value<'static>>,
    pub seq: u64,
}

/// What an appended message does to what is shown.
enum Step {
    Nothing,
    Message(Shown),
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
    ///
    /// O(messages that are not shown before it), as twice as many are read each time.
    pub fn read(view: &View, total: usize, max_chars: usize) -> io::Result<Self> {
        let mut kept = KEPT;
        loop {
            let from = total.saturating_sub(kept);
            let preceding = if from == 0 { Preceding::None } else { Preceding::Unknown };
            let raw = view.history().read(from..total)?;
            let shown = project_window(raw.values(now()), preceding, &[], max_chars);
            if from == 0 || !shown.is_empty() {
                let messages = shown.into_iter().map(|shown| shown.message.into_owned()).collect();
                return Ok(Self { messages, preceding });
            }
            kept *= 2;
        }
    }

    /// Whether it has grown to so many messages that it is cheaper to read it again.
    pub fn is_long(&self) -> bool {
        self.messages.len() > 4 * KEPT
    }

    /// Takes in messages that were appended, and says what has to be sent. `None`: more has changed than messages
    /// say, and what is kept is worth nothing.
    ///
    /// O(kept and new messages) where each new one is shown for itself, and their product otherwise: so the
    /// caller bounds how many there are.
    pub fn append(&mut self, messages: Vec<Value<'_>>, max_chars: usize) -> Option<Vec<Shown>> {
        // What is no object takes a number and is never shown.
        let mut new = Vec::with_capacity(messages.len());
        for message in messages {
            let Value::Object(mut message) = message.into_owned() else { continue };
            new.push((Announced::of(&mut message)?, message));
        }
        if let Some(shown) = self.append_all(&new, max_chars) {
            return Some(shown);
        }
        let mut shown = Vec::new();
        for (announced, message) in new {
            match self.append_one(announced, message, max_chars) {
                Step::Nothing => {}
                Step::Message(message) => shown.push(message),
                Step::History => return None,
            }
        }
        Some(shown)
    }

    /// Takes them in if each is shown for itself.
    fn append_all(&mut self, new: &[(Announced, Object<'static>)], max_chars: usize) -> Option<Vec<Shown>> {
        let before = self.count(max_chars);
        let new_messages = new.iter().map(|(_, message)| message.clone());
        let all = self.project(self.messages.iter().cloned().chain(new_messages), max_chars);
        let added = all.get(before..).filter(|added| added.len() == new.len())?;
        let is_itself = |(shown, (announced, _)): (&Projected<'_>, &(Announced, Object<'_>))| {
            shown.depends_on.is_none() && seq(&shown.message) == Some(announced.seq)
        };
        if !added.iter().zip(new).all(is_itself) {
            return None;
        }
        let announced = new.iter().map(|(announced, _)| announced.clone());
        let shown = added.iter().zip(announced).map(|(shown, announced)| announced.shown(shown.message.clone()));
        let shown = shown.collect();
        self.messages = all.into_iter().map(|shown| shown.message).collect();
        Some(shown)
    }

    fn append_one(&mut self, announced: Announced, message: Object<'static>, max_chars: usize) -> Step {
        let count_before = self.count(max_chars);
        let messages = self.messages.iter().cloned().chain([message.clone()]);
        let shown = self.project(messages, max_chars);
        if shown.last().is_some_and(|last| last.depends_on.is_some()) || shown.len() < count_before {
            return Step::History;
        }
        let grown = shown.len() - count_before;
        if grown > 1 || grown == 0 && is_visible_alone(message.into(), max_chars) {
            return Step::History;
        }
        self.messages = shown.into_iter().map(|shown| shown.message).collect();
        match self.messages.last() {
            Some(last) if grown == 1 => Step::Message(announced.shown(last.clone())),
            _ => Step::Nothing,
        }
    }

    /// How many messages are shown, counted as after one more.
    fn count(&self, max_chars: usize) -> usize {
        match self.preceding {
            Preceding::None => self.messages.len(),
            // Counted from the first message on that no earlier one can change.
            Preceding::Unknown => self.project(self.messages.iter().cloned(), max_chars).len(),
        }
    }

    fn project(&self, messages: impl Iterator<Item = Object<'static>>, max_chars: usize) -> Vec<Projected<'static>> {
        project_window(messages.map(Value::Object).collect(), self.preceding, &[], max_chars)
    }
}

/// How a new message is announced: by the id of its record and its number, and without its time.
#[derive(Clone)]
struct Announced {
    id: Option<Value<'static>>,
    seq: u64,
}

impl Announced {
    fn of(message: &mut Object<'static>) -> Option<Self> {
        let seq = seq(message)?;
        let Some(Value::Object(meta)) = message.get_mut("__openclaw") else { return None };
        meta.remove("recordTimestampMs");
        Some(Self { id: meta.get("id").cloned(), seq })
    }

    fn shown(self, message: Object<'static>) -> Shown {
        Shown { message, id: self.id, seq: self.seq }
    }
}
