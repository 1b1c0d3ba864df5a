//! [`Index`]: the lines of a transcript, and which of them are its history.
//!
//! A record names the one before it ([`Flags::LINKED`]). The last one of a known type is the *leaf*, unless it was
//! appended aside, and the history is the way from the leaf back to where it ends: at a record that names no other, or
//! one that is not there. If there is no leaf, or the way goes round and round, it is all records in the order of the
//! file. On the way
//!
//! - of records with one id the last one is found;
//! - one of a known type that names none before it comes after the leaf, and so does one that names a record that is
//!   not there, or what was appended aside last;
//! - a record of the type `leaf` chooses another leaf;
//! - nothing leads back before the last reset, and the history begins there.
//!
//! What only adds at the end of the history leaves its [`Generation`]; anything else, and what is shown without a
//! message, begins another one.
//!
//! A record that continues from the leaf is added in constant time. Anything else makes the way be
//! walked anew, once, when the index is next [settled](Index::settle).

use std::collections::HashSet;

use hashbrown::HashTable;

use super::{
    packed::Lines,
    position::{Generation, Position},
    scan::{Facts, Flags, Id},
};

/// A line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) offset: u64,
    pub(super) facts: Facts,
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    generation: Generation,
    lines: Lines,
    ids: Ids,
    /// The numbers of the lines that are history, in its order.
    history: Vec<u32>,
    /// The last record, or [`Id::NONE`].
    leaf: Id,
    /// What the next record is appended to, or [`Id::NONE`].
    last: Id,
    /// A record of the type `leaf` was seen.
    has_leaf_record: bool,
    /// The last reset and what comes after it. `None` until there is one.
    after_reset: Option<HashSet<Id>>,
    /// The id at which the way from the leaf ended because no record has it, or [`Id::NONE`].
    end: Id,
    /// The history is the way to the leaf.
    has_way: bool,
    /// The way has to be walked anew.
    unsettled: bool,
    /// How long the history was when it was last complete.
    settled: usize,
    /// More has happened to it since than that messages were added at its end.
    rewritten: bool,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            generation: Generation::next(),
            lines: Lines::default(),
            ids: Ids::default(),
            history: Vec::new(),
            leaf: Id::NONE,
            last: Id::NONE,
            has_leaf_record: false,
            after_reset: None,
            end: Id::NONE,
            has_way: false,
            unsettled: false,
            settled: 0,
            rewritten: false,
        }
    }
}

impl Index {
    /// Adds the next line of the file.
    pub(super) fn push(&mut self, mut line: Line) {
        let number = self.lines.len() as u32;
        let Facts { id, flags, .. } = line.facts;
        self.rewritten |= flags.has(Flags::MARKER);
        // A reset takes away what is before it.
        self.unsettled |= flags.has(Flags::RESET);
        let is_linked = flags.has(Flags::LINKED) || flags.has(Flags::KNOWN);
        if !is_linked || flags.has(Flags::LEAF) && !self.has(line.facts.parent) {
            self.lines.push(line);
            if flags.has(Flags::COUNTED) && self.is_flat() && !self.unsettled {
                self.history.push(number);
            }
            return;
        }
        if flags.has(Flags::LEAF) {
            // Without a way the history is none from the first such record on.
            self.unsettled |= !std::mem::replace(&mut self.has_leaf_record, true);
            if !self.follows_reset(line.facts.parent) && self.leaf != Id::NONE {
                line.facts.parent = self.leaf;
            }
        } else if flags.has(Flags::KNOWN) {
            line.facts.parent = self.parent(line.facts);
        }
        let parent = line.facts.parent;
        self.lines.push(line);
        let takes_place = self.ids.set(id, number, &self.lines).is_some() || id == self.end;
        if let Some(after) = self.after_reset.as_mut().filter(|after| after.contains(&parent)) {
            after.insert(id);
        }
        if flags.has(Flags::RESET) {
            self.after_reset = Some(HashSet::from([id]));
        }
        let leaf = match flags {
            flags if flags.has(Flags::LEAF) => parent,
            flags if flags.has(Flags::KNOWN) && !flags.has(Flags::ASIDE) => id,
            _ => self.leaf,
        };
        self.last = if flags.has(Flags::LEAF) { parent } else { id };
        let is_first = self.leaf == Id::NONE && leaf == id;
        let continues = leaf == id && parent == self.leaf && self.has_way && !takes_place;
        if is_first && self.is_flat() && !self.has(parent) && !self.unsettled && !flags.has(Flags::RESET) {
            // The way is that of this record alone.
            self.rewritten |= self.settled > 0;
            self.history.clear();
            self.end = parent;
            self.has_way = true;
        } else if leaf == self.leaf && !takes_place {
            // Off the way.
            if !(self.is_flat() && !self.unsettled && flags.has(Flags::COUNTED)) {
                return;
            }
        } else {
            self.unsettled |= !continues;
        }
        self.leaf = leaf;
        if flags.has(Flags::COUNTED) && !self.unsettled {
            self.history.push(number);
        }
    }

