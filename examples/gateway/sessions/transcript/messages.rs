//! [`RawMessages`]: messages as they stand in the transcript, read from it and not yet parsed.

use std::{io, ops::Range};

use super::{budget::Share, index::Line, scan::check};
use crate::{
    files::disk::File,
    json::Value,
    sessions::record::{Activity, Record, TranscriptPosition, TranscriptSource},
};

/// Lines that are no farther apart than this are read as one.
const GAP: u64 = 4096;

/// How many bytes are made room for beforehand: a store may say more of a record than is true.
const MOST_RESERVED: usize = 16 * 1024 * 1024;

/// Some messages of a transcript: their lines, and their numbers in the history.
#[derive(Debug, Default)]
pub struct RawMessages {
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    first_seq: usize,
    /// Where the records are stored, if their store says so: by what name it is known, and their numbers in it.
    source: Option<TranscriptSource>,
    raw_seqs: Vec<u64>,
    /// Of those that are activities, by their places here, in order: where they belong.
    activities: Vec<(usize, Activity)>,
    _share: Option<Share>,
}

impl RawMessages {
    /// Reads these lines, the first of which has this number. A line that is not as it was indexed is an error, as
    /// if the file had ended before it: it was written over.
    pub(super) fn read(
        file: &File,
        first_seq: usize,
        lines: impl IntoIterator<Item = Line, IntoIter: Clone>,
    ) -> io::Result<Self> {
        let lines = lines.into_iter();
        let bytes = lines.clone().map(|line| u64::from(line.facts.length)).sum();
        let mut messages = Self { first_seq, _share: Some(Share::take(bytes)), ..Self::default() };
        let mut run = Run::default();
        for line in lines.clone() {
            let bytes = line.offset..line.offset + u64::from(line.facts.length);
            if !run.takes(&bytes) {
                run.read(file, &mut messages.bytes)?;
                run = Run::starting(bytes.start, messages.bytes.len());
            }
            run.bytes.end = run.bytes.end.max(bytes.end);
            let at = |offset: u64| run.place + (offset - run.bytes.start) as usize;
            messages.lines.push(at(bytes.start)..at(bytes.end));
        }
        run.read(file, &mut messages.bytes)?;
        for (place, line) in messages.lines.iter().zip(lines) {
            if check(&messages.bytes[place.clone()]) != line.facts.check {
                return Err(super::written_over());
            }
        }
        Ok(messages)
    }

    /// None yet, the first of which will have this number. They will take so many bytes, which are `share`.
    pub(crate) fn of_records(first_seq: usize, source: Option<TranscriptSource>, bytes: usize, share: Share) -> Self {
        let bytes = Vec::with_capacity(bytes.min(MOST_RESERVED));
        Self { bytes, first_seq, source, _share: Some(share), ..Self::default() }
    }

    /// Adds the record of this number in its store, whose JSON `append` adds.
    pub(crate) fn push(&mut self, raw_seq: u64, append: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let start = self.bytes.len();
        append(&mut self.bytes)?;
        self.lines.push(start..self.bytes.len());
        self.raw_seqs.push(raw_seq);
        Ok(())
    }

    /// The JSON of the record that was added last.
    pub(crate) fn last(&self) -> &[u8] {
        self.lines.last().map_or(&[], |line| &self.bytes[line.clone()])
    }

    /// Says where the record that was added last belongs.
    pub(crate) fn set_activity(&mut self, activity: Activity) {
        self.activities.push((self.lines.len() - 1, activity));
    }

    /// Takes out all that was added.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        self.raw_seqs.clear();
        self.activities.clear();
    }

    /// The messages, each with what is known of its record. What does not say when it was is at `now`, in
    /// milliseconds since 1970.
    pub fn values(&self, now: f64) -> Vec<Value> {
        let lines = self.lines.iter().enumerate();
        let mut activities = self.activities.iter().peekable();
        let values = lines.filter_map(|(at, line)| {
            let position = self.source.as_ref().zip(self.raw_seqs.get(at));
            let activity = activities.next_if(|(of, _)| *of == at).map(|(_, activity)| activity);
            let position = position.map(|(source, raw_seq)| TranscriptPosition { source, raw_seq: *raw_seq, activity });
            Record::parse(&self.bytes[line.clone()], self.first_seq + at, position)?.message(now)
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
        let mut named = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(named.path()).unwrap();
        let mut picks = Vec::new();
        let mut offset = 0;
        for n in 0..4 {
            let text = format!("{{\"message\":1{n}}}");
            let facts = scan(text.as_bytes()).unwrap();
            picks.push(Line { offset, facts });
            // The first two are close together, the others far away.
            let space = if n == 0 { 7 } else { 2 * GAP as usize };
            let written = text + &" ".repeat(space);
            named.write_all(written.as_bytes()).unwrap();
            offset += written.len() as u64;
        }
        for order in [vec![0, 1, 2, 3], vec![3, 1, 0], vec![1, 0], vec![2], vec![]] {
            let raw = RawMessages::read(&file, 1, order.iter().map(|at| picks[*at])).unwrap();
            let expected: Vec<_> = order.iter().map(|at| Value::from(10 + *at)).collect();
            assert_eq!(raw.values(0.0), expected);
        }
    }
}
