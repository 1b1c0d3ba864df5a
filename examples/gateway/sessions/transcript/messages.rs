//! [`RawMessages`]: messages as they stand in the transcript, read from it and not yet parsed.

use std::{io, ops::Range};

use super::{
    budget::Share,
    index::Line,
    scan::check,
    stand_in::{self, stand_in},
};
use crate::{
    files::disk::File,
    json::{self, Object, Value, skim},
    sessions::record::{Record, TranscriptPosition, TranscriptSource},
};

/// A line longer than this is parsed only where it is shown from.
const LONG: usize = 64 * 1024;

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
    /// By what its bytes are known.
    fn check(self) -> Option<u32> {
        match self {
            Self::Record(line) => Some(line.facts.check),
            // Of a line that is stood in for only the beginning is read.
            Self::StandIn(_) => None,
        }
    }

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
    /// What the numbers of the lines in their store belong to.
    source: Option<TranscriptSource>,
    _share: Option<Share>,
}

#[derive(Debug)]
struct RawLine {
    bytes: Range<usize>,
    is_stand_in: bool,
    /// Its number in its store.
    raw_seq: Option<u64>,
}

impl RawMessages {
    /// Reads these lines, the first of which has this number. A line that is not as it was indexed is an error, as
    /// if the file had ended before it: it was written over.
    pub(super) fn read(
        file: &File,
        first_seq: usize,
        picks: impl IntoIterator<Item = Pick, IntoIter: Clone>,
    ) -> io::Result<Self> {
        let picks = picks.into_iter();
        let bytes = picks.clone().map(|pick| pick.bytes()).map(|bytes| bytes.end - bytes.start).sum();
        let mut messages = Self { first_seq, _share: Some(Share::take(bytes)), ..Self::default() };
        let mut run = Run::default();
        let mut checks = Vec::new();
        for pick in picks {
            let bytes = pick.bytes();
            checks.push(pick.check());
            if !run.takes(&bytes) {
                run.read(file, &mut messages.bytes)?;
                run = Run::starting(bytes.start, messages.bytes.len());
            }
            run.bytes.end = run.bytes.end.max(bytes.end);
            let at = |offset: u64| run.place + (offset - run.bytes.start) as usize;
            messages.lines.push(RawLine {
                bytes: at(bytes.start)..at(bytes.end),
                is_stand_in: matches!(pick, Pick::StandIn(_)),
                raw_seq: None,
            });
        }
        run.read(file, &mut messages.bytes)?;
        for (line, check_of_line) in messages.lines.iter().zip(checks) {
            if check_of_line.is_some_and(|known| check(&messages.bytes[line.bytes.clone()]) != known) {
                return Err(super::written_over());
            }
        }
        Ok(messages)
    }

    /// None yet, the first of which will have this number. They will take so many bytes, which are `share`.
    pub(crate) fn of_records(first_seq: usize, source: Option<TranscriptSource>, bytes: usize, share: Share) -> Self {
        Self { bytes: Vec::with_capacity(bytes), first_seq, source, _share: Some(share), ..Self::default() }
    }

    /// Adds the record of this number in its store, whose JSON `append` adds.
    pub(crate) fn push(&mut self, raw_seq: u64, append: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let start = self.bytes.len();
        append(&mut self.bytes)?;
        self.lines.push(RawLine { bytes: start..self.bytes.len(), is_stand_in: false, raw_seq: Some(raw_seq) });
        Ok(())
    }

    /// Takes out all that was added.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    /// The messages, each with what is known of its record. A compaction that does not say when it
    /// was is at `now`, in milliseconds since 1970.
    pub fn values(&self, now: f64) -> Vec<Value<'_>> {
        let lines = self.lines.iter().enumerate();
        let values = lines.filter_map(|(at, line)| {
            let text = &self.bytes[line.bytes.clone()];
            let seq = self.first_seq + at;
            let position = self.source.as_ref().zip(line.raw_seq);
            let position = position.map(|(source, raw_seq)| TranscriptPosition { source, raw_seq });
            let record = match line.is_stand_in {
                true => Record { json: stand_in(text), seq, position },
                false if text.len() <= LONG => Record::parse(text, seq, position)?,
                false => Record { json: long_record(text)?, seq, position },
            };
            record.message(now)
        });
        values.collect()
    }
}

/// Reads a long record, and only what a message is made of: what nobody sees may take many times its length as
/// values.
fn long_record(text: &[u8]) -> Option<Object<'_>> {
    members(
        text,
        |key| ["id", "timestamp", "type", "message"].contains(&key),
        |key, value| match key {
            "message" if value.first() == Some(&b'{') => Some(members(value, |key| key != "details", parsed)?.into()),
            _ => parsed(key, value),
        },
    )
}

/// Of an object the members with these keys.
fn members<'a>(
    text: &'a [u8],
    wanted: impl Fn(&str) -> bool,
    read: impl Fn(&str, &'a [u8]) -> Option<Value<'a>>,
) -> Option<Object<'a>> {
    let mut found = Vec::new();
    skim::object(text, |key, value| {
        let Ok(Value::String(key)) = json::parse(key) else { return };
        if key.as_str().is_none_or(&wanted)
            && let Some(value) = read(key.as_str().unwrap_or_default(), value)
        {
            found.push((key, value));
        }
    })?;
    Some(Object::from_entries(found))
}

fn parsed<'a>(_: &str, value: &'a [u8]) -> Option<Value<'a>> {
    json::parse(value).ok()
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
        let mut named = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(named.path()).unwrap();
        let mut picks = Vec::new();
        let mut offset = 0;
        for n in 0..4 {
            let text = format!("{{\"message\":1{n}}}");
            let facts = scan(text.as_bytes()).unwrap();
            picks.push(Pick::Record(Line { offset, facts }));
            // The first two are close together, the others far away.
            let space = if n == 0 { 7 } else { 2 * GAP as usize };
            let written = text + &" ".repeat(space);
            named.write_all(written.as_bytes()).unwrap();
            offset += written.len() as u64;
        }
        for order in [vec![0, 1, 2, 3], vec![3, 1, 0], vec![1, 0], vec![2], vec![]] {
            let raw = RawMessages::read(&file, 1, order.iter().map(|at| picks[*at])).unwrap();
            let expected: Vec<_> = order.iter().map(|at| Value::Number((10 + *at) as f64)).collect();
            assert_eq!(raw.values(0.0), expected);
        }
    }
}
