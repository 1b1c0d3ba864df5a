//! What a tool did inside another one, shown as the call of a tool and its result.

use super::{meta_mut, sanitise};
use crate::json::{Fields, Object, Value, text};

/// The `customType` of an activity.
pub const KIND: &str = "openclaw.nested-tool.v1";

const LONGEST_ID: usize = 1024;
const LONGEST_NAME: usize = 256;

/// Shows an activity as a call and a result, and lets a run that failed before it replied name itself.
pub fn show(message: &mut Object) {
    if !message.says("role", "custom") {
        return;
    }
    match message.text("customType") {
        Some("run-failed-before-reply") => {
            if let Some(run) = message.object("details").and_then(|details| details.trimmed("runId")) {
                let run = run.to_owned();
                meta_mut(message).set("runId", run);
            }
        }
        Some(KIND) => {
            if let Some((run, call, result)) = activity(message) {
                message.set("runId", run.clone());
                meta_mut(message).set("runId", run);
                message.set("content", vec![Value::from(call), result.into()]);
            }
        }
        _ => {}
    }
}

/// What a message says of an activity, if it is one.
pub fn details(message: &Object) -> Option<&Object> {
    let is_custom = message.says("role", "custom") && message.says("customType", KIND);
    message.object("details").filter(|details| is_custom && is_activity(message, details))
}

/// The run that the activity belongs to, the call and the result.
fn activity(message: &Object) -> Option<(String, Object, Object)> {
    let details = details(message)?;
    let run = details.text("runId")?.to_owned();
    let mut call = Object::new();
    call.set("type", "toolCall");
    for (key, from) in [
        ("id", "toolCallId"),
        ("runId", "runId"),
        ("name", "toolName"),
        ("arguments", "input"),
        ("parentToolCallId", "parentToolCallId"),
        ("timestamp", "startedAt"),
    ] {
        if let Some(value) = details.get(from) {
            call.set(key, value.clone());
        }
    }
    let mut result = details.clone();
    result.take("input");
    if let Some(Value::Object(own)) = result.take("result") {
        for key in ["content", "details"] {
            if let Some(value) = own.member(key) {
                result.set(key, value.clone());
            }
        }
    }
    result.set("type", "toolResult");
    result.set("role", "toolResult");
    sanitise::message(&mut result, Some(super::MAX_CHARS));
    Some((run, call, result))
}

fn is_activity(message: &Object, details: &Object) -> bool {
    const KEYS: [&str; 12] = [
        "runId",
        "scopeId",
        "afterEntryId",
        "startOrder",
        "parentToolCallId",
        "toolCallId",
        "toolName",
        "input",
        "result",
        "isError",
        "startedAt",
        "timestamp",
    ];
    let is_short = |key: &str, longest| details.text(key).is_some_and(|id| (1..=longest).contains(&text::units(id)));
    let is_free = |key: &str, free: bool| free || is_short(key, LONGEST_ID);
    message.is("display", true)
        && message.is("excludeFromContext", true)
        && message.says("content", "")
        && message.number("timestamp").is_some()
        && details.keys().all(|key| KEYS.contains(&key.as_str()))
        && ["runId", "scopeId", "toolCallId"].iter().all(|key| is_short(key, LONGEST_ID))
        && is_short("toolName", LONGEST_NAME)
        && is_free("afterEntryId", details.member("afterEntryId").is_some_and(Value::is_null))
        && is_free("parentToolCallId", !details.has("parentToolCallId"))
        && details.member("startOrder").is_some_and(Value::is_u64)
        && details.object("result").is_some_and(|result| result.array("content").is_some())
        && details.member("isError").is_some_and(Value::is_boolean)
        && ["startedAt", "timestamp"].iter().all(|key| details.number(key).is_some())
}
