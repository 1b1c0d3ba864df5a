//! Text that was put into a message for the model, and not by its author, is taken out.
//!
//! The text of a message is its string `content`; or, of an array, the text of each block of text; or, without
//! either, its string `text`. Every role loses runtime context and inbound metadata. A user message also loses its
//! envelope and the hints with message ids, and before all that its metadata may tell who sent it. What a user was
//! looking at when writing is put aside: the text is then what was typed.

use std::borrow::Cow;

use super::{META, block, inbound_metadata, meta_mut, runtime_context, user_envelope};
use crate::json::{Fields, Object, Value, text};

pub fn strip(message: &mut Object) {
    show_typed_text(message);
    let role = block::role(message);
    let (is_user, is_assistant) = (text::trim(&role) == "user", text::trim(&role) == "assistant");
    if is_user {
        if let Some(label) = sender_label(message) {
            message.set("senderLabel", label);
        }
    }
    let strip = |text: &mut String| {
        edit(text, runtime_context::strip);
        edit(text, inbound_metadata::strip);
        if is_user {
            edit(text, user_envelope::strip);
        }
    };
    let is_text = |kind: Option<&str>| match kind {
        Some("text") => true,
        Some("input_text") => is_user || is_assistant,
        Some("output_text") => is_assistant,
        _ => false,
    };
    match message.member_mut("content") {
        Some(Value::String(text)) => strip(text),
        Some(Value::Array(blocks)) => {
            for block in blocks.iter_mut().filter(|block| is_text(block::kind(block))) {
                if let Some(Value::String(text)) = block.get_mut("text") {
                    strip(text);
                }
            }
        }
        _ => {
            if let Some(Value::String(text)) = message.member_mut("text") {
                strip(text);
            }
        }
    }
}

/// Applies a rule to a text in place.
pub fn edit(text: &mut String, rule: impl FnOnce(&str) -> Cow<'_, str>) {
    match rule(text) {
        Cow::Borrowed(left) if left.len() == text.len() => {}
        left => *text = left.into_owned(),
    }
}

/// Who sent a user message: a label of its own, or one from its metadata.
fn sender_label(message: &Object) -> Option<String> {
    if let Some(own) = message.trimmed("senderLabel") {
        return Some(own.to_owned());
    }
    match message.member("content") {
        Some(Value::String(text)) => return inbound_metadata::sender_label(text),
        Some(Value::Array(items)) => {
            let mut texts = items.iter().filter_map(|item| item.as_object()?.text("text"));
            if let Some(label) = texts.find_map(inbound_metadata::sender_label) {
                return Some(label);
            }
        }
        _ => {}
    }
    inbound_metadata::sender_label(message.text("text")?)
}

/// What a page tells of itself, and how long each of it may be, in UTF-16 units.
const WORK_CONTEXT: [(&str, usize); 8] = [
    ("page", 64),
    ("title", 96),
    ("sessionKey", 192),
    ("sessionId", 64),
    ("agentId", 64),
    ("workspace", 224),
    ("file", 224),
    ("selection", 640),
];

/// Puts the text that a user typed in the place of the one that the model got, and leaves what was told of the page.
fn show_typed_text(message: &mut Object) {
    if !block::is_user(message) {
        return;
    }
    let context = message.object(META).and_then(|meta| meta.object("workContext"));
    let Some((snapshot, typed)) =
        context.and_then(|context| Some((context.object("snapshot")?, context.text("text")?)))
    else {
        return;
    };
    let is_known = |(key, value): (&String, &Value)| {
        let limit = WORK_CONTEXT.iter().find(|(known, _)| known == key);
        limit.is_some_and(|(_, limit)| value.as_str().is_some_and(|value| text::units(value) <= *limit))
    };
    if snapshot.text("page").is_none_or(str::is_empty) || !snapshot.iter().all(is_known) {
        return;
    }
    let (snapshot, typed) = (snapshot.clone(), typed.to_owned());
    match message.member_mut("content") {
        Some(Value::Array(blocks)) => put_typed_text(blocks, &typed),
        Some(Value::String(text)) => *text = typed,
        _ => {
            if let Some(Value::String(text)) = message.member_mut("text") {
                *text = typed;
            }
        }
    }
    let mut context = Object::new();
    context.set("snapshot", snapshot);
    meta_mut(message).set("workContext", context);
}

fn put_typed_text(blocks: &mut Vec<Value>, typed: &str) {
    let mut is_put = false;
    blocks.retain_mut(|block| {
        if !matches!(block::kind(block), Some("text" | "input_text")) {
            return true;
        }
        let is_first = !std::mem::replace(&mut is_put, true);
        if is_first {
            block["text"] = typed.into();
        }
        is_first
    });
    if !is_put && !typed.is_empty() {
        blocks.insert(0, super::sanitise::text_block(typed));
    }
}
