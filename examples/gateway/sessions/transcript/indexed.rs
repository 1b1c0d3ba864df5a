//! [`Indexed`]: what is known of a transcript's file, kept up with the file as it grows.
//!
//! A transcript is a file that others append to. What was indexed once is indexed for good while the
//! file only grows; the file is taken for another one, and indexed anew, when
//!
//! - it is on another device or has another inode,
//! - it is shorter,
//! - what stood at its beginning or its end stands there no more,
//! - it is as long as before and was touched, and its lines are not those that are indexed,
//! - a line that was read for a page is not the one that was indexed ([`Transcript::look`]).
//!
//! Compared are the bytes that the index was made of: another process may write meanwhile. A touch alone is no
//! change: a writer's append touches the file before it makes it longer, and another may change who may read it.
//!
//! The last line may be in the middle of being written. It is a line already if it is a record; then
//! only the line's end may follow. If it is none it is looked at again when there is more.
//!
//! [`Transcript::look`]: super::Transcript::look

use std::{io, mem, time::SystemTime};

use crate::files::{Stamp, disk::File};

use super::{
    index::{Index, Line},
    lines::{self, FileLine},
    scan::{Flags, behind_a_torn_one, scan},
};

/// Up to how many bytes a file that was indexed within a tick of its last change is looked through once more: it
/// may have changed again and have the same stamp. In a longer one the lines that are read tell.
const VERIFIED: u64 = 256 * 1024;

/// How many bytes at each end of what is indexed are compared.
const COMPARED: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Indexed {
    pub(super) index: Index,
    /// The file when it was indexed.
    stamp: Option<Stamp>,
    /// Whether every later change gives another stamp.
    is_settled: bool,
    last: LastLine,
    edges: Edges,
    skipped: Skipped,
}

/// Lines that show nothing, because they are no records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Skipped {
    pub(super) lines: usize,
    /// Where the first of them is, in bytes.
    pub(super) first: Option<u64>,
}

impl Skipped {
    fn add(&mut self, lines: usize, offset: u64) {
        self.lines += lines;
        self.first.get_or_insert(offset);
    }
}

impl Indexed {
    /// Whether the file is still as it was when it was indexed.
    pub(super) fn is_current(&self, file: &File) -> io::Result<bool> {
        let is_proof = self.is_settled || self.size() > VERIFIED;
        Ok(is_proof && self.stamp == Some(file.stamp()?))
    }

    /// Indexes what the file has more than before, or all of it if it is another one. Says what was skipped.
    pub(super) fn catch_up(&mut self, file: &File) -> io::Result<Skipped> {
        let since = SystemTime::now();
        let now = file.stamp()?;
        let is_settled = now.is_settled(since);
        match self.what_became_of(file, &now)? {
            Fate::Grew => {}
            Fate::Touched => {
                // O(file), as seldom as somebody touches it without making it longer.
                let mut anew = Self::default();
                anew.read(file, now.clone())?;
                if anew.index.lines() == self.index.lines() && anew.last == self.last {
                    (self.stamp, self.is_settled) = (Some(now), is_settled);
                    return Ok(Skipped::default());
                }
                *self = Self { is_settled, ..anew };
                return Ok(mem::take(&mut self.skipped));
            }
            Fate::Replaced => *self = Self::default(),
        }
        if let Err(error) = self.read(file, now) {
            *self = Self::default();
            return Err(error);
        }
        self.is_settled = is_settled;
        Ok(mem::take(&mut self.skipped))
    }

