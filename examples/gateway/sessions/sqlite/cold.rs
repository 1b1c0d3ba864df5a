//! Transcripts in cold storage: what OpenClaw has put away because nobody has used it for long.
//!
//! The records are then in an archive, in the database or in a file beside the agent's sessions. OpenClaw puts
//! them back where they were before it shows them; this only reads them.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read},
    path::PathBuf,
    sync::OnceLock,
};

use rusqlite::{Connection, OptionalExtension, params};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{database::failed, facts::Facts, transcript::Window};
use crate::{files::disk, sessions::transcript::Share};

/// How much an archive may hold, as OpenClaw has it.
const LARGEST: u64 = 64 * 1024 * 1024;
/// How much of what was read may have to be known to read on.
const WINDOW: u64 = 8 * 1024 * 1024;

/// What the database says of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archive {
    name: String,
    sha256: String,
    bytes: u64,
    /// How long all records are.
    raw_bytes: u64,
    records: u64,
    generation: String,
    is_file: bool,
}

/// The records of an archive.
#[derive(Debug)]
pub(super) struct ColdRecords {
    /// By their numbers, in order.
    records: Vec<(u64, String)>,
    /// The number of the first of each id, as soon as one was asked for.
    ids: OnceLock<HashMap<String, u64>>,
    _share: Share,
}

impl Archive {
    /// The archive of a session's window, if that is in cold storage.
    pub(super) fn find(sqlite: &Connection, session: &str) -> io::Result<Option<Self>> {
        let sql =
            "SELECT archive_name, archive_sha256, archive_bytes, raw_bytes, event_count, generation, storage = 'file'
            FROM session_transcript_cold_archives WHERE session_id = ?1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let archive = statement.query_row(params![session], |row| {
            Ok(Self {
                name: row.get(0)?,
                sha256: row.get(1)?,
                bytes: row.get(2)?,
                raw_bytes: row.get(3)?,
                records: row.get(4)?,
                generation: row.get(5)?,
                is_file: row.get(6)?,
            })
        });
        archive.optional().map_err(failed)
    }

    pub(super) fn generation(&self) -> &str {
        &self.generation
    }

    /// Reads the records. An archive that is not what the database says is an error.
    pub(super) fn read(&self, window: &Window) -> io::Result<ColdRecords> {
        if self.raw_bytes > LARGEST || self.bytes > LARGEST {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "an archive is larger than any may be"));
        }
        let share = Share::take(self.raw_bytes);
        let bytes = if self.is_file { self.read_file(window)? } else { self.read_blob(window)? };
        let is_right = bytes.len() as u64 == self.bytes && hex(&Sha256::digest(&bytes)) == self.sha256;
        is_right.then_some(()).ok_or_else(|| invalid("an archive is damaged"))?;
        let records = decode(&bytes)?;
        let is_whole = records.len() as u64 == self.records && records.is_sorted_by(|one, next| one.0 < next.0);
        is_whole.then_some(()).ok_or_else(|| invalid("an archive is not whole"))?;
        Ok(ColdRecords { records, ids: OnceLock::new(), _share: share })
    }

    fn read_file(&self, window: &Window) -> io::Result<Vec<u8>> {
        let is_name = |name: &str| {
            let stem = name.strip_suffix(".jsonl.zst").unwrap_or_default();
            stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let folder: Option<PathBuf> = window.path().parent().map(|folder| match folder.ends_with("agent") {
            true => folder.with_file_name("sessions"),
            false => folder.to_owned(),
        });
        let path = folder.filter(|_| is_name(&self.name)).map(|folder| folder.join("cold").join(&self.name));
        let path = path.ok_or_else(|| invalid("an archive has a strange name"))?;
        let mut bytes = vec![0; self.bytes as usize];
        // An archive that is not there is not an empty transcript.
        let file = disk::File::open(&path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        file.read_exact_at(&mut bytes, 0).map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn read_blob(&self, window: &Window) -> io::Result<Vec<u8>> {
        window.database.read(|snapshot| {
            let sql = "SELECT archive_blob FROM session_transcript_cold_archives WHERE session_id = ?1";
            let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
            let blob: Option<Vec<u8>> =
                statement.query_row(params![window.session], |row| row.get(0)).optional().map_err(failed)?.flatten();
            blob.ok_or_else(|| invalid("an archive is missing"))
        })
    }
}

impl ColdRecords {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &str)> {
        self.records.iter().map(|(raw, json)| (*raw, json.as_str()))
    }

    /// The number of the record with this id. O(all records) the first time.
    pub(super) fn named(&self, id: &str) -> Option<u64> {
        let ids = self.ids.get_or_init(|| {
            let facts = |(raw, json): (u64, &str)| Some((Facts::parse(json.as_bytes()).id.text()?.to_owned(), raw));
            // The first of equal ids is the last that is put in.
            self.iter().rev().filter_map(facts).collect()
        });
        ids.get(id).copied()
    }

    /// The JSON of the record of this number.
    pub(super) fn get(&self, raw: u64) -> Option<&str> {
        let at = self.records.binary_search_by_key(&raw, |(raw, _)| *raw).ok()?;
        Some(&self.records[at].1)
    }
}

/// The records in a frame of lines, each with its kind.
fn decode(frame: &[u8]) -> io::Result<Vec<(u64, String)>> {
    #[derive(Deserialize)]
    struct Line {
        kind: String,
        row: Option<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Row {
        seq: u64,
        event_json: String,
    }
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW);
    let decoder = StreamingDecoder::new_with_decoder(frame, decoder).map_err(|error| broken(&error))?;
    let mut text = String::new();
    // Beside the records an archive has what is found by them, which is not as long again.
    decoder.take(2 * LARGEST).read_to_string(&mut text).map_err(|error| broken(&error))?;
    let mut records = Vec::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).map_err(|error| broken(&error))?;
        if line.kind == "event" {
            let row: Row = serde_json::from_value(line.row.unwrap_or_default()).map_err(|error| broken(&error))?;
            records.push((row.seq, row.event_json));
        }
    }
    Ok(records)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn broken(error: &dyn std::error::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an archive cannot be read: {error}"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
