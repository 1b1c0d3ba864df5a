//! Rule A: text that was put into a message for the model, and not by its author, is taken out.
//!
//! The text of a message is its string `content`; or, of an array, the string `text` of each
//! block of type `text`; or, without either, its string `text`. Every role loses runtime context
//! and inbound metadata. A user message also loses its envelope and the hints with message ids,
//! and before all that its metadata may tell who sent it.

use std::borrow::Cow;

use super::{envelope, inbound_metadata, message_id, runtime_context, sender_label};
use crate::json::{Object, Text, Value};

/// A rule on one text. What it leaves alone it gives back borrowed.
type Rule = fn(&[u8]) -> Cow<'_, [u8]>;

const EVERY_ROLE: [Rule; 4] = [
    runtime_context::strip_delimited,
    runtime_context::strip_legacy,
    runtime_context::strip_notices,
    inbound_metadata::strip,
];

const USER: [Rule; 2] = [envelope::strip, message_id::strip];

pub fn strip(message: &mut Object<'_>) {
    let user = message.text("role").is_some_and(|role| role.trim().is_word("user"));
    if user {
        sender_label::settle(message);
    }
    let user_rules = if user { &USER[..] } else { &[] };
    let strip_text = |text: &mut Text<'_>| {
        for rule in EVERY_ROLE.iter().chain(user_rules) {
            text.edit(rule);
        }
    };
    match message.get_mut("content") {
        Some(Value::String(text)) => strip_text(text),
        Some(Value::Array(blocks)) => {
            blocks.iter_mut().filter_map(text_of_block).for_each(strip_text);
        }
        _ => {
            if let Some(Value::String(text)) = message.get_mut("text") {
                strip_text(text);
            }
        }
    }
}

fn text_of_block<'b, 'a>(block: &'b mut Value<'a>) -> Option<&'b mut Text<'a>> {
    let block = block.as_object_mut()?;
    block.text("type").filter(|kind| *kind == "text")?;
    block.get_mut("text")?.as_text_mut()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn text_is_found_where_it_stands_and_stripped_by_role() {
        table::messages(
            strip,
            &[
                (
                    r#"{"role":"user","content":"[Slack x] a","text":"[Slack x] b"}"#,
                    r#"{"role":"user","content":"a","text":"[Slack x] b"}"#,
                ),
                (
                    r#"{"role":" USER ","content":null,"text":"[Slack x] b"}"#,
                    r#"{"role":" USER ","content":null,"text":"b"}"#,
                ),
                (
                    r#"{"role":"user","content":[{"type":"text","text":"[Slack x] a"},{"type":"Text","text":"[Slack x] b"},"[Slack x] c",null]}"#,
                    r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"Text","text":"[Slack x] b"},"[Slack x] c",null]}"#,
                ),
                (
                    r#"{"role":"assistant","content":"[Slack x] a\n[message_id: 1]"}"#,
                    r#"{"role":"assistant","content":"[Slack x] a\n[message_id: 1]"}"#,
                ),
                (r#"{"content":"[Mon 2026-01-01 10:00] a"}"#, r#"{"content":"a"}"#),
                (
                    r#"{"role":"user","content":"[Mon 2026-01-01 10:00] [Slack x] a\n[message_id: 1]"}"#,
                    r#"{"role":"user","content":"a"}"#,
                ),
            ],
        );
    }
}
