//! [`Position`]: how far a history had got at some moment, and what has happened to it since.

use std::{
    fmt::{self, Display},
    hash::{BuildHasher, RandomState},
    num::ParseIntError,
    ops::Range,
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// One life of a history: messages were only ever added at its end.
///
/// No two are equal, whichever transcripts they are of: in one run of the program, and but for a chance of one in
/// billions in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(u64);

impl Generation {
    pub(crate) fn next() -> Self {
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0) >> 1));
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How far a history had got: so many messages of this life of it. Not lines of the file: a line may stand before
/// the one that it comes after.
///
/// As text it is two numbers, which mean something to the process that wrote them and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub(crate) generation: Generation,
    pub(crate) length: usize,
}

/// What has happened to a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Messages were added at its end, or none: these, counted from 0.
    Appended(Range<usize>),
    /// Anything else: another file, another branch, a compaction.
    Rewritten,
}

impl Position {
    /// What has happened between then and this.
    pub(crate) fn since(self, then: Self) -> Change {
        match then.generation == self.generation && then.length <= self.length {
            true => Change::Appended(then.length..self.length),
            false => Change::Rewritten,
        }
    }
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation.0, self.length)
    }
}

impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (generation, length) = text.split_once('.').unwrap_or_default();
        Ok(Self { generation: Generation(generation.parse()?), length: length.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position { generation: Generation(7), length: 12 };
        assert_eq!(position.to_string(), "7.12");
        assert_eq!("7.12".parse(), Ok(position));
        for other in ["", ".", "7", "7.", ".12", "7.12.", "7.-1", "x.1", "99999999999999999999.1"] {
            assert!(other.parse::<Position>().is_err(), "{other}");
        }
    }
}
