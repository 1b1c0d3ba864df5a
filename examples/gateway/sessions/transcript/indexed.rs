//! [`Indexed`]: what is known of a transcript's file, kept up with the file as it grows.
//!
//! A transcript is a file that others append to. What was indexed once is indexed for good while the
//! file only grows; the file is taken for another one, and indexed anew, when
//!
//! - it is on another device or has another inode,
//! - it is shorter, or as long as before and yet modified,
//! - what stood at its beginning or its end stands there no more.
//!
//! Compared are the bytes that the index was made of: another process may write meanwhile.
//!
//! Each time begins a new [`Generation`].
//!
//! The last line may be in the middle of being written. It is a line already if it is a record; then
//! only the line's end may follow. If it is none it is looked at again when there is more.

use std::{
    fs::{File, Metadata},
    io::{self, ErrorKind},
    mem,
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{json, sessions::projection::SupplementKey};

use super::{
    index::{Index, Line},
    lines::{self, FileLine},
    scan::{Flags, scan},
};

/// How many bytes at each end of what is indexed are compared.
const COMPARED: usize = 512;

/// One life of a transcript's content: lines were only ever added to it.
///
/// No two are equal in one run of the program, whichever transcripts they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub(super) u64);

impl Generation {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Indexed {
    pub(super) generation: Generation,
    pub(super) index: Index,
    /// The lines with messages that are the spoken form of an earlier one, and what they speak.
    spoken: Vec<(u32, SupplementKey)>,
    /// The file when it was indexed.
    stamp: Option<Stamp>,
    last: LastLine,
    edges: Edges,
}

impl Indexed {
    /// Whether the file is still as it was when it was indexed.
    pub(super) fn is_current(&self, file: &File) -> io::Result<bool> {
        Ok(self.stamp == Some(Stamp::of(file)?))
    }

    /// Indexes what the file has more than before, or all of it if it is another one.
    pub(super) fn catch_up(&mut self, file: &File) -> io::Result<()> {
        let now = Stamp::of(file)?;
        if !self.is_continued(file, &now)? {
            *self = Self::default();
        }
        let result = self.read(file, now);
        if result.is_err() {
            *self = Self::default();
        }
        result
    }

    /// How much of the file is indexed, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.stamp.as_ref().map_or(0, |stamp| stamp.size)
    }

    /// The last line, if it is being written and is no record yet.
    pub(super) fn torn(&self) -> Option<Line> {
        match self.last {
            LastLine::Torn(line) => Some(line),
            _ => None,
        }
    }

    /// The messages from this one on, counted in the history, that are the spoken form of an earlier
    /// one, and what they speak.
    pub(super) fn spoken_from(&self, first: usize) -> Vec<(usize, SupplementKey)> {
        if self.spoken.is_empty() {
            return Vec::new();
        }
        let history = self.index.history().iter().enumerate().skip(first);
        let flags = |line: u32| self.index.lines().at(line as usize).facts.flags;
        let spoken = history.filter(|(_, line)| flags(**line).has(Flags::SPOKEN));
        let with_key = spoken.filter_map(|(at, line)| {
            let found = self.spoken.binary_search_by_key(line, |(line, _)| *line);
            Some((at, self.spoken[found.ok()?].1.clone()))
        });
        with_key.collect()
    }

    fn is_continued(&self, file: &File, now: &Stamp) -> io::Result<bool> {
        let Some(before) = &self.stamp else {
            return Ok(true);
        };
        if !before.is_same_file(now) || now.size <= before.size {
            return Ok(false);
        }
        let mut next = vec![0; 2.min((now.size - before.size) as usize)];
        file.read_exact_at(&mut next, before.size)?;
        let ends = matches!(self.last, LastLine::Unended);
        Ok(self.edges.are_in(file)? && (!ends || next.starts_with(b"\n") || next == b"\r\n"))
    }

    fn read(&mut self, file: &File, now: Stamp) -> io::Result<()> {
        let from = match self.last {
            LastLine::Ended(end) => end,
            LastLine::Unended => self.size(),
            LastLine::Torn(line) => line.offset,
        };
        let is_first = self.stamp.is_none();
        self.last = LastLine::Ended(now.size);
        let mut edges = mem::take(&mut self.edges);
        lines::for_each(file, from, now.size, |offset, bytes| edges.add(offset, bytes), |line| self.add(line))?;
        self.edges = edges;
        self.index.settle();
        if is_first {
            self.index.shrink();
        }
        self.stamp = Some(now);
        Ok(())
    }

    fn add(&mut self, line: FileLine<'_>) {
        let facts = scan(line.text);
        let known = facts.map(|facts| Line { offset: line.offset, facts });
        match known {
            Some(known) if line.is_complete => self.push(known, line.text),
            Some(known) if known.facts.flags.has(Flags::RECORD) => {
                self.push(known, line.text);
                self.last = LastLine::Unended;
            }
            Some(known) => self.last = LastLine::Torn(known),
            None if line.is_complete => {}
            None => self.last = LastLine::Ended(line.offset),
        }
    }

    fn push(&mut self, line: Line, text: &[u8]) {
        if line.facts.flags.has(Flags::SPOKEN) {
            let number = self.index.lines().len() as u32;
            self.spoken.extend(spoken(text).map(|key| (number, key)));
        }
        self.index.push(line);
    }
}

/// What the message of a record speaks, if it is the spoken form of another one.
fn spoken(record: &[u8]) -> Option<SupplementKey> {
    let record = json::parse(record).ok()?;
    SupplementKey::of(record.as_object()?.object("message")?)
}

impl Default for Indexed {
    fn default() -> Self {
        Self {
            generation: Generation::next(),
            index: Index::default(),
            spoken: Vec::new(),
            stamp: None,
            last: LastLine::Ended(0),
            edges: Edges::default(),
        }
    }
}

/// How far the last line has got.
#[derive(Clone, Debug)]
enum LastLine {
    /// It has its end, and from this offset on there is nothing but space.
    Ended(u64),
    /// It is in the index but has no end yet.
    Unended,
    /// It is no record, and not in the index yet.
    Torn(Line),
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

/// What is compared to see whether the lines may have changed. Not the time of change: who may read a
/// file says nothing of its lines.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        regular(&metadata)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Refuses what is no file to read lines from.
pub(super) fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else if metadata.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"))
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
