//! A compressed record is the JSON object that its frame holds, exactly as long as the database says, or it is an error.

use std::{cell::OnceCell, fs};

use rusqlite::{Connection, params};
use serde_json::json;

use super::store::{self, NOW, WINDOW};
use crate::sessions::{record::History as _, transcript::Transcript};

/// The database, that is written all the time, and its reader.
struct Open {
    sqlite: Connection,
    transcript: Transcript,
}

thread_local! {
    static OPEN: OnceCell<Open> = const { OnceCell::new() };
}

fn open() -> Open {
    let path = store::file("compressed.sqlite");
    let records = [store::record("r", None, json!({ "role": "user", "content": "x" }))];
    fs::write(&path, store::database("whole.sqlite", &records)).expect("room in memory");
    let sqlite = Connection::open(&path).expect("a database");
    sqlite.pragma_update(None, "journal_mode", "wal").expect("a log");
    sqlite.pragma_update(None, "synchronous", "off").expect("a database in memory");
    let transcript = store::transcript(&store::open(&path));
    Open { sqlite, transcript }
}

/// The first four bytes are the length that is said.
pub(crate) fn run(input: &[u8]) {
    let Some((length, frame)) = input.split_first_chunk::<4>() else { return };
    let length = u32::from_le_bytes(*length);
    OPEN.with(|open| {
        let Open { sqlite, transcript } = open.get_or_init(self::open);
        let sql = "UPDATE transcript_events SET event_json = NULL, event_zstd = ?2, event_utf8_bytes = ?3
            WHERE session_id = ?1 AND seq = 1";
        sqlite.execute(sql, params![WINDOW, frame, length]).expect("a database");
        let view = transcript.view().expect("what is shown is told by numbers");
        assert_eq!(view.len(), 1);
        let Ok(read) = view.read(0..1) else { return };
        let mut message = read.values(NOW);
        assert!(message.len() <= 1 && (1..=4 * 1024 * 1024).contains(&length));
        // What holds more than one frame is not read by both.
        let Some(text) = decompressed(frame, length as usize) else { return };
        let record = crate::json::object(&text);
        let written = record.as_ref().and_then(|record| record.get("message")?.as_object());
        let Some(written) = written else { return };
        let message = message.pop().expect("a message that is an object is shown");
        assert!(written.iter().all(|(key, value)| key == "__openclaw" || message.get(key) == Some(value)));
    });
}

/// By the other interface of the decoder, which reads piece by piece.
fn decompressed(frame: &[u8], length: usize) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    let mut rest = frame;
    while text.len() < length {
        let before = text.len();
        ruzstd::decoding::StreamingDecoder::new(&mut rest).ok()?.take(length as u64 + 1).read_to_end(&mut text).ok()?;
        if rest.is_empty() && text.len() == before {
            return None;
        }
    }
    (text.len() == length).then_some(text)
}
