//! Projecting a stretch of a transcript, so that a page costs the page and not the transcript.
//!
//! What is shown of a message depends on messages around it, but not on many:
//!
//! - On what came before: whether a reply is pending (rule B), whether the message acknowledges a
//!   prompt or copies the message shown before it (rule E). [`project_window`] therefore begins
//!   its answer at the first message for which none of this can matter: one that is surely shown,
//!   after all that was pending has surely ended. From there on the answer is what a projection
//!   of the whole transcript would show, but for supplements (rule F).
//! - On what comes after: only on supplements.
//! - A supplement is merged into the nearest earlier answer with its text, however far away.
//!   Where that cannot be settled inside the window, the message carries a [`Doubt`].
//!
//! So a page is right when the window reaches over both its ends and none of its messages is in
//! doubt. For a doubt the caller takes a longer window and projects again.

use super::{hide, mirrors, sanitise, strip, tts};
use crate::gateway::{
    js::{Object, Value},
    projection::SupplementKey,
};

/// What the caller knows of the messages before a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// There are none.
    Nothing,
    /// There may be any.
    Unknown,
}

/// A message as a viewer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<'a> {
    pub message: Object<'a>,
    pub doubt: Option<Doubt>,
}

/// Why a message may look different, or be gone, when more of the transcript is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is a supplement, and the answer it belongs to may stand before the window.
    PartnerBefore,
    /// The supplement with this index of those after the window may belong to it. It does unless
    /// a message in between has the same text. It is the first such supplement.
    SupplementAfter(usize),
}

impl<'a> Shown<'a> {
    pub(super) fn surely(message: Object<'a>) -> Self {
        Self { message, doubt: None }
    }
}

/// What a viewer sees of a stretch of a transcript.
///
/// `messages` is the stretch, `later` the keys of all messages after it that have one, in order.
/// (Only a record that contains [`SUPPLEMENT_MARKER`](super::SUPPLEMENT_MARKER) can have one.)
///
/// With [`Before::Nothing`] the answer begins where the transcript does. With
/// [`Before::Unknown`] it begins at the first message that is settled, so the stretch has to
/// begin some way before the page; how far is found by trying.
pub fn project_window<'a>(
    messages: Vec<Value<'a>>,
    before: Before,
    later: &[SupplementKey],
    max_chars: usize,
) -> Vec<Shown<'a>> {
    let mut messages: Vec<Object<'a>> = messages.into_iter().filter_map(into_object).collect();
    messages.iter_mut().for_each(strip::strip);
    let mut messages = mirrors::insert(messages, before);
    sanitise::sanitise_all(&mut messages, None);
    let messages = hide::hide(messages, before);
    let mut shown = tts::merge(messages, before, later);
    shown.retain_mut(|shown| sanitise::sanitise_or_drop(&mut shown.message, Some(max_chars)));
    shown
}

fn into_object<'a>(message: Value<'a>) -> Option<Object<'a>> {
    match message {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
