//! Rule A.1: runtime context, which the runtime wrote for the model.
//!
//! It comes in three shapes: between two marker lines, as the older "internal" block with its
//! task events, and as a notice of two lines. Each has a function here, to be applied in this
//! order.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};

use super::Words;
use crate::json::wtf8::{is_blank, lines, trim, trim_end, trim_start};

const BEGIN: &[u8] = b"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>";
const END: &[u8] = b"<<<END_OPENCLAW_INTERNAL_CONTEXT>>>";

static BEGIN_WORDS: Words = Words::new(|| Finder::new(BEGIN));

/// Takes out blocks between a [`BEGIN`] line and its [`END`] line, which may be nested. A block
/// that is never closed goes to the end of the text.
pub fn strip_delimited(text: &[u8]) -> Cow<'_, [u8]> {
    if BEGIN_WORDS.find(text).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut rest) = (Vec::new(), text);
    // Cutting trims, and that can make a marker line out of a padded one: the first line of the
    // rest, or the last one that was kept. In that case this is where its block begins.
    let mut opened = None;
    while let Some((start, end)) = delimited_block(rest, opened.is_some()) {
        match opened {
            Some(line) => kept.truncate(line),
            None => join(&mut kept, &rest[..start]),
        }
        kept.truncate(trim_end(&kept).len());
        rest = end.map_or(&[], |end| trim_start(&rest[end..]));
        opened =
            kept.strip_suffix(BEGIN).filter(|before| before.is_empty() || before.ends_with(b"\n")).map(<[u8]>::len);
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    join(&mut kept, rest);
    Cow::Owned(kept)
}

