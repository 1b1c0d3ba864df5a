//! Heartbeats: the prompts by which a model is woken, and the replies that all is well.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};

use super::{Words, block, inbound_metadata::DELIVERY_HINTS, role, text_source};
use crate::json::{
    Object, Value,
    wtf8::{is_blank, is_word, trim, trim_end, trim_start, utf16_len, words},
};

const POLL: &[u8] = b"[OpenClaw heartbeat poll]";
const DEFAULT_PROMPTS: [&[u8]; 2] = [
    b"Read HEARTBEAT.md if it exists (workspace context). Follow it strictly. Do not infer or repeat old tasks from prior chats. If nothing needs attention, reply HEARTBEAT_OK.",
    b"Read HEARTBEAT.md if it exists (workspace context). Follow it strictly. Do not infer or repeat old tasks from prior chats. Use heartbeat_respond to report the wake outcome. Set notify=false when nothing needs the user's attention. Set notify=true with notificationText only when the user should be interrupted.",
];
const TASKS_START: &[u8] = b"Run the following periodic tasks (only those due based on their intervals):";
const TASKS_END: &[u8] = b"After completing all due tasks, reply HEARTBEAT_OK.";

const TOKEN: &[u8] = b"HEARTBEAT_OK";
static TOKEN_WORD: Words = Words::new(|| Finder::new(TOKEN));
/// How much may stand beside the token, in UTF-16 units.
const REMARK_LIMIT: usize = 300;

/// Whether a user message is a heartbeat prompt.
pub fn is_prompt(message: &Object<'_>) -> bool {
    role::is(message, "user") && text(message).is_some_and(|text| is_prompt_text(trim(&text)))
}

/// Whether an assistant message acknowledges a heartbeat, be it by saying nothing.
pub fn is_acknowledgement(message: &Object<'_>) -> bool {
    if !role::is(message, "assistant") {
        return false;
    }
    match text_source(message) {
        None | Some(Value::Null) => true,
        Some(Value::Array(blocks)) if !blocks.iter().all(is_text_block) => false,
        Some(Value::String(_) | Value::Array(_)) => text(message).is_some_and(|text| acknowledges(&text)),
        _ => false,
    }
}

/// A text, or the texts of an array's blocks in one.
fn text<'m>(message: &'m Object<'_>) -> Option<Cow<'m, [u8]>> {
    match text_source(message)? {
        Value::String(text) => Some(Cow::Borrowed(text.as_wtf8())),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter(|block| is_text_block(block));
            let texts: Vec<_> = texts.filter_map(|block| Some(block.as_object()?.text("text")?.as_wtf8())).collect();
            Some(Cow::Owned(texts.concat()))
        }
        _ => None,
    }
}

fn is_text_block(block: &Value<'_>) -> bool {
    ["text", "input_text", "output_text"].iter().any(|kind| block::has_type(block, kind))
        && block.as_object().is_some_and(|block| block.text("text").is_some())
}

fn is_prompt_text(text: &[u8]) -> bool {
    let is_poll = text == POLL || text.ends_with(POLL) && DELIVERY_HINTS.iter().any(|hint| text.starts_with(hint));
    let is_default = || {
        DEFAULT_PROMPTS.iter().any(|prompt| match text.strip_prefix(*prompt) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"\n"),
            None => false,
        })
    };
    is_poll || is_default() || text.starts_with(TASKS_START) && memmem::find(text, TASKS_END).is_some()
}

fn acknowledges(text: &[u8]) -> bool {
    if is_blank(text) {
        return true;
    }
    let text = trim(text);
    let plain = without_markup(text);
    if !has_token(text) && !has_token(&plain) {
        return false;
    }
    let remark = strip_token(text).filter(|rest| !rest.is_empty()).or_else(|| strip_token(&plain));
    remark.is_some_and(|remark| utf16_len(&remark) <= REMARK_LIMIT)
}

fn has_token(text: &[u8]) -> bool {
    TOKEN_WORD.find(text).is_some()
}

/// The text without HTML tags, hard spaces and the marks of emphasis around it.
fn without_markup(text: &[u8]) -> Vec<u8> {
    const HARD_SPACE: &[u8] = b"&nbsp;";
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    // Once a tag is not closed, no later one is.
    let last_close = memchr::memrchr(b'>', text);
    while let Some(byte) = rest.first() {
        let at = text.len() - rest.len();
        let skipped = match byte {
            b'<' if last_close.is_some_and(|close| close > at) => {
                memchr::memchr(b'>', rest).map_or(0, |close| close + 1)
            }
            b'&' if rest.get(..HARD_SPACE.len()).is_some_and(|start| start.eq_ignore_ascii_case(HARD_SPACE)) => {
                HARD_SPACE.len()
            }
            _ => 0,
        };
        plain.push(if skipped > 0 { b' ' } else { *byte });
        rest = &rest[skipped.max(1)..];
    }
    let is_mark = |byte: &u8| matches!(byte, b'*' | b'`' | b'~' | b'_');
    let end = plain.iter().rposition(|byte| !is_mark(byte)).map_or(0, |at| at + 1);
    let start = plain[..end].iter().position(|byte| !is_mark(byte)).unwrap_or(end);
    plain.truncate(end);
    plain.drain(..start);
    plain
}

