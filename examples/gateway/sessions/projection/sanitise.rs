//! Rule C: what a viewer has no use for is taken out, and long text is cut.
//!
//! Done twice, first without a limit and at the very end with it. What belongs to a tool call or
//! its result keeps its text whole. In order:
//!
//! 1. `details` goes; of `usage` and `cost` only the sums of an assistant stay.
//! 2. Text loses its directive tags and is cut; images and audio keep only their size.
//! 3. Of an assistant's blocks beside tool calls only the text stays, if there is any; of blocks
//!    with phases only the final answer.
//! 4. A `text` beside `content` is treated like `content`.

use std::borrow::Cow;

use super::{
    assistant::{self, Phase},
    block, directive_tags, role, usage,
};
use crate::json::{Object, Text, Value, wtf8};

const CUT_MARK: &[u8] = b"\n...(truncated)...";

/// Sanitises every message, and drops those that are not to be shown before or after that.
pub fn sanitise_all(messages: &mut Vec<Object<'_>>, limit: Option<usize>) {
    messages.retain_mut(|message| sanitise_or_drop(message, limit));
}

/// Sanitises a message and says whether it is to be shown.
pub fn sanitise_or_drop(message: &mut Object<'_>, limit: Option<usize>) -> bool {
    if assistant::is_dropped(message) {
        return false;
    }
    sanitise(message, limit);
    !assistant::is_dropped(message)
}

fn sanitise(message: &mut Object<'_>, limit: Option<usize>) {
    let text_limit = limit.filter(|_| !is_tool_payload(message));
    message.remove("details");
    usage::sanitise(message);
    let assistant = role::is_assistant(message);
    match message.get_mut("content") {
        Some(Value::String(text)) => clean(text, text_limit),
        Some(Value::Array(blocks)) => {
            for block in blocks.iter_mut() {
                sanitise_block(block, text_limit, limit);
            }
            if assistant && !keep_answer(message, text_limit) {
                keep_final_phase(message);
            }
        }
        _ => {}
    }
    if let Some(Value::String(text)) = message.get_mut("text") {
        clean(text, text_limit);
    }
}

/// Whether the message is a tool's result or speaks of a tool call.
fn is_tool_payload(message: &Object<'_>) -> bool {
    ["toolresult", "tool_result", "tool", "function"].iter().any(|tool| role::is(message, tool))
        || ["toolName", "tool_name", "toolCallId", "tool_call_id"].iter().any(|key| message.text(key).is_some())
}

fn sanitise_block(block: &mut Value<'_>, text_limit: Option<usize>, limit: Option<usize>) {
    let text_limit = text_limit.filter(|_| !block::is_tool(block));
    let (image, audio) = (block::has_type(block, "image"), block::has_type(block, "audio"));
    let Value::Object(block) = block else { return };
    for key in ["text", "content"] {
        if let Some(Value::String(text)) = block.get_mut(key) {
            clean(text, text_limit);
        }
    }
    for (key, limit) in [("partialJson", text_limit), ("arguments", text_limit), ("thinking", limit)] {
        if let Some(Value::String(text)) = block.get_mut(key) {
            cut(text, limit);
        }
    }
    block.remove("thinkingSignature");
    block.remove("openclawReasoningReplay");
    if image {
        omit_data(block);
    } else if audio
        && let Some(Value::Object(source)) = block.get_mut("source")
        && source.text("type").is_some_and(|kind| kind == "base64")
    {
        omit_data(source);
    }
}

/// Puts the size of the data in the place of the data.
fn omit_data(object: &mut Object<'_>) {
    if let Some(data) = object.text("data") {
        // WTF-8 counts as JavaScript does: three bytes for a lone surrogate.
        let bytes = data.as_wtf8().len();
        object.remove("data");
        object.insert("omitted", true);
        object.insert("bytes", bytes as f64);
    }
}

/// Keeps only the text of an assistant that also called tools, if it said something. Says whether it did.
fn keep_answer(message: &mut Object<'_>, limit: Option<usize>) -> bool {
    let blocks = message.array("content").unwrap_or_default();
    if !blocks.iter().any(block::is_tool) {
        return false;
    }
    let answer: Vec<Value<'_>> = blocks
        .iter()
        .filter_map(|block| {
            let mut text = block::text(block)?.clone();
            clean(&mut text, limit);
            (!text.is_blank()).then(|| Object::from([("type", Value::from("text")), ("text", text.into())]).into())
        })
        .collect();
    if answer.is_empty() {
        return false;
    }
    message.insert("content", answer);
    if message.text("phase").is_some_and(|phase| phase == "commentary") {
        message.remove("phase");
    }
    true
}

/// Keeps only the final answer's text if any text has a phase.
fn keep_final_phase(message: &mut Object<'_>) {
    if let Some(Value::Array(blocks)) = message.get_mut("content")
        && blocks.iter().any(|block| Phase::of_block(block).is_some())
    {
        blocks.retain(|block| !block::is_text(block) || Phase::of_block(block) == Some(Phase::FinalAnswer));
    }
}

fn clean(text: &mut Text<'_>, limit: Option<usize>) {
    text.edit(directive_tags::strip);
    cut(text, limit);
}

