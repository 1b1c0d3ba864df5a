//! [`Branch`]: which records of a session are shown, worked out of the records themselves.
//!
//! OpenClaw keeps the answer in `session_transcript_active_events`. Where that is behind or missing it answers 503
//! and builds it anew; this is what it builds, by its rules:
//!
//! 1. A record names the one before it (`parentId`). One of a known type that does not is taken to come after the
//!    one that is shown last, the *leaf*.
//! 2. The last record of a known type becomes the leaf, unless it is appended aside (`appendMode`).
//! 3. A record of the type `leaf` chooses another leaf. One that names a record that is not there has no say.
//! 4. From a reset on nothing leads back before it: what names an earlier parent comes after the leaf.
//! 5. A parent that is not there is the leaf, if there is one.
//! 6. The branch is the way from the leaf back to where it ends. If there is no leaf it is every record, unless one
//!    of the type `leaf` chose none. A way that goes round and round is none.

use std::collections::{HashMap, HashSet};

use super::{
    choices::Choices,
    facts::{Facts, Member},
};

/// Records that were seen, and the branch that they make.
#[derive(Debug, Default)]
pub(super) struct Branch {
    names: HashMap<Box<str>, Name>,
    /// By name, the last record that goes by it.
    nodes: Vec<Option<Node>>,
    leaf: Option<Name>,
    append_parent: Option<Name>,
    has_leaf_record: bool,
    invalid_leaves: HashSet<Name>,
    /// What records of the type `leaf` chose.
    choices: Choices,
    /// The last reset and what comes after it. `None` until there is one.
    after_reset: Option<HashSet<Name>>,
    /// By number, what a reset names as the first that is kept.
    first_kept: HashMap<u64, Name>,
    /// Every record that would be shown, if all were.
    all: Vec<Row>,
    shown: Vec<Row>,
    /// The leaf to which `shown` leads, if it is a way that can be gone on with.
    shown_to: Option<Name>,
    /// The record at which that way ends because it is not there.
    missing: Option<Name>,
}

/// The id of a record, or what is named as one.
pub(super) type Name = u32;

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: Option<Name>,
    is_leaf_record: bool,
    /// `None` if it is never shown.
    row: Option<Row>,
}

/// A record of the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number in the session (`seq`).
    pub(super) raw: u64,
    pub(super) has_message: bool,
    pub(super) is_marker: bool,
    pub(super) is_reset: bool,
    pub(super) is_turn: bool,
}

/// How a record is linked to others.
#[derive(Clone, Copy)]
struct Link {
    id: Name,
    parent: Option<Name>,
    /// Which record is the leaf from here on: `None` if it is the same as before, `Some(None)` if there is none.
    leaf: Option<Option<Name>>,
    append_parent: Option<Name>,
    is_aside: bool,
}

impl Branch {
    /// Adds the next record.
    pub(super) fn push(&mut self, raw: u64, facts: &Facts) {
        let explicit = self.link(facts);
        let is_canonical = facts.is_canonical();
        let is_reset = facts.kind.text() == Some("reset");
        let is_shown =
            facts.kind.text() != Some("session") && (is_canonical || explicit.is_some() || facts.has_message);
        let row = is_shown.then(|| Row {
            raw,
            has_message: facts.has_message,
            is_marker: facts.is_marker(),
            is_reset,
            is_turn: facts.is_turn(),
        });
        self.all.extend(row);
        let Some(mut link) = explicit.or_else(|| self.link_to_leaf(facts)) else { return };
        if facts.kind.text() == Some("leaf") {
            if self.leaf.is_some() && !self.follows_reset(link.parent) {
                (link.parent, link.append_parent, link.leaf) = (self.leaf, self.leaf, Some(self.leaf));
            }
            if !self.is_known(link.parent) || !self.is_known(link.append_parent) {
                self.invalid_leaves.insert(link.id);
                let parent = facts.parent_id.name().map(|parent| self.name(parent));
                self.add(link.id, Node { parent, is_leaf_record: true, row: None });
                return;
            }
            self.has_leaf_record = true;
            self.take(link, Node { parent: link.parent, is_leaf_record: true, row: None });
            return;
        }
        if is_canonical {
            link.parent = self.parent(link, explicit.is_some());
        }
        if let Some(kept) = facts.first_kept.text().filter(|_| is_reset) {
            let kept = self.name(kept);
            self.first_kept.insert(raw, kept);
        }
        self.take(link, Node { parent: link.parent, is_leaf_record: false, row });
        if is_reset {
            self.after_reset = Some(HashSet::from([link.id]));
        }
    }

