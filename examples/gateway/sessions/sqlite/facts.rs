//! [`Facts`]: what of a record decides whether it is shown, read without its text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json;

/// The members of a record that place it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// `type`.
    pub(super) kind: Member,
    pub(super) id: Member,
    pub(super) parent_id: Member,
    /// Of a `leaf`: the record that is shown last from there on, and the one that the next is appended to.
    pub(super) target_id: Member,
    pub(super) append_parent_id: Member,
    pub(super) append_mode: Member,
    /// Of a reset: the first record before it that is still shown.
    pub(super) first_kept: Member,
    pub(super) custom_type: Member,
    pub(super) display: Member,
    pub(super) has_message: bool,
    /// `message.role`.
    pub(super) role: Member,
}

/// A member whose value is told as far as it can matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Member {
    #[default]
    Absent,
    Null,
    True,
    Text(String),
    Other,
}

impl Facts {
    /// Reads the JSON of a record. What is no object has no facts.
    pub(super) fn parse(json: &[u8]) -> Self {
        serde_json::from_str(&json::decode(json)).unwrap_or_default()
    }

    /// Whether the record stands on the way from one to the next: not so a header, nor what is not known.
    pub(super) fn is_canonical(&self) -> bool {
        matches!(
            self.kind.text(),
            Some(
                "message"
                    | "thinking_level_change"
                    | "model_change"
                    | "compaction"
                    | "reset"
                    | "branch_summary"
                    | "custom"
                    | "custom_message"
                    | "label"
                    | "session_info"
            )
        )
    }

    /// Whether it is shown although it has no message.
    pub(super) fn is_marker(&self) -> bool {
        match self.kind.text() {
            Some("compaction" | "reset") => true,
            Some("custom_message") => {
                self.display == Member::True && self.custom_type.text() != Some("openclaw.runtime-context")
            }
            _ => false,
        }
    }

    /// Whether a reset keeps it, if it is among those to be kept.
    pub(super) fn is_turn(&self) -> bool {
        self.kind.text() == Some("message") && matches!(self.role.text(), Some("user" | "assistant"))
    }
}

impl Member {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text that is more than space.
    pub(super) fn name(&self) -> Option<&str> {
        self.text().filter(|text| !text.trim().is_empty())
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Record;
        impl<'de> Visitor<'de> for Record {
            type Value = Facts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Facts, A::Error> {
                let mut facts = Facts::default();
                while let Some(key) = members.next_key::<Key>()? {
                    let member = match key {
                        Key::Kind => &mut facts.kind,
                        Key::Id => &mut facts.id,
                        Key::ParentId => &mut facts.parent_id,
                        Key::TargetId => &mut facts.target_id,
                        Key::AppendParentId => &mut facts.append_parent_id,
                        Key::AppendMode => &mut facts.append_mode,
                        Key::FirstKept => &mut facts.first_kept,
                        Key::CustomType => &mut facts.custom_type,
                        Key::Display => &mut facts.display,
                        Key::Message => {
                            facts.has_message = true;
                            facts.role = members.next_value::<Role>()?.0;
                            continue;
                        }
                        Key::Other => {
                            members.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    // Of equal keys the last counts.
                    *member = members.next_value()?;
                }
                Ok(facts)
            }
        }
        deserializer.deserialize_map(Record)
    }
}

#[derive(serde::Deserialize)]
enum Key {
    #[serde(rename = "type")]
    Kind,
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "parentId")]
    ParentId,
    #[serde(rename = "targetId")]
    TargetId,
    #[serde(rename = "appendParentId")]
    AppendParentId,
    #[serde(rename = "appendMode")]
    AppendMode,
    #[serde(rename = "firstKeptEntryId")]
    FirstKept,
    #[serde(rename = "customType")]
    CustomType,
    #[serde(rename = "display")]
    Display,
    #[serde(rename = "message")]
    Message,
    #[serde(other)]
    Other,
}

/// `role` of a message, whatever that is.
struct Role(Member);

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut role = Member::Absent;
        deserializer.deserialize_any(Value { role: Some(&mut role) })?;
        Ok(Self(role))
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value { role: None })
    }
}

/// Any value. Of an object the `role` is noted, if that is wanted.
struct Value<'a> {
    role: Option<&'a mut Member>,
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Member, E> {
        Ok(if value { Member::True } else { Member::Other })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Member, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
        let Some(role) = self.role else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Member::Other);
        };
        while let Some(key) = members.next_key::<MessageKey>()? {
            match key {
                MessageKey::Role => *role = members.next_value()?,
                MessageKey::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Member::Other)
    }
}

#[derive(serde::Deserialize)]
enum MessageKey {
    #[serde(rename = "role")]
    Role,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_told_whatever_the_members_are() {
        let text = |text: &str| Member::Text(text.to_owned());
        let facts = Facts::parse(
            br#"{"type":"x","type":"message","id":"a","parentId":null,"targetId":5,"appendMode":"side","display":true,
                "message":{"content":[{"role":"no"}],"role":"user"},"details":{"id":"other"},"x":"\ud800"}"#,
        );
        let expected = Facts {
            kind: text("message"),
            id: text("a"),
            parent_id: Member::Null,
            target_id: Member::Other,
            append_mode: text("side"),
            display: Member::True,
            has_message: true,
            role: text("user"),
            ..Facts::default()
        };
        assert_eq!(facts, expected);
        for message in ["null", "5", "\"text\"", "[1,{}]", "true", "{}"] {
            let facts = Facts::parse(format!("{{\"message\":{message}}}").as_bytes());
            assert_eq!(facts, Facts { has_message: true, ..Facts::default() }, "{message}");
        }
        for nothing in ["[]", "null", "{\"type\":", "", "{\"id\":\"a\"} x"] {
            assert_eq!(Facts::parse(nothing.as_bytes()), Facts::default(), "{nothing}");
        }
    }

    #[test]
    fn a_marker_is_shown_without_a_message() {
        for (json, shown) in [
            (r#"{"type":"compaction"}"#, true),
            (r#"{"type":"reset"}"#, true),
            (r#"{"type":"custom_message","display":true}"#, true),
            (r#"{"type":"custom_message","display":1}"#, false),
            (r#"{"type":"custom_message"}"#, false),
            (r#"{"type":"custom_message","display":true,"customType":"openclaw.runtime-context"}"#, false),
            (r#"{"type":"message"}"#, false),
        ] {
            assert_eq!(Facts::parse(json.as_bytes()).is_marker(), shown, "{json}");
        }
    }
}
