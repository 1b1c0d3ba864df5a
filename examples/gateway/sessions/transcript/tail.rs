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

use std::{collections::HashMap, io};

use super::{
    index::Line,
    indexed::Indexed,
    messages::Pick,
    scan::{Facts, Flags, Id},
    stand_in::{self, stand_in},
};
use crate::{files::disk::File, json::Value};

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
    let lines = indexed.index.lines().iter().rev();
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

#[cfg(test)]
mod tests {
    use std::{fmt::Write, fs};

    use super::{super::file::FileTranscript, *};

    /// The ids and numbers of the messages that a read with this limit sees.
    fn seen(content: &str, limit: usize) -> Vec<(String, f64)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.jsonl");
        fs::write(&path, content).unwrap();
        let transcript = FileTranscript::new(path);
        let view = transcript.view().unwrap();
        let tail = view.tail(limit).unwrap();
        let raw = tail.read(0..tail.len()).unwrap();
        let id_and_seq = |message: &Value<'_>| {
            let meta = message.as_object()?.object("__openclaw")?;
            let id = meta.text("id").map_or_else(String::new, |id| id.to_utf8().into());
            Some((id, meta.number("seq")?))
        };
        raw.values(0.0).iter().filter_map(id_and_seq).collect()
    }

    fn ids(content: &str, limit: usize) -> Vec<String> {
        seen(content, limit).into_iter().map(|(id, _)| id).collect()
    }

    fn message(id: &str, rest: &str) -> String {
        format!("{{\"id\":\"{id}\"{rest},\"message\":{{}}}}\n")
    }

    fn messages(count: usize) -> String {
        (1..=count).fold(String::new(), |mut lines, n| {
            lines += &message(&n.to_string(), "");
            lines
        })
    }

    #[test]
    fn so_many_lines_are_looked_at() {
        let all = seen(&messages(100), 2);
        assert_eq!(all.len(), 60);
        assert_eq!(all[0], ("41".into(), 41.0));
        assert_eq!(all[59], ("100".into(), 100.0));
    }

    #[test]
    fn lines_that_are_no_messages_take_room_but_blank_ones_do_not() {
        assert_eq!(ids(&(messages(9) + &"junk\n".repeat(38)), 1), ["8", "9"]);
        assert_eq!(ids(&(messages(9) + &"{}\n".repeat(38)), 1), ["8", "9"]);
        assert_eq!(ids(&(messages(9) + &" \n".repeat(38)), 1).len(), 9);
        assert_eq!(ids(&(messages(9) + &"junk\n".repeat(38) + "{\"torn"), 1), ["9"]);
    }

    #[test]
    fn a_branch_is_followed_inside_the_window_only() {
        let mut lines = message("n0", ",\"parentId\":null");
        for n in 1..60 {
            write!(lines, "{}", message(&format!("n{n}"), &format!(",\"parentId\":\"n{}\"", n - 1))).unwrap();
        }
        let all = seen(&lines, 1);
        assert_eq!((all.len(), &all[0], &all[39]), (40, &("n20".into(), 21.0), &("n59".into(), 60.0)));
        // Preceding the window there are links, in it there are none.
        assert_eq!(ids(&(lines.clone() + &messages(45)), 1).len(), 40);
        assert_eq!(ids(&(lines + &messages(5)), 1).len(), 35);
    }

    #[test]
    fn a_loop_shows_nothing() {
        let lines = message("a", ",\"parentId\":\"b\"") + &message("b", ",\"parentId\":\"a\"");
        assert!(seen(&lines, 9).is_empty());
    }

    #[test]
    fn the_compaction_nearest_before_the_branch_is_put_in_front_of_it() {
        let compaction = |id| format!("{{\"type\":\"compaction\",\"id\":\"{id}\"}}\n");
        let branch = message("b", ",\"parentId\":\"gone\"") + &message("c", ",\"parentId\":\"b\"");
        let lines = message("a", "") + &compaction("x") + &compaction("y") + &branch;
        // The full history has two messages, so the first gets the number one all the same.
        assert_eq!(seen(&lines, 9), [("y".into(), 1.0), ("b".into(), 2.0), ("c".into(), 3.0)]);
        assert_eq!(ids(&(branch.clone() + &compaction("x")), 9), ["b", "c"]);
        assert_eq!(ids(&(message("a", "") + &branch), 9), ["b", "c"]);
    }

    #[test]
    fn lines_that_are_too_long_are_stood_in_for() {
        let long = "x".repeat(300_000);
        let lines = message("a", ",\"parentId\":null")
            + &message("b", &format!(",\"parentId\":\"a\",\"x\":\"{long}\""))
            + &message("c", ",\"parentId\":\"b\"")
            + &format!("\"id\":\"d\", \"parentId\":\"c\" {long}\n");
        assert_eq!(ids(&lines, 9), ["a", "b", "c", "d"]);
        // In the full history there are three: the last line is no record.
        assert_eq!(seen(&lines, 9)[3].1, 4.0);
    }

    #[test]
    fn the_window_ends_eight_mebibytes_before_the_end() {
        let filler = message("filler", &format!(",\"x\":\"{}\"", "x".repeat(200_000)));
        let count = WINDOW as usize / filler.len();
        let rest = "y".repeat(WINDOW as usize - count * filler.len() - message("rest", ",\"x\":\"\"").len());
        let window = filler.repeat(count) + &message("rest", &format!(",\"x\":\"{rest}\""));
        assert_eq!(window.len(), WINDOW as usize);
        assert_eq!(ids(&window, 9).len(), count + 1);
        // A line that begins where the window does counts as cut; here that is the first filler.
        assert_eq!(ids(&(messages(1) + &window), 9).len(), count);
        // One that begins later is whole; what is cut is the line before the fillers.
        let shorter = window.replacen("filler", "fill", 1);
        assert_eq!(ids(&(messages(1) + &shorter), 9).len(), count + 1);
    }
}
