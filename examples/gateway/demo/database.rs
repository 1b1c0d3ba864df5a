//! [`Database`]: a writer of an agent's database, for what the gateway reads of one.
//!
//! The tables are OpenClaw's by name and column, as far as they say what a session shows. It writes them as
//! OpenClaw does: each record in one transaction with its place in the branch, or with the remark that the branch
//! has to be found anew.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Result, params};
use serde_json::Value;

const SCHEMA: &str = "
    CREATE TABLE schema_meta (
        meta_key TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, schema_version INTEGER NOT NULL, agent_id TEXT,
        app_version TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE session_nodes (
        session_key TEXT NOT NULL PRIMARY KEY, current_session_id TEXT NOT NULL, entry_json TEXT NOT NULL,
        updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE session_windows (
        session_id TEXT NOT NULL PRIMARY KEY, session_key TEXT NOT NULL, previous_session_id TEXT, reason TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, transcript_updated_at INTEGER
    ) STRICT;
    CREATE TABLE transcript_events (
        session_id TEXT NOT NULL, seq INTEGER NOT NULL, event_json TEXT, created_at INTEGER NOT NULL,
        event_zstd BLOB, event_utf8_bytes INTEGER, navigation_json TEXT, PRIMARY KEY (session_id, seq)
    ) STRICT;
    CREATE TABLE transcript_event_identities (
        session_id TEXT NOT NULL, event_id TEXT NOT NULL, seq INTEGER NOT NULL, event_type TEXT, parent_id TEXT,
        created_at INTEGER NOT NULL, PRIMARY KEY (session_id, event_id)
    ) STRICT;
    CREATE INDEX idx_agent_transcript_event_identity_sequence ON transcript_event_identities(session_id, seq);
    CREATE INDEX idx_agent_transcript_event_sequence
        ON transcript_event_identities(session_id, event_type, seq DESC);
    CREATE TABLE transcript_rewrite_watermarks (
        session_id TEXT NOT NULL PRIMARY KEY, generation TEXT NOT NULL, updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE session_transcript_index_state (
        session_id TEXT NOT NULL PRIMARY KEY, indexed_seq INTEGER NOT NULL, leaf_event_id TEXT,
        needs_rebuild INTEGER NOT NULL DEFAULT 0, active_event_count INTEGER NOT NULL DEFAULT 0,
        active_message_count INTEGER NOT NULL DEFAULT 0, updated_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE session_transcript_active_events (
        session_id TEXT NOT NULL, active_position INTEGER NOT NULL, event_seq INTEGER NOT NULL,
        message_position INTEGER, context_eligible INTEGER, PRIMARY KEY (session_id, active_position)
    ) STRICT;
    CREATE UNIQUE INDEX idx_agent_transcript_active_event_seq
        ON session_transcript_active_events(session_id, event_seq);
    CREATE UNIQUE INDEX idx_agent_transcript_active_messages
        ON session_transcript_active_events(session_id, message_position) WHERE message_position IS NOT NULL;
    CREATE INDEX idx_agent_transcript_context_pending
        ON session_transcript_active_events(session_id) WHERE context_eligible IS NULL;
    CREATE TABLE session_transcript_cold_archives (
        session_id TEXT NOT NULL PRIMARY KEY, generation TEXT NOT NULL, archive_name TEXT NOT NULL UNIQUE,
        archive_sha256 TEXT NOT NULL, event_count INTEGER NOT NULL, raw_bytes INTEGER NOT NULL,
        archive_bytes INTEGER NOT NULL, last_seq INTEGER NOT NULL, archived_at INTEGER NOT NULL,
        storage TEXT NOT NULL, archive_blob BLOB
    ) STRICT;
    PRAGMA user_version = 23;
";

/// A database that this process writes.
pub struct Database {
    pub sqlite: Connection,
}

impl Database {
    /// A new database of this agent, in WAL mode.
    pub fn create(path: &Path, agent: &str, now: i64) -> Result<Self> {
        let mut database = Self::open(path)?;
        let transaction = database.sqlite.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute(
            "INSERT INTO schema_meta VALUES ('primary', 'agent', 23, ?1, '2026.9.6', ?2, ?2)",
            params![agent, now],
        )?;
        transaction.commit()?;
        Ok(database)
    }

    /// The database that is there.
    pub fn open(path: &Path) -> Result<Self> {
        let sqlite = Connection::open(path)?;
        sqlite.pragma_update(None, "journal_mode", "wal")?;
        sqlite.pragma_update(None, "synchronous", "normal")?;
        Ok(Self { sqlite })
    }

    /// Adds a session, whose transcript goes by this id and begins with its header.
    pub fn add_session(&mut self, key: &str, session: &str, now: i64) -> Result<()> {
        let entry = serde_json::json!({ "sessionId": session, "updatedAt": now }).to_string();
        let transaction = self.sqlite.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO session_nodes VALUES (?1, ?2, ?3, ?4)",
            params![key, session, entry, now],
        )?;
        transaction.execute(
            "INSERT INTO session_windows VALUES (?1, ?2, NULL, 'initial', ?3, ?3, ?3)",
            params![session, key, now],
        )?;
        transaction.execute(
            "INSERT INTO transcript_rewrite_watermarks VALUES (?1, lower(hex(randomblob(16))), ?2)",
            params![session, now],
        )?;
        transaction.commit()?;
        self.append(session, &[&serde_json::json!({ "type": "session", "version": 4, "id": session })], now)
    }

    /// Adds records to a transcript, in one transaction.
    pub fn append(&mut self, session: &str, records: &[&Value], now: i64) -> Result<()> {
        let transaction = self.sqlite.transaction()?;
        for record in records {
            append(&transaction, session, record, now)?;
        }
        transaction.execute(
            "UPDATE session_windows SET updated_at = ?2, transcript_updated_at = ?2 WHERE session_id = ?1",
            params![session, now],
        )?;
        transaction
            .execute("UPDATE session_nodes SET updated_at = ?2 WHERE current_session_id = ?1", params![session, now])?;
        transaction.commit()
    }
}

fn append(sqlite: &Connection, session: &str, record: &Value, now: i64) -> Result<()> {
    let sql = "SELECT coalesce(max(seq) + 1, 0) FROM transcript_events WHERE session_id = ?1";
    let seq: i64 = sqlite.query_row(sql, params![session], |row| row.get(0))?;
    let json = record.to_string();
    sqlite.execute(
        "INSERT INTO transcript_events (session_id, seq, event_json, created_at, event_utf8_bytes)
            VALUES (?1, ?2, ?3, ?4, octet_length(?3))",
        params![session, seq, json, now],
    )?;
    let text = |name: &str| record[name].as_str();
    if let Some(id) = text("id") {
        sqlite.execute(
            "INSERT OR IGNORE INTO transcript_event_identities VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![session, id, seq, text("type"), text("parentId"), now],
        )?;
    }
    let sql = "SELECT indexed_seq, leaf_event_id, needs_rebuild, active_event_count, active_message_count
        FROM session_transcript_index_state WHERE session_id = ?1";
    let state = sqlite.query_row(sql, params![session], |row| {
        Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get(3)?, row.get(4)?))
    });
    let (indexed, leaf, needs_rebuild, records, messages): (_, Option<String>, _, i64, i64) =
        state.optional()?.unwrap_or((-1, None, 0, 0, 0));
    let is_header = text("type") == Some("session");
    let goes_on = needs_rebuild == 0 && indexed + 1 == seq && (is_header || text("parentId") == leaf.as_deref());
    if !goes_on {
        // Another branch: its records are to be found anew.
        sqlite.execute(
            "UPDATE session_transcript_index_state SET needs_rebuild = 1 WHERE session_id = ?1",
            params![session],
        )?;
        return Ok(());
    }
    let is_message = record.get("message").is_some();
    if !is_header {
        sqlite.execute(
            "INSERT INTO session_transcript_active_events VALUES (?1, ?2, ?3, ?4, 1)",
            params![session, records, seq, is_message.then_some(messages)],
        )?;
    }
    sqlite.execute(
        "INSERT OR REPLACE INTO session_transcript_index_state VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)",
        params![
            session,
            seq,
            if is_header { None } else { text("id") },
            records + i64::from(!is_header),
            messages + i64::from(!is_header && is_message),
            now
        ],
    )?;
    Ok(())
}
