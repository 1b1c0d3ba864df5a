//! The JSON of a record, as a row of `transcript_events` has it: as text, or compressed.

use std::io::{self, ErrorKind};

use rusqlite::{Row, types::ValueRef};
use ruzstd::decoding::FrameDecoder;

use super::database::failed;

/// The longest record that is compressed, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// The columns that [`append`] takes.
pub(super) const COLUMNS: &str = "event_json, event_zstd, event_utf8_bytes";

/// How long a record is, as an expression. What is said of a compressed one is believed as far as it may be so.
pub(super) const LENGTH: &str =
    "CASE WHEN event_json IS NULL THEN min(max(event_utf8_bytes, 0), 4194304) ELSE octet_length(event_json) END";

/// Adds a record to the bytes. The row has [`COLUMNS`] first.
pub(super) fn append(row: &Row<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    match row.get_ref(0).map_err(failed)? {
        ValueRef::Text(json) => {
            bytes.extend_from_slice(json);
            Ok(())
        }
        ValueRef::Null => match (row.get_ref(1).map_err(failed)?, row.get_ref(2).map_err(failed)?) {
            (ValueRef::Blob(frame), ValueRef::Integer(length)) => decompress(frame, length, bytes),
            _ => Err(invalid("a record has neither text nor a frame with its length")),
        },
        _ => Err(invalid("a record is no text")),
    }
}

/// Adds what a zstd frame (RFC 8878) holds, which is so long. Allocates nothing for one that cannot be.
fn decompress(frame: &[u8], length: i64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(length).ok().filter(|length| (1..=LONGEST).contains(length));
    let length = length.ok_or_else(|| invalid("a compressed record has no possible length"))?;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(LONGEST as u64);
    let start = bytes.len();
    bytes.resize(start + length, 0);
    match decoder.decode_all(frame, &mut bytes[start..]) {
        Ok(decoded) if decoded == length => Ok(()),
        Ok(_) => Err(invalid("a compressed record is shorter than it says")),
        Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error.to_string())),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn decompressed(frame: &[u8], length: i64) -> io::Result<Vec<u8>> {
        let mut bytes = b"before".to_vec();
        decompress(frame, length, &mut bytes)?;
        Ok(bytes.split_off(6))
    }

    #[test]
    fn a_frame_is_what_it_was_made_of_and_exactly_as_long_as_the_row_says() {
        let text = "{\"message\":\"text\"}".repeat(200_000);
        let frame = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let length = text.len() as i64;
        assert_eq!(decompressed(&frame, length).unwrap(), text.as_bytes());
        for wrong in [length - 1, length + 1, 0, -1, i64::MAX, LONGEST as i64 + 1] {
            assert_eq!(decompressed(&frame, wrong).unwrap_err().kind(), ErrorKind::InvalidData, "{wrong}");
        }
        for cut in [0, 1, 4, 9, frame.len() / 2, frame.len() - 1] {
            assert!(decompressed(&frame[..cut], length).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_frame_that_wants_much_memory_gets_none() {
        // A window of 1 GiB, and one block of eight bytes (RFC 8878 section 3.1.1).
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA0, 0x41, 0x00, 0x00, 1, 2, 3, 4, 5, 6, 7, 8];
        assert!(decompressed(&frame, 8).is_err());
    }
}
