//! Rule A.1: runtime context, which the runtime wrote for the model.
//!
//! It comes in three shapes: between two marker lines, as the older "internal" block with its
//! task events, and as a notice of two lines. Each has a function here, to be applied in this
//! order.

use std::borrow::Cow;

use memchr::memmem;

use crate::gateway::js::wtf8::{is_blank, lines, trim, trim_end, trim_start};

const BEGIN: &[u8] = b"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>";
const END: &[u8] = b"<<<END_OPENCLAW_INTERNAL_CONTEXT>>>";

/// Takes out blocks between a [`BEGIN`] line and its [`END`] line, which may be nested. A block
/// that is never closed goes to the end of the text.
pub fn strip_delimited(text: &[u8]) -> Cow<'_, [u8]> {
    let mut stripped = Cow::Borrowed(text);
    // Cutting trims what is left, and that can make a marker line out of a padded one: look again.
    while let Some(block) = delimited_block(&stripped) {
        stripped = Cow::Owned(match block {
            (start, Some(end)) => cut(&stripped, start, end),
            (start, None) => trim_end(&stripped[..start]).to_vec(),
        });
    }
    stripped
}

/// The first outermost block: where it begins, and where it ends if it does.
fn delimited_block(text: &[u8]) -> Option<(usize, Option<usize>)> {
    let first = memmem::find(text, BEGIN)?;
    let line_start = memchr::memrchr(b'\n', &text[..first]).map_or(0, |at| at + 1);
    let (mut start, mut depth) = (0, 0);
    let mut at = line_start;
    for line in text[line_start..].split_inclusive(|byte| *byte == b'\n') {
        let marker = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(line);
        if marker == BEGIN {
            if depth == 0 {
                start = at;
            }
            depth += 1;
        } else if marker == END && depth > 0 {
            depth -= 1;
            if depth == 0 {
                return Some((start, Some(at + END.len())));
            }
        }
        at += line.len();
    }
    (depth > 0).then_some((start, None))
}

const LEGACY_HEADER: &[u8] = b"OpenClaw runtime context (internal):\nThis context is runtime-generated, not user-authored. Keep internal details private.\n\n";
const LEGACY_EVENT: &[u8] = b"[Internal task completion event]";
const NEXT_LEGACY_EVENT: &[u8] = b"\n\n---\n\n[Internal task completion event]";

/// Takes out the older block: a header that is directly followed by one or more task events.
pub fn strip_legacy(text: &[u8]) -> Cow<'_, [u8]> {
    let mut stripped = Cow::Borrowed(text);
    let mut from = 0;
    while let Some(header) = find(&stripped, LEGACY_HEADER, from) {
        let event = header + LEGACY_HEADER.len();
        if stripped[event..].starts_with(LEGACY_EVENT) {
            let end = legacy_events_end(&stripped, event);
            from = trim_end(&stripped[..header]).len();
            stripped = Cow::Owned(cut(&stripped, header, end));
        } else {
            from = event;
        }
    }
    stripped
}

/// Where the chain of events that begins here ends.
fn legacy_events_end(text: &[u8], event: usize) -> usize {
    let Some(mut end) = legacy_event_end(text, event) else {
        return paragraph_end(text, event);
    };
    while text[end..].starts_with(NEXT_LEGACY_EVENT) {
        match legacy_event_end(text, end + NEXT_LEGACY_EVENT.len() - LEGACY_EVENT.len()) {
            Some(next) => end = next,
            None => break,
        }
    }
    end
}

/// Where an event of the usual structure ends: a child's result, then an action, then either the
/// next event or a blank line.
fn legacy_event_end(text: &[u8], event: usize) -> Option<usize> {
    let mut at = event;
    for part in
        [b"<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>".as_slice(), b"<<<END_UNTRUSTED_CHILD_RESULT>>>", b"\n\nAction:\n"]
    {
        at = find(text, part, at)? + part.len();
    }
    Some(find(text, NEXT_LEGACY_EVENT, at).unwrap_or_else(|| paragraph_end(text, at)))
}

fn paragraph_end(text: &[u8], from: usize) -> usize {
    find(text, b"\n\n", from).unwrap_or(text.len())
}

const NOTICE_HEADERS: [&[u8]; 2] =
    [b"OpenClaw runtime context for the immediately preceding user message.", b"OpenClaw runtime event."];
const NOTICE: &[u8] = b"This context is runtime-generated, not user-authored. Keep internal details private.";