    /// What a record of a known type really comes after.
    fn parent(&self, record: Facts) -> Id {
        if record.flags.has(Flags::ASIDE) {
            return if record.flags.has(Flags::LINKED) { record.parent } else { self.leaf };
        }
        let named = record.parent;
        let is_lost = named != Id::NONE && !self.has(named) && self.leaf != Id::NONE;
        let comes_after_the_last = named == self.last && self.leaf != self.last;
        let is_free = !record.flags.has(Flags::LINKED) || is_lost || comes_after_the_last;
        if is_free || !self.follows_reset(named) { self.leaf } else { named }
    }

    fn has(&self, id: Id) -> bool {
        id == Id::NONE || self.ids.find(id, &self.lines).is_some()
    }

    /// Whether the history is all records in the order of the file.
    fn is_flat(&self) -> bool {
        !self.has_way && !self.has_leaf_record
    }

    /// Whether this is not before the last reset.
    fn follows_reset(&self, id: Id) -> bool {
        self.after_reset.as_ref().is_none_or(|after| after.contains(&id))
    }

    /// Walks the way anew if that is due. Has to be called before anything is asked.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            self.walk();
        }
        self.settled = self.history.len();
        if std::mem::take(&mut self.rewritten) {
            self.generation = Generation::next();
        }
    }

    /// O(the records on the way, or all if there is none).
    fn walk(&mut self) {
        let before = std::mem::take(&mut self.history);
        let mut way = Vec::new();
        let mut next = self.leaf;
        while let Some(number) = self.ids.find(next, &self.lines) {
            if way.len() > self.lines.len() {
                // More steps than there are records: this goes round and round.
                way.clear();
                break;
            }
            way.push(number);
            next = self.lines.at(number as usize).facts.parent;
        }
        self.end = next;
        way.reverse();
        let flags = |number: &u32| self.lines.at(*number as usize).facts.flags;
        way.retain(|number| !flags(number).has(Flags::LEAF));
        self.has_way = !way.is_empty();
        if self.is_flat() {
            way.extend(0..self.lines.len() as u32);
        }
        let start = way.iter().rposition(|number| flags(number).has(Flags::RESET)).unwrap_or(0);
        self.history = way[start..].iter().copied().filter(|number| flags(number).has(Flags::COUNTED)).collect();
        self.rewritten |= !self.history.starts_with(&before[..self.settled.min(before.len())]);
    }

    /// All lines, in the order of the file.
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The numbers of the lines that are history, in its order.
    pub(super) fn history(&self) -> &[u32] {
        &self.history
    }

    /// How far the history has got.
    pub(super) fn position(&self) -> Position {
        Position { generation: self.generation, length: self.history.len() }
    }

    /// Gives back what was reserved for lines that did not come.
    pub(super) fn shrink(&mut self) {
        self.lines.shrink();
        self.history.shrink_to_fit();
    }
}

