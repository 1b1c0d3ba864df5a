//! A reply that a model sends with the `message` tool, as its call describes it.

use std::borrow::Cow;

use super::{directive_tags, role};
use crate::json::{Object, Text, Value};

/// Names and ids are written in many ways by many providers.
pub const NAME_KEYS: [&str; 4] = ["name", "toolName", "tool_name", "tool"];
const CALL_ID_KEYS: [&str; 5] = ["id", "toolCallId", "tool_call_id", "callId", "call_id"];
const ARGUMENT_KEYS: [&str; 4] = ["arguments", "input", "args", "params"];
const TEXT_KEYS: [&str; 5] = ["message", "text", "content", "body", "caption"];
const ROUTE_KEYS: [&str; 17] = [
    "target",
    "targets",
    "to",
    "recipient",
    "recipients",
    "chatId",
    "chat_id",
    "channelId",
    "channel_id",
    "conversationId",
    "conversation_id",
    "threadId",
    "thread_id",
    "roomId",
    "room_id",
    "groupId",
    "group_id",
];

/// A call that sends text to wherever the conversation is.
#[derive(Debug, PartialEq)]
pub struct SendCall {
    pub text: Text<'static>,
    pub call_id: Option<Text<'static>>,
}

impl SendCall {
    /// The sends that an assistant message asks for.
    pub fn all(message: &Object<'_>) -> impl Iterator<Item = Self> {
        let assistant = role::is_assistant(message);
        let blocks = message.array("content").filter(|_| assistant).unwrap_or_default();
        blocks.iter().filter_map(|block| Self::from_block(block.as_object()?))
    }

    fn from_block(block: &Object<'_>) -> Option<Self> {
        let kind = block.text("type")?.trim();
        let is_call = without_underscores_is(&kind, "toolcall") || without_underscores_is(&kind, "tooluse");
        if !is_call {
            return None;
        }
        let function = block.object("function");
        let name = block.first_opt_string(&NAME_KEYS).or_else(|| function?.opt_string("name"))?;
        if !name.is_word("message") {
            return None;
        }
        let arguments = ARGUMENT_KEYS
            .iter()
            .find_map(|key| record(block.get(key)?))
            .or_else(|| record(function?.get("arguments")?))?;
        let sends = arguments.opt_string("action").is_some_and(|action| action.is_word("send"));
        if !sends || is_dry_run(&arguments) || has_route(&arguments) {
            return None;
        }
        let mut text = TEXT_KEYS.iter().find_map(|key| arguments.text(key).filter(|text| !text.is_blank()))?.clone();
        text.edit(directive_tags::strip);
        if text.is_blank() {
            return None;
        }
        Some(Self { text: text.into_owned(), call_id: block.first_opt_string(&CALL_ID_KEYS).map(Text::into_owned) })
    }
}

/// The object that this is, or holds as JSON.
pub fn record<'v>(value: &'v Value<'_>) -> Option<Cow<'v, Object<'v>>> {
    match value {
        Value::Object(object) => Some(Cow::Borrowed(object)),
        Value::String(text) => match text.parse_json() {
            Ok(Value::Object(object)) => Some(Cow::Owned(object)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether arguments or a result say that nothing is really sent.
pub fn is_dry_run(record: &Object<'_>) -> bool {
    ["dryRun", "dry_run"].iter().any(|key| record.get(key) == Some(&Value::Bool(true)))
        || record
            .first_opt_string(&["deliveryStatus", "delivery_status", "status"])
            .is_some_and(|status| status.is_word("dry_run"))
}

/// Whether the text is this ASCII word, in any case and with underscores anywhere.
pub fn without_underscores_is(text: &Text<'_>, word: &str) -> bool {
    let bytes = text.as_wtf8().iter().filter(|byte| **byte != b'_');
    bytes.map(u8::to_ascii_lowercase).eq(word.bytes())
}

fn has_route(arguments: &Object<'_>) -> bool {
    ROUTE_KEYS.iter().any(|key| arguments.get(key).is_some_and(names_something))
}

fn names_something(value: &Value<'_>) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_blank(),
        Value::Array(items) => items.iter().any(names_something),
        Value::Object(object) => object.values().any(names_something),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn sends_are_read_in_every_spelling() {
        for (block, text, call_id) in [
            (r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi"}"#, "hi", None),
            (
                r#""type":" Tool_Use ","toolName":" MESSAGE ","input":{"action":" Send ","text":"hi"},"callId":"c""#,
                "hi",
                Some("c"),
            ),
            (
                r#""type":"toolcall","function":{"name":"message","arguments":"{\"action\":\"send\",\"body\":\"hi\"}"},"id":" i ""#,
                "hi",
                Some("i"),
            ),
            (
                r#""type":"tool_call","tool":"message","arguments":"no","args":{"action":"send","message":" ","caption":"hi"}"#,
                "hi",
                None,
            ),
            (
                r#""type":"toolCall","name":"message","params":{"action":"send","message":"[[reply_to_current]] hi"}"#,
                " hi",
                None,
            ),
            (
                r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","to":" ","targets":[null,{"a":""}],"dryRun":1}"#,
                "hi",
                None,
            ),
        ] {
            let message = table::object(&format!(r#"{{"role":"assistant","content":[5,{{{block}}}]}}"#));
            let expected = SendCall { text: Text::from(text), call_id: call_id.map(Text::from) };
            assert_eq!(SendCall::all(&message).collect::<Vec<_>>(), [expected], "{block}");
        }
    }

    #[test]
    fn other_calls_are_no_replies() {
        for block in [
            r#""type":"toolResult","name":"message","arguments":{"action":"send","message":"hi"}"#,
            r#""type":"toolCall","name":"messages","arguments":{"action":"send","message":"hi"}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"react","message":"hi"}"#,
            r#""type":"toolCall","name":"message","arguments":{"message":"hi"}"#,
            r#""type":"toolCall","name":"message","arguments":[{"action":"send","message":"hi"}]"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":" ","text":5}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"[[audio_as_voice]]","text":"x"}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","to":"x"}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","chat_id":0}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","targets":[[{"a":"b"}]]}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","dry_run":true}"#,
            r#""type":"toolCall","name":"message","arguments":{"action":"send","message":"hi","status":" Dry_Run "}"#,
        ] {
            let message = table::object(&format!(r#"{{"role":"assistant","content":[{{{block}}}]}}"#));
            assert_eq!(SendCall::all(&message).count(), 0, "{block}");
        }
        let user = table::object(
            r#"{"role":"user","content":[{"type":"toolCall","name":"message","arguments":{"action":"send","message":"hi"}}]}"#,
        );
        assert_eq!(SendCall::all(&user).count(), 0);
    }
}
