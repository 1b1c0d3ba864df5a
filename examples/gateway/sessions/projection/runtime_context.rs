//! Runtime context, which the runtime wrote for the model.
//!
//! It comes in three shapes: between two marker lines, as the older "internal" block with its task events, and as a
//! notice behind one of some headers.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::{self, Finder};
use regex::Regex;

use super::strip::edit;
use crate::json::text::{trim, trim_end, trim_start};

const BEGIN: &str = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>";
const END: &str = "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>";
const NOTICE: &str = "This context is runtime-generated, not user-authored. Keep internal details private.";

/// A word of each of the three that nearly no text holds.
static WORDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new("_OPENCLAW_INTERNAL_CONTEXT>>>"), Finder::new("runtime-generated,")]);

pub fn strip(text: &str) -> Cow<'_, str> {
    let [marker, notice] = WORDS.each_ref().map(|word| word.find(text.as_bytes()).is_some());
    if !marker && !notice {
        return Cow::Borrowed(text);
    }
    let mut left = if marker { without_blocks(text) } else { text.to_owned() };
    edit(&mut left, without_legacy);
    edit(&mut left, without_notices);
    Cow::Owned(left)
}

/// Takes out blocks between a [`BEGIN`] line and its [`END`] line, which may be nested, and [`END`] lines that are
/// left. A block that is never closed goes to the end of the text.
fn without_blocks(text: &str) -> String {
    let mut kept = String::new();
    let (mut done, mut depth, mut found) = (0, 0_usize, false);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let marker = marker(line.strip_suffix('\n').unwrap_or(line));
        if marker == BEGIN {
            if depth == 0 {
                join(&mut kept, trim_end(&text[done..start]));
            }
            (depth, found) = (depth + 1, true);
        } else if marker == END && depth > 0 {
            depth -= 1;
            if depth == 0 {
                let rest = &text[start..];
                let rest = rest.trim_start_matches([' ', '\t'])[END.len()..].trim_start_matches([' ', '\t']);
                done = text.len() - trim_start(rest).len();
            }
        }
    }
    if depth == 0 {
        let rest = &text[done..];
        if found { join(&mut kept, rest) } else { kept.push_str(rest) }
    }
    if !kept.contains(END) {
        return kept;
    }
    let lines = kept.split('\n').enumerate();
    let lines = lines.filter_map(|(at, line)| match marker(line) {
        // The end of the line before it goes with it.
        END => (at == 0).then_some(""),
        _ => Some(line),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands in a line, without the space around it that a marker may have.
fn marker(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t'])
}

const LEGACY_HEADER: &str = "OpenClaw runtime context (internal):\nThis context is runtime-generated, not user-authored. Keep internal details private.\n\n";
const LEGACY_EVENT: &str = "[Internal task completion event]";
const NEXT_LEGACY_EVENT: &str = "\n\n---\n\n[Internal task completion event]";

/// Takes out the older block: a header that is directly followed by one or more task events.
fn without_legacy(text: &str) -> Cow<'_, str> {
    let Some(mut header) = text.find(LEGACY_HEADER) else {
        return Cow::Borrowed(text);
    };
    let mut events = LegacyEvents::of(text);
    let mut kept = String::new();
    let mut done = 0;
    loop {
        let event = header + LEGACY_HEADER.len();
        let mut from = event;
        if text[event..].starts_with(LEGACY_EVENT) {
            join(&mut kept, trim_end(&text[done..header]));
            done = text.len() - trim_start(&text[events.end(event)..]).len();
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
    text: &'t str,
    /// What an event of the usual structure holds, one after the other.
    parts: [Ahead<'t>; 3],
    next: Ahead<'t>,
}

impl<'t> LegacyEvents<'t> {
    fn of(text: &'t str) -> Self {
        let parts = ["<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>", "<<<END_UNTRUSTED_CHILD_RESULT>>>", "\n\nAction:\n"];
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

    /// Where an event of the usual structure ends: a child's result, then an action, then either the next event or a
    /// blank line.
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
    text: &'t str,
    part: &'t str,
    next: Option<usize>,
}

impl<'t> Ahead<'t> {
    fn new(text: &'t str, part: &'t str) -> Self {
        Self { text, part, next: find(text, part, 0) }
    }

    fn from(&mut self, at: usize) -> Option<usize> {
        if self.next.is_some_and(|next| next < at) {
            self.next = find(self.text, self.part, at);
        }
        self.next
    }
}

fn paragraph_end(text: &str, from: usize) -> usize {
    find(text, "\n\n", from).unwrap_or(text.len())
}

/// What a notice follows: one of these, from the start of any of its sentences on.
const HEADERS: [&str; 3] = [
    "OpenClaw runtime context for the active user request in this turn. Do not reply to or describe this context. Use it to continue answering the active user request now. Do not wait for another message.",
    "OpenClaw runtime context for the immediately preceding user message.",
    "OpenClaw runtime event.",
];

/// Takes out headers with their notices, whatever space is between their words.
fn without_notices(text: &str) -> Cow<'_, str> {
    static NOTICES: LazyLock<Regex> = LazyLock::new(|| {
        let spaced = |text: &str| text.split(' ').map(regex::escape).collect::<Vec<_>>().join(r"\s+");
        let sentences = |header: &'static str| header.match_indices(". ").map(|(at, _)| at + 2).chain([0]);
        let headers = HEADERS.iter().flat_map(|header| sentences(header).map(|at| spaced(&header[at..])));
        let headers = headers.collect::<Vec<_>>().join("|");
        Regex::new(&format!(r"(?m)^[ \t]*(?:{headers})\s+{}[ \t]*(?:\r?\n|\z)", spaced(NOTICE))).expect("an expression")
    });
    match NOTICES.replace_all(text, "") {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(left) => Cow::Owned(trim(&at_most_two_newlines(&left)).to_owned()),
    }
}

fn at_most_two_newlines(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    for char in text.chars() {
        if char != '\n' || !short.ends_with("\n\n") {
            short.push(char);
        }
    }
    short
}

/// Puts a piece behind what was kept, and one blank line between them.
fn join(kept: &mut String, piece: &str) {
    if !kept.is_empty() && !piece.is_empty() {
        kept.push_str("\n\n");
    }
    kept.push_str(piece);
}

fn find(text: &str, part: &str, from: usize) -> Option<usize> {
    memmem::find(&text.as_bytes()[from..], part.as_bytes()).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_between_markers_are_taken_out() {
        let block = format!("{BEGIN}\nx\n{END}");
        for (text, left) in [
            (format!("a\n {block}\t\nb"), "a\n\nb"),
            (format!("{block}\nb"), "b"),
            (format!("a\n\n{block}\n\n{block}"), "a"),
            (format!("a\n{BEGIN}\n{block}\ny\n{END}\nb"), "a\n\nb"),
            (format!("a \n{BEGIN}\nnever closed"), "a"),
            (format!("a\n{END}\n{END}\nb"), "a\nb"),
            (format!("a {BEGIN} b"), "a <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> b"),
        ] {
            assert_eq!(strip(&text), left, "{text}");
        }
    }

    #[test]
    fn the_older_block_is_taken_out_with_its_events() {
        let event = format!(
            "{LEGACY_EVENT}\n<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>\na\n\nb\n<<<END_UNTRUSTED_CHILD_RESULT>>>\n\nAction:\ndo"
        );
        for (text, left) in [
            (format!("a\n{LEGACY_HEADER}{event}\n\nb"), "a\n\nb"),
            (format!("{LEGACY_HEADER}{event}\n\n---\n\n{event}\n\nb"), "b"),
            (format!("{LEGACY_HEADER}{LEGACY_EVENT}\nx\n\nb"), "b"),
        ] {
            assert_eq!(strip(&text), left, "{text}");
        }
    }

    #[test]
    fn notices_are_taken_out_whatever_the_space_between_words() {
        for (text, left) in [
            (format!("a\n\n{}\n{NOTICE}\n\nb", HEADERS[1]), "a\n\nb"),
            (format!("{}  {}\nb", HEADERS[2], NOTICE.replace(' ', "\n")), "b"),
            (format!("Do not wait for another message. {NOTICE}"), ""),
            (
                format!("b {NOTICE}"),
                "b This context is runtime-generated, not user-authored. Keep internal details private.",
            ),
        ] {
            assert_eq!(strip(&text), left, "{text}");
        }
    }
}
