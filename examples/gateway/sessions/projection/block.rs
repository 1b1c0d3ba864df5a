//! The parts of a message: its role, and the blocks of an array `content`.

use std::borrow::Cow;

use super::{META, text_source};
use crate::json::{Fields, Object, Value, text};

pub fn is_assistant(message: &Object) -> bool {
    message.says("role", "assistant")
}

pub fn is_user(message: &Object) -> bool {
    message.says("role", "user")
}

/// The role in lower case, as it nearly always is.
pub fn role(message: &Object) -> Cow<'_, str> {
    let role = message.text("role").unwrap_or_default();
    if role.bytes().all(|byte| byte.is_ascii_lowercase()) { role.into() } else { role.to_lowercase().into() }
}

/// The items of an array `content`.
pub fn blocks(message: &Object) -> &[Value] {
    message.array("content").map_or(&[], Vec::as_slice)
}

pub fn kind(block: &Value) -> Option<&str> {
    block.as_object()?.text("type")
}

pub fn is_text_kind(kind: Option<&str>) -> bool {
    matches!(kind, Some("text" | "input_text" | "output_text"))
}

fn is_reasoning(block: &Value) -> bool {
    matches!(kind(block), Some("thinking" | "reasoning" | "redacted_thinking"))
}

/// Whether this is a block of text.
pub fn is_text(block: &Value) -> bool {
    is_text_kind(kind(block))
}

/// The text of a block of text.
pub fn text(block: &Value) -> Option<&str> {
    block.as_object().filter(|_| is_text(block))?.text("text")
}

/// Whether this is an object, or an array, which JavaScript takes for one.
fn is_container(block: &Value) -> bool {
    block.is_object() || block.is_array()
}

/// Whether the content holds a block that is not text.
pub fn has_other(message: &Object) -> bool {
    blocks(message).iter().any(|block| is_container(block) && !is_text(block))
}

/// Whether the content holds a block that is neither text nor reasoning.
pub fn has_displayable_other(message: &Object) -> bool {
    blocks(message).iter().any(|block| is_container(block) && !is_text(block) && !is_reasoning(block))
}

pub fn is_reasoning_block(block: &Value) -> bool {
    is_reasoning(block)
}

/// Whether this is the kind of a tool call or of a tool's result.
pub fn is_tool_kind(kind: Option<&str>) -> bool {
    is_tool_result_kind(kind) || is_one_of(kind, &["toolcall", "tool_call", "tooluse", "tool_use"])
}

pub fn is_tool_result_kind(kind: Option<&str>) -> bool {
    is_one_of(kind, &["toolresult", "tool_result"])
}

fn is_one_of(kind: Option<&str>, kinds: &[&str]) -> bool {
    kind.map(text::trim).is_some_and(|kind| kinds.iter().any(|known| known.eq_ignore_ascii_case(kind)))
}

/// All that an assistant says, if it does nothing but say and think.
pub fn said(message: &Object) -> Option<Cow<'_, str>> {
    if !is_assistant(message) {
        return None;
    }
    if let Some(text) = message.text("text").or_else(|| message.text("content")) {
        return Some(Cow::Borrowed(text));
    }
    let mut texts = blocks(message).iter().filter(|block| !is_reasoning(block)).map(text);
    let first = texts.next()??;
    match texts.next() {
        None => Some(Cow::Borrowed(first)),
        Some(second) => {
            let rest: Option<Vec<&str>> = texts.collect();
            Some(Cow::Owned([&[first, second?], &rest?[..]].concat().join("\n")))
        }
    }
}

/// A text, or the texts of an array's items, one a line.
pub fn lines_of(content: Option<&Value>) -> Cow<'_, str> {
    match content {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Array(items)) => {
            let texts: Vec<&str> = items.iter().filter_map(|item| item.as_object()?.text("text")).collect();
            Cow::Owned(texts.join("\n"))
        }
        _ => Cow::Borrowed(""),
    }
}

