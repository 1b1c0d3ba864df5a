//! Rule E: messages that are part of the machinery are hidden.
//!
//! Hidden is, in this order of reasons: a heartbeat prompt, and directly after it whatever
//! acknowledges it; what says so itself (`display` is false); runtime context; the announcement
//! of a sub-agent; an empty user message without media; the acknowledgement of a heartbeat, if it
//! says anything; and a gateway's copy of the answer that is shown right before it.

use memchr::memmem::Finder;

use super::{Preceding, Words, assistant, block, heartbeat, role, text_source};
use crate::json::{Object, Text, Value, wtf8};

/// Keeps the messages that are to be shown.
///
/// With [`Preceding::Unknown`] the list begins at the first message that is shown whatever came
/// before it.
pub fn hide<'a>(messages: Vec<Object<'a>>, before: Preceding) -> Vec<Object<'a>> {
    let mut shown: Vec<Object<'a>> = Vec::with_capacity(messages.len());
    let mut known = before == Preceding::None;
    let mut after_prompt = !known;
    for message in messages {
        let acknowledges = after_prompt && heartbeat::is_acknowledgement(&message);
        after_prompt = heartbeat::is_prompt(&message);
        if acknowledges || after_prompt || is_hidden(&message) || !known && is_injected(&message) {
            continue;
        }
        if shown.last().is_some_and(|last| is_copy(&message, last)) {
            continue;
        }
        known = true;
        shown.push(message);
    }
    shown
}

/// Whether a message is hidden for what it is itself. (Prompts are not looked at again.)
fn is_hidden(message: &Object<'_>) -> bool {
    let runtime_context = || {
        role::is_exactly(message, "custom")
            && message.text("customType").is_some_and(|kind| kind == "openclaw.runtime-context")
    };
    if message.get("display") == Some(&Value::Bool(false)) || runtime_context() {
        return true;
    }
    if role::is(message, "user") {
        return is_announcement(message) || is_empty(message) && !has_media(message);
    }
    !is_empty(message) && heartbeat::is_acknowledgement(message)
}

static ANNOUNCEMENT: [Words; 2] =
    [Words::new(|| Finder::new("[Inter-session message]")), Words::new(|| Finder::new("sourceTool=subagent_announce"))];

/// Whether a user message is a sub-agent's announcement.
fn is_announcement(message: &Object<'_>) -> bool {
    let from_sub_agent = message.object("provenance").is_some_and(|provenance| {
        provenance.text("kind").is_some_and(|kind| kind == "inter_session")
            && provenance.opt_string("sourceTool").is_some_and(|tool| tool == "subagent_announce")
    });
    from_sub_agent || ANNOUNCEMENT.iter().all(|words| mentions(message, words))
}

/// Whether the message's text, or that of any of its blocks, holds these words.
fn mentions(message: &Object<'_>, words: &Words) -> bool {
    let holds = |text: &Text<'_>| words.find(text.as_wtf8()).is_some();
    match text_source(message) {
        Some(Value::String(text)) => holds(text),
        Some(Value::Array(blocks)) => blocks.iter().filter_map(|block| block.as_object()?.text("text")).any(holds),
        _ => false,
    }
}

/// Whether a message consists of text, and that is blank.
fn is_empty(message: &Object<'_>) -> bool {
    let content = message.get("content").filter(|content| !content.is_null());
    match content.or_else(|| message.get("text")) {
        Some(Value::String(text)) => text.is_blank(),
        Some(Value::Array(blocks)) => blocks.iter().all(|block| block::text(block).is_some_and(Text::is_blank)),
        _ => false,
    }
}

fn has_media(message: &Object<'_>) -> bool {
    let names_one = |path: &Value<'_>| path.opt_string().is_some();
    match message.array("MediaPaths") {
        Some(paths) => paths.iter().any(names_one),
        None => message.get("MediaPath").is_some_and(names_one),
    }
}

/// Whether this is the copy, made by the gateway, of an answer by an agent runtime.
fn is_copy(message: &Object<'_>, last: &Object<'_>) -> bool {
    is_injected(message)
        && is_by(last, "acp-runtime")
        && match (answer(message), answer(last)) {
            (Some(copy), Some(answer)) => copy == answer,
            _ => false,
        }
}

fn is_injected(message: &Object<'_>) -> bool {
    is_by(message, "gateway-injected")
}

fn is_by(message: &Object<'_>, model: &str) -> bool {
    message.text("provider").is_some_and(|provider| provider == "openclaw")
        && message.text("model").is_some_and(|own| own == model)
}

