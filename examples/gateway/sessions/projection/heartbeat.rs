//! Heartbeats: the prompts by which a model is woken, and the replies that all is well.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;

use super::{block, control_reply::is_silence, inbound_metadata::DELIVERY_HINTS, text_source};
use crate::json::{
    Fields as _, Object, Value,
    text::{is_space, trim, trim_end, trim_start, units},
};

/// What stands in a transcript in the place of a prompt.
const WAKES: [&str; 5] = [
    "[OpenClaw heartbeat poll]",
    "[OpenClaw exec completion]\nDisable automatic completion turns with tools.exec.notifyOnExit=false; check per-agent overrides. Background exec and process poll remain available.",
    "[OpenClaw exec completion]",
    "[OpenClaw cron wake]",
    "[OpenClaw session event]",
];

/// How the prompts begin, and how they go on.
const PROMPT: &str = "Follow the heartbeat monitor scratch context when provided. Recurring tasks are automations; create or change their schedules with the automations tool, not heartbeat scratch. Do not infer or repeat old tasks from prior chats.";
const REPLY: &str = " If nothing needs attention, reply NO_REPLY.";
const TOOL: &str = "Use heartbeat_respond to report the wake outcome. Set notify=false when nothing needs the user's attention. Set notify=true with notificationText only when the user should be interrupted.";
const TOOL_MISSING: &str = "If the heartbeat_respond tool is not available in this run, reply NO_REPLY when nothing needs the user's attention; when the user should be interrupted, reply with only the alert text instead of a prose report.";

const TASKS: &str = "Run the following periodic tasks (only those due based on their intervals):";
const TASKS_DONE: [&str; 4] = [
    "After completing all due tasks, reply HEARTBEAT_OK.",
    "After completing all due tasks, reply NO_REPLY.",
    TOOL,
    "After completing all due tasks, use heartbeat_respond",
];

const TOKEN: &str = "HEARTBEAT_OK";
/// To prepare a search takes longer than to search a short text.
static TOKENS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TOKEN));
/// How much may stand beside the token, in UTF-16 units.
const REMARK_LIMIT: usize = 300;

/// Whether a user message is a heartbeat prompt.
pub fn is_prompt(message: &Object) -> bool {
    block::role(message) == "user" && is_prompt_text(trim(&said(message).0))
}

/// Whether an assistant message acknowledges a heartbeat, be it by saying nothing.
pub fn is_acknowledgement(message: &Object) -> bool {
    if block::role(message) != "assistant" {
        return false;
    }
    let (text, has_other) = said(message);
    !has_other && acknowledges(trim(&text))
}

/// The text of all blocks in one, reasoning aside, and whether there is anything but text.
fn said(message: &Object) -> (Cow<'_, str>, bool) {
    let content = message.member("content").or_else(|| text_source(message));
    match content {
        Some(Value::String(text)) => (Cow::Borrowed(text), false),
        Some(Value::Array(blocks)) => {
            let said = blocks.iter().filter(|block| !block::is_reasoning_block(block));
            let texts: Vec<Option<&str>> = said.map(block::text).collect();
            (Cow::Owned(texts.iter().flatten().copied().collect()), texts.contains(&None))
        }
        other => (Cow::Borrowed(""), other.is_some_and(|content| !content.is_null())),
    }
}

fn is_prompt_text(text: &str) -> bool {
    let is_wake = || {
        WAKES.contains(&text)
            || DELIVERY_HINTS.iter().any(|hint| text.starts_with(hint)) && WAKES.iter().any(|wake| text.ends_with(wake))
    };
    let is_prompt = || {
        let rest = text.strip_prefix(PROMPT);
        let reply = rest.and_then(|rest| rest.strip_prefix(REPLY));
        let tool = rest.and_then(|rest| rest.strip_prefix(' ')?.strip_prefix(TOOL)?.strip_prefix(' '));
        let tool = tool.and_then(|rest| rest.strip_prefix(TOOL_MISSING));
        reply.or(tool).is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'))
    };
    let is_tasks = || text.starts_with(TASKS) && TASKS_DONE.iter().any(|done| text.contains(done));
    is_wake() || is_prompt() || is_tasks()
}

