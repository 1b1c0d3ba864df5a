//! Scanning a line: what the index has to know of it, straight from its bytes.
//!
//! This one function sees every byte of every transcript, so it builds no values. It is alone here
//! so that it can be measured and made faster without a look at anything else.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use memchr::memrchr;

use crate::json::{self, text::is_blank};

/// What there is in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The record's id, or [`Id::NONE`].
    pub(super) id: Id,
    /// The id of the record before it, or [`Id::NONE`].
    pub(super) parent: Id,
    /// In bytes.
    pub(super) length: u32,
    /// A [`check`] of its bytes.
    pub(super) check: u32,
    pub(super) flags: Flags,
}

/// The types of records that stand on the way from one to the next.
const KINDS: [&str; 10] = [
    "message",
    "thinking_level_change",
    "model_change",
    "compaction",
    "reset",
    "branch_summary",
    "custom",
    "custom_message",
    "label",
    "session_info",
];

/// Scans a line, given without its end. `None` if it is blank.
pub(super) fn scan(line: &[u8]) -> Option<Facts> {
    let mut record = Members::default();
    let text = json::decode(line);
    // Of equal keys the last one counts, so each sets what the one before it has set.
    let is_record = json::members(&text, |key, value| match &*key {
        "id" => record.id = string(value),
        "parentId" => record.parent = Some(value),
        "targetId" => record.target = Some(value),
        "type" => record.kind = string(value),
        "customType" => record.custom_type = string(value),
        "appendMode" => record.is_aside = value == "\"side\"",
        "display" => record.is_displayed = value == "true",
        "message" => record.has_message = true,
        _ => {}
    })
    .is_some();
    if !is_record && is_blank(&text) {
        return None;
    }
    // No line is longer than the reader lets it be.
    let length = line.len() as u32;
    let (id, parent, flags) = if is_record { record.facts() } else { (Id::NONE, Id::NONE, Flags::NONE) };
    Some(Facts { id, parent, length, check: check(line), flags })
}

/// What of a record places it in the history.
#[derive(Default)]
struct Members<'a> {
    id: Option<String>,
    parent: Option<&'a str>,
    target: Option<&'a str>,
    kind: Option<String>,
    custom_type: Option<String>,
    is_aside: bool,
    is_displayed: bool,
    has_message: bool,
}

impl Members<'_> {
    fn facts(&self) -> (Id, Id, Flags) {
        let id = self.id.as_deref().map_or(Id::NONE, Id::of);
        let kind = self.kind.as_deref().unwrap_or_default();
        let is_leaf = kind == "leaf";
        // One that names another leaf comes after that.
        let parent = if is_leaf { self.target.filter(|_| self.parent.is_some()) } else { self.parent };
        let reference = parent.and_then(reference);
        let is_linked = id != Id::NONE && reference.is_some() && kind != "session";
        let is_marker = match kind {
            "compaction" | "reset" => true,
            "custom_message" => self.is_displayed && self.custom_type.as_deref() != Some("openclaw.runtime-context"),
            _ => false,
        };
        let flags = Flags::RECORD
            | Flags::COUNTED.only_if(kind != "session" && (self.has_message || is_marker))
            | Flags::MARKER.only_if(is_marker && !self.has_message)
            | Flags::RESET.only_if(kind == "reset")
            | Flags::LINKED.only_if(is_linked)
            | Flags::KNOWN.only_if(KINDS.contains(&kind) && (is_linked || self.parent.is_none()) && id != Id::NONE)
            | Flags::ASIDE.only_if(self.is_aside)
            | Flags::LEAF.only_if(is_leaf && is_linked);
        (id, reference.unwrap_or(Id::NONE), flags)
    }
}

/// The text that this is.
fn string(json: &str) -> Option<String> {
    if json.starts_with('"') { json::read(json) } else { None }
}

/// The record that is named, [`Id::NONE`] for null. `None` if it is neither.
fn reference(json: &str) -> Option<Id> {
    match json {
        "null" => Some(Id::NONE),
        _ => string(json).map(|id| Id::of(&id)).filter(|id| *id != Id::NONE),
    }
}

