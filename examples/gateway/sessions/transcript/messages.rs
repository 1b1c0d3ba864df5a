//! [`RawMessages`]: messages as they stand in the transcript, read from it and not yet parsed.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use super::{
    index::Line,
    message::message,
    stand_in::{self, stand_in},
};
use crate::json::{self, Value};

/// Lines that are no farther apart than this are read as one.
const GAP: u64 = 4096;

/// A line that is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    Record(Line),
    /// A stand-in for the line.
    StandIn(Line),
}

impl Pick {
    /// Where the bytes are that it takes.
    fn bytes(self) -> Range<u64> {
        let (line, length) = match self {
            Self::Record(line) => (line, line.facts.length as usize),
            Self::StandIn(line) => (line, stand_in::BYTES.min(line.facts.length as usize)),
        };
        line.offset..line.offset + length as u64
    }
}

/// Some messages of a transcript: their lines, and their numbers in the history.
///
/// The values borrow from the lines.
#[derive(Debug, Default)]
pub struct RawMessages {
    bytes: Vec<u8>,
    lines: Vec<RawLine>,
    first_seq: usize,
}

#[derive(Debug)]
struct RawLine {
    bytes: Range<usize>,
    is_stand_in: bool,
}

impl RawMessages {
    /// Reads these lines, the first of which has this number.
    pub(super) fn read(file: &File, first_seq: usize, picks: impl IntoIterator<Item = Pick>) -> io::Result<Self> {
        let mut messages = Self { first_seq, ..Self::default() };
        let mut run = Run::default();
        for pick in picks {
            let bytes = pick.bytes();
            if !run.takes(&bytes) {
                run.read(file, &mut messages.bytes)?;
                run = Run::starting(bytes.start, messages.bytes.len());
            }
            run.bytes.end = run.bytes.end.max(bytes.end);
            let at = |offset: u64| run.place + (offset - run.bytes.start) as usize;
            messages
                .lines
                .push(RawLine { bytes: at(bytes.start)..at(bytes.end), is_stand_in: matches!(pick, Pick::StandIn(_)) });
        }
        run.read(file, &mut messages.bytes)?;
        Ok(messages)
    }

    /// The messages, each with what is known of its record. A compaction that does not say when it
    /// was is at `now`, in milliseconds since 1970.
    pub fn values(&self, now: f64) -> Vec<Value<'_>> {
        let lines = self.lines.iter().enumerate();
        let values = lines.filter_map(|(at, line)| {
            let text = &self.bytes[line.bytes.clone()];
            let record = if line.is_stand_in {
                stand_in(text)
            } else {
                match json::parse(text) {
                    Ok(Value::Object(record)) => record,
                    // The file was written over since it was indexed.
                    _ => return None,
                }
            };
            message(record, self.first_seq + at, now)
        });
        values.collect()
    }
}

/// Bytes of the file that are read at once, and where they come to lie.
#[derive(Default)]
struct Run {
    bytes: Range<u64>,
    place: usize,
}

impl Run {
    fn starting(offset: u64, place: usize) -> Self {
        Self { bytes: offset..offset, place }
    }

    fn takes(&self, bytes: &Range<u64>) -> bool {
        (self.bytes.end..=self.bytes.end + GAP).contains(&bytes.start) && !self.bytes.is_empty()
    }

    fn read(&self, file: &File, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(self.place + (self.bytes.end - self.bytes.start) as usize, 0);
        file.read_exact_at(&mut into[self.place..], self.bytes.start)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{super::scan::scan, *};

    #[test]
    fn lines_are_read_from_wherever_they_are() {
        let mut file = tempfile::tempfile().unwrap();
        let mut picks = Vec::new();
        let mut offset = 0;
        for n in 0..4 {
            let text = format!("{{\"message\":1{n}}}");
            let facts = scan(text.as_bytes()).unwrap();
            picks.push(Pick::Record(Line { offset, facts }));
            // The first two are close together, the others far away.
            let space = if n == 0 { 7 } else { 2 * GAP as usize };
            let written = text + &" ".repeat(space);
            file.write_all(written.as_bytes()).unwrap();
            offset += written.len() as u64;
        }
        for order in [vec![0, 1, 2, 3], vec![3, 1, 0], vec![1, 0], vec![2], vec![]] {
            let raw = RawMessages::read(&file, 1, order.iter().map(|at| picks[*at])).unwrap();
            let expected: Vec<_> = order.iter().map(|at| Value::Number((10 + *at) as f64)).collect();
            assert_eq!(raw.values(0.0), expected);
        }
    }
}
