//! Which records of a session are shown, worked out of the records, is what a plain reading of the rules comes to, that
//! begins anew for every record and keeps nothing.
//!
//! The rules are those of `branch` and `layout` in the gateway.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use serde_json::{Value, json};

use super::store::{self, NOW, WINDOW};
use crate::sessions::record::History as _;

/// What a record is: four bytes of the input each.
struct Record {
    kind: &'static str,
    id: Option<String>,
    /// `Some(None)` is null.
    parent: Option<Option<String>>,
    target: Option<Option<String>>,
    kept: Option<String>,
    is_aside: bool,
    has_message: bool,
    role: &'static str,
}

const KINDS: [&str; 8] = ["message", "message", "message", "leaf", "reset", "compaction", "label", "strange"];

impl Record {
    fn of(bytes: [u8; 4]) -> Self {
        let [kind, id, parent, rest] = bytes;
        let name = |byte: u8| format!("r{}", byte % 12);
        // One in sixteen is not there, one is null.
        let reference = |byte: u8| match byte % 16 {
            15 => None,
            14 => Some(None),
            _ => Some(Some(name(byte))),
        };
        let (kind, is_silent) = (KINDS[usize::from(kind % 8)], kind / 8 % 4 == 0);
        Self {
            kind,
            id: (id % 16 != 15).then(|| name(id)),
            parent: reference(parent),
            target: reference(parent / 16),
            kept: (rest & 1 != 0).then(|| name(rest / 16)),
            is_aside: rest & 6 == 6,
            // A marker that has a message is both, and where it is put has rules of its own.
            has_message: !is_silent && !matches!(kind, "compaction" | "reset"),
            role: if rest & 8 != 0 { "user" } else { "toolResult" },
        }
    }

    fn json(&self) -> Value {
        let mut record = json!({ "type": self.kind, "timestamp": "2026-01-02T03:04:05Z" });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                record[name] = value;
            }
        };
        set("id", self.id.clone().map(Value::from));
        set("parentId", self.parent.clone().map(Value::from));
        set("targetId", self.target.clone().filter(|_| self.kind == "leaf").map(Value::from));
        set("firstKeptEntryId", self.kept.clone().map(Value::from));
        set("appendMode", self.is_aside.then(|| "side".into()));
        set("message", self.has_message.then(|| json!({ "role": self.role, "content": "x" })));
        record
    }

    fn is_canonical(&self) -> bool {
        !matches!(self.kind, "leaf" | "strange")
    }

    fn is_marker(&self) -> bool {
        matches!(self.kind, "compaction" | "reset")
    }
}

/// What is known after some of the records.
#[derive(Default)]
struct Known {
    /// By id: the record before it, and its number, or none if it is of the type `leaf`.
    nodes: HashMap<String, (Option<String>, Option<usize>)>,
    leaf: Option<String>,
    append_parent: Option<String>,
    has_chosen: bool,
    invalid: HashSet<String>,
    after_reset: Option<HashSet<String>>,
}

impl Known {
    fn follows_reset(&self, id: Option<&String>) -> bool {
        self.after_reset.as_ref().is_none_or(|after| id.is_some_and(|id| after.contains(id)))
    }

    fn is_there(&self, id: Option<&String>) -> bool {
        id.is_none_or(|id| self.nodes.contains_key(id) && !self.invalid.contains(id))
    }

    fn take(&mut self, at: usize, record: &Record) {
        let Some(id) = record.id.clone() else { return };
        if record.kind == "leaf" {
            return self.choose(id, record);
        }
        let named = match (&record.parent, record.is_canonical()) {
            (Some(parent), _) => parent.clone(),
            (None, true) => self.leaf.clone(),
            (None, false) => return,
        };
        let mut parent = named.clone();
        if record.is_canonical() {
            let is_lost = named.as_ref().is_some_and(|named| !self.nodes.contains_key(named)) && self.leaf.is_some();
            let comes_after_the_last = named == self.append_parent && self.leaf != self.append_parent;
            let is_displaced =
                !self.follows_reset(named.as_ref()) || record.parent.is_some() && (is_lost || comes_after_the_last);
            if is_displaced && !record.is_aside {
                parent = self.leaf.clone();
            }
            let mut seen = HashSet::new();
            while let Some((chosen, None)) = parent.as_ref().and_then(|parent| self.nodes.get(parent)).cloned() {
                if !seen.insert(parent.clone()) {
                    break;
                }
                parent = chosen;
            }
        }
        if let Some(after) = &mut self.after_reset
            && parent.as_ref().is_some_and(|parent| after.contains(parent))
        {
            after.insert(id.clone());
        }
        self.append_parent = Some(id.clone());
        if record.is_canonical() && !record.is_aside {
            self.leaf = Some(id.clone());
        }
        if record.kind == "reset" {
            self.after_reset = Some(HashSet::from([id.clone()]));
        }
        self.nodes.insert(id, (parent, Some(at)));
    }

