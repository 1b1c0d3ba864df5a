//! Whatever messages are made of, what is shown of them is JSON, in the order in which it was, and says nothing of what
//! stands between the marks of the runtime's own context.

use super::store;
use crate::{
    json::{self, Fields as _, Object, Value, Write as _},
    sessions::projection::{META, project, seq},
};

/// Messages, one a line: JSON, or a text that a user or an assistant wrote.
pub(crate) fn run(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(64).collect();
    let messages = lines.iter().enumerate().filter_map(|(at, line)| message(at, line));
    let messages: Vec<Value> = messages.collect();
    let shown = project(messages, store::START);
    let json = shown.messages.to_json();
    let Some(Value::Array(read)) = json::parse(&json) else { panic!("what is shown is a list") };
    assert_eq!(read.len(), shown.messages.len());
    let numbers: Vec<u64> = shown.messages.iter().filter_map(seq).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");

    for message in &shown.messages {
        let Some(text) = message.text("content").filter(|_| message.says("role", "user")) else { continue };
        assert!(!text.contains("\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>\n"), "{text}");
    }
}

fn message(at: usize, line: &[u8]) -> Option<Value> {
    let mut message = match line.split_first()? {
        (b'u', text) => said("user", text),
        (b'a', text) => said("assistant", text),
        (b'b', text) => {
            let mut message = said("assistant", b"");
            message.set("content", vec![Value::from(block(text))]);
            message
        }
        _ => json::object(line)?,
    };
    let mut meta = message.object(META).cloned().unwrap_or_default();
    meta.set("seq", at as u64 + 1);
    message.set(META, meta);
    Some(message.into())
}

/// Where a line of text has newlines there are bars.
fn said(role: &str, text: &[u8]) -> Object {
    let mut message = Object::new();
    message.set("role", role);
    message.set("content", String::from_utf8_lossy(text).replace('|', "\n"));
    message
}

fn block(text: &[u8]) -> Object {
    let mut block = Object::new();
    block.set("type", "text");
    block.set("text", String::from_utf8_lossy(text).replace('|', "\n"));
    block
}
