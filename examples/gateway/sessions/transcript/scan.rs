//! Scanning a line: what the index has to know of it, straight from its bytes.
//!
//! This one function sees every byte of every transcript, so it builds no values. It is alone here
//! so that it can be measured and made faster without a look at anything else.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use memchr::{memchr, memmem};

use crate::{
    json::skim,
    json::{self, wtf8},
    sessions::projection::SUPPLEMENT_MARKER,
};

/// The longest line that a tail read looks into, in bytes of UTF-8.
pub(super) const OVERSIZED: usize = 256 * 1024;

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

/// Scans a line, given without its end. `None` if it is blank.
pub(super) fn scan(line: &[u8]) -> Option<Facts> {
    let mut id = Id::NONE;
    let mut parent = None;
    let mut is_session = false;
    let mut is_compaction = false;
    let mut has_message = false;
    // Of equal keys the last one counts, so each sets what the one before it has set.
    let is_record = skim::object(line, |key, value| match &*plain(key) {
        b"\"id\"" => id = Id::of_json(value),
        b"\"parentId\"" => parent = Some(Id::of_json(value)),
        b"\"type\"" => {
            let kind = plain(value);
            is_session = &*kind == b"\"session\"";
            is_compaction = &*kind == b"\"compaction\"";
        }
        b"\"message\"" => has_message = is_truthy(value),
        _ => {}
    })
    .is_some();
    // No line is longer than the reader lets it be.
    let length = line.len() as u32;
    let check = check(line);
    let oversized = Flags::OVERSIZED.only_if(is_oversized(line));
    if !is_record {
        return (!wtf8::is_blank(line)).then_some(Facts {
            id: Id::NONE,
            parent: Id::NONE,
            length,
            check,
            flags: oversized,
        });
    }
    Some(Facts {
        id,
        parent: parent.unwrap_or(Id::NONE),
        length,
        check,
        flags: Flags::RECORD
            | oversized
            | Flags::COUNTED.only_if(has_message || is_compaction)
            | Flags::COMPACTION.only_if(is_compaction)
            | Flags::LINKED.only_if(parent.is_some() && id != Id::NONE && !is_session)
            | Flags::SPOKEN.only_if(has_message && has_supplement_marker(line)),
    })
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
        let Some(start) = skim::start_of_last_object(rest) else { break };
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

/// An id as the index keeps it: 64 bits of a keyed hash.
///
/// Nobody outside can find two ids with one hash, and by chance it does not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Id(u64);

impl Id {
    /// No id, or one that links nothing: not a string, or blank. The default.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn of(text: &[u8]) -> Self {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        if wtf8::is_blank(text) {
            return Self::NONE;
        }
        Self(KEYS.hash_one(text).max(1))
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    fn of_json(json: &[u8]) -> Self {
        match json::parse(json) {
            Ok(json::Value::String(text)) => Self::of(text.as_wtf8()),
            _ => Self::NONE,
        }
    }
}

/// What a line is, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    /// A JSON object.
    pub(super) const RECORD: Self = Self(1);
    /// A record that a reader can see: it has a message, or is a compaction.
    pub(super) const COUNTED: Self = Self(1 << 1);
    /// A record that has an id and says what comes before it: the last one is the leaf.
    pub(super) const LINKED: Self = Self(1 << 2);
    /// A record of the type `compaction`.
    pub(super) const COMPACTION: Self = Self(1 << 3);
    /// A line, record or not, that is too long for tail reads.
    pub(super) const OVERSIZED: Self = Self(1 << 4);
    /// A record whose message may be the spoken form of an earlier one.
    pub(super) const SPOKEN: Self = Self(1 << 5);

    /// How many bits there are.
    pub(super) const BITS: u32 = 6;

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

/// A JSON string, or other value, with its escapes resolved if it has any.
fn plain(json: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', json).is_none() {
        return Cow::Borrowed(json);
    }
    match json::parse(json) {
        Ok(json::Value::String(text)) => [b"\"", text.as_wtf8(), b"\""].concat().into(),
        _ => Cow::Borrowed(json),
    }
}

/// Whether JavaScript takes this value for true.
fn is_truthy(json: &[u8]) -> bool {
    match json {
        [b'{' | b'[' | b't', ..] => true,
        [b'"', rest @ ..] => rest.len() > 1,
        [b'-' | b'0'..=b'9', ..] => json::parse(json).is_ok_and(|number| number.is_truthy()),
        _ => false,
    }
}

/// Whether the line is too long once it is text, where a byte that is no UTF-8 takes three.
fn is_oversized(line: &[u8]) -> bool {
    line.len() > OVERSIZED || line.len() > OVERSIZED / 3 && json::decode(line).len() > OVERSIZED
}

fn has_supplement_marker(line: &[u8]) -> bool {
    static MARKER: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(SUPPLEMENT_MARKER));
    MARKER.find(line).is_some()
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
    fn a_record_counts_if_its_message_is_truthy_or_it_is_a_compaction() {
        for (line, counted) in [
            ("{}", false),
            (r#"{"message":{}}"#, true),
            (r#"{"message":[]}"#, true),
            (r#"{"message":"x"}"#, true),
            (r#"{"message":true}"#, true),
            (r#"{"message":5}"#, true),
            (r#"{"message":""}"#, false),
            (r#"{"message":false}"#, false),
            (r#"{"message":null}"#, false),
            (r#"{"message":-0.0}"#, false),
            (r#"{"message":1e-999}"#, false),
            (r#"{"m\u0065ssage":1}"#, true),
            (r#"{"message":{},"message":null}"#, false),
            (r#"{"type":"compaction"}"#, true),
            (r#"{"type":"comp\u0061ction"}"#, true),
            (r#"{"type":"compaction","type":"x"}"#, false),
            (r#"{"type":"Compaction"}"#, false),
        ] {
            assert_eq!(facts(line).flags.has(Flags::COUNTED), counted, "{line}");
        }
    }

    #[test]
    fn a_record_is_linked_if_it_has_an_id_and_a_parent_key() {
        for (line, linked) in [
            (r#"{"id":"a","parentId":null}"#, true),
            (r#"{"id":"a","parentId":5}"#, true),
            (r#"{"parentId":"x","id":"a"}"#, true),
            (r#"{"id":"a"}"#, false),
            (r#"{"id":" ","parentId":null}"#, false),
            (r#"{"id":5,"parentId":null}"#, false),
            (r#"{"id":"a","id":null,"parentId":null}"#, false),
            (r#"{"type":"session","id":"a","parentId":null}"#, false),
            (r#"{"type":"Session","id":"a","parentId":null}"#, true),
        ] {
            assert_eq!(facts(line).flags.has(Flags::LINKED), linked, "{line}");
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

    #[test]
    fn length_is_that_of_the_text() {
        let line = |fill: &[u8], count: usize| [b"{\"a\":\"", &*fill.repeat(count), b"\"}"].concat();
        let is_oversized = |line: &[u8]| scan(line).unwrap().flags.has(Flags::OVERSIZED);
        let room = OVERSIZED - 8;
        assert!(!is_oversized(&line(b"x", room)));
        assert!(is_oversized(&line(b"x", room + 1)));
        assert!(!is_oversized(&line("é".as_bytes(), room / 2)));
        assert!(is_oversized(&line(b"\xFF", room / 3 + 1)));
        assert!(is_oversized(&b"junk ".repeat(OVERSIZED)));
    }
}
