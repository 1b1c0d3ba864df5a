//! The tail of a transcript: what a read with a limit and without a cursor looks at.
//!
//! 1. The window is the last 8 MiB of the file. If that is not all of it, its first line counts as
//!    cut and is left out, even if it is whole. Of the rest the last W lines are kept, whatever they
//!    are, W being 20 for each message asked for and 20 more.
//! 2. A line that is too long is replaced by a stand-in made from its beginning.
//! 3. The history is found inside the window, as if there were nothing before it. If it begins after
//!    the first record, the compaction nearest before it is put in front of it.
//! 4. The last message has the number that it has in the full history, if the window is right about
//!    the rest.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt};

use super::{
    index::Line,
    indexed::Indexed,
    messages::Pick,
    scan::{Facts, Flags, Id},
    stand_in::{self, stand_in},
};
use crate::gateway::js::Value;

/// The window, in bytes.
const WINDOW: u64 = 8 * 1024 * 1024;

/// How many lines a read of so many messages looks at.
fn lines_for(limit: usize) -> usize {
    20 * limit + 20
}

/// The messages of the window, to be read.
pub(super) fn tail(indexed: &Indexed, file: &File, limit: usize) -> io::Result<Vec<Pick>> {
    let mut records = Vec::new();
    for line in window(indexed, lines_for(limit)) {
        if line.facts.flags.has(Flags::OVERSIZED) {
            records.push(Record::standing_in(line, file)?);
        } else if line.facts.flags.has(Flags::RECORD) {
            records.push(Record { facts: line.facts, pick: Pick::Record(line) });
        }
    }
    let history = history(&records).into_iter();
    let counted = history.filter(|record| record.facts.flags.has(Flags::COUNTED));
    Ok(counted.map(|record| record.pick).collect())
}

/// The last lines of the file, in its order.
fn window(indexed: &Indexed, count: usize) -> Vec<Line> {
    let start = indexed.size().saturating_sub(WINDOW);
    let is_inside = |line: &&Line| start == 0 || line.offset > start;
    let lines = indexed.index.lines().iter().rev().copied();
    let torn = indexed.torn().into_iter();
    let mut window: Vec<Line> = torn.chain(lines).take_while(|line| is_inside(&line)).take(count).collect();
    window.reverse();
    window
}

/// A record of the window.
#[derive(Clone, Copy)]
struct Record {
    facts: Facts,
    pick: Pick,
}

impl Record {
    fn standing_in(line: Line, file: &File) -> io::Result<Self> {
        let mut start = vec![0; stand_in::BYTES.min(line.facts.length as usize)];
        file.read_exact_at(&mut start, line.offset)?;
        let record = stand_in(&start);
        let id = |key| {
            let text = record.text(key);
            text.map_or(Id::NONE, |text| Id::of(text.as_wtf8()))
        };
        let is = |kind: &str| record.get("type") == Some(&Value::from(kind));
        let has_link = record.contains("id") && record.contains("parentId");
        Ok(Self {
            facts: Facts {
                id: id("id"),
                parent: id("parentId"),
                flags: Flags::RECORD
                    | Flags::COUNTED
                    | Flags::COMPACTION.only_if(is("compaction"))
                    | Flags::LINKED.only_if(has_link && !is("session")),
                ..line.facts
            },
            pick: Pick::StandIn(line),
        })
    }
}

/// The records that are history if these are all there are.
fn history(records: &[Record]) -> Vec<Record> {
    let leaf = records.iter().rfind(|record| record.facts.flags.has(Flags::LINKED));
    let Some(leaf) = leaf else {
        return records.to_vec();
    };
    let numbered = records.iter().enumerate();
    let ids: HashMap<Id, usize> = numbered.map(|(at, record)| (record.facts.id, at)).collect();
    let mut way = Vec::new();
    let mut next = leaf.facts.id;
    while next != Id::NONE {
        let Some(at) = ids.get(&next) else { break };
        if way.len() == records.len() {
            // More steps than there are records: this goes round and round.
            return Vec::new();
        }
        way.push(*at);
        next = records[*at].facts.parent;
    }
    let before = way.last().map_or(&[][..], |first| &records[..*first]);
    let compaction = before.iter().rposition(|record| record.facts.flags.has(Flags::COMPACTION));
    way.extend(compaction);
    way.into_iter().rev().map(|at| records[at]).collect()
}