/// The last line of each id.
///
/// Holds numbers of lines only; the ids are looked up in the lines.
#[derive(Clone, Debug, Default)]
struct Ids(HashTable<u32>);

impl Ids {
    fn find(&self, id: Id, lines: &Lines) -> Option<u32> {
        self.0.find(id.bits(), |line| lines.id(*line) == id).copied()
    }

    /// Says which line had the id before.
    fn set(&mut self, id: Id, number: u32, lines: &Lines) -> Option<u32> {
        let id_of = |line: &u32| lines.id(*line);
        match self.0.find_mut(id.bits(), |line| id_of(line) == id) {
            Some(line) => Some(std::mem::replace(line, number)),
            None => {
                self.0.insert_unique(id.bits(), number, |line| id_of(line).bits());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::scan::scan, *};

    fn line(json: &str) -> Line {
        Line { offset: 0, facts: scan(json.as_bytes()).unwrap() }
    }

    fn index(lines: &[&str]) -> Index {
        let mut index = Index::default();
        lines.iter().for_each(|json| index.push(line(json)));
        index.settle();
        index
    }

    /// A record with a message: its id, and its parent if it is linked.
    fn record(id: &str, parent: Option<&str>) -> String {
        match parent {
            Some("-") => format!(r#"{{"type":"message","id":"{id}","parentId":null,"message":1}}"#),
            Some(parent) => format!(r#"{{"type":"message","id":"{id}","parentId":"{parent}","message":1}}"#),
            None => format!(r#"{{"type":"message","id":"{id}","message":1}}"#),
        }
    }

    #[track_caller]
    fn assert_history(records: &[(&str, Option<&str>)], history: &[u32]) {
        let lines: Vec<_> = records.iter().map(|(id, parent)| record(id, *parent)).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(index(&lines).history(), history);
    }

    #[test]
    fn without_a_leaf_all_counted_records_are_history() {
        let lines =
            [r#"{"message":1}"#, "{}", "junk", r#"{"type":"compaction"}"#, r#"{"id":"a","parentId":"b","message":1}"#];
        assert_eq!(index(&lines).history(), [0, 3, 4]);
    }

    #[test]
    fn with_a_leaf_the_way_to_it_is() {
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("c", Some("b"))], &[0, 1, 2]);
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("c", Some("a"))], &[0, 2]);
        assert_history(&[("a", Some("gone")), ("b", Some("a"))], &[0, 1]);
        assert_history(&[("a", Some("-")), ("b", None), ("c", Some("b"))], &[0, 1, 2]);
        assert_history(&[("a", Some("-")), ("b", Some("gone"))], &[0, 1]);
        assert_history(&[("a", Some("-")), ("b", Some("-"))], &[1]);
    }

    #[test]
    fn a_later_record_of_the_same_id_takes_the_place() {
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("a", Some("-")), ("c", Some("b"))], &[2, 1, 3]);
    }