    /// How much of the file is indexed, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.stamp.as_ref().map_or(0, Stamp::size)
    }

    fn what_became_of(&self, file: &File, now: &Stamp) -> io::Result<Fate> {
        let Some(before) = &self.stamp else { return Ok(Fate::Grew) };
        if !before.is_same_file(now) || now.size() < before.size() {
            return Ok(Fate::Replaced);
        }
        if now.size() == before.size() {
            return Ok(Fate::Touched);
        }
        let mut next = vec![0; 2.min((now.size() - before.size()) as usize)];
        file.read_exact_at(&mut next, before.size())?;
        let ends = matches!(self.last, LastLine::Unended);
        let goes_on = self.edges.are_in(file)? && (!ends || next.starts_with(b"\n") || next == b"\r\n");
        Ok(if goes_on { Fate::Grew } else { Fate::Replaced })
    }

    /// O(what is read).
    fn read(&mut self, file: &File, now: Stamp) -> io::Result<()> {
        let size = self.size();
        let from = match self.last {
            LastLine::Ended(end) => end,
            LastLine::Unended | LastLine::TooLong => size,
            LastLine::Torn(line) => line.offset,
        };
        let is_first = self.stamp.is_none();
        let in_long_line = matches!(self.last, LastLine::TooLong);
        self.last = LastLine::Ended(now.size());
        let mut edges = mem::take(&mut self.edges);
        let see = |offset, bytes: &[u8]| edges.add(offset, bytes);
        let rest = lines::for_each(file, from, now.size(), in_long_line, see, |line| self.add(line))?;
        self.edges = edges;
        if rest.skipped > 0 {
            self.skipped.add(rest.skipped, from);
        }
        if rest.in_long_line {
            self.last = LastLine::TooLong;
        }
        self.index.settle();
        if is_first {
            self.index.shrink();
        }
        self.stamp = Some(now);
        Ok(())
    }

    fn add(&mut self, line: FileLine<'_>) {
        match scan(line.text) {
            None if line.is_complete => {}
            None => self.last = LastLine::Ended(line.offset),
            Some(facts) if facts.flags.has(Flags::RECORD) => {
                self.index.push(Line { offset: line.offset, facts });
                if !line.is_complete {
                    self.last = LastLine::Unended;
                }
            }
            Some(facts) if line.is_complete => {
                self.skipped.add(1, line.offset);
                let whole = behind_a_torn_one(line.text);
                if whole.is_empty() {
                    self.index.push(Line { offset: line.offset, facts });
                }
                for (start, facts) in whole {
                    self.index.push(Line { offset: line.offset + start as u64, facts });
                }
            }
            Some(facts) => self.last = LastLine::Torn(Line { offset: line.offset, facts }),
        }
    }
}

impl Default for Indexed {
    fn default() -> Self {
        Self {
            index: Index::default(),
            stamp: None,
            is_settled: false,
            last: LastLine::Ended(0),
            edges: Edges::default(),
            skipped: Skipped::default(),
        }
    }
}

/// What became of a file since it was indexed.
enum Fate {
    Grew,
    /// It is as long as before.
    Touched,
    Replaced,
}

/// How far the last line has got.
#[derive(Clone, Debug, PartialEq)]
enum LastLine {
    /// It has its end, and from this offset on there is nothing but space.
    Ended(u64),
    /// It is in the index but has no end yet.
    Unended,
    /// It is no record, and not in the index yet.
    Torn(Line),
    /// It is too long to be read, and has no end yet.
    TooLong,
}

/// The first and the last bytes of what is indexed, as they were when it was.
#[derive(Clone, Debug, Default)]
struct Edges {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Where the tail ends.
    end: u64,
}

impl Edges {
    /// These bytes are indexed next. The first of them may be here already, from a line that is
    /// read again.
    fn add(&mut self, offset: u64, bytes: &[u8]) {
        if let Some(room) = COMPARED.checked_sub(offset as usize) {
            self.head.truncate(offset as usize);
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        let again = self.end.saturating_sub(offset) as usize;
        self.tail.truncate(self.tail.len().saturating_sub(again));
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(COMPARED)..]);
        self.tail.drain(..self.tail.len().saturating_sub(COMPARED));
        self.end = offset + bytes.len() as u64;
    }

    /// Whether the file has them still.
    fn are_in(&self, file: &File) -> io::Result<bool> {
        let is_at = |bytes: &[u8], offset| -> io::Result<bool> {
            let mut found = vec![0; bytes.len()];
            file.read_exact_at(&mut found, offset)?;
            Ok(found == bytes)
        };
        Ok(is_at(&self.head, 0)? && is_at(&self.tail, self.end - self.tail.len() as u64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_are_the_first_and_last_bytes_however_they_were_read() {
        let content: Vec<u8> = (0..3 * COMPARED).map(|at| (at / 7) as u8).collect();
        for size in [0, 1, COMPARED - 1, COMPARED, COMPARED + 1, content.len()] {
            for (end, again) in [(0, 0), (9, 9), (9, 2), (size / 2, 0), (size / 2, size / 3), (size, 1)] {
                let end = end.min(size);
                let start = end.saturating_sub(again);
                let mut edges = Edges::default();
                edges.add(0, &content[..end]);
                edges.add(start as u64, &content[start..size]);
                assert_eq!(edges.head, content[..size.min(COMPARED)]);
                assert_eq!(edges.tail, content[size.saturating_sub(COMPARED)..size]);
                assert_eq!(edges.end, size as u64);
            }
        }
    }
}
