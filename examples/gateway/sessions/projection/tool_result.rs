//! Whether a message is the result of a `message` tool call, and tells of success.

use super::send::{is_dry_run, record, without_underscores_is};
use crate::json::{Object, Text, Value};

const NAME_KEYS: [&str; 4] = ["toolName", "tool_name", "name", "tool"];
const CALL_ID_KEYS: [&str; 5] = ["toolCallId", "tool_call_id", "callId", "call_id", "id"];
/// Where a result keeps what the tool answered.
const ANSWER_KEYS: [&str; 4] = ["result", "output", "content", "text"];

/// Whether the message says that the call with this id, or a call without one, has succeeded.
pub fn confirms(message: &Object<'_>, call_id: Option<&Text<'_>>) -> bool {
    is_result(message)
        && call_id.is_none_or(|id| message.first_opt_string(&CALL_ID_KEYS).as_ref() == Some(id))
        && succeeded(message)
}

fn is_result(message: &Object<'_>) -> bool {
    match message.first_opt_string(&NAME_KEYS) {
        Some(name) => name.is_word("message"),
        None => message.text("role").is_some_and(|role| {
            ["toolresult", "tool", "function"].iter().any(|tool| without_underscores_is(role, tool))
        }),
    }
}

fn succeeded(message: &Object<'_>) -> bool {
    let no_error = matches!(message.get("error"), None | Some(Value::Null | Value::Bool(false)));
    no_error
        && message.get("isError") != Some(&Value::Bool(true))
        && in_answers(message, &|value| value.as_object().filter(|object| is_dry_run(object)).map(drop)).is_none()
        && in_answers(message, &verdict) != Some(false)
}

/// A bare boolean, or the `ok` of an object.
fn verdict(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Object(object) => object.get("ok")?.as_bool(),
        other => other.as_bool(),
    }
}

/// The first thing that `look` finds in the answers.
fn in_answers<T>(message: &Object<'_>, look: &impl Fn(&Value<'_>) -> Option<T>) -> Option<T> {
    ANSWER_KEYS.iter().find_map(|key| search(message.get(key)?, look))
}

/// Looks at a value, at the object it holds as JSON, or at the items of an array and their text.
fn search<T>(value: &Value<'_>, look: &impl Fn(&Value<'_>) -> Option<T>) -> Option<T> {
    match value {
        Value::String(_) => look(&Value::Object(record(value)?.into_owned())),
        Value::Array(items) => items.iter().find_map(|item| {
            search(item, look).or_else(|| {
                let texts = ["text", "content"].iter().filter_map(|key| item.as_object()?.get(key));
                texts.filter(|text| text.as_text().is_some()).find_map(|text| search(text, look))
            })
        }),
        other => look(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn results_are_known_by_role_or_name_and_by_id() {
        for (confirmed, message) in [
            (true, r#"{"role":"toolResult","toolCallId":"c"}"#),
            (true, r#"{"role":"Tool_Result","call_id":" c "}"#),
            (true, r#"{"role":"tool","id":"c","name":" Message "}"#),
            (true, r#"{"role":"function","callId":"c","toolName":" "}"#),
            (true, r#"{"role":"other","tool":"message","id":"c"}"#),
            (false, r#"{"role":"toolResult"}"#),
            (false, r#"{"role":"toolResult","toolCallId":"d","id":"c"}"#),
            (false, r#"{"role":"toolResult","toolCallId":"c","toolName":"read"}"#),
            (false, r#"{"role":"assistant","toolCallId":"c"}"#),
        ] {
            assert_eq!(confirms(&table::object(message), Some(&Text::from("c"))), confirmed, "{message}");
        }
        assert!(confirms(&table::object(r#"{"role":"tool","id":"any"}"#), None));
    }

    #[test]
    fn failures_and_dry_runs_are_no_success() {
        for (success, fields) in [
            (true, r#""content":"{\"ok\":true}""#),
            (true, r#""isError":"true","error":false"#),
            (true, r#""result":{"ok":"no"},"output":{"ok":true},"content":{"ok":false}"#),
            (true, r#""content":[{"nested":{"ok":false}}]"#),
            (true, r#""content":"false""#),
            (false, r#""isError":true"#),
            (false, r#""error":{}"#),
            (false, r#""error":0"#),
            (false, r#""content":"{\"ok\":false}""#),
            (false, r#""result":false"#),
            (false, r#""result":{"ok":false},"output":{"ok":true}"#),
            (false, r#""content":[{"type":"text","text":"{\"ok\":false}"}]"#),
            (false, r#""content":[[{"content":"{\"ok\":false}"}]]"#),
            (false, r#""text":"{\"dryRun\":true}""#),
            (false, r#""output":[{"status":"dry_run"}]"#),
            (false, r#""result":{"ok":true},"content":{"deliveryStatus":"DRY_RUN"}"#),
        ] {
            let message = table::object(&format!(r#"{{"role":"tool",{fields}}}"#));
            assert_eq!(confirms(&message, None), success, "{fields}");
        }
    }
}