    #[test]
    fn a_way_without_an_end_is_none() {
        assert_history(&[("x", Some("-")), ("a", Some("a"))], &[0, 1]);
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("a", Some("b"))], &[0, 1, 2]);
    }

    #[test]
    fn what_is_aside_is_not_on_the_way_nor_is_what_comes_after_it() {
        let aside = r#"{"type":"message","id":"s","parentId":"b","appendMode":"side","message":1}"#;
        let lines = [&record("a", Some("-")), &record("b", Some("a")), aside, &record("c", Some("s"))];
        assert_eq!(index(&lines).history(), [0, 1, 3]);
    }

    #[test]
    fn a_record_may_choose_the_leaf() {
        let leaf = |target: &str| format!(r#"{{"type":"leaf","id":"l","parentId":"c","targetId":{target}}}"#);
        let (a, b, c) = (record("a", Some("-")), record("b", Some("a")), record("c", Some("b")));
        assert_eq!(index(&[&a, &b, &c, &leaf("\"a\"")]).history(), [0]);
        assert_eq!(index(&[&a, &b, &c, &leaf("\"a\""), &record("d", Some("l"))]).history(), [0, 4]);
        assert_eq!(index(&[&a, &b, &c, &leaf("null")]).history(), [0_u32; 0]);
        assert_eq!(index(&[&a, &b, &c, &leaf("\"gone\"")]).history(), [0, 1, 2]);
    }

    #[test]
    fn the_history_begins_at_the_last_reset() {
        let reset = r#"{"type":"reset","id":"r","parentId":"b"}"#;
        let (a, b) = (record("a", Some("-")), record("b", Some("a")));
        assert_eq!(index(&[&a, &b, reset, &record("c", Some("r"))]).history(), [2, 3]);
        assert_eq!(index(&[&a, &b, reset, &record("c", Some("a"))]).history(), [2, 3]);
        assert_eq!(index(&[r#"{"message":1}"#, r#"{"type":"reset"}"#, r#"{"message":1}"#]).history(), [1, 2]);
    }

    #[test]
    fn what_only_adds_is_told_from_what_changes() {
        let mut index = index(&[&record("a", Some("-")), &record("b", Some("a"))]);
        let start = index.position();
        index.push(line(&record("c", Some("b"))));
        index.push(line(r#"{"type":"label","id":"label","parentId":"c"}"#));
        index.push(line("junk"));
        index.settle();
        assert_eq!(index.position(), Position { length: 3, ..start });

        index.push(line(&record("d", Some("a"))));
        index.settle();
        let branched = index.position();
        assert!(branched.generation != start.generation);

        index.push(line(r#"{"type":"compaction","id":"e","parentId":"d"}"#));
        index.settle();
        assert!(index.position().generation != branched.generation);
        assert_eq!(index.history(), [0, 5, 6]);
    }

    #[test]
    fn the_first_link_adds_if_there_was_nothing_before_it() {
        let mut index = index(&[r#"{"type":"session","id":"s"}"#]);
        let start = index.position();
        index.push(line(&record("a", Some("-"))));
        index.settle();
        assert_eq!(index.position(), Position { length: 1, ..start });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn growing_step_by_step_comes_to_what_is_there_at_once(
            records in prop::collection::vec((0..12u8, prop::option::of(0..13u8), 0..8u8, any::<bool>()), 0..24),
        ) {
            let mut grown = Index::default();
            let mut lines = Vec::new();
            let mut told = Vec::new();
            let mut seen = grown.position();
            for (id, parent, kind, settle) in records {
                let rest = match kind {
                    0 => r#","message":1"#,
                    1 => r#","type":"label""#,
                    2 => r#","type":"reset""#,
                    3 => r#","type":"leaf","targetId":"3""#,
                    4 => r#","type":"message","message":1,"appendMode":"side""#,
                    _ => r#","type":"message","message":1"#,
                };
                let parent = parent.map_or(String::new(), |parent| format!(",\"parentId\":\"{parent}\""));
                let json = format!("{{\"id\":\"{id}\"{parent}{rest}}}");
                grown.push(line(&json));
                lines.push(json);
                if !settle {
                    continue;
                }
                grown.settle();
                let mut at_once = index(&lines.iter().map(String::as_str).collect::<Vec<_>>());
                at_once.walk();
                prop_assert_eq!(grown.history(), at_once.history(), "{:?}", lines);
                // Whoever follows what was added has the history.
                let now = grown.position();
                if now.generation == seen.generation {
                    told.extend(&grown.history()[seen.length..]);
                } else {
                    told = grown.history().to_vec();
                }
                prop_assert_eq!(&told, grown.history());
                seen = now;
            }
        }
    }
}
