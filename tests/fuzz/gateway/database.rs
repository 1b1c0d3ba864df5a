//! A database whose cells, rows and bytes are not what OpenClaw wrote is read in bounded time and memory: it is shown, or it
//! is an error, and never one that says that nothing is there.

use std::{fs, io, sync::OnceLock};

use rusqlite::{Connection, types::Value as Cell};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use super::store::{self, KEY, WINDOW};
use crate::sessions::{history, sqlite};

/// What of a table can be changed.
const COLUMNS: [(&str, &str); 28] = [
    ("session_nodes", "session_key"),
    ("session_nodes", "current_session_id"),
    ("session_nodes", "entry_json"),
    ("session_nodes", "updated_at"),
    ("session_windows", "transcript_updated_at"),
    ("transcript_events", "session_id"),
    ("transcript_events", "seq"),
    ("transcript_events", "event_json"),
    ("transcript_events", "event_zstd"),
    ("transcript_events", "event_utf8_bytes"),
    ("transcript_events", "navigation_json"),
    ("transcript_event_identities", "event_id"),
    ("transcript_event_identities", "seq"),
    ("transcript_event_identities", "event_type"),
    ("transcript_event_identities", "parent_id"),
    ("transcript_rewrite_watermarks", "generation"),
    ("session_transcript_index_state", "indexed_seq"),
    ("session_transcript_index_state", "leaf_event_id"),
    ("session_transcript_index_state", "needs_rebuild"),
    ("session_transcript_index_state", "active_event_count"),
    ("session_transcript_index_state", "active_message_count"),
    ("session_transcript_active_events", "active_position"),
    ("session_transcript_active_events", "event_seq"),
    ("session_transcript_active_events", "message_position"),
    ("session_transcript_active_events", "context_eligible"),
    ("session_transcript_cold_archives", "session_id"),
    ("schema_meta", "schema_version"),
    ("schema_meta", "meta_key"),
];

fn records() -> Vec<Value> {
    let long = json!({ "role": "assistant", "content": "compressed ".repeat(200) });
    let mark = |id: &str, parent: &str, kind: &str| json!({ "type": kind, "id": id, "parentId": parent, "display": true, "timestamp": "2026-01-02T03:04:05Z" });
    let mut reset = mark("r5", "r4", "reset");
    reset["firstKeptEntryId"] = "r1".into();
    vec![
        store::record("r0", None, json!({ "role": "user", "content": "first" })),
        store::record("r1", Some("r0"), json!({ "role": "user", "content": "question" })),
        store::record("r2", Some("r1"), long),
        mark("r3", "r2", "custom_message"),
        store::record("r4", Some("r3"), json!({ "role": "assistant", "content": "answer" })),
        reset,
        store::record("r6", Some("r5"), json!({ "role": "user", "content": "again" })),
        mark("r7", "r6", "compaction"),
        store::record("r8", Some("r7"), json!({ "role": "assistant", "content": "HEARTBEAT_OK" })),
    ]
}

fn template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let path = store::file("template.sqlite");
        fs::write(&path, store::database("made.sqlite", &records())).expect("room in memory");
        let sqlite = Connection::open(&path).expect("a database");
        let sql = "SELECT seq, event_json FROM transcript_events WHERE octet_length(event_json) > 1024";
        let (seq, json): (i64, String) =
            sqlite.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("a long record");
        let frame = compress_to_vec(json.as_bytes(), CompressionLevel::Fastest);
        let sql = "UPDATE transcript_events SET event_json = NULL, event_zstd = ?2, event_utf8_bytes = ?3,
            navigation_json = json_object('navigation', json_remove(json(?4), '$.message.content')) WHERE seq = ?1";
        sqlite.execute(sql, rusqlite::params![seq, frame, json.len(), json]).expect("a compressed record");
        drop(sqlite);
        fs::read(&path).expect("a database")
    })
}

/// Bytes of the input, one after the other; none are zeros.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn text(&mut self) -> &'a [u8] {
        let length = usize::from(self.next()).min(self.0.len());
        self.0.split_off(..length).unwrap_or_default()
    }

    fn number(&mut self) -> i64 {
        const EDGES: [i64; 8] = [i64::MAX, i64::MIN, -1, 1 << 32, 1 << 40, 1 << 53, 4 * 1024 * 1024, i64::MAX - 1];
        match self.next() {
            byte @ 0..200 => i64::from(byte) - 20,
            byte => EDGES[usize::from(byte % 8)],
        }
    }

    fn cell(&mut self) -> Cell {
        match self.next() % 4 {
            0 => Cell::Null,
            1 => Cell::Text(String::from_utf8_lossy(self.text()).into_owned()),
            2 => Cell::Blob(self.text().to_vec()),
            _ => Cell::Integer(self.number()),
        }
    }
}

/// Does what the input says; what the tables do not take is left as it was.
fn change(sqlite: &Connection, bytes: &mut Bytes<'_>) {
    for _ in 0..bytes.next() % 8 {
        let (table, column) = COLUMNS[usize::from(bytes.next()) % COLUMNS.len()];
        let row = bytes.next() % 12;
        let which = format!("rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {row})");
        let _ = match bytes.next() % 8 {
            0 => sqlite.execute(&format!("DELETE FROM {table} WHERE {which}"), []),
            1 => sqlite.execute(&format!("UPDATE OR REPLACE {table} SET {column} = {column} + 1"), []),
            2 => {
                let sql = "INSERT OR REPLACE INTO session_transcript_cold_archives
                    VALUES (?1, 'g', 'n', ?2, 1, ?3, ?3, 1, 1, 'sqlite', ?2)";
                sqlite.execute(sql, rusqlite::params![WINDOW, bytes.cell(), bytes.number()])
            }
            3 => sqlite.execute("DELETE FROM transcript_events", []),
            _ => sqlite.execute(&format!("UPDATE OR REPLACE {table} SET {column} = ?1 WHERE {which}"), [bytes.cell()]),
        };
    }
}

pub(crate) fn run(input: &[u8]) {
    let path = store::file("database.sqlite");
    store::put(&path, template());
    let mut bytes = Bytes(input);
    let sqlite = Connection::open(&path).expect("a database");
    sqlite.pragma_update(None, "journal_mode", "off").expect("no journal");
    let transaction = sqlite.unchecked_transaction().expect("a transaction");
    change(&transaction, &mut bytes);
    transaction.commit().expect("a database");
    drop(sqlite);
    let mut content = fs::read(&path).expect("a database");
    while let [page, place, byte, ..] = *bytes.0 {
        let place = usize::from(page) * 4096 + usize::from(place) * 8 + usize::from(byte % 8);
        if let Some(there) = content.get_mut(place) {
            *there = byte;
        }
        bytes.0 = &bytes.0[3..];
    }
    store::put(&path, &content);
    if let Err(error) = read(&path) {
        assert!(!history::reads_as_empty(&error), "{error}");
    }
}

fn read(path: &std::path::Path) -> io::Result<()> {
    let database = store::open(path);
    let listed = database.newest(None, 5)?;
    if let Some(last) = listed.last() {
        let next = database.newest(Some(last), 5)?;
        assert!(next.iter().all(|place| !listed.contains(place)));
    }
    let (lookup, node) = sqlite::Lookup::find(&database, KEY)?;
    assert!(lookup.is_unchanged());
    if let Some(node) = node {
        let _ = node.names();
    }
    let transcript = store::transcript(&database);
    let view = transcript.view()?;
    let again = transcript.view()?;
    assert_eq!(format!("{}", view.position()), format!("{}", again.position()));
    store::read(&view)
}