/// What is left of a text when the token is taken from both its edges, again and again, with
/// single spaces. `None` if it was at neither edge.
fn strip_token(text: &[u8]) -> Option<Vec<u8>> {
    let mut left = text.to_vec();
    let mut start = 0;
    let mut stripped = false;
    loop {
        left.truncate(start + trim_end(&left[start..]).len());
        start = left.len() - trim_start(&left[start..]).len();
        if left[start..].starts_with(TOKEN) {
            start += TOKEN.len();
        } else if let Some(token) = token_at_end(&left[start..]) {
            let before = start + trim_end(&left[start..start + token]).len();
            let tail = trim_start(&left[start + token + TOKEN.len()..]).to_vec();
            left.truncate(before);
            if before > start {
                left.extend_from_slice(&tail);
            }
        } else {
            let words: Vec<&[u8]> = words(&left[start..]).collect();
            return stripped.then(|| words.join(&b' '));
        }
        stripped = true;
    }
}

/// Where the last token stands if at most four characters follow it and none is a word's.
fn token_at_end(text: &[u8]) -> Option<usize> {
    // Four units are at most twelve bytes.
    let from = text.len().saturating_sub(TOKEN.len() + 12);
    let token = from + memmem::rfind(&text[from..], TOKEN)?;
    let tail = &text[token + TOKEN.len()..];
    (utf16_len(tail) <= 4 && !tail.iter().any(|byte| is_word(*byte))).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn said(role: &str, text: &str) -> Object<'static> {
        Object::from([("role", role.to_string()), ("content", text.to_string())])
    }

    #[test]
    fn prompts_are_known_by_their_words() {
        let [first, second] = DEFAULT_PROMPTS.map(|prompt| String::from_utf8_lossy(prompt));
        let hint = "Delivery: to send a message, use the `message` tool.";
        for (prompt, text) in [
            (true, "[OpenClaw heartbeat poll]\n".into()),
            (true, format!("{hint}\n\n[OpenClaw heartbeat poll]")),
            (true, format!(" {first} ")),
            (true, format!("{first}\nmore")),
            (true, format!("{first}\n\n{second}")),
            (true, second.to_string()),
            (true, "Run the following periodic tasks (only those due based on their intervals):\n- a\nAfter completing all due tasks, reply HEARTBEAT_OK. x".into()),
            (false, format!("{first} more")),
            (false, "[OpenClaw heartbeat poll] x".into()),
            (false, "Run the following periodic tasks (only those due based on their intervals):".into()),
            (false, "HEARTBEAT_OK".into()),
            (false, String::new()),
        ] {
            assert_eq!(is_prompt(&said("User", &text)), prompt, "{text}");
            assert!(!is_prompt(&said("assistant", &text)));
        }
        assert!(is_prompt(&table::object(
            r#"{"role":"user","content":[{"type":"input_text","text":"[OpenClaw "},{"type":"image"},{"type":"text","text":"heartbeat poll]"}]}"#
        )));
        assert!(is_prompt(&table::object(r#"{"role":"user","text":"[OpenClaw heartbeat poll]"}"#)));
        assert!(!is_prompt(&table::object(r#"{"role":"user","content":null,"text":"[OpenClaw heartbeat poll]"}"#)));
    }

    #[test]
    fn acknowledgements_hold_the_token_and_little_else() {
        let long = "a".repeat(300);
        for (acknowledgement, text) in [
            (true, "HEARTBEAT_OK".into()),
            (true, " \n".into()),
            (true, "HEARTBEAT_OK!!!!!".into()),
            (true, "HEARTBEAT_OKAY".into()),
            (true, "All fine. HEARTBEAT_OK!!!!".into()),
            (false, "All fine. HEARTBEAT_OK!!!!!".into()),
            (true, "fine HEARTBEAT_OK😀😀".into()),
            (false, "fine HEARTBEAT_OK😀😀!".into()),
            (true, "**HEARTBEAT_OK**".into()),
            (true, "<b>HEARTBEAT_OK</b>&NBSP;".into()),
            (true, "fine<br>HEARTBEAT_OK<br>".into()),
            (true, "HEARTBEAT_OK a HEARTBEAT_OK HEARTBEAT_OK.".into()),
            (true, format!("{long} HEARTBEAT_OK")),
            (false, format!("{long}a HEARTBEAT_OK")),
            (true, format!("{} HEARTBEAT_OK", "a    b".repeat(60))),
            (false, "x HEARTBEAT_OK y".into()),
            (false, "heartbeat_ok".into()),
            (false, "<p>".into()),
            (true, "<HEARTBEAT_OK".into()),
            (false, "<HEARTBEAT_OK y".into()),
        ] {
            assert_eq!(is_acknowledgement(&said("Assistant", &text)), acknowledgement, "{text}");
            assert!(!is_acknowledgement(&said("user", &text)));
        }
    }

    #[test]
    fn an_acknowledgement_is_text_and_nothing_else() {
        for (acknowledgement, fields) in [
            (true, r#""content":null"#),
            (true, r#""x":1"#),
            (true, r#""content":[]"#),
            (true, r#""text":"HEARTBEAT_OK""#),
            (true, r#""content":[{"type":"output_text","text":"HEARTBEAT_"},{"type":"text","text":"OK"}]"#),
            (false, r#""content":{"a":1}"#),
            (false, r#""content":[{"type":"text","text":"HEARTBEAT_OK"},{"type":"toolCall"}]"#),
            (false, r#""content":[{"type":"text","text":"HEARTBEAT_OK"},{"type":"text"}]"#),
            (false, r#""content":[{"text":"HEARTBEAT_OK"}]"#),
            (false, r#""content":["HEARTBEAT_OK"]"#),
        ] {
            let message = table::object(&format!(r#"{{"role":"assistant",{fields}}}"#));
            assert_eq!(is_acknowledgement(&message), acknowledgement, "{fields}");
        }
    }
}