fn acknowledges(text: &str) -> bool {
    if text.is_empty() || is_silence(text) {
        return true;
    }
    if TOKENS.find(text.as_bytes()).is_none() {
        return false;
    }
    let remark = without_token(text).filter(|rest| !rest.is_empty()).or_else(|| without_token(&without_markup(text)));
    remark.is_some_and(|remark| units(&remark) <= REMARK_LIMIT)
}

/// The text without HTML tags, hard spaces and the marks of emphasis around it.
fn without_markup(text: &str) -> String {
    const HARD_SPACE: &str = "&nbsp;";
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // Once a tag is not closed, no later one is.
    let last_close = text.rfind('>');
    while let Some(char) = rest.chars().next() {
        let at = text.len() - rest.len();
        let skipped = match char {
            '<' if last_close.is_some_and(|close| close > at) => rest.find('>').map_or(0, |close| close + 1),
            '&' if rest.get(..HARD_SPACE.len()).is_some_and(|start| start.eq_ignore_ascii_case(HARD_SPACE)) => {
                HARD_SPACE.len()
            }
            _ => 0,
        };
        plain.push(if skipped > 0 { ' ' } else { char });
        rest = &rest[skipped.max(char.len_utf8())..];
    }
    plain.trim_matches(['*', '`', '~', '_']).to_owned()
}

/// What is left of a text when the token is taken from both its edges, again and again, with single spaces. `None` if
/// it was at neither edge.
fn without_token(text: &str) -> Option<String> {
    let mut body = trim(text);
    // What stood behind a token that was at the end: no more than four marks.
    let mut tail = String::new();
    let mut is_found = false;
    loop {
        if let Some(rest) = body.strip_prefix(TOKEN) {
            body = trim_start(rest);
        } else if let Some(at) = token_at_end(body, &tail) {
            tail.insert_str(0, &body[at + TOKEN.len()..]);
            body = trim_end(&body[..at]);
            tail = if body.is_empty() { String::new() } else { trim(&tail).to_owned() };
        } else {
            break;
        }
        is_found = true;
    }
    let left = || [body, &tail].concat().split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    is_found.then(left)
}

/// Where the token stands with no more than four marks behind it, none of which is of a word.
fn token_at_end(text: &str, tail: &str) -> Option<usize> {
    let at = text.rfind(TOKEN)?;
    let marks = || text[at + TOKEN.len()..].chars().chain(tail.chars());
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    (marks().map(char::len_utf16).take(5).sum::<usize>() <= 4 && !marks().any(is_word)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_known_by_their_text() {
        for (text, is_one) in [
            (WAKES[3].to_owned(), true),
            (format!("{}\n\n{}", DELIVERY_HINTS[0], WAKES[0]), true),
            (format!("{PROMPT}{REPLY}"), true),
            (format!("{PROMPT}{REPLY}\nCurrent time"), true),
            (format!("{PROMPT}{REPLY} and"), false),
            (format!("{PROMPT} {TOOL} {TOOL_MISSING}"), true),
            (format!("{TASKS}\n- a\n{}", TASKS_DONE[1]), true),
            (TASKS.to_owned(), false),
            ("hello".to_owned(), false),
        ] {
            assert_eq!(is_prompt_text(&text), is_one, "{text}");
        }
    }

    #[test]
    fn a_token_with_a_short_remark_acknowledges() {
        for (text, is_one) in [
            ("", true),
            ("NO_REPLY", true),
            ("HEARTBEAT_OK", true),
            ("**HEARTBEAT_OK**", true),
            ("<b>HEARTBEAT_OK</b>&nbsp;!", true),
            ("All well. HEARTBEAT_OK.", true),
            ("HEARTBEAT_OK HEARTBEAT_OK fine", true),
            ("a HEARTBEAT_OK b", false),
            ("heartbeat_ok", false),
        ] {
            assert_eq!(acknowledges(text), is_one, "{text}");
        }
        assert!(acknowledges(&format!("HEARTBEAT_OK {}", "x".repeat(300))));
        assert!(!acknowledges(&format!("HEARTBEAT_OK {}", "x".repeat(301))));
    }
}