    fn choose(&mut self, id: String, record: &Record) {
        let (Some(_), Some(mut target)) = (&record.parent, record.target.clone()) else { return };
        let mut leaf = target.clone();
        if self.leaf.is_some() && !self.follows_reset(target.as_ref()) {
            (target, leaf) = (self.leaf.clone(), self.leaf.clone());
        }
        if !self.is_there(target.as_ref()) {
            self.invalid.insert(id.clone());
            self.nodes.insert(id, (record.parent.clone().flatten(), None));
            return;
        }
        self.has_chosen = true;
        if let Some(after) = &mut self.after_reset
            && target.as_ref().is_some_and(|target| after.contains(target))
        {
            after.insert(id.clone());
        }
        self.append_parent = target.clone();
        self.leaf = leaf;
        self.nodes.insert(id, (target, None));
    }

    /// The way from the leaf to its start, or every record that may be shown.
    fn branch(&self, records: &[Record]) -> Vec<usize> {
        let mut way = Vec::new();
        let mut seen = HashSet::new();
        let mut next = self.leaf.clone();
        while let Some((parent, at)) = next.as_ref().and_then(|id| self.nodes.get(id)) {
            if !seen.insert(next.clone()) {
                way.clear();
                break;
            }
            way.extend(*at);
            next = parent.clone();
        }
        way.reverse();
        if way.is_empty() && !self.has_chosen {
            let is_shown = |record: &Record| {
                let is_linked = record.id.is_some()
                    && record.parent.is_some()
                    && (record.kind != "leaf" || record.target.is_some());
                record.is_canonical() || is_linked || record.has_message
            };
            way = (0..records.len()).filter(|at| is_shown(&records[*at])).collect();
        }
        way
    }
}

/// What of a branch is shown: messages and markers, after a reset with the turns that it keeps.
fn shown(known: &Known, records: &[Record]) -> Vec<usize> {
    let branch = known.branch(records);
    let reset = branch.iter().copied().filter(|at| records[*at].kind == "reset").max();
    let Some((place, reset)) = reset.and_then(|reset| Some((branch.iter().position(|at| *at == reset)?, reset))) else {
        return branch.into_iter().filter_map(|at| of_one(at, &records[at])).collect();
    };
    // A reset without an id is a mark, and keeps nothing.
    let kept =
        records[reset].kept.as_ref().filter(|_| records[reset].id.is_some()).and_then(|id| known.nodes.get(id)?.1);
    let first = kept.and_then(|kept| branch.iter().position(|at| *at == kept)).filter(|first| *first < place);
    let turns = branch[first.unwrap_or(place)..place].iter().copied().filter(|at| {
        let record = &records[*at];
        record.has_message && record.kind == "message" && record.role == "user"
    });
    let after = branch[place + 1..].iter().filter_map(|at| of_one(*at, &records[*at]));
    turns.chain([reset]).chain(after).collect()
}

/// The record, if it is a marker or has a message.
fn of_one(at: usize, record: &Record) -> Option<usize> {
    (record.is_marker() || record.has_message).then_some(at)
}

pub(crate) fn run(input: &[u8]) {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    let records: Vec<Record> = input.as_chunks::<4>().0.iter().take(48).map(|bytes| Record::of(*bytes)).collect();
    let path = store::file("branch.sqlite");
    store::put(&path, EMPTY.get_or_init(|| store::database("empty.sqlite", &[])));
    let sqlite = rusqlite::Connection::open(&path).expect("a database");
    sqlite.pragma_update(None, "journal_mode", "off").expect("no journal");
    let transaction = sqlite.unchecked_transaction().expect("a transaction");
    for (at, record) in records.iter().enumerate() {
        let sql = "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?1, ?2, ?3, 1)";
        let mut statement = transaction.prepare_cached(sql).expect("a statement");
        statement.execute(rusqlite::params![WINDOW, at + 1, record.json().to_string()]).expect("a record");
    }
    transaction.execute_batch("DELETE FROM session_transcript_index_state").expect("no index");
    transaction.commit().expect("a database");
    drop(sqlite);

    let view = store::transcript(&store::open(&path)).view().expect("a transcript");
    let values = view.read(0..view.len()).expect("records").values(NOW);
    let raws = values.iter().map(|value| value["__openclaw"]["transcriptPosition"]["rawSeq"].as_u64());
    let raws: Vec<usize> = raws.map(|raw| raw.expect("a number") as usize - 1).collect();
    let mut known = Known::default();
    records.iter().enumerate().for_each(|(at, record)| known.take(at, record));
    assert_eq!(raws, shown(&known, &records));
}
