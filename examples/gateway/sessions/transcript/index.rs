//! [`Index`]: the lines of a transcript, and which of them are its history.
//!
//! A record may say which record comes before it ([`Flags::LINKED`]). If none does, the history is
//! all counted records in the order of the file. Otherwise the last one that does is the *leaf*, and
//! the history is the way from the leaf back to where it ends: at a record that names no other, or
//! names one that is not there. On the way
//!
//! - a record is found by its id, whatever its type and whether it is linked or not;
//! - of records with one id the last one is found;
//! - meeting a record twice means that there is no history at all.
//!
//! What only adds at the end of the history leaves its [`Generation`]; anything else, and a compaction, begins
//! another one.
//!
//! A record that continues from the leaf is added in constant time. Anything else makes the way be
//! walked anew, once, when the index is next [settled](Index::settle).

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
    leaf: Option<Id>,
    /// The id at which the way from the leaf ended because no record has it, or [`Id::NONE`].
    end: Id,
    /// The way has no end.
    looped: bool,
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
            leaf: None,
            end: Id::NONE,
            looped: false,
            unsettled: false,
            settled: 0,
            rewritten: false,
        }
    }
}

impl Index {
    /// Adds the next line of the file.
    pub(super) fn push(&mut self, line: Line) {
        let number = self.lines.len() as u32;
        let Facts { id, parent, flags, .. } = line.facts;
        self.lines.push(line);
        self.rewritten |= flags.has(Flags::COMPACTION);
        let known = id != Id::NONE && self.ids.set(id, number, &self.lines).is_some();
        let continues = match self.leaf {
            // All records are history until the first linked one.
            None if flags.has(Flags::LINKED) => {
                let alone = !known && self.ids.find(parent, &self.lines).is_none();
                if alone && !self.unsettled {
                    self.restart(parent);
                }
                alone
            }
            None => true,
            Some(leaf) if flags.has(Flags::LINKED) => parent == leaf && !known && id != self.end && !self.looped,
            // Off the way, unless it takes or fills a place on it.
            Some(_) => {
                self.unsettled |= known || id != Id::NONE && id == self.end;
                return;
            }
        };
        if flags.has(Flags::LINKED) {
            self.leaf = Some(id);
        }
        self.unsettled |= !continues;
        if flags.has(Flags::COUNTED) && !self.unsettled {
            self.history.push(number);
        }
    }

    /// The way is that of the last line alone, which comes after `end`.
    fn restart(&mut self, end: Id) {
        self.rewritten |= self.settled > 0;
        self.history.clear();
        self.end = end;
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

    /// O(the records on the way).
    fn walk(&mut self) {
        let before = std::mem::take(&mut self.history);
        let mut next = self.leaf.unwrap_or(Id::NONE);
        let mut steps = 0;
        self.looped = false;
        while let Some(number) = self.ids.find(next, &self.lines) {
            steps += 1;
            if steps > self.lines.len() {
                // More steps than there are records: this goes round and round.
                self.looped = true;
                self.history.clear();
                break;
            }
            let facts = self.lines.at(number as usize).facts;
            if facts.flags.has(Flags::COUNTED) {
                self.history.push(number);
            }
            next = facts.parent;
        }
        self.history.reverse();
        self.end = next;
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
    use std::collections::HashSet;

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
            Some("-") => format!(r#"{{"id":"{id}","parentId":null,"message":1}}"#),
            Some(parent) => format!(r#"{{"id":"{id}","parentId":"{parent}","message":1}}"#),
            None => format!(r#"{{"id":"{id}","message":1}}"#),
        }
    }

    #[track_caller]
    fn assert_history(records: &[(&str, Option<&str>)], history: &[u32]) {
        let lines: Vec<_> = records.iter().map(|(id, parent)| record(id, *parent)).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(index(&lines).history(), history);
    }

    #[test]
    fn without_links_all_counted_records_are_history() {
        let lines = [r#"{"message":1}"#, "{}", "junk", r#"{"type":"compaction"}"#];
        assert_eq!(index(&lines).history(), [0, 3]);
    }

    #[test]
    fn with_links_the_way_to_the_last_of_them_is() {
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("c", Some("b"))], &[0, 1, 2]);
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("c", Some("a"))], &[0, 2]);
        assert_history(&[("a", Some("gone")), ("b", Some("a"))], &[0, 1]);
        assert_history(&[("x", None), ("a", Some("x")), ("y", None)], &[0, 1]);
        assert_history(&[("x", None), ("a", Some("-"))], &[1]);
    }

