//! What a tail read shows in place of a line that is too long for it.
//!
//! The line is not parsed. A stand-in record is made of what can be seen at its beginning, by its
//! look alone: a nested `"id"` that comes first is taken for the record's, and text that is no JSON
//! at all makes a stand-in too. Of each field the first place that looks right counts; a value there
//! that is blank or has a wrong escape is no value.

use memchr::memmem;

use crate::json::{self, Object, Text, Value, wtf8};

/// How much of the line is looked at, in UTF-16 units.
const UNITS: usize = 64 * 1024;

/// How many bytes of the line have to be read for that: a unit takes at most three.
pub(super) const BYTES: usize = 3 * UNITS;

/// The record that stands for the line that begins with these bytes.
pub(super) fn stand_in(start: &[u8]) -> Object<'static> {
    let start = json::decode(start);
    let start = wtf8::first_units(start.as_bytes(), UNITS);
    let mut record = Object::new();
    if let Some(kind) = string(&start, "type") {
        record.insert("type", kind);
    }
    if let Some(id) = string(&start, "id") {
        record.insert("id", id);
    }
    if values(&start, "parentId").any(|(_, value)| value.starts_with(b"null")) {
        record.insert("parentId", Value::Null);
    } else if let Some(parent) = string(&start, "parentId") {
        record.insert("parentId", parent);
    }
    // The message has a time of its own.
    let before_message = match values(&start, "message").next() {
        Some((at, _)) => &start[..at],
        None => &start,
    };
    if let Some(time) = string(before_message, "timestamp") {
        record.insert("timestamp", time);
    } else if let Some(time) = number(before_message, "timestamp") {
        record.insert("timestamp", time);
    }
    record.insert("message", message(string(&start, "role")));
    record
}

fn message(role: Option<Text<'static>>) -> Object<'static> {
    let text = Object::from([("type", "text"), ("text", "[chat.history omitted: message too large]")]);
    let meta = Object::from([("truncated", Value::from(true)), ("reason", "oversized".into())]);
    Object::from([
        ("role", Value::from(role.unwrap_or_else(|| "assistant".into()))),
        ("content", vec![text.into()].into()),
        ("__openclaw", meta.into()),
    ])
}

/// The value of the first `"name": "…"`.
fn string(text: &[u8], name: &str) -> Option<Text<'static>> {
    let json = values(text, name).find_map(|(_, value)| string_at_start(value))?;
    match json::parse(json) {
        Ok(Value::String(text)) if !text.is_blank() => Some(text.into_owned()),
        _ => None,
    }
}

/// The value of the first `"name": 1`.
fn number(text: &[u8], name: &str) -> Option<f64> {
    values(text, name).find_map(|(_, value)| number_at_start(value)).filter(|number| number.is_finite())
}

/// Where `"name":` stands, and what follows it, for each place where it does.
fn values<'a>(text: &'a [u8], name: &str) -> impl Iterator<Item = (usize, &'a [u8])> {
    let name = format!("\"{name}\"");
    let mut from = 0;
    let places = std::iter::from_fn(move || {
        let at = from + memmem::find(text.get(from..)?, name.as_bytes())?;
        // The quote at the end of one may be the first of another.
        from = at + 1;
        Some((at, &text[at + name.len()..]))
    });
    places.filter_map(|(at, rest)| {
        let value = wtf8::trim_start(rest).strip_prefix(b":")?;
        Some((at, wtf8::trim_start(value)))
    })
}

/// The text from one quote to the next that is not escaped.
fn string_at_start(text: &[u8]) -> Option<&[u8]> {
    let mut at = text.starts_with(b"\"").then_some(1)?;
    loop {
        match &text[at..] {
            // A pattern's dot takes anything but the end of a line.
            [b'\\', b'\n' | b'\r', ..] | [b'\\', 0xE2, 0x80, 0xA8 | 0xA9, ..] => return None,
            [b'\\', _, ..] => at += 2,
            [b'"', ..] => return Some(&text[..=at]),
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// The longest text at the start that is a number.
fn number_at_start(text: &[u8]) -> Option<f64> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let mut end = digits(usize::from(text.starts_with(b"-")))?;
    if text[end..].starts_with(b".") {
        end = digits(end + 1).unwrap_or(end);
    }
    if let [b'e' | b'E', rest @ ..] = &text[end..] {
        let sign = usize::from(matches!(rest, [b'+' | b'-', ..]));
        end = digits(end + 1 + sign).unwrap_or(end);
    }
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#""content":[{"type":"text","text":"[chat.history omitted: message too large]"}],"__openclaw":{"truncated":true,"reason":"oversized"}}"#;

    /// The stand-in, but for the part that is always the same.
    #[track_caller]
    fn assert_stand_in(line: &str, expected: &str) {
        let mut json = Vec::new();
        stand_in(line.as_bytes()).write(&mut json);
        let json = String::from_utf8(json).unwrap();
        assert_eq!(json.replace(MESSAGE, "…"), expected, "{line}");
    }

    #[test]
    fn fields_are_taken_from_the_start_of_the_line() {
        assert_stand_in(
            r#"{"id":"o1","parentId":null,"type":"message","timestamp":17,"message":{"role":"tool","content":"#,
            r#"{"type":"message","id":"o1","parentId":null,"timestamp":17,"message":{"role":"tool",…}"#,
        );
        assert_stand_in(
            r#"{"id" : "o\u0034\n" , "parentId":"o1","timestamp": "t" ,"message" : {"#,
            r#"{"id":"o4\n","parentId":"o1","timestamp":"t","message":{"role":"assistant",…}"#,
        );
    }

    #[test]
    fn the_first_place_counts_wherever_it_is() {
        assert_stand_in(
            r#"{"message":{"content":[{"type":"toolCall","id":"call"}],"role":"user"},"id":"real""#,
            r#"{"type":"toolCall","id":"call","message":{"role":"user",…}"#,
        );
        assert_stand_in(
            r#"no json "role":"system" "id":"o5" x"id"id":"o6""#,
            r#"{"id":"o5","message":{"role":"system",…}"#,
        );
    }

    #[test]
    fn a_bad_value_in_the_first_place_is_no_value() {
        assert_stand_in(
            r#"{"id":"","id":"late","role":"bad \x","type":5,"type":"x""#,
            r#"{"type":"x","message":{"role":"assistant",…}"#,
        );
        assert_stand_in(
            r#"{"parentId":"p","x":{"parentId" : null}"#,
            r#"{"parentId":null,"message":{"role":"assistant",…}"#,
        );
    }

    #[test]
    fn a_time_is_looked_for_before_the_message_only() {
        assert_stand_in(r#"{"message":{"timestamp":5}"#, r#"{"message":{"role":"assistant",…}"#);
        assert_stand_in(r#"{"timestamp":-1.5e3x"#, r#"{"timestamp":-1500,"message":{"role":"assistant",…}"#);
        assert_stand_in(r#"{"timestamp":"","timestamp":1.e"#, r#"{"timestamp":1,"message":{"role":"assistant",…}"#);
    }

    #[test]
    fn only_the_start_is_looked_at() {
        let line = format!("{}\"id\":\"a\"", "é".repeat(UNITS - 8));
        assert_stand_in(&line, r#"{"id":"a","message":{"role":"assistant",…}"#);
        let line = format!("{}\"id\":\"a\"", "é".repeat(UNITS - 7));
        assert_stand_in(&line, r#"{"message":{"role":"assistant",…}"#);
    }
}
