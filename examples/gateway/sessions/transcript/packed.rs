//! [`Lines`]: what is known of a transcript's lines, in 24 bytes each.
//!
//! A transcript may have millions of lines, and what is known of them stays in memory. A line is
//! packed by these rules:
//!
//! 1. Its flags lie in the lowest bits of its offset.
//! 2. The record before it is, nearly always, the line before it or none: a bit says so. Where it is
//!    another one, its id is kept beside, by the line's number.

use super::{
    index::Line,
    scan::{Facts, Flags, Id},
};

/// Lines by their number, counted from 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lines {
    packed: Vec<Packed>,
    /// The parents that a bit cannot tell, in the order of the lines.
    parents: Vec<(u32, Id)>,
}

/// Without the gap that alignment to eight bytes would leave.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(Rust, packed(4))]
struct Packed {
    /// The offset, then what is known of the parent, then the flags.
    place: u64,
    id: Id,
    length: u32,
    check: u32,
}

impl Packed {
    const FLAGS: u64 = (1 << Flags::BITS) - 1;
    /// The parent is the line before.
    const PREVIOUS: u64 = 1 << Flags::BITS;
    /// The parent is kept beside.
    const BESIDE: u64 = 2 << Flags::BITS;
    const OFFSET: u32 = Flags::BITS + 2;
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    /// The line with this number, which has to be less than [`len`](Self::len).
    pub(super) fn at(&self, number: usize) -> Line {
        let Packed { place, id, length, check } = self.packed[number];
        let parent = if place & Packed::PREVIOUS != 0 {
            self.id_before(number)
        } else if place & Packed::BESIDE != 0 {
            let found = self.parents.binary_search_by_key(&(number as u32), |(line, _)| *line);
            found.map_or(Id::NONE, |found| self.parents[found].1)
        } else {
            Id::NONE
        };
        let flags = Flags::from_bits((place & Packed::FLAGS) as u8);
        Line { offset: place >> Packed::OFFSET, facts: Facts { id, parent, length, check, flags } }
    }

    pub(super) fn id(&self, number: u32) -> Id {
        self.packed[number as usize].id
    }

    pub(super) fn push(&mut self, line: Line) {
        let Facts { id, parent, length, check, flags } = line.facts;
        let number = self.len();
        let told = if parent == Id::NONE {
            0
        } else if parent == self.id_before(number) {
            Packed::PREVIOUS
        } else {
            self.parents.push((number as u32, parent));
            Packed::BESIDE
        };
        let place = line.offset << Packed::OFFSET | told | u64::from(flags.bits());
        self.packed.push(Packed { place, id, length, check });
    }

    /// Gives back what was reserved for lines that did not come.
    pub(super) fn shrink(&mut self) {
        self.packed.shrink_to_fit();
        self.parents.shrink_to_fit();
    }

    fn id_before(&self, number: usize) -> Id {
        number.checked_sub(1).map_or(Id::NONE, |before| self.packed[before].id)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scan::scan, *};

    #[test]
    fn a_line_takes_24_bytes() {
        assert_eq!(size_of::<Packed>(), 24);
    }

    #[test]
    fn what_goes_in_comes_out() {
        let records = [
            r#"{"type":"session","id":"s"}"#,
            r#"{"id":"a","parentId":null,"message":1}"#,
            r#"{"id":"b","parentId":"a","message":1}"#,
            r#"{"id":"c","parentId":"a","type":"compaction"}"#,
            "junk",
            r#"{"id":"d","parentId":"c"}"#,
            r#"{"id":"e","parentId":"never"}"#,
            r#"{"id":"e","parentId":"e"}"#,
            r#"{"parentId":"e"}"#,
            r#"{"id":"f","parentId":"f"}"#,
        ];
        let offsets = (0..).map(|number| number * ((1 << 40) + 7));
        let known: Vec<_> = records
            .iter()
            .zip(offsets)
            .map(|(json, offset)| Line { offset, facts: scan(json.as_bytes()).unwrap() })
            .collect();
        let mut lines = Lines::default();
        known.iter().for_each(|line| lines.push(*line));
        lines.shrink();
        assert_eq!((0..lines.len()).map(|number| lines.at(number)).collect::<Vec<_>>(), known);
        assert_eq!(lines.parents.len(), 4, "of those that are neither none nor the line before");
        assert!(known.iter().enumerate().all(|(number, line)| lines.id(number as u32) == line.facts.id));
    }
}
