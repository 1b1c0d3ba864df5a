//! From the messages of a transcript to those that a viewer sees.
//!
//! [`project`] applies these rules to a stretch of a history, in this order:
//!
//! | room | what it does |
//! | --- | --- |
//! | `images` | names images that are left out |
//! | `tool_activity` | shows what a tool did as a tool of its own |
//! | `strip` | takes out text that was put in for the model |
//! | `coordination` | hides what agents tell each other |
//! | `recovery` | takes out a failed turn that was mended, and says of others that they failed |
//! | `sanitise` | takes out what a viewer has no use for; drops control replies; sets commentary apart |
//! | `forwarded` | shows what another session sent as sent by it |
//! | `hide` | hides heartbeats, announcements, empty turns, copies |
//! | `tts` | merges the spoken form of an answer into the answer |
//! | `sanitise` | once more, now cutting long text |
//!
//! Where a stretch begins in the middle, a [`State`] says what is pending there.

mod block;
mod commentary;
mod control_reply;
mod coordination;
mod details;
mod failure;
mod forwarded;
mod heartbeat;
mod hide;
mod images;
mod inbound_metadata;
mod media;
mod provenance;
mod recovery;
mod runtime_context;
mod sanitise;
mod strip;
#[cfg(test)]
mod table;
pub mod tool_activity;
mod tts;
mod usage;
mod user_envelope;

use crate::json::{Fields, Object, Value};

pub use hide::is_turn_boundary;

/// After how many UTF-16 units text is cut.
const MAX_CHARS: usize = 8000;

/// What is pending where a stretch ends, and the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// A heartbeat's prompt was hidden, and the turn that it began is still to come.
    pub turn_boundary: bool,
    /// A turn has failed, and a later answer may mend that.
    pub failed_turn: bool,
}

/// What a viewer sees of a stretch.
#[derive(Debug, PartialEq)]
pub struct Shown {
    pub messages: Vec<Object>,
    pub after: State,
    /// Something in it mended a turn that failed before it.
    pub mended: bool,
}

/// What a viewer sees of a stretch of a history.
pub fn project(messages: Vec<Value>, before: State) -> Shown {
    let mut messages: Vec<Object> = messages.into_iter().filter_map(into_object).collect();
    for message in &mut messages {
        images::name(message);
        tool_activity::show(message);
        strip::strip(message);
    }
    coordination::hide(&mut messages);
    messages.iter_mut().for_each(show_display_content);
    messages.retain(|message| !(block::is_assistant(message) && message.has("openclawMessageToolMirror")));
    let (mut messages, failed_turn, mended) = recovery::mend(messages, before.failed_turn);
    messages.iter_mut().for_each(recovery::say_failed);
    let mut messages = sanitise::all(messages, None);
    messages.iter_mut().for_each(show_display_content);
    messages.iter_mut().for_each(forwarded::show);
    let (messages, turn_boundary) = hide::hide(messages, before.turn_boundary);
    let messages = sanitise::all(tts::merge(messages), Some(MAX_CHARS));
    Shown { messages, after: State { turn_boundary, failed_turn }, mended }
}

/// Cuts the texts of messages that are shown already after so many UTF-16 units.
#[cfg(feature = "websocket")]
pub fn shorten(messages: Vec<Object>, units: usize) -> Vec<Object> {
    sanitise::all(messages, Some(units.min(MAX_CHARS)))
}

fn into_object(message: Value) -> Option<Object> {
    match message {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The number of a message in its history, if it has one.
pub fn seq(message: &Object) -> Option<u64> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    let seq = message.object(META)?.number("seq")?;
    (seq.fract() == 0.0 && (1.0..=MAX_SAFE_INTEGER).contains(&seq)).then_some(seq as u64)
}

/// The key under which a message carries what is known of its record.
pub const META: &str = "__openclaw";

/// What of a message's meta is this text, trimmed.
fn run_id(message: &Object) -> Option<&str> {
    message.object(META)?.trimmed("runId")
}

/// The meta of a message, to be changed: made if there is none.
fn meta_mut(message: &mut Object) -> &mut Object {
    let meta = message.entry(META).or_insert_with(|| Object::new().into());
    if !meta.is_object() {
        *meta = Object::new().into();
    }
    meta.as_object_mut().expect("an object was put there")
}

/// What the gateway itself wrote to be shown in the place of the content.
fn show_display_content(message: &mut Object) {
    if block::is_assistant(message) && message.array("openclawDisplayContent").is_some() {
        if let Some(content) = message.take("openclawDisplayContent") {
            message.set("content", content);
        }
    }
}

/// Where a message keeps its text: in `content`, or without that in `text`.
fn text_source(message: &Object) -> Option<&Value> {
    message.member("content").filter(|content| !content.is_null()).or_else(|| message.member("text"))
}
