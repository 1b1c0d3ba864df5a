//! Cutting a part of a file into lines.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use memchr::memchr_iter;

/// How much is read at once.
const CHUNK: usize = 1024 * 1024;

/// The longest line that is read at all; no JavaScript string is longer.
pub(super) const LONGEST: usize = 512 * 1024 * 1024;

/// A line and where it is.
pub(super) struct FileLine<'a> {
    pub(super) offset: u64,
    /// Without the line's end, which is `\n` or `\r\n`.
    pub(super) text: &'a [u8],
    /// The line's end is there.
    pub(super) is_complete: bool,
}

/// Calls `line` for each line of the file between two offsets, the last of which may be cut short, and
/// `read` with the bytes that these lines are cut from, piece by piece.
pub(super) fn for_each(
    file: &File,
    from: u64,
    to: u64,
    mut read: impl FnMut(u64, &[u8]),
    mut line: impl FnMut(FileLine<'_>),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(to - from).unwrap_or(CHUNK))];
    // The buffer begins with the line that begins at this offset.
    let mut offset = from;
    let mut filled = 0;
    while offset + (filled as u64) < to {
        if filled == buffer.len() {
            if filled >= LONGEST {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line is too long"));
            }
            buffer.resize(2 * filled, 0);
        }
        let left = to - offset - filled as u64;
        let room = buffer.len() - filled;
        let end = filled + usize::try_from(left).map_or(room, |left| left.min(room));
        file.read_exact_at(&mut buffer[filled..end], offset + filled as u64)?;
        read(offset + filled as u64, &buffer[filled..end]);

        let mut start = 0;
        for newline in memchr_iter(b'\n', &buffer[filled..end]) {
            let newline = filled + newline;
            let text = &buffer[start..newline];
            line(FileLine {
                offset: offset + start as u64,
                text: text.strip_suffix(b"\r").unwrap_or(text),
                is_complete: true,
            });
            start = newline + 1;
        }
        buffer.copy_within(start..end, 0);
        filled = end - start;
        offset += start as u64;
    }
    if filled > 0 {
        line(FileLine { offset, text: &buffer[..filled], is_complete: false });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(content: &[u8], from: u64) -> Vec<(u64, String, bool)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut lines = Vec::new();
        let mut read = Vec::new();
        let keep = |offset, bytes: &[u8]| {
            assert_eq!(offset, from + read.len() as u64);
            read.extend_from_slice(bytes);
        };
        for_each(&file, from, content.len() as u64, keep, |line| {
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
        let file = tempfile::tempfile().unwrap();
        let error = for_each(&file, 0, 5, |_, _| {}, |_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}