    #[test]
    fn a_later_record_of_the_same_id_takes_the_place() {
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("a", Some("-")), ("c", Some("b"))], &[2, 1, 3]);
        assert_history(&[("a", Some("-")), ("b", Some("a")), ("b", None)], &[2]);
    }

    #[test]
    fn a_missing_record_may_come_later() {
        assert_history(&[("b", Some("a")), ("a", None)], &[1, 0]);
    }

    #[test]
    fn a_loop_is_no_history() {
        assert_history(&[("x", Some("-")), ("a", Some("a"))], &[]);
        assert_history(&[("a", Some("b")), ("b", Some("a"))], &[]);
        assert_history(&[("a", Some("b")), ("b", Some("a")), ("c", Some("-"))], &[2]);
    }

    #[test]
    fn what_only_adds_is_told_from_what_changes() {
        let mut index = index(&[&record("a", Some("-")), &record("b", Some("a"))]);
        let start = index.position();
        index.push(line(&record("c", Some("b"))));
        index.push(line(r#"{"id":"label","parentId":"c"}"#));
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

    /// The rule as it is stated, walked for the whole file.
    fn stated(lines: &[Line]) -> Vec<u32> {
        let counted = |number: &u32| lines[*number as usize].facts.flags.has(Flags::COUNTED);
        let all = 0..lines.len() as u32;
        let Some(leaf) = lines.iter().rfind(|line| line.facts.flags.has(Flags::LINKED)) else {
            return all.filter(counted).collect();
        };
        let (mut way, mut seen, mut next) = (Vec::new(), HashSet::new(), leaf.facts.id);
        while next != Id::NONE {
            let found = lines.iter().rposition(|line| line.facts.id == next);
            let Some(number) = found else { break };
            if !seen.insert(next) {
                return Vec::new();
            }
            way.push(number as u32);
            next = lines[number].facts.parent;
        }
        way.reverse();
        way.into_iter().filter(counted).collect()
    }

    #[test]
    fn an_old_record_may_be_added_to_the_history_late() {
        // The side record is passed over at first and is the parent of the new leaf later.
        let mut index = index(&[&record("a", Some("-")), &record("side", Some("a")), &record("b", Some("a"))]);
        assert_eq!(index.history(), [0, 2]);
        index.push(line(r#"{"id":"back","parentId":"a"}"#));
        index.settle();
        assert_eq!(index.history(), [0]);
        let before = index.position();
        index.push(line(&record("c", Some("side"))));
        index.settle();
        assert_eq!(index.history(), [0, 1, 4]);
        assert_eq!(index.position(), Position { length: 3, ..before });
    }

    #[test]
    fn a_child_may_stand_before_its_parent() {
        let mut index = index(&[&record("a", Some("-"))]);
        let start = index.position();
        for (id, parent) in [("c", "b"), ("b", "a"), ("d", "c")] {
            index.push(line(&record(id, Some(parent))));
        }
        index.settle();
        assert_eq!(index.history(), [0, 2, 1, 3]);
        assert_eq!(index.position(), Position { length: 4, ..start });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn growing_step_by_step_comes_to_what_the_rule_says(
            records in prop::collection::vec(
                (0..12u8, prop::option::of(0..13u8), any::<bool>(), any::<bool>()),
                0..24,
            ),
        ) {
            let mut index = Index::default();
            let mut told = Vec::new();
            let mut seen = index.position();
            for (id, parent, counted, settle) in records {
                let message = if counted { ",\"message\":1" } else { "" };
                let json = match parent {
                    Some(parent) => format!("{{\"id\":\"{id}\",\"parentId\":\"{parent}\"{message}}}"),
                    None => format!("{{\"id\":\"{id}\"{message}}}"),
                };
                index.push(line(&json));
                if !settle {
                    continue;
                }
                index.settle();
                prop_assert_eq!(index.history(), stated(&index.lines().iter().collect::<Vec<_>>()));
                // Whoever follows what was added has the history.
                let now = index.position();
                if now.generation == seen.generation {
                    told.extend(&index.history()[seen.length..]);
                } else {
                    told = index.history().to_vec();
                }
                prop_assert_eq!(&told, index.history());
                seen = now;
            }
        }
    }
}