/// The lines of a message's text, trimmed, if that leaves anything.
pub fn whole_text(message: &Object) -> Option<String> {
    let text = lines_of(text_source(message));
    Some(text::trim(&text)).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whether there is nothing but blank text.
pub fn is_blank(content: Option<&Value>) -> bool {
    match content {
        Some(Value::String(text)) => text::is_blank(text),
        Some(Value::Array(items)) => items.iter().all(|item| {
            kind(item) == Some("text")
                && item.as_object().and_then(|item| item.text("text")).is_some_and(text::is_blank)
        }),
        _ => false,
    }
}

/// Whether the message comes with files, known by what its meta says of them.
pub fn has_media_facts(message: &Object) -> bool {
    let facts = message.object(META).and_then(|meta| meta.array("media"));
    facts.is_some_and(|facts| facts.iter().filter_map(Value::as_object).any(is_meaningful))
}

fn is_meaningful(fact: &Object) -> bool {
    ["path", "url", "contentType"].iter().any(|key| fact.trimmed(key).is_some())
        || fact.member("kind").is_some_and(|kind| crate::json::is_truthy(kind) && *kind != "unknown")
}

/// What part of an answer a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Commentary,
    FinalAnswer,
}

impl Phase {
    fn named(name: Option<&str>) -> Option<Self> {
        match name {
            Some("commentary") => Some(Self::Commentary),
            Some("final_answer") => Some(Self::FinalAnswer),
            _ => None,
        }
    }

    /// The phase that a message names itself.
    pub fn own(message: &Object) -> Option<Self> {
        Self::named(message.text("phase"))
    }

    /// The phase in a text block's signature.
    pub fn of_block(block: &Value) -> Option<Self> {
        Signature::of(block.as_object().filter(|_| is_text(block))?)?.phase
    }

    /// The phase of a message: its own, or the one that its blocks agree on.
    pub fn of(message: &Object) -> Option<Self> {
        Self::own(message).or_else(|| {
            let mut phases = blocks(message).iter().filter_map(Self::of_block);
            let first = phases.next()?;
            phases.all(|phase| phase == first).then_some(first)
        })
    }
}

/// What a provider signed a text with.
#[derive(Debug, Default, PartialEq)]
pub struct Signature {
    pub id: Option<String>,
    pub phase: Option<Phase>,
}

impl Signature {
    pub fn of(block: &Object) -> Option<Self> {
        let signature = block.text("textSignature").filter(|text| !text::is_blank(text))?;
        if !signature.starts_with('{') {
            return Some(Self { id: Some(signature.to_owned()), phase: None });
        }
        let signature = crate::json::object(signature.as_bytes()).filter(|object| object.number("v") == Some(1.0))?;
        Some(Self { id: signature.text("id").map(str::to_owned), phase: Phase::named(signature.text("phase")) })
    }
}

/// The texts of an answer that are of this phase, each with its place.
pub fn of_phase(message: &Object, phase: Option<Phase>) -> Vec<(usize, &str)> {
    let is_phased = blocks(message).iter().any(|block| Phase::of_block(block).is_some());
    if phase.is_none() && is_phased {
        return Vec::new();
    }
    let own = Phase::own(message).filter(|_| !is_phased);
    let texts = blocks(message).iter().enumerate().filter_map(|(at, block)| Some((at, block, text(block)?)));
    texts.filter(|(_, block, _)| Phase::of_block(block).or(own) == phase).map(|(at, _, text)| (at, text)).collect()
}

/// What an assistant answers: its final answer, or without one the text of no phase.
pub fn answer(message: &Object) -> Option<String> {
    let text_of = |phase| {
        if let Some(text) = message.text("text").or_else(|| message.text("content")) {
            return Some(text.to_owned()).filter(|text| Phase::own(message) == phase && !text::is_blank(text));
        }
        let texts: Vec<&str> = of_phase(message, phase).into_iter().map(|(_, text)| text).collect();
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text::is_blank(text)).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    };
    text_of(Some(Phase::FinalAnswer)).or_else(|| text_of(None))
}
