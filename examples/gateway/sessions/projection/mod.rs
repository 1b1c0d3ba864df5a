//! From the messages of a transcript to those that a viewer sees.
//!
//! [`project`] takes a whole transcript and applies these rules in this order:
//!
//! | rule | room | what it does |
//! | --- | --- | --- |
//! | A | `strip` | takes out text that was put in for the model |
//! | B | `mirrors` | shows replies that were sent with the `message` tool |
//! | C | `sanitise` | takes out what a viewer has no use for; drops commentary and control replies |
//! | E | `hide` | hides heartbeats, announcements, empty turns, copies |
//! | F | `tts` | merges the spoken form of an answer into the answer |
//! | C | `sanitise` | once more, now cutting long text |
//!
//! (Rule D, that whatever is no object is dropped, comes first here: no other rule minds it.)
//!
//! That takes the whole transcript. [`page`] gives a page of the same for the price of a page, by
//! way of [`project_window`], which projects a stretch.

mod assistant;
mod block;
mod directive_tags;
mod envelope;
mod heartbeat;
mod hide;
mod inbound_metadata;
mod message_id;
mod mirrors;
mod page;
mod role;
mod runtime_context;
mod sanitise;
mod send;
mod sender_label;
mod strip;
#[cfg(test)]
mod table;
mod tool_result;
mod tts;
mod usage;
mod window;

use std::sync::LazyLock;

use memchr::memmem::Finder;

pub use self::{
    page::{PageRequest, page, seq},
    tts::{MARKER as SUPPLEMENT_MARKER, SupplementKey},
    window::{Dependency, Preceding, Projected, project_window},
};

use crate::json::{Object, Value};

/// Words that nearly no text holds. Prepared when they are first searched for: each time anew, that
/// would take longer than the search.
type Words = LazyLock<Finder<'static>>;

/// What a viewer sees of a whole transcript. Text is cut after `max_chars` UTF-16 units.
pub fn project<'a>(messages: Vec<Value<'a>>, max_chars: usize) -> Vec<Object<'a>> {
    let shown = project_window(messages, Preceding::None, &[], max_chars);
    shown.into_iter().map(|shown| shown.message).collect()
}

/// Whether a viewer would see a message if it were the only one.
pub fn is_visible_alone(message: Value<'_>, max_chars: usize) -> bool {
    !project(vec![message], max_chars).is_empty()
}

/// Where a message keeps its text: in `content`, or without that in `text`.
fn text_source<'m, 'a>(message: &'m Object<'a>) -> Option<&'m Value<'a>> {
    message.get("content").or_else(|| message.get("text"))
}
