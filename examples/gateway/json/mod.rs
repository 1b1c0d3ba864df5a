//! JSON, by `serde_json`, as a program in JavaScript has it.
//!
//! What the transcripts hold was written by `JSON.stringify`, and what is made of them is read by programs that know
//! its output. Four of its habits are not `serde_json`'s own:
//!
//! - a number is written in JavaScript's shortest form ([`write`]);
//! - a string may hold half of a surrogate pair, escaped (`lone`);
//! - a number that no double holds is none to refuse: it is `null`, as which it would be written (`infinite`);
//! - a value may be nested deeper than 128 levels ([`parse`]).
//!
//! [`members`] finds the members of an object without a value built. [`Fields`] asks an object what the rules of the
//! projection ask, and `text` has JavaScript's notions of space and length.

mod infinite;
mod lone;
mod members;
pub mod text;
mod write;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
pub use serde_json::Value;

pub use self::{
    members::members,
    write::{Write, write},
};

/// A JSON object, its members in the order of the text.
pub type Object = serde_json::Map<String, Value>;

/// How many containers may be nested in each other. Values are read, copied and dropped by functions that recurse; so
/// many levels fit on the stack of a worker thread.
pub const MAX_DEPTH: usize = 512;

/// How many levels `serde_json` reads unasked.
const PLAIN_DEPTH: usize = 127;

/// Reads one JSON text. Bytes that are no UTF-8 are read as U+FFFD. `None` if it is no JSON, or too deep.
pub fn parse(text: &[u8]) -> Option<Value> {
    read(&decode(text))
}

/// Reads one JSON text as an object.
pub fn object(text: &[u8]) -> Option<Object> {
    match parse(text)? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The text as `serde_json` can read it.
pub fn decode(text: &[u8]) -> Cow<'_, str> {
    match lone::encode(text) {
        // Nearly every text is UTF-8, and `from_utf8_lossy` is slow to find that out.
        Cow::Borrowed(text) => str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed),
        Cow::Owned(text) => Cow::Owned(String::from_utf8_lossy(&text).into_owned()),
    }
}

/// Reads a text that [`decode`] gave.
pub fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    // Nearly no text has one: it is looked for where nothing else can be read.
    read_finite(text).or_else(|| read_finite(&infinite::without(text)?))
}

fn read_finite<T: DeserializeOwned>(text: &str) -> Option<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let depth = depth(text);
    if depth > MAX_DEPTH {
        return None;
    } else if depth > PLAIN_DEPTH {
        reader.disable_recursion_limit();
    }
    let value = T::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// How many containers are open at most, if the text is JSON; no less than that in any case.
fn depth(text: &str) -> usize {
    // Nearly every text has too few brackets to be deep.
    if memchr::memchr2_iter(b'{', b'[', text.as_bytes()).nth(PLAIN_DEPTH).is_none() {
        return 0;
    }
    let (mut open, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether JavaScript takes a value for true: all but null, false, 0 and the empty string.
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(bool) => *bool,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// What the rules ask of an object.
pub trait Fields {
    /// What is under this key.
    fn member(&self, key: &str) -> Option<&Value>;
    /// The same, to be changed.
    fn member_mut(&mut self, key: &str) -> Option<&mut Value>;
    /// Whether there is something under this key.
    fn has(&self, key: &str) -> bool {
        self.member(key).is_some()
    }
    /// The string under this key.
    fn text(&self, key: &str) -> Option<&str>;
    /// The string under this key without space around it, if that leaves anything.
    fn trimmed(&self, key: &str) -> Option<&str>;
    /// The object under this key.
    fn object(&self, key: &str) -> Option<&Object>;
    /// The items of the array under this key.
    fn array(&self, key: &str) -> Option<&Vec<Value>>;
    /// The number under this key.
    fn number(&self, key: &str) -> Option<f64>;
    /// Whether this is the string under this key.
    fn says(&self, key: &str, text: &str) -> bool {
        self.text(key) == Some(text)
    }
    /// Whether true or false is under this key, and it is this.
    fn is(&self, key: &str, flag: bool) -> bool;
    /// Sets a key, in its place if it is there already and else at the end.
    fn set(&mut self, key: &str, value: impl Into<Value>);
    /// Takes a key out. The others keep their places.
    fn take(&mut self, key: &str) -> Option<Value>;
}

/// Up to so many members are compared with a key, which is faster than to hash it. Most that is asked for is not there.
const FEW: usize = 16;

impl Fields for Object {
    fn member(&self, key: &str) -> Option<&Value> {
        match self.len() {
            ..=FEW => self.iter().find_map(|(name, value)| (name == key).then_some(value)),
            _ => self.get(key),
        }
    }

    fn member_mut(&mut self, key: &str) -> Option<&mut Value> {
        match self.len() {
            ..=FEW => self.iter_mut().find_map(|(name, value)| (name == key).then_some(value)),
            _ => self.get_mut(key),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.member(key)?.as_str()
    }

    fn trimmed(&self, key: &str) -> Option<&str> {
        self.text(key).map(text::trim).filter(|text| !text.is_empty())
    }

    fn object(&self, key: &str) -> Option<&Object> {
        self.member(key)?.as_object()
    }

    fn array(&self, key: &str) -> Option<&Vec<Value>> {
        self.member(key)?.as_array()
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.member(key)?.as_f64()
    }

    fn is(&self, key: &str, flag: bool) -> bool {
        self.member(key).and_then(Value::as_bool) == Some(flag)
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.insert(key.to_owned(), value.into());
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.has(key).then(|| self.shift_remove(key)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_deep_and_not_deeper() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (levels, is_read) in [(1, true), (127, true), (128, true), (MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            assert_eq!(parse(nested(levels).as_bytes()).is_some(), is_read, "{levels}");
        }
        let in_a_string = format!("[\"\\\"{}\"]", "[".repeat(2 * MAX_DEPTH));
        assert!(parse(in_a_string.as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        for text in ["", "{", "{}{}", "[1,]", "nul", "\"\u{1}\"", "01", "\u{feff}{}"] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(parse(b" \"a\xffb\" "), Some("a\u{fffd}b".into()));
    }

    #[test]
    fn of_equal_keys_the_last_value_wins_in_the_first_place() {
        let object = object(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(Value::from(object).to_string(), r#"{"a":3,"b":2}"#);
    }
}