/// Takes out notices of two lines, with the blank lines after them.
pub fn strip_notices(text: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(text, NOTICE).is_none() {
        return Cow::Borrowed(text);
    }
    let mut kept = Vec::new();
    let mut found = false;
    let mut lines = lines(text).peekable();
    while let Some(line) = lines.next() {
        if NOTICE_HEADERS.contains(&trim(line)) && lines.next_if(|next| trim(next) == NOTICE).is_some() {
            while lines.next_if(|next| is_blank(next)).is_some() {}
            found = true;
        } else {
            kept.push(line);
        }
    }
    if !found {
        return Cow::Borrowed(text);
    }
    Cow::Owned(trim(&at_most_two_newlines(&kept.join(&b'\n'))).to_vec())
}

fn at_most_two_newlines(text: &[u8]) -> Vec<u8> {
    let mut short = Vec::with_capacity(text.len());
    for byte in text {
        if *byte != b'\n' || !short.ends_with(b"\n\n") {
            short.push(*byte);
        }
    }
    short
}

/// The text without a stretch, and one blank line in its place.
fn cut(text: &[u8], start: usize, end: usize) -> Vec<u8> {
    let (before, after) = (trim_end(&text[..start]), trim_start(&text[end..]));
    let between: &[u8] = if before.is_empty() || after.is_empty() { b"" } else { b"\n\n" };
    [before, between, after].concat()
}

fn find(text: &[u8], part: &[u8], from: usize) -> Option<usize> {
    memmem::find(&text[from..], part).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn delimited_blocks_go_with_their_surroundings() {
        let (b, e) = ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>");
        table::texts(
            strip_delimited,
            &[
                ("plain", "plain"),
                (&format!("a \n{b}\nx\n{e}\n\n b"), "a\n\nb"),
                (&format!("{b}\nx\n{e}"), ""),
                (&format!("\n{b}\r\nx\r\n{e}\r\nb"), "b"),
                (&format!("a {b} in a line {e} b"), &format!("a {b} in a line {e} b")),
                (&format!(" a\n{b}\nnever closed\n{e} "), " a"),
                (&format!("a\n{b}\n1\n{b}\n2\n{e}\n3\n{e}\nb"), "a\n\nb"),
                (&format!("a\n{b}\n{b}\nx\n{e}\nb"), "a"),
                (&format!("a\n{e}\nb"), &format!("a\n{e}\nb")),
                (&format!("{b}\n1\n{e}\nb\n{b}\n2\n{e}\n"), "b"),
                (&format!("a\n{b} \n{b}\nx\n{e}\nb"), "a"),
                (&format!("{b}\r"), &format!("{b}\r")),
            ],
        );
    }

    #[test]
    fn legacy_blocks_end_with_their_last_event() {
        let header = "OpenClaw runtime context (internal):\nThis context is runtime-generated, not user-authored. Keep internal details private.\n\n";
        let event = "[Internal task completion event]\n<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>\nr\n\ns\n<<<END_UNTRUSTED_CHILD_RESULT>>>\n\nAction:\ndo";
        table::texts(
            strip_legacy,
            &[
                (&format!("{header}no event"), &format!("{header}no event")),
                (&format!("pre\n\n{header}{event}\n\npost"), "pre\n\npost"),
                (&format!("{header}{event}"), ""),
                (&format!("{header}{event}\n\n---\n\n{event}\n\npost"), "post"),
                (&format!("{header}[Internal task completion event]\nplain\n\npost\n\nmore"), "post\n\nmore"),
                (&format!("a\n\n{header}{event}\n\nb\n\n{header}{event}\n\nc"), "a\n\nb\n\nc"),
            ],
        );
    }

    #[test]
    fn notices_go_with_the_blank_lines_after_them() {
        let notice = "This context is runtime-generated, not user-authored. Keep internal details private.";
        table::texts(
            strip_notices,
            &[
                (&format!("OpenClaw runtime event.\n{notice}\n\n \nhello\n\n\n\nx"), "hello\n\nx"),
                (&format!("a\r\n OpenClaw runtime event. \r\n {notice}\nb\r\nc "), "a\nb\nc"),
                (
                    &format!("OpenClaw runtime event.\nother\n{notice}"),
                    &format!("OpenClaw runtime event.\nother\n{notice}"),
                ),
                ("OpenClaw runtime event.\n\n\n\nx", "OpenClaw runtime event.\n\n\n\nx"),
            ],
        );
    }
}
