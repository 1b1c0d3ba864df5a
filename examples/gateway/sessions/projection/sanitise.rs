//! What a viewer has no use for is taken out of a message, and long text is cut.

use super::{META, block, commentary, control_reply, details, forwarded, media, strip::edit, usage};
use crate::json::{
    Fields, Object, Value,
    text::{first_units, is_blank, units},
};

const CUT_MARK: &str = "\n...(truncated)...";

/// Sanitises messages, cuts text after `limit` UTF-16 units if there is one, and drops what is not to be shown at all.
/// Without a limit, commentary is set apart.
pub fn all(messages: Vec<Object>, limit: Option<usize>) -> Vec<Object> {
    let mut sanitised = Vec::with_capacity(messages.len());
    for mut original in messages {
        if limit.is_none() {
            for mut commentary in commentary::set_apart(&mut original) {
                message(&mut commentary, limit);
                if block::has_media_facts(&commentary) || !is_dropped(&commentary) {
                    sanitised.push(commentary);
                }
            }
        }
        if !is_dropped(&original) {
            message(&mut original, limit);
            if !is_dropped(&original) {
                sanitised.push(original);
            }
        }
    }
    sanitised
}

/// Whether an assistant message is not to be shown: commentary without an answer beside its tool calls, or a control
/// reply.
pub fn is_dropped(message: &Object) -> bool {
    if !block::is_assistant(message) || forwarded::is_shown(message) {
        return false;
    }
    if block::Phase::of(message) == Some(block::Phase::Commentary) {
        return !has_text_beside_tools(message);
    }
    block::said(message).is_some_and(|text| control_reply::is_control_reply(&text))
        && !block::has_displayable_other(message)
}

fn has_text_beside_tools(message: &Object) -> bool {
    let blocks = block::blocks(message);
    blocks.iter().any(|block| block::is_tool_kind(block::kind(block)))
        && blocks.iter().filter_map(block::text).any(|text| !is_blank(text))
}

/// Sanitises one message.
pub fn message(message: &mut Object, limit: Option<usize>) {
    message.take("providerReplay");
    sanitise_meta(message);
    let role = block::role(message);
    let (is_answer, is_of_tool) = (role == "assistant", details::is_role_of_tool(&role));
    if is_answer {
        take_delivered_media(message);
    }
    let is_tool = is_of_tool
        || ["toolName", "tool_name", "toolCallId", "tool_call_id"].iter().any(|key| message.text(key).is_some());
    let is_tool_result = details::is_tool_result(message);
    let mut is_cut = details::sanitise(message, is_tool_result, limit);
    usage::sanitise(message);

    let strips_tokens = is_answer && !keeps_token(message);
    let is_commentary = commentary::is_set_apart(message);
    let is_assistant = block::is_assistant(message);
    match message.member_mut("content") {
        Some(Value::String(text)) => is_cut |= sanitise_text(text, strips_tokens, limit, is_tool),
        Some(Value::Array(blocks)) => {
            // All commentary of one turn is cut as one text.
            let mut left = limit.filter(|_| is_commentary);
            blocks.retain_mut(|block| {
                let length = || block::text(block).map(units);
                let Some((room, length)) = left.and_then(|room| Some((room, length()?))) else {
                    is_cut |= sanitise_block(block, is_tool, strips_tokens, limit);
                    return true;
                };
                if room > 0 {
                    is_cut |= sanitise_block(block, is_tool, strips_tokens, Some(room));
                } else {
                    is_cut |= length > 0;
                }
                left = Some(room.saturating_sub(length + 1));
                room > 0
            });
            if is_assistant && !keep_answer(message, limit) {
                keep_final_phase(message);
            }
        }
        _ => {}
    }
    if let Some(Value::String(text)) = message.member_mut("text") {
        is_cut |= sanitise_text(text, strips_tokens, limit, is_tool);
    }
    if is_cut {
        let meta = super::meta_mut(message);
        meta.set("truncated", true);
        if meta.text("reason").is_none() {
            meta.set("reason", "display-cap");
        }
    }
}

/// Takes out what the meta holds for the model, and makes what it says of files fit to be shown.
fn sanitise_meta(message: &mut Object) {
    let Some(Value::Object(meta)) = message.member_mut(META) else { return };
    let mut is_changed = meta.take("upstreamUserText").is_some();
    if let Some(facts) = meta.member("media") {
        is_changed = true;
        match media::sanitise_facts(facts) {
            Some(facts) => meta.set("media", facts),
            None => drop(meta.take("media")),
        }
    }
    if is_changed && meta.is_empty() {
        message.take(META);
    }
}

fn take_delivered_media(message: &mut Object) {
    let Some(Value::Object(delivery)) = message.member_mut("openclawDelivery") else { return };
    if delivery.take("mediaUrls").is_some() && delivery.is_empty() {
        message.take("openclawDelivery");
    }
}