/// The first outermost block: where it begins, and where it ends if it does. If one is open already,
/// it is that one.
fn delimited_block(text: &[u8], is_open: bool) -> Option<(usize, Option<usize>)> {
    let (mut start, mut depth) = (0, usize::from(is_open));
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
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
static LEGACY_WORDS: Words = Words::new(|| Finder::new(LEGACY_HEADER));
const LEGACY_EVENT: &[u8] = b"[Internal task completion event]";
const NEXT_LEGACY_EVENT: &[u8] = b"\n\n---\n\n[Internal task completion event]";

/// Takes out the older block: a header that is directly followed by one or more task events.
pub fn strip_legacy(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut header) = LEGACY_WORDS.find(text) else {
        return Cow::Borrowed(text);
    };
    let mut events = LegacyEvents::of(text);
    let mut kept = Vec::new();
    let mut done = 0;
    loop {
        let event = header + LEGACY_HEADER.len();
        let mut from = event;
        if text[event..].starts_with(LEGACY_EVENT) {
            join(&mut kept, trim_end(&text[done..header]));
            let after = trim_start(&text[events.end(event)..]);
            done = text.len() - after.len();
            from = done;
        }
        match find(text, LEGACY_HEADER, from) {
            Some(next) => header = next,
            None => break,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    join(&mut kept, &text[done..]);
    Cow::Owned(kept)
}

/// Where events end, asked from the front of a text to its back.
struct LegacyEvents<'t> {
    text: &'t [u8],
    /// What an event of the usual structure holds, one after the other.
    parts: [Ahead<'t>; 3],
    next: Ahead<'t>,
}

impl<'t> LegacyEvents<'t> {
    fn of(text: &'t [u8]) -> Self {
        let parts: [&[u8]; 3] =
            [b"<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>", b"<<<END_UNTRUSTED_CHILD_RESULT>>>", b"\n\nAction:\n"];
        Self { text, parts: parts.map(|part| Ahead::new(text, part)), next: Ahead::new(text, NEXT_LEGACY_EVENT) }
    }

    /// Where the chain of events that begins here ends.
    fn end(&mut self, event: usize) -> usize {
        let Some(mut end) = self.end_of_one(event) else {
            return paragraph_end(self.text, event);
        };
        while self.text[end..].starts_with(NEXT_LEGACY_EVENT) {
            match self.end_of_one(end + NEXT_LEGACY_EVENT.len() - LEGACY_EVENT.len()) {
                Some(next) => end = next,
                None => break,
            }
        }
        end
    }

    /// Where an event of the usual structure ends: a child's result, then an action, then either
    /// the next event or a blank line.
    fn end_of_one(&mut self, event: usize) -> Option<usize> {
        let mut at = event;
        for part in &mut self.parts {
            at = part.from(at)? + part.part.len();
        }
        Some(self.next.from(at).unwrap_or_else(|| paragraph_end(self.text, at)))
    }
}

/// The next place of a part in a text, asked from the front to the back: nothing is searched twice.
struct Ahead<'t> {
    text: &'t [u8],
    part: &'t [u8],
    next: Option<usize>,
}

impl<'t> Ahead<'t> {
    fn new(text: &'t [u8], part: &'t [u8]) -> Self {
        Self { text, part, next: memmem::find(text, part) }
    }

    fn from(&mut self, at: usize) -> Option<usize> {
        if self.next.is_some_and(|next| next < at) {
            self.next = find(self.text, self.part, at);
        }
        self.next
    }
}

fn paragraph_end(text: &[u8], from: usize) -> usize {
    find(text, b"\n\n", from).unwrap_or(text.len())
}

const NOTICE_HEADERS: [&[u8]; 2] =
    [b"OpenClaw runtime context for the immediately preceding user message.", b"OpenClaw runtime event."];
const NOTICE: &[u8] = b"This context is runtime-generated, not user-authored. Keep internal details private.";

static NOTICE_WORDS: Words = Words::new(|| Finder::new(NOTICE));

/// Takes out notices of two lines, with the blank lines after them.
pub fn strip_notices(text: &[u8]) -> Cow<'_, [u8]> {
    if NOTICE_WORDS.find(text).is_none() {
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

/// Puts a piece behind what was kept, and one blank line between them.
fn join(kept: &mut Vec<u8>, piece: &[u8]) {
    if !kept.is_empty() && !piece.is_empty() {
        kept.extend_from_slice(b"\n\n");
    }
    kept.extend_from_slice(piece);
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
    fn padded_markers_become_markers_by_a_cut() {
        let (b, e) = ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>");
        table::texts(
            strip_delimited,
            &[
                (&format!("{b}\n1\n{e}\n {b}\n2\n{e}\nc"), "c"),
                (&format!("a\n{b} \n{b}\n1\n{e}\n2\n{e}\nc"), "a\n\nc"),
                (&format!("a\n{b} \n{b}\n1\n{e}\n2\n{b}\n3\n{e}\n{e}\nc"), "a\n\nc"),
                (&format!("a\n{b} \n{b}\t\n{b}\nx"), "a"),
                (&format!("a\nx{b} \n{b}\n1\n{e}\nc"), &format!("a\nx{b}\n\nc")),
            ],
        );
    }

    #[test]
    fn many_blocks_cost_no_more_than_other_text() {
        let many = |text: &str| text.repeat(1_000_000 / text.len());
        let (b, e) = ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>");
        table::is_linear(
            strip_delimited,
            &[
                many(&format!("a\n{b}\n{e}\n")),
                many(&format!("{b}\n{e}\n")),
                many(&format!("{b}\n")),
                many(&format!("{b} ")),
                format!("{}{b}\nx", many(&format!("{b} \n"))),
                many(&format!("{b} \n{b}\n{e}\n")),
            ],
        );
        let header = format!("{}{}", String::from_utf8_lossy(LEGACY_HEADER), String::from_utf8_lossy(LEGACY_EVENT));
        let result = "<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>";
        table::is_linear(
            strip_legacy,
            &[
                many(&format!("{header}\n\n")),
                many(&format!("{header}\n\na")),
                many(&format!("{header}{result}\n\na")),
                many(&format!("{header}{result}<<<END_UNTRUSTED_CHILD_RESULT>>>\n\na")),
                many(&format!("{header}{result}<<<END_UNTRUSTED_CHILD_RESULT>>>\n\nAction:\n\n\na")),
                format!("{}Action:\n", many(&format!("{header}{result}<<<END_UNTRUSTED_CHILD_RESULT>>>\n\na"))),
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
