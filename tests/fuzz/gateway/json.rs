//! JSON is read as `serde_json` reads it where that can, but for the last characters of Plane 16, and otherwise only where JavaScript
//! does: halves of surrogate pairs, numbers that no double holds, and values that are nested deeper. What was read is written so
//! that it is read as the same.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::json::{self, Write as _};

pub(crate) fn run(input: &[u8]) {
    let ours = json::parse(input);
    let theirs = serde_json::from_slice(input).map(without_stand_ins);
    // What is passed over is not asked how large it is.
    let is_too_large = theirs.is_err() && serde_json::from_slice::<IgnoredAny>(input).is_ok();
    let theirs: Option<Value> = theirs.ok();
    if let Some(theirs) = &theirs {
        assert_eq!(ours.as_ref(), Some(theirs));
    }
    if let Some(value) = &ours {
        let written = value.to_json();
        let text = str::from_utf8(&written).expect("JSON is text");
        assert!(!text.bytes().any(|byte| byte < b' '), "a line of JSON is one line");
        let again = json::parse(&written).expect("what was written is read");
        assert_eq!(again.to_json(), written);
        assert!(alike(value, &again));
        if theirs.is_none() && !is_too_large && !mentions_half(input) && input.is_ascii() && depth(value) < 128 {
            panic!("read although it is no JSON");
        }
    }

    let text = json::decode(input);
    let mut members = Vec::new();
    let is_object = json::members(&text, |key, member| members.push((key.into_owned(), member))).is_some();
    assert_eq!(is_object, ours.as_ref().is_some_and(Value::is_object));
    if let Some(Value::Object(object)) = &ours {
        // Of equal keys the last counts.
        for (key, value) in object {
            let (_, member) = members.iter().rev().find(|(name, _)| name == key).expect("a member");
            assert_eq!(json::read::<Value>(member).as_ref(), Some(value));
        }
        assert!(members.iter().all(|(key, _)| object.contains_key(key)));
    }
}

/// The value as it is read: a character that stands for half of a pair while a text is worked on is read as U+FFFD.
fn without_stand_ins(value: Value) -> Value {
    let text = |text: String| text.replace(|char| char >= '\u{10f800}', "\u{fffd}");
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => Value::Array(items.into_iter().map(without_stand_ins).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (text(key), without_stand_ins(value))).collect())
        }
        other => other,
    }
}

/// Whether both are one value to JavaScript, to which every number is a double.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (name, other))| key == name && alike(one, other))
        }
        _ => one == other,
    }
}

fn mentions_half(text: &[u8]) -> bool {
    text.windows(3).any(|window| window[..2] == *b"\\u" && matches!(window[2], b'd' | b'D'))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