/// The trimmed text of an assistant message that is text and nothing else.
fn answer(message: &Object<'_>) -> Option<Text<'static>> {
    if assistant::has_other_blocks(message) {
        return None;
    }
    let text = assistant::visible_text(message)?;
    let text = wtf8::trim(&text);
    (!text.is_empty()).then(|| Text::from_wtf8(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    const PROMPT: &str = r#"{"role":"user","content":"[OpenClaw heartbeat poll]"}"#;
    const OK: &str = r#"{"role":"assistant","content":"HEARTBEAT_OK"}"#;
    const EMPTY: &str = r#"{"role":"assistant","content":""}"#;
    const REAL: &str = r#"{"role":"user","content":"real"}"#;
    const BLANK: &str = r#"{"role":"user","content":" "}"#;
    const ACP: &str = r#"{"role":"assistant","content":"a","provider":"openclaw","model":"acp-runtime"}"#;
    const COPY: &str = r#"{"role":"assistant","content":[{"type":"text","text":" a "}],"provider":"openclaw","model":"gateway-injected"}"#;
    const OTHER: &str = r#"{"role":"assistant","content":"b","provider":"openclaw","model":"gateway-injected"}"#;

    #[test]
    fn a_message_is_hidden_for_what_it_is() {
        for (shown, message) in [
            (false, r#"{"role":"assistant","content":"x","display":false}"#),
            (true, r#"{"role":"assistant","content":"x","display":0}"#),
            (false, r#"{"role":"custom","content":"x","customType":"openclaw.runtime-context"}"#),
            (true, r#"{"role":"Custom","content":"x","customType":"openclaw.runtime-context"}"#),
            (
                false,
                r#"{"role":"user","content":"x","provenance":{"kind":"inter_session","sourceTool":" subagent_announce "}}"#,
            ),
            (
                true,
                r#"{"role":"assistant","content":"x","provenance":{"kind":"inter_session","sourceTool":"subagent_announce"}}"#,
            ),
            (
                true,
                r#"{"role":"user","content":"x","provenance":{"kind":"inter_session","sourceTool":"sessions_send"}}"#,
            ),
            (
                false,
                r#"{"role":"User","content":[{"text":"[Inter-session message]"},{"text":"sourceTool=subagent_announce"}]}"#,
            ),
            (true, r#"{"role":"user","content":"[Inter-session message]"}"#),
            (false, r#"{"role":"USER","content":"\ufeff"}"#),
            (false, r#"{"role":"user","content":null,"text":""}"#),
            (false, r#"{"role":"user","content":"","text":"shadow"}"#),
            (false, r#"{"role":"user","content":[{"type":"text","text":" "}]}"#),
            (true, r#"{"role":"user","content":[{"type":"text"}]}"#),
            (true, r#"{"role":"user","content":[null]}"#),
            (true, r#"{"role":"user","content":null}"#),
            (true, r#"{"role":"user","content":"","MediaPath":"/a"}"#),
            (true, r#"{"role":"user","content":"","MediaPaths":["","/a"]}"#),
            (false, r#"{"role":"user","content":"","MediaPaths":[],"MediaPath":"/a"}"#),
            (true, EMPTY),
            (false, OK),
            (false, PROMPT),
            (true, REAL),
            (true, r#"{"role":"toolResult","content":""}"#),
        ] {
            let list = table::objects(&[message]);
            assert_eq!(hide(list, Preceding::None).len(), usize::from(shown), "{message}");
        }
    }

    #[test]
    fn a_message_is_hidden_for_what_stands_before_it() {
        for (list, expected) in [
            (&[PROMPT, EMPTY, EMPTY][..], &[EMPTY][..]),
            (&[PROMPT, REAL, EMPTY], &[REAL, EMPTY]),
            (&[ACP, COPY, COPY], &[ACP]),
            (&[ACP, BLANK, COPY], &[ACP]),
            (&[ACP, REAL, COPY], &[ACP, REAL, COPY]),
            (&[ACP, OTHER], &[ACP, OTHER]),
            (&[COPY, COPY], &[COPY, COPY]),
        ] {
            let shown = hide(table::objects(list), Preceding::None);
            assert_eq!(shown, table::objects(expected), "{list:?}");
        }
    }

    #[test]
    fn a_list_without_its_start_begins_with_a_message_that_is_surely_shown() {
        for (list, expected) in [
            (&[EMPTY, EMPTY][..], &[EMPTY][..]),
            (&[OTHER, BLANK, REAL, OTHER], &[REAL, OTHER]),
            (&[PROMPT, OK, ACP, COPY], &[ACP]),
            (&[REAL], &[REAL]),
            (&[OTHER, OTHER], &[]),
        ] {
            let shown = hide(table::objects(list), Preceding::Unknown);
            assert_eq!(shown, table::objects(expected), "{list:?}");
        }
    }
}
