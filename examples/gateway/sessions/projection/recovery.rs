//! Turns that failed.
//!
//! A turn of an assistant that failed before it said anything is taken out if a later answer of the same run, or the
//! next answer, mends it before the user goes on. Of one that stays the viewer is told that it failed, and nothing of
//! how.

use std::collections::HashMap;

use super::{block, failure, run_id, sanitise};
use crate::json::{Fields, Object, Value, text::trim};

/// What stands in a transcript in the place of an answer that did not come.
const PLACEHOLDER: &str = "[assistant turn failed before producing content]";

/// Takes out the failed turns that later ones mend. Says too whether a failure is pending at the end, and whether one
/// from before the start was mended.
pub fn mend(messages: Vec<Object>, mut was_pending: bool) -> (Vec<Object>, bool, bool) {
    // By their runs, so that an answer costs the failures that it mends.
    let mut pending: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    let mut mended = vec![false; messages.len()];
    let mut any_mended = false;
    for (at, message) in messages.iter().enumerate() {
        if block::is_user(message) {
            was_pending = false;
            pending.clear();
        } else if is_pending(message) {
            pending.entry(run_id(message)).or_default().push(at);
        } else if (was_pending || !pending.is_empty()) && shows_something(message) {
            any_mended |= std::mem::take(&mut was_pending);
            let of_run = completed_run(message).and_then(|run| pending.remove(&Some(run)));
            for failed in pending.remove(&None).into_iter().chain(of_run).flatten() {
                mended[failed] = true;
                any_mended = true;
            }
        }
    }
    let is_pending = was_pending || !pending.is_empty();
    let stays = messages.into_iter().zip(mended).filter(|(_, is_mended)| !is_mended);
    (stays.map(|(message, _)| message).collect(), is_pending, any_mended)
}

/// The run that an answer ends.
fn completed_run(message: &Object) -> Option<&str> {
    let is_end = matches!(message.text("stopReason"), Some("stop" | "length"));
    run_id(message).filter(|_| is_end && !is_only_in_transcript(message))
}

/// Whether an answer is the gateway's own, and no model's.
fn is_only_in_transcript(message: &Object) -> bool {
    let is_own = message.says("provider", "openclaw")
        && matches!(message.text("model"), Some("delivery-mirror" | "gateway-injected"));
    let mirror = message.object("openclawDeliveryMirror").and_then(|mirror| mirror.text("kind"));
    const KINDS: [&str; 4] =
        ["channel-final", "channel-final-suppressed", "message-tool-source-reply", "cron-direct-delivery-context"];
    is_own || mirror.is_some_and(|kind| KINDS.contains(&kind))
}

/// Whether a failed turn says nothing yet.
fn is_pending(message: &Object) -> bool {
    block::is_assistant(message)
        && !message.is("display", false)
        && message.says("stopReason", "error")
        && (is_placeholder(message)
            || run_id(message).is_some() && !block::has_displayable_other(message) && !shows_something(message))
}

fn is_placeholder(message: &Object) -> bool {
    block::is_assistant(message)
        && message.says("stopReason", "error")
        && block::said(message).is_some_and(|text| trim(&text) == PLACEHOLDER)
        && !block::has_other(message)
        && !block::has_media_facts(message)
}

/// Whether a viewer sees an answer in this message.
fn shows_something(message: &Object) -> bool {
    if !block::is_assistant(message) || message.is("display", false) || is_placeholder(message) {
        return false;
    }
    let mut sanitised = message.clone();
    sanitise::message(&mut sanitised, None);
    !sanitise::is_dropped(&sanitised)
        && (block::has_displayable_other(&sanitised)
            || block::has_media_facts(&sanitised)
            || says_something(&sanitised))
}

fn says_something(message: &Object) -> bool {
    let of_blocks = block::blocks(message).iter().filter_map(block::text);
    let mut texts = of_blocks.chain(message.text("content")).chain(message.text("text")).map(trim);
    texts.any(|text| !text.is_empty() && text != PLACEHOLDER && !super::control_reply::is_control_reply(text))
}

/// Puts what a viewer is told of a failure in the place of what the provider said of it.
pub fn say_failed(message: &mut Object) {
    if !block::is_assistant(message) || !message.says("stopReason", "error") {
        return;
    }
    if block::has_displayable_other(message) || block::has_media_facts(message) {
        return show_what_is_there(message);
    }
    let mut sanitised = message.clone();
    sanitise::message(&mut sanitised, None);
    if !sanitise::is_dropped(&sanitised) && says_something(&sanitised) {
        return show_what_is_there(message);
    }
    sanitised.set("content", vec![sanitise::text_block(&failure::text(message))]);
    ["phase", "text"].iter().for_each(|key| drop(sanitised.take(key)));
    take_diagnostics(&mut sanitised);
    *message = sanitised;
}

fn take_diagnostics(message: &mut Object) {
    for key in ["diagnostics", "errorBody", "errorCode", "errorMessage", "errorType"] {
        message.take(key);
    }
}

/// Shows what there is of an answer, and before it what is known of the failure.
fn show_what_is_there(message: &mut Object) {
    let known = failure::known(message);
    let failure = failure::text(message);
    sanitise_around_content(message);
    if known.is_some() {
        sanitise::message(message, None);
        if sanitise::is_dropped(message) {
            message.set("content", Vec::<Value>::new());
            message.take("text");
            message.take("phase");
        }
        let mut content = match message.take("content") {
            Some(Value::Array(blocks)) => blocks,
            Some(Value::String(text)) => vec![sanitise::text_block(&text)],
            _ => Vec::new(),
        };
        if let Some(Value::String(text)) = message.take("text") {
            prepend(&mut content, &text);
        }
        prepend(&mut content, &failure);
        message.set("content", content);
    }
    take_diagnostics(message);
}

/// Sanitises the message, and of its content only the blocks: their text stays, but for reasoning and placeholders.
fn sanitise_around_content(message: &mut Object) {
    let content = message.take("content");
    sanitise::message(message, None);
    let content = match content {
        Some(Value::Array(blocks)) => {
            let mut is_first = true;
            let blocks = blocks.into_iter().filter_map(|mut block| {
                sanitise::block(&mut block);
                if block::is_reasoning_block(&block) {
                    return None;
                }
                if !block::is_text(&block) || !std::mem::take(&mut is_first) {
                    return Some(block);
                }
                match block::text(&block).and_then(|text| text.strip_prefix(PLACEHOLDER)).map(str::to_owned) {
                    Some(rest) if rest.is_empty() => return None,
                    Some(rest) => block["text"] = rest.into(),
                    None => {}
                }
                Some(block)
            });
            Some(blocks.collect())
        }
        Some(Value::String(text)) => Some(text.strip_prefix(PLACEHOLDER).unwrap_or(&text).into()),
        other => other,
    };
    if let Some(content) = content {
        message.set("content", content);
    }
    if let Some(rest) = message.text("text").and_then(|text| text.strip_prefix(PLACEHOLDER)).map(str::to_owned) {
        message.set("text", rest);
    }
}

/// Puts a text before the first one, unless one of them holds it.
fn prepend(content: &mut Vec<Value>, text: &str) {
    let mut texts = content.iter().filter_map(block::text);
    if text.is_empty() || texts.any(|there| there.contains(text)) {
        return;
    }
    match content.iter_mut().find(|block| block::text(block).is_some()) {
        Some(block) => {
            let there = block::text(block).filter(|there| !there.is_empty());
            let both = there.map_or(text.to_owned(), |there| format!("{text}\n\n{there}"));
            block["text"] = both.into();
        }
        None => content.push(sanitise::text_block(text)),
    }
}