    /// What a record says of its place. `None` if it says none.
    fn link(&mut self, facts: &Facts) -> Option<Link> {
        if facts.kind.text() == Some("session") {
            return None;
        }
        let id = self.name(facts.id.name()?);
        let parent = self.reference(&facts.parent_id)?;
        let is_aside = facts.append_mode.text() == Some("side");
        if facts.kind.text() != Some("leaf") {
            let leaf = (facts.is_canonical() && !is_aside).then_some(Some(id));
            return Some(Link { id, parent, leaf, append_parent: Some(id), is_aside });
        }
        let target = self.reference(&facts.target_id)?;
        let append_parent = match &facts.append_parent_id {
            Member::Absent => target,
            named => self.reference(named)?,
        };
        let is_plain = facts.append_mode == Member::Absent;
        (is_plain || is_aside).then_some(Link { id, parent: target, leaf: Some(target), append_parent, is_aside })
    }

    /// The place of a record of a known type that says none: after the leaf.
    fn link_to_leaf(&mut self, facts: &Facts) -> Option<Link> {
        if !facts.is_canonical() || facts.parent_id != Member::Absent {
            return None;
        }
        let id = self.name(facts.id.name()?);
        let is_aside = facts.append_mode.text() == Some("side");
        let leaf = (!is_aside).then_some(Some(id));
        Some(Link { id, parent: self.leaf, leaf, append_parent: Some(id), is_aside })
    }

    /// What a record of a known type really comes after.
    fn parent(&mut self, link: Link, is_explicit: bool) -> Option<Name> {
        let named = link.parent;
        let is_lost = named.is_some_and(|named| self.node(named).is_none()) && self.leaf.is_some();
        let comes_after_the_last = named == self.append_parent && self.leaf != self.append_parent;
        let is_displaced = !self.follows_reset(named) || is_explicit && (is_lost || comes_after_the_last);
        let parent = if is_displaced && !link.is_aside { self.leaf } else { named };
        self.chosen(parent)
    }

    /// A record, or what it stands for if it is of the type `leaf`: the one that it chose.
    fn chosen(&mut self, id: Option<Name>) -> Option<Name> {
        match self.node(id?) {
            Some(node) if node.is_leaf_record => self.choices.chosen(id?),
            _ => id,
        }
    }

    /// Adds a record that has a say in what comes next.
    fn take(&mut self, link: Link, node: Node) {
        if let Some(after) = &mut self.after_reset
            && node.parent.is_some_and(|parent| after.contains(&parent))
        {
            after.insert(link.id);
        }
        self.append_parent = link.append_parent;
        self.leaf = link.leaf.unwrap_or(self.leaf);
        self.add(link.id, node);
    }

    fn add(&mut self, id: Name, node: Node) {
        let before = self.nodes[id as usize].replace(node);
        if node.is_leaf_record || before.is_some_and(|before| before.is_leaf_record) {
            self.choices.set(id, node.is_leaf_record.then_some(node.parent));
        }
        if before.is_some() || self.missing == Some(id) {
            // It may take or fill a place on the way.
            self.shown_to = None;
        }
    }

    /// Whether this is not before the last reset.
    fn follows_reset(&self, id: Option<Name>) -> bool {
        self.after_reset.as_ref().is_none_or(|after| id.is_some_and(|id| after.contains(&id)))
    }

    fn is_known(&self, id: Option<Name>) -> bool {
        id.is_none_or(|id| self.node(id).is_some() && !self.invalid_leaves.contains(&id))
    }

    fn node(&self, id: Name) -> Option<Node> {
        self.nodes[id as usize]
    }

    /// A record that is named, or `null`. `None` if it is neither.
    fn reference(&mut self, member: &Member) -> Option<Option<Name>> {
        match member {
            Member::Null => Some(None),
            other => other.name().map(|name| Some(self.name(name))),
        }
    }

    fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return *name;
        }
        let name = self.nodes.len() as Name;
        self.names.insert(text.into(), name);
        self.nodes.push(None);
        name
    }

    /// Finds the branch of what was added. O(what was added), unless that makes another branch.
    pub(super) fn settle(&mut self) {
        let Some(way) = self.leaf.and_then(|leaf| self.way(leaf)).filter(|way| way.goes_on || !way.rows.is_empty())
        else {
            self.shown = if self.has_leaf_record { Vec::new() } else { self.all.clone() };
            self.shown_to = None;
            return;
        };
        if !way.goes_on {
            self.shown.clear();
            self.missing = way.missing;
        }
        self.shown.extend(way.rows.into_iter().rev());
        self.shown_to = self.leaf;
    }

    /// The records that are shown, and markers and others between them. As of the last [`settle`](Self::settle).
    pub(super) fn rows(&self) -> &[Row] {
        &self.shown
    }

    /// Where in the branch the first record is that a reset keeps.
    pub(super) fn first_kept(&self, reset: Row) -> Option<usize> {
        let kept = self.node(*self.first_kept.get(&reset.raw)?)?.row?;
        self.shown.iter().position(|row| *row == kept)
    }

    /// The way back from the leaf to where `shown` leads, or to its end. `None` if it goes round and round.
    fn way(&self, leaf: Name) -> Option<Way> {
        let mut rows = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(leaf);
        let mut missing = None;
        while let Some(id) = next {
            if self.shown_to == Some(id) {
                return Some(Way { rows, goes_on: true, missing });
            }
            if !seen.insert(id) {
                return None;
            }
            let Some(node) = self.node(id) else {
                missing = Some(id);
                break;
            };
            if !node.is_leaf_record {
                rows.extend(node.row);
            }
            next = node.parent;
        }
        Some(Way { rows, goes_on: false, missing })
    }
}

struct Way {
    /// The last first.
    rows: Vec<Row>,
    goes_on: bool,
    missing: Option<Name>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(branch: &Branch) -> Vec<u64> {
        branch.rows().iter().map(|row| row.raw).collect()
    }

    #[track_caller]
    fn assert_shown(records: &[&str], expected: &[u64]) {
        let mut branch = Branch::default();
        for (raw, record) in (0..).zip(records) {
            branch.push(raw, &Facts::parse(record.as_bytes()));
        }
        branch.settle();
        assert_eq!(shown(&branch), expected);
    }

    const HEADER: &str = r#"{"type":"session","id":"s"}"#;

