//! What an assistant message says: its text, its phase, and whether it is meant to be seen.

use std::borrow::Cow;

use super::{block, role};
use crate::json::{Object, Text, Value, wtf8};

/// Replies by which a model says that it has nothing to say.
const CONTROL_REPLIES: [&[u8]; 3] = [b"NO_REPLY", b"ANNOUNCE_SKIP", b"REPLY_SKIP"];

/// The text of an assistant message: `text`, or `content`, or blocks that are text and nothing else.
pub fn visible_text<'m>(message: &'m Object<'_>) -> Option<Cow<'m, [u8]>> {
    if !role::is_assistant(message) {
        return None;
    }
    if let Some(text) = message.text("text").or_else(|| message.text("content")) {
        return Some(Cow::Borrowed(text.as_wtf8()));
    }
    match message.array("content")? {
        [] => None,
        [block] => Some(Cow::Borrowed(block::text(block)?.as_wtf8())),
        blocks => {
            let texts: Option<Vec<_>> = blocks.iter().map(block::text).collect();
            Some(Cow::Owned(join_lines(texts?)))
        }
    }
}

/// Texts joined by newlines.
pub fn join_lines<'t>(texts: impl IntoIterator<Item = &'t Text<'t>>) -> Vec<u8> {
    let lines: Vec<&[u8]> = texts.into_iter().map(Text::as_wtf8).collect();
    lines.join(&b'\n')
}

/// Whether the text is a control reply: one of its words, once or several times.
pub fn is_control_reply(text: &[u8]) -> bool {
    let mut words = wtf8::words(text);
    let Some(first) = words.next() else {
        return false;
    };
    CONTROL_REPLIES.iter().any(|reply| reply.eq_ignore_ascii_case(first))
        && words.all(|word| word.eq_ignore_ascii_case(first))
}

/// Whether an assistant message is a control reply and holds nothing else.
pub fn is_silent(message: &Object<'_>) -> bool {
    visible_text(message).is_some_and(|text| is_control_reply(&text)) && !has_other_blocks(message)
}

/// Whether the content holds a block that is not text.
pub fn has_other_blocks(message: &Object<'_>) -> bool {
    let blocks = message.array("content").unwrap_or_default();
    blocks.iter().any(block::is_not_text)
}

/// Whether an assistant message is not to be shown at all: commentary without an answer beside
/// its tool calls, or a control reply.
pub fn is_dropped(message: &Object<'_>) -> bool {
    role::is_assistant(message)
        && (phase(message) == Some(Phase::Commentary) && !has_text_beside_tools(message) || is_silent(message))
}

fn has_text_beside_tools(message: &Object<'_>) -> bool {
    let blocks = message.array("content").unwrap_or_default();
    blocks.iter().any(block::is_tool) && blocks.iter().filter_map(block::text).any(|text| !text.is_blank())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Commentary,
    FinalAnswer,
}

impl Phase {
    fn named(name: &Text<'_>) -> Option<Self> {
        match name.as_wtf8() {
            b"commentary" => Some(Self::Commentary),
            b"final_answer" => Some(Self::FinalAnswer),
            _ => None,
        }
    }

    /// The phase in a text block's signature.
    pub fn of_block(block: &Value<'_>) -> Option<Self> {
        let block = block.as_object().filter(|_| block::is_text(block))?;
        let signature = block.text("textSignature").filter(|text| text.as_wtf8().starts_with(b"{"))?;
        let signature = signature.parse_json().ok()?;
        let signature = signature.as_object().filter(|object| object.number("v") == Some(1.0))?;
        Self::named(signature.text("phase")?)
    }
}

/// The phase of a message: its own, or the one that its blocks agree on.
fn phase(message: &Object<'_>) -> Option<Phase> {
    if let Some(own) = message.text("phase").and_then(Phase::named) {
        return Some(own);
    }
    let mut phases = message.array("content")?.iter().filter_map(Phase::of_block);
    let first = phases.next()?;
    phases.all(|phase| phase == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn the_text_is_found_where_it_stands() {
        for (message, expected) in [
            (r#"{"role":"assistant","text":"t","content":"c"}"#, Some("t")),
            (r#"{"role":"assistant","text":5,"content":"c"}"#, Some("c")),
            (r#"{"role":"assistant","content":[{"type":"text","text":"a"}]}"#, Some("a")),
            (r#"{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, Some("a\nb")),
            (r#"{"role":"assistant","content":[]}"#, None),
            (r#"{"role":"assistant","content":[{"type":"text","text":"a"},null]}"#, None),
            (r#"{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"image"}]}"#, None),
            (r#"{"role":"assistant","content":[{"type":"text","text":5}]}"#, None),
            (r#"{"role":"Assistant","text":"t"}"#, None),
        ] {
            let message = table::object(message);
            let text = visible_text(&message);
            assert_eq!(text.as_deref(), expected.map(str::as_bytes), "{message:?}");
        }
    }

    #[test]
    fn control_replies_are_one_word_over_and_over() {
        for text in ["NO_REPLY", " no_reply\n", "ANNOUNCE_SKIP announce_skip", "REPLY_SKIP\u{a0}REPLY_SKIP"] {
            assert!(is_control_reply(text.as_bytes()), "{text}");
        }
        for text in ["", " ", "NO_REPLY.", "NO REPLY", "NO_REPLYNO_REPLY", "NO_REPLY REPLY_SKIP", "`NO_REPLY`"] {
            assert!(!is_control_reply(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn commentary_and_control_replies_are_dropped() {
        let commentary = r#""textSignature":"{\"v\":1,\"phase\":\"commentary\"}""#;
        let answer = r#""textSignature":"{\"v\":1,\"phase\":\"final_answer\"}""#;
        for (dropped, fields) in [
            (true, r#""content":"NO_REPLY""#.to_string()),
            (true, r#""content":"x","phase":"commentary""#.into()),
            (true, format!(r#""content":[{{"type":"text","text":"x",{commentary}}}]"#)),
            (true, format!(r#""content":[{{"type":"text","text":"x",{commentary}}},{{"type":"text","text":"y"}}]"#)),
            (true, r#""content":[{"type":"toolCall"},{"type":"text","text":" "}],"phase":"commentary""#.into()),
            (false, r#""content":[{"type":"toolCall"},{"type":"text","text":"x"}],"phase":"commentary""#.into()),
            (false, r#""content":"x","phase":"other""#.into()),
            (
                false,
                format!(
                    r#""content":[{{"type":"text","text":"x",{commentary}}},{{"type":"text","text":"y",{answer}}}]"#
                ),
            ),
            (false, format!(r#""content":[{{"type":"text","text":"x",{commentary}}}],"phase":"final_answer""#)),
            (
                false,
                r#""content":[{"type":"text","text":"x","textSignature":"{\"v\":2,\"phase\":\"commentary\"}"}]"#.into(),
            ),
            (
                false,
                r#""content":[{"type":"text","text":"x","textSignature":" {\"v\":1,\"phase\":\"commentary\"}"}]"#
                    .into(),
            ),
            (false, r#""content":[{"type":"text","text":"NO_REPLY"},{"type":"image"}]"#.into()),
            (false, r#""content":[{"type":"text","text":"NO_REPLY"},null]"#.into()),
        ] {
            let message = table::object(&format!(r#"{{"role":"assistant",{fields}}}"#));
            assert_eq!(is_dropped(&message), dropped, "{fields}");
            let message = table::object(&format!(r#"{{"role":"user",{fields}}}"#));
            assert!(!is_dropped(&message), "{fields}");
        }
    }
}