/// What tells a line from the one that was written over it: 32 bits of a keyed hash.
pub(super) fn check(line: &[u8]) -> u32 {
    static KEYS: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);
    let hash = KEYS.hash_one(line);
    (hash ^ hash >> 32) as u32
}

/// The whole records that a line which is none ends with, with their places in it: behind one whose writer was
/// cut off before its end, and after which the next one was written. Each is at the end of what is left of the
/// line, and between them there may be space and NULs. Behind anything but a torn record they are left where
/// OpenClaw leaves them, unseen. O(line): each byte is looked at a few times.
pub(super) fn behind_a_torn_one(line: &[u8]) -> Vec<(usize, Facts)> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let end = rest.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | 0)).map_or(0, |last| last + 1);
        rest = &rest[..end];
        let Some(start) = start_of_last_object(rest) else { break };
        match scan(&rest[start..]) {
            Some(facts) if facts.flags.has(Flags::COUNTED) || facts.flags.has(Flags::RECORD | Flags::LINKED) => {
                found.push((start, facts));
            }
            _ => break,
        }
        rest = &rest[..start];
    }
    let is_torn = |rest: &[u8]| scan(rest).is_some_and(|facts| !facts.flags.has(Flags::RECORD));
    if !rest.is_empty() && !is_torn(rest) {
        return Vec::new();
    }
    found.reverse();
    found
}

/// Where the object begins that `text` ends with, told by its brackets alone: read backwards from a closing one,
/// what stands in a string is known. O(text).
fn start_of_last_object(text: &[u8]) -> Option<usize> {
    if text.last() != Some(&b'}') {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = text.len();
    while let Some(before) = at.checked_sub(1) {
        at = before;
        match text[at] {
            b'}' | b']' => depth += 1,
            b'{' | b'[' => {
                depth -= 1;
                if depth == 0 {
                    return (text[at] == b'{').then_some(at);
                }
            }
            b'"' => at = start_of_string(&text[..at])?,
            _ => {}
        }
    }
    None
}

/// Where the string begins whose end stands behind this text: at the last quote that is not escaped.
fn start_of_string(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let quote = memrchr(b'"', &text[..end])?;
        let escapes = text[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(quote);
        }
        end = quote;
    }
}

/// An id as the index keeps it: 64 bits of a keyed hash.
///
/// Nobody outside can find two ids with one hash, and by chance it does not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Id(u64);

impl Id {
    /// No id, or one that links nothing: not a string, or blank. The default.
    pub(super) const NONE: Self = Self(0);

    fn of(text: &str) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        if is_blank(text) {
            return Self::NONE;
        }
        Self(KEYS.hash_one(text).max(1))
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

/// What a line is, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    /// A JSON object.
    pub(super) const RECORD: Self = Self(1);
    /// A record that a reader can see: it has a message, or is a marker.
    pub(super) const COUNTED: Self = Self(1 << 1);
    /// A record that has an id and says what comes before it.
    pub(super) const LINKED: Self = Self(1 << 2);
    /// A record that a reader can see without a message.
    pub(super) const MARKER: Self = Self(1 << 3);
    /// A record of the type `reset`.
    pub(super) const RESET: Self = Self(1 << 4);
    /// A record of a type that stands on the way from one to the next, with an id.
    pub(super) const KNOWN: Self = Self(1 << 5);
    /// A record that was appended beside the way.
    pub(super) const ASIDE: Self = Self(1 << 6);
    /// A record that chooses which one is the last.
    pub(super) const LEAF: Self = Self(1 << 7);

