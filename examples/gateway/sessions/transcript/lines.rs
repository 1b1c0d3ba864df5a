//! Cutting a part of a file into lines.

use std::io;

use memchr::{memchr, memchr_iter};

use crate::files::disk::File;

/// How much is read at once.
const CHUNK: usize = 1024 * 1024;

/// The longest line that is kept in memory; a longer one is passed over.
const LONGEST: usize = 64 * 1024 * 1024;

/// A line and where it is.
pub(super) struct FileLine<'a> {
    pub(super) offset: u64,
    /// Without the line's end, which is `\n` or `\r\n`.
    pub(super) text: &'a [u8],
    /// The line's end is there.
    pub(super) is_complete: bool,
}

/// Where the last line ends, if it has no end of its own yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// The lines that were passed over for their length, or for the NULs that they begin with.
    pub(super) skipped: usize,
    /// The last line is too long, and what comes up to its end belongs to it.
    pub(super) in_long_line: bool,
}

/// Calls `line` for each line of the file between two offsets, the last of which may be cut short, and
/// `read` with the bytes that these lines are cut from, piece by piece.
///
/// NULs at the start of a line are no part of it: a crash leaves them, and the next record is written behind
/// them. O(bytes), and in memory at most [`LONGEST`] of them.
pub(super) fn for_each(
    file: &File,
    from: u64,
    to: u64,
    in_long_line: bool,
    mut read: impl FnMut(u64, &[u8]),
    mut line: impl FnMut(FileLine<'_>),
) -> io::Result<Rest> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(to - from).unwrap_or(CHUNK))];
    // The buffer begins with the line that begins at this offset.
    let mut offset = from;
    let mut filled = 0;
    let mut rest = Rest { skipped: 0, in_long_line };
    // Of a run of NULs each piece is at the start of the same line.
    let mut after_nuls = false;
    while offset + (filled as u64) < to {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let left = to - offset - filled as u64;
        let room = buffer.len() - filled;
        let end = filled + usize::try_from(left).map_or(room, |left| left.min(room));
        file.read_exact_at(&mut buffer[filled..end], offset + filled as u64)?;
        read(offset + filled as u64, &buffer[filled..end]);

        let mut start = 0;
        if rest.in_long_line {
            match memchr(b'\n', &buffer[..end]) {
                Some(newline) => {
                    start = newline + 1;
                    rest.in_long_line = false;
                }
                None => start = end,
            }
            filled = start;
        }
        for newline in memchr_iter(b'\n', &buffer[filled..end]) {
            let newline = filled + newline;
            let nuls = nuls(&buffer[start..newline]);
            rest.skipped += usize::from(nuls > 0 && !after_nuls);
            after_nuls = false;
            let text = &buffer[start + nuls..newline];
            line(FileLine {
                offset: offset + (start + nuls) as u64,
                text: text.strip_suffix(b"\r").unwrap_or(text),
                is_complete: true,
            });
            start = newline + 1;
        }
        let nuls = nuls(&buffer[start..end]);
        rest.skipped += usize::from(nuls > 0 && !after_nuls);
        after_nuls |= nuls > 0;
        start += nuls;
        if end - start >= LONGEST {
            rest.skipped += 1;
            rest.in_long_line = true;
            start = end;
        }
        buffer.copy_within(start..end, 0);
        filled = end - start;
        offset += start as u64;
    }
    if filled > 0 {
        line(FileLine { offset, text: &buffer[..filled], is_complete: false });
    }
    Ok(rest)
}

fn nuls(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(content: &[u8], from: u64) -> Vec<(u64, String, bool)> {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        named.write_all(content).unwrap();
        let file = File::open(named.path()).unwrap();
        let mut lines = Vec::new();
        let mut read = Vec::new();
        let keep = |offset, bytes: &[u8]| {
            assert_eq!(offset, from + read.len() as u64);
            read.extend_from_slice(bytes);
        };
        for_each(&file, from, content.len() as u64, false, keep, |line| {
            let text = String::from_utf8(line.text.to_vec()).unwrap();
            lines.push((line.offset, text, line.is_complete));
        })
        .unwrap();
        assert_eq!(read, content[from as usize..]);
        lines
    }

    #[test]
    fn a_line_ends_with_a_newline_and_perhaps_a_return_before_it() {
        assert_eq!(
            lines(b"a\n\r\nb\r\r\nc\rd", 0),
            [(0, "a".into(), true), (2, "".into(), true), (4, "b\r".into(), true), (8, "c\rd".into(), false),]
        );
        assert_eq!(lines(b"a\nb\n", 2), [(2, "b".into(), true)]);
        assert_eq!(lines(b"", 0), []);
    }

    #[test]
    fn a_line_may_be_longer_than_what_is_read_at_once() {
        let long = "x".repeat(2 * CHUNK + 7);
        let content = format!("a\n{long}\nb\n{long}");
        assert_eq!(
            lines(content.as_bytes(), 0),
            [
                (0, "a".into(), true),
                (2, long.clone(), true),
                (long.len() as u64 + 3, "b".into(), true),
                (long.len() as u64 + 5, long, false),
            ]
        );
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_an_error() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(named.path()).unwrap();
        let error = for_each(&file, 0, 5, false, |_, _| {}, |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nuls_before_a_line_are_no_part_of_it_however_many() {
        for nuls in [1, 284, CHUNK - 2, CHUNK, 3 * CHUNK + 1] {
            let content = [b"a\n", &*vec![0; nuls], b"b\n\0"].concat();
            assert_eq!(lines(&content, 0), [(0, "a".into(), true), (nuls as u64 + 2, "b".into(), true)], "{nuls}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_wherever_it_is_left_off() {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        let long = vec![b'x'; LONGEST + CHUNK];
        named.write_all(&[&long, &b"x\nb\n"[..]].concat()).unwrap();
        let file = File::open(named.path()).unwrap();
        let mut seen = Vec::new();
        let end = long.len() as u64;
        let rest = for_each(&file, 0, end, false, |_, _| {}, |line| seen.push(line.offset)).unwrap();
        assert_eq!((rest, &*seen), (Rest { skipped: 1, in_long_line: true }, &[][..]));
        let rest = for_each(&file, end, end + 4, true, |_, _| {}, |line| seen.push(line.offset)).unwrap();
        assert_eq!((rest, &*seen), (Rest::default(), &[end + 2][..]));
    }
}