    #[test]
    fn the_branch_is_the_way_to_the_last_record() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"a","parentId":null,"message":{}}"#,
            r#"{"type":"message","id":"b","parentId":"a","message":{}}"#,
            r#"{"type":"message","id":"c","parentId":"a","message":{}}"#,
            r#"{"type":"message","id":"d","parentId":"c","message":{}}"#,
        ];
        assert_shown(&records, &[1, 3, 4]);
        assert_shown(&records[..3], &[1, 2]);
        assert_shown(&records[..1], &[]);
    }

    #[test]
    fn an_id_may_hold_half_of_a_pair() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"\ud83d","parentId":null,"message":{}}"#,
            r#"{"type":"message","id":"b","parentId":"\ud83d","message":{}}"#,
        ];
        assert_shown(&records, &[1, 2]);
    }

    #[test]
    fn choices_of_choices_lead_to_what_was_chosen_even_if_one_of_them_becomes_another_record() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"a","parentId":null,"message":{}}"#,
            r#"{"type":"message","id":"b","parentId":"a","message":{}}"#,
            r#"{"type":"leaf","id":"l","parentId":"b","targetId":"a"}"#,
            r#"{"type":"leaf","id":"m","parentId":"b","targetId":"l"}"#,
            r#"{"type":"message","id":"c","parentId":"m","message":{}}"#,
            r#"{"type":"message","id":"l","parentId":"b","message":{}}"#,
            r#"{"type":"message","id":"d","parentId":"m","message":{}}"#,
        ];
        assert_shown(&records[..6], &[1, 5]);
        assert_shown(&records, &[1, 2, 6, 7]);
    }

    #[test]
    fn records_that_name_no_parent_come_one_after_the_other() {
        let records = [
            HEADER,
            r#"{"message":{}}"#,
            r#"{"type":"message","id":"a","message":{}}"#,
            r#"{"type":"message","id":"b","message":{}}"#,
        ];
        // As soon as there is a way, what is not on it is not shown.
        assert_shown(&records, &[2, 3]);
        assert_shown(&records[..2], &[1]);
    }

    #[test]
    fn a_leaf_record_chooses_and_one_that_names_nothing_known_does_not() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"a","parentId":null}"#,
            r#"{"type":"message","id":"b","parentId":"a"}"#,
            r#"{"type":"leaf","id":"l","parentId":"b","targetId":"a"}"#,
            r#"{"type":"message","id":"c","parentId":"l"}"#,
            r#"{"type":"leaf","id":"m","parentId":"c","targetId":"nobody"}"#,
            r#"{"type":"leaf","id":"n","parentId":"c","targetId":null}"#,
        ];
        assert_shown(&records[..4], &[1]);
        assert_shown(&records[..5], &[1, 4]);
        assert_shown(&records[..6], &[1, 4]);
        assert_shown(&records, &[]);
    }

    #[test]
    fn nothing_leads_back_before_a_reset() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"a","parentId":null}"#,
            r#"{"type":"message","id":"b","parentId":"a"}"#,
            r#"{"type":"reset","id":"r","parentId":"b","firstKeptEntryId":"b"}"#,
            r#"{"type":"message","id":"c","parentId":"a"}"#,
            r#"{"type":"message","id":"d","parentId":"c"}"#,
        ];
        assert_shown(&records, &[1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_lost_parent_is_the_leaf_and_what_is_aside_leads_nowhere() {
        let records = [
            HEADER,
            r#"{"type":"message","id":"a","parentId":"lost"}"#,
            r#"{"type":"message","id":"b","parentId":"gone"}"#,
            r#"{"type":"custom","id":"x","parentId":"b","appendMode":"side"}"#,
            r#"{"type":"message","id":"c","parentId":"x"}"#,
        ];
        assert_shown(&records[..4], &[1, 2]);
        // It comes after the last that was appended, and that is not shown.
        assert_shown(&records, &[1, 2, 4]);
    }

    #[test]
    fn a_way_that_goes_round_and_round_is_none() {
        let records =
            [r#"{"type":"message","id":"a","parentId":"b"}"#, r#"{"type":"message","id":"b","parentId":"a"}"#];
        // Then every record is shown.
        assert_shown(&records, &[0, 1]);
    }

    fn any_record() -> impl Strategy<Value = String> {
        let name = || prop_oneof![4 => (0..6u8).prop_map(|n| format!("\"{n}\"")), 1 => Just("null".to_owned())];
        let kind = prop_oneof![6 => Just("message"), 1 => Just("reset"), 1 => Just("leaf"), 1 => Just("opaque")];
        (kind, 0..9u8, name(), name(), prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(
            |(kind, id, parent, target, side, bare)| {
                let side = if side { ",\"appendMode\":\"side\"" } else { "" };
                let parent = if bare { String::new() } else { format!(",\"parentId\":{parent}") };
                format!("{{\"type\":\"{kind}\",\"id\":\"{id}\"{parent},\"targetId\":{target}{side}}}")
            },
        )
    }

    proptest! {
        #[test]
        fn a_branch_that_grows_is_the_same_as_one_that_is_built_at_once(
            records in prop::collection::vec(any_record(), 1..24),
            looks in prop::collection::vec(any::<bool>(), 24),
        ) {
            let (mut grown, mut at_once) = (Branch::default(), Branch::default());
            for ((raw, record), look) in (0..).zip(&records).zip(&looks) {
                let facts = Facts::parse(record.as_bytes());
                grown.push(raw, &facts);
                at_once.push(raw, &facts);
                if *look {
                    grown.settle();
                }
            }
            grown.settle();
            at_once.settle();
            prop_assert_eq!(shown(&grown), shown(&at_once));
        }
    }
}
