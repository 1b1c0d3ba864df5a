//! [`Position`]: where a transcript ended at some moment, and what has happened to it since.

use std::{
    fmt::{self, Display},
    num::ParseIntError,
    ops::Range,
    str::FromStr,
};

use super::indexed::Generation;

/// Where a transcript ended at some moment.
///
/// As text it is two numbers, which mean something to the process that wrote them and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub(super) generation: Generation,
    pub(super) lines: usize,
}

/// What has happened to a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Messages were added at its end, or none: these, counted from 0.
    Appended(Range<usize>),
    /// Anything else: another file, another branch, a compaction.
    Rewritten,
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation.0, self.lines)
    }
}

impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (generation, lines) = text.split_once('.').unwrap_or_default();
        Ok(Self { generation: Generation(generation.parse()?), lines: lines.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position { generation: Generation(7), lines: 12 };
        assert_eq!(position.to_string(), "7.12");
        assert_eq!("7.12".parse(), Ok(position));
        for other in ["", ".", "7", "7.", ".12", "7.12.", "7.-1", "x.1", "99999999999999999999.1"] {
            assert!(other.parse::<Position>().is_err(), "{other}");
        }
    }
}
