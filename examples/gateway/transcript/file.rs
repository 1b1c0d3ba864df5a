//! [`Transcript`]: a transcript's file and its index, and [`View`]: both at one moment.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    indexed::{Generation, Indexed, regular},
    messages::{Pick, RawMessages},
    tail::tail,
};

/// A transcript, indexed as far as it was looked at.
#[derive(Debug)]
pub struct Transcript {
    path: PathBuf,
    indexed: RwLock<Indexed>,
}

impl Transcript {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), indexed: RwLock::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The transcript as it is now. Reads what the file has more than the last time; all who want
    /// to see the transcript wait for that.
    pub fn view(&self) -> io::Result<View<'_>> {
        loop {
            // Opening a pipe would not come back, so it is looked at first.
            regular(&fs::metadata(&self.path)?)?;
            let file = File::open(&self.path)?;
            let indexed = self.indexed.read().unwrap_or_else(PoisonError::into_inner);
            if indexed.is_current(&file)? {
                return Ok(View { indexed, file });
            }
            drop(indexed);
            let mut stale = self.indexed.write().unwrap_or_else(PoisonError::into_inner);
            stale.catch_up(&file)?;
            drop(stale);
            let indexed = self.indexed.read().unwrap_or_else(PoisonError::into_inner);
            // Others may have been faster and have found another file in this place.
            if indexed.is_of(&file)? {
                return Ok(View { indexed, file });
            }
        }
    }
}

/// A transcript at one moment. While it is held the index does not change.
#[derive(Debug)]
pub struct View<'a> {
    indexed: RwLockReadGuard<'a, Indexed>,
    file: File,
}

impl View<'_> {
    /// How many messages the full history has.
    pub fn total(&self) -> usize {
        self.indexed.index.history().len()
    }

    /// The full history.
    pub fn history(&self) -> Selection<'_> {
        Selection { file: &self.file, first_seq: 1, picks: Picks::History(&self.indexed) }
    }

    /// The last messages as a read with this limit sees them.
    pub fn tail(&self, limit: usize) -> io::Result<Selection<'_>> {
        let picks = tail(&self.indexed, &self.file, limit)?;
        Ok(Selection {
            file: &self.file,
            first_seq: (self.total() + 1).saturating_sub(picks.len()).max(1),
            picks: Picks::Window(picks),
        })
    }

    /// Where the transcript ends at this moment.
    pub fn position(&self) -> Position {
        Position { generation: self.indexed.generation, lines: self.indexed.index.lines().len() }
    }

    /// What has happened to the history since then.
    pub fn since(&self, then: Position) -> Change {
        let added =
            (then.generation == self.indexed.generation).then(|| self.indexed.index.added_since(then.lines)).flatten();
        added.map_or(Change::Rewritten, Change::Appended)
    }
}

/// Messages of a transcript that can be read, all or some of them.
#[derive(Debug)]
pub struct Selection<'a> {
    file: &'a File,
    first_seq: usize,
    picks: Picks<'a>,
}

#[derive(Debug)]
enum Picks<'a> {
    History(&'a Indexed),
    Window(Vec<Pick>),
}

impl Selection<'_> {
    pub fn len(&self) -> usize {
        match &self.picks {
            Picks::History(indexed) => indexed.index.history().len(),
            Picks::Window(picks) => picks.len(),
        }
    }

    /// The number of the first message. The others have the numbers after it.
    pub fn first_seq(&self) -> usize {
        self.first_seq
    }

    /// Reads these messages, counted from 0, and nothing else.
    pub fn read(&self, range: Range<usize>) -> io::Result<RawMessages> {
        let first_seq = self.first_seq + range.start;
        match &self.picks {
            Picks::History(indexed) => {
                let history = indexed.index.history().get(range).unwrap_or_default();
                let lines = history.iter().map(|line| indexed.index.lines()[*line as usize]);
                RawMessages::read(self.file, first_seq, lines.map(Pick::Record))
            }
            Picks::Window(picks) => {
                let picks = picks.get(range).unwrap_or_default();
                RawMessages::read(self.file, first_seq, picks.iter().copied())
            }
        }
    }
}

/// Where a transcript ended at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    generation: Generation,
    lines: usize,
}

/// What has happened to a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Messages were added at its end, or none: these, counted from 0.
    Appended(Range<usize>),
    /// Anything else: another file, another branch, a compaction.
    Rewritten,
}