/// Whether an assistant message shows control replies: beside something else they are all it says.
fn keeps_token(message: &Object) -> bool {
    if forwarded::is_shown(message) {
        return true;
    }
    let is_control = |text: &str| control_reply::is_control_reply(text);
    let said = message.member("text").filter(|text| !text.is_null()).or_else(|| message.member("content"));
    let says_token = || match said {
        Some(Value::String(text)) => is_control(text),
        Some(Value::Array(blocks)) => {
            let mut texts = blocks.iter().filter_map(block::text).peekable();
            texts.peek().is_some() && texts.all(is_control)
        }
        _ => false,
    };
    block::has_displayable_other(message) && says_token()
}

fn sanitise_text(text: &mut String, strips_tokens: bool, limit: Option<usize>, is_tool: bool) -> bool {
    if strips_tokens {
        edit(text, control_reply::without_token);
    }
    cut(text, limit, is_tool)
}

/// Sanitises a block and cuts nothing.
pub fn block(block: &mut Value) {
    sanitise_block(block, false, false, None);
}

/// Sanitises a block. Says whether text was cut.
fn sanitise_block(block: &mut Value, is_tool: bool, strips_tokens: bool, limit: Option<usize>) -> bool {
    let Value::Object(block) = block else { return false };
    strip_yield(block);
    let kind = block.text("type").map(str::to_owned);
    let is_tool = is_tool || block::is_tool_kind(kind.as_deref());
    let mut is_cut = block::is_tool_result_kind(kind.as_deref()) && details::sanitise(block, true, limit);
    if is_tool {
        if let Some(items) = block.array("content") {
            let texts: Vec<&str> = items.iter().filter_map(|item| item.as_object()?.text("text")).collect();
            if block.says("text", &texts.join("\n")) {
                block.take("text");
            }
        }
        if let Some(Value::Array(items)) = block.member_mut("content") {
            for item in items {
                is_cut |= sanitise_block(item, true, false, limit);
            }
        }
    }
    for (key, is_exact) in
        [("text", is_tool), ("content", is_tool), ("partialJson", is_tool), ("arguments", is_tool), ("thinking", false)]
    {
        let is_left = is_tool && matches!(key, "partialJson" | "arguments");
        match block.member_mut(key) {
            Some(Value::String(text)) if !is_left => is_cut |= cut(text, limit, is_exact),
            _ => {}
        }
    }
    if strips_tokens && block::is_text_kind(kind.as_deref()) {
        if let Some(Value::String(text)) = block.member_mut("text") {
            edit(text, control_reply::without_token);
        }
    }
    block.take("thinkingSignature");
    block.take("openclawReasoningReplay");
    media::sanitise_block(block);
    is_cut
}

/// Takes out what an agent says to itself when it yields.
fn strip_yield(block: &mut Object) {
    if block.says("type", "toolCall") && block.says("name", "sessions_yield") {
        for key in ["arguments", "input"] {
            if let Some(Value::Object(input)) = block.member_mut(key) {
                input.take("message");
            }
        }
    }
}

/// Of an assistant that also used tools keeps the text of the answer, if it said something. Says whether it did.
fn keep_answer(message: &mut Object, limit: Option<usize>) -> bool {
    if !has_text_beside_tools(message) {
        return false;
    }
    let Some(Value::Array(blocks)) = message.member("content") else { return false };
    let mut says_something = false;
    let kept = blocks.iter().filter(|block| block.is_object() || block.is_array()).filter_map(|block| {
        if !block::is_text(block) {
            return Some(block.clone());
        }
        let is_answer = block::Phase::of_block(block) != Some(block::Phase::Commentary);
        let mut text = block::text(block).filter(|text| is_answer && !is_blank(text))?.to_owned();
        cut(&mut text, limit, false);
        says_something = true;
        Some(text_block(&text))
    });
    let kept: Vec<Value> = kept.collect();
    if says_something {
        message.set("content", kept);
        if message.says("phase", "commentary") {
            message.take("phase");
        }
    }
    says_something
}

/// Keeps only the final answer's text if any text has a phase.
fn keep_final_phase(message: &mut Object) {
    if let Some(Value::Array(blocks)) = message.member_mut("content") {
        if blocks.iter().any(|block| block::Phase::of_block(block).is_some()) {
            let is_final = |block: &Value| block::Phase::of_block(block) == Some(block::Phase::FinalAnswer);
            blocks.retain(|block| !block::is_text(block) || is_final(block));
        }
    }
}

pub fn text_block(text: &str) -> Value {
    let mut block = Object::new();
    block.set("type", "text");
    block.set("text", text);
    block.into()
}

/// Cuts a text, and says so in it unless it is to be exact. Says whether it was cut.
pub fn cut(text: &mut String, limit: Option<usize>, is_exact: bool) -> bool {
    let Some(limit) = limit else { return false };
    let end = first_units(text, limit).len();
    let is_cut = end < text.len();
    if is_cut {
        text.truncate(end);
        text.push_str(if is_exact { "" } else { CUT_MARK });
    }
    is_cut
}