fn cut(text: &mut Text<'_>, limit: Option<usize>) {
    let Some(limit) = limit else { return };
    text.edit(|text| match wtf8::first_units(text, limit) {
        whole if whole.len() == text.len() => Cow::Borrowed(text),
        start => Cow::Owned([&start, CUT_MARK].concat()),
    });
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn unlimited(message: &mut Object<'_>) {
        sanitise(message, None);
    }

    fn limited(message: &mut Object<'_>) {
        sanitise(message, Some(4));
    }

    #[test]
    fn text_is_cut_with_a_mark_but_not_a_tool_s() {
        table::messages(
            limited,
            &[
                (r#"{"role":"user","content":"1234"}"#, r#"{"role":"user","content":"1234"}"#),
                (r#"{"role":"user","content":"12345"}"#, r#"{"role":"user","content":"1234\n...(truncated)..."}"#),
                (
                    r#"{"content":"[[reply_to_current]]1234","text":"é€😀!"}"#,
                    r#"{"content":"1234","text":"é€😀\n...(truncated)..."}"#,
                ),
                (r#"{"content":"123😀"}"#, r#"{"content":"123\ud83d\n...(truncated)..."}"#),
                (
                    r#"{"role":"toolResult","content":"12345[[reply_to_current]]"}"#,
                    r#"{"role":"toolResult","content":"12345"}"#,
                ),
                (r#"{"role":"FUNCTION","text":"12345"}"#, r#"{"role":"FUNCTION","text":"12345"}"#),
                (r#"{"tool_name":"","content":"12345"}"#, r#"{"tool_name":"","content":"12345"}"#),
                (r#"{"toolName":null,"content":"12345"}"#, r#"{"toolName":null,"content":"1234\n...(truncated)..."}"#),
                (
                    r#"{"content":[{"text":"12345","content":"12345","thinking":"[[reply_to_current]]","partialJson":"12345","arguments":"12345"}]}"#,
                    r#"{"content":[{"text":"1234\n...(truncated)...","content":"1234\n...(truncated)...","thinking":"[[re\n...(truncated)...","partialJson":"1234\n...(truncated)...","arguments":"1234\n...(truncated)..."}]}"#,
                ),
                (
                    r#"{"content":[{"type":" Tool_Result ","text":"12345","content":"12345","thinking":"12345","partialJson":"12345","arguments":"12345"}]}"#,
                    r#"{"content":[{"type":" Tool_Result ","text":"12345","content":"12345","thinking":"1234\n...(truncated)...","partialJson":"12345","arguments":"12345"}]}"#,
                ),
                (r#"{"content":["12345",["12345"],null]}"#, r#"{"content":["12345",["12345"],null]}"#),
            ],
        );
    }

    #[test]
    fn details_signatures_and_data_go() {
        table::messages(
            unlimited,
            &[
                (r#"{"details":1,"content":[{"details":1}]}"#, r#"{"content":[{"details":1}]}"#),
                (
                    r#"{"content":[{"thinkingSignature":"s","openclawReasoningReplay":{},"x":1}]}"#,
                    r#"{"content":[{"x":1}]}"#,
                ),
                (
                    r#"{"content":[{"type":"image","data":"é\ud83d"}]}"#,
                    r#"{"content":[{"type":"image","omitted":true,"bytes":5}]}"#,
                ),
                (r#"{"content":[{"type":"Image","data":"x"}]}"#, r#"{"content":[{"type":"Image","data":"x"}]}"#),
                (r#"{"content":[{"type":"image","data":5}]}"#, r#"{"content":[{"type":"image","data":5}]}"#),
                (
                    r#"{"content":[{"type":"audio","data":"x","source":{"type":"base64","data":"QUJD"}}]}"#,
                    r#"{"content":[{"type":"audio","data":"x","source":{"type":"base64","omitted":true,"bytes":4}}]}"#,
                ),
                (
                    r#"{"content":[{"type":"audio","source":{"type":"url","data":"QUJD"}}]}"#,
                    r#"{"content":[{"type":"audio","source":{"type":"url","data":"QUJD"}}]}"#,
                ),
            ],
        );
    }

    #[test]
    fn beside_tool_calls_only_the_answer_stays() {
        table::messages(
            unlimited,
            &[
                (
                    r#"{"role":"assistant","content":[{"type":"text","text":"a","x":1},{"type":"toolCall"},{"type":"thinking"},{"type":"text","text":" "}]}"#,
                    r#"{"role":"assistant","content":[{"type":"text","text":"a"}]}"#,
                ),
                (
                    r#"{"role":"assistant","phase":"commentary","content":[{"type":"text","text":"a"},{"type":"tool_use"}]}"#,
                    r#"{"role":"assistant","content":[{"type":"text","text":"a"}]}"#,
                ),
                (
                    r#"{"role":"assistant","phase":"final_answer","content":[{"type":"text","text":"[[reply_to_current]]"},{"type":"tool_use"}]}"#,
                    r#"{"role":"assistant","phase":"final_answer","content":[{"type":"text","text":""},{"type":"tool_use"}]}"#,
                ),
                (
                    r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"toolCall"}]}"#,
                    r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"toolCall"}]}"#,
                ),
                (
                    r#"{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"function_call"}]}"#,
                    r#"{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"function_call"}]}"#,
                ),
            ],
        );
    }

    #[test]
    fn of_text_with_phases_only_the_final_answer_stays() {
        let signed = |text: &str, phase: &str| {
            format!(r#"{{"type":"text","text":"{text}","textSignature":"{{\"v\":1,\"phase\":\"{phase}\"}}"}}"#)
        };
        let (comment, answer) = (signed("c", "commentary"), signed("f", "final_answer"));
        let mixed = format!(
            r#"{{"role":"assistant","content":[{comment},{{"type":"text","text":"n"}},{answer},{{"type":"image"}},5]}}"#
        );
        let kept = format!(r#"{{"role":"assistant","content":[{answer},{{"type":"image"}},5]}}"#);
        table::messages(unlimited, &[(&mixed, &kept)]);
        let plain = r#"{"role":"assistant","content":[{"type":"text","text":"n"},{"type":"image"}]}"#;
        table::messages(unlimited, &[(plain, plain)]);
    }
}
