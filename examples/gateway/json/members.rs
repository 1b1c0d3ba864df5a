//! The members of an object, without a value built.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{MAX_DEPTH, depth};

/// Calls `member` with each key and the text of each value, without space around it, in the order of the object that
/// `text` is, which is as [`decode`](super::decode) gives it. `None` if it is none; what `member` was told before that
/// is worth nothing.
pub fn members<'a>(text: &'a str, member: impl FnMut(Cow<'a, str>, &'a str)) -> Option<()> {
    if depth(text) > MAX_DEPTH {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members(member)).ok()?;
    reader.end().ok()
}

struct Members<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, &'a str)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key_seed(Key)? {
            let value: &RawValue = members.next_value()?;
            self.0(key, value.get());
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn members_are_found_in_their_order() {
        let mut found = Vec::new();
        let text = r#" { "a" : [1, {"b":2}] , "\u0062":"x\"}" , "a":null } "#;
        members(text, |key, value| found.push((key.into_owned(), value))).expect("an object");
        let expected = [("a", r#"[1, {"b":2}]"#), ("b", r#""x\"}""#), ("a", "null")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
        for text in ["[]", "{", "{}x", r#"{"a":}"#, r#"{"a":1,}"#, "null"] {
            assert!(members(text, |_, _| {}).is_none(), "{text}");
        }
    }
}