    /// How many bits there are.
    pub(super) const BITS: u32 = 8;

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// The flags with these [`bits`](Self::bits).
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn only_if(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(line: &str) -> Facts {
        scan(line.as_bytes()).unwrap()
    }

    #[test]
    fn blank_lines_are_no_lines() {
        for line in ["", "   ", "\t", "\u{a0}", "\u{feff}", "\u{b}\u{c}", "\u{2028}\u{2029}", "\r"] {
            assert_eq!(scan(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(facts("\u{200b}").length, 3);
    }

    #[test]
    fn what_is_no_object_is_junk() {
        for line in ["{not json", "[1]", "5", "null", "{} x", "\u{feff}{}", "{\"id\":\"a\",}"] {
            assert_eq!(facts(line).flags, Flags::NONE, "{line:?}");
        }
    }

    #[test]
    fn a_record_counts_if_it_has_a_message_or_is_a_marker() {
        for (line, counted) in [
            ("{}", false),
            (r#"{"message":{}}"#, true),
            (r#"{"message":null}"#, true),
            (r#"{"m\u0065ssage":1}"#, true),
            (r#"{"type":"session","message":1}"#, false),
            (r#"{"type":"comp\u0061ction"}"#, true),
            (r#"{"type":"compaction","type":"x"}"#, false),
            (r#"{"type":"reset"}"#, true),
            (r#"{"type":"custom_message"}"#, false),
            (r#"{"type":"custom_message","display":true}"#, true),
            (r#"{"type":"custom_message","display":true,"customType":"openclaw.runtime-context"}"#, false),
        ] {
            assert_eq!(facts(line).flags.has(Flags::COUNTED), counted, "{line}");
        }
    }

    #[test]
    fn a_record_is_linked_if_it_has_an_id_and_names_a_parent_or_none() {
        for (line, linked, known) in [
            (r#"{"id":"a","parentId":null,"type":"message"}"#, true, true),
            (r#"{"id":"a","parentId":5,"type":"message"}"#, false, false),
            (r#"{"id":"a","parentId":1e999,"type":"message"}"#, false, false),
            (r#"{"parentId":"x","id":"a"}"#, true, false),
            (r#"{"id":"a","type":"label"}"#, false, true),
            (r#"{"id":" ","parentId":null}"#, false, false),
            (r#"{"id":"a","id":null,"parentId":null}"#, false, false),
            (r#"{"type":"session","id":"a","parentId":null}"#, false, false),
            (r#"{"type":"leaf","id":"a","parentId":null,"targetId":"b"}"#, true, false),
            (r#"{"type":"leaf","id":"a","parentId":null}"#, false, false),
        ] {
            let flags = facts(line).flags;
            assert_eq!((flags.has(Flags::LINKED), flags.has(Flags::KNOWN)), (linked, known), "{line}");
        }
    }

    #[test]
    fn ids_are_equal_as_texts() {
        let parent = |line| facts(line).parent;
        assert_eq!(facts(r#"{"id":"a\u0062"}"#).id, parent(r#"{"parentId":"ab"}"#));
        assert_ne!(facts(r#"{"id":"b"}"#).id, parent(r#"{"parentId":" b"}"#));
        assert_eq!(parent(r#"{"parentId":"\t"}"#), Id::NONE);
        assert_eq!(scan(b"{\"id\":\"\xFF\"}").unwrap().id, facts("{\"id\":\"\u{fffd}\"}").id);
    }

    #[test]
    fn whole_records_are_found_behind_a_torn_one() {
        let (a, b) = (r#"{"id":"a","message":{"content":"}{\\\" \\\\"}}"#, r#"{"id":"b","parentId":null}"#);
        for (torn, between) in [
            (r#"{"id":"x","message":{"role":"us"#, ""),
            (r#"{"id":"x","message":"#, " "),
            (r#"{"id":"x","list":[1,"#, "\0\0"),
            (r#"{"id":"x\"#, ""),
            ("\0\0\0", "\0"),
            ("", ""),
        ] {
            let line = format!("{torn}{a}{between}{b}\0");
            let found = behind_a_torn_one(line.as_bytes());
            let expected = [(torn.len(), facts(a)), (torn.len() + a.len() + between.len(), facts(b))];
            assert_eq!(found, expected, "{line}");
        }
        for line in [
            r#"{"id":"a" "message":{}}"#,
            r#"{"message":{"role":"user"}"#,
            "}",
            "]}",
            "\"}",
            "",
            "\0",
            "{}x",
            "{\"message\":1}\r{\"message\":1}",
            "\u{feff}{\"message\":1}",
        ] {
            assert_eq!(behind_a_torn_one(line.as_bytes()), [], "{line}");
        }
    }
}
