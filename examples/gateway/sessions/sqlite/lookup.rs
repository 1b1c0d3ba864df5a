//! [`Lookup`]: the session that goes by a key, and the proof that it is still that one and as it was.

use std::{
    io,
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;

use super::database::{Database, Version, failed, lock};
use crate::sessions::store::{Names, Place};

/// The row of a session, whether or not it is there.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) database: Arc<Database>,
    pub(super) key: String,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (self.database.path(), &self.key) == (other.database.path(), &other.key)
    }
}

/// A question to a database, and what the answer was.
#[derive(Debug)]
pub struct Lookup {
    row: Row,
    found: Option<Moment>,
    /// At which version that was last known to be the answer.
    known_at: Mutex<Version>,
}

/// A session as its row has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The window that is current: the id of its transcript.
    pub session: String,
    /// Milliseconds since 1970.
    pub updated_at: f64,
    entry: String,
}

/// A session's state: every change to what is shown of it changes this too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    session: String,
    generation: Option<String>,
    latest: Option<i64>,
    updated_at: Option<i64>,
    is_cold: bool,
}

impl Lookup {
    /// Asks the database for the session of this key. Blocks.
    pub fn find(database: &Arc<Database>, key: &str) -> io::Result<(Arc<Self>, Option<Node>)> {
        // Taken before: what changes in between is seen later.
        let known_at = Mutex::new(database.version()?);
        let (found, node) = database.read(|snapshot| {
            let node = Node::read(snapshot.sqlite, key)?;
            Ok((Moment::read(snapshot.sqlite, key)?, node))
        })?;
        let row = Row { database: Arc::clone(database), key: key.to_owned() };
        Ok((Arc::new(Self { row, found, known_at }), node))
    }

    /// A question that is yet to be answered.
    pub fn open(database: &Arc<Database>, key: &str) -> Arc<Self> {
        let row = Row { database: Arc::clone(database), key: key.to_owned() };
        Arc::new(Self { row, found: None, known_at: Mutex::new(Version::NONE) })
    }

    /// Whether the answer would be the same now, and the transcript the same. Does not block: what cannot be told
    /// without is no.
    pub fn is_unchanged(&self) -> bool {
        let known_at = *lock(&self.known_at);
        if self.row.database.is_at(known_at) {
            return true;
        }
        let now = self.row.database.at_once(|sqlite| Moment::read(sqlite, &self.row.key));
        match now {
            Some((version, now)) if now == self.found => {
                *lock(&self.known_at) = version;
                true
            }
            _ => false,
        }
    }

    pub fn row(&self) -> &Row {
        &self.row
    }
}

impl Database {
    /// So many rows in the order of a list, after this one. Blocks.
    pub fn newest(&self, after: Option<&Place>, count: usize) -> io::Result<Vec<Place>> {
        let sql = "SELECT updated_at, session_key FROM session_nodes
            WHERE updated_at <= ?1 AND (updated_at < ?1 OR session_key > ?2)
            ORDER BY updated_at DESC, session_key LIMIT ?3";
        let (updated_at, key) = after.map_or((f64::MAX, ""), |after| (after.updated_at, after.key.as_str()));
        self.read(|snapshot| {
            let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
            let rows = statement.query_map(params![updated_at, key, count as i64], |row| {
                Ok(Place { updated_at: row.get(0)?, key: row.get(1)? })
            });
            let rows: Vec<Place> = rows.and_then(Iterator::collect).map_err(failed)?;
            // Whoever asks for what comes after the last of them would go round in circles.
            let is_in_order = after.into_iter().chain(&rows).is_sorted_by(|one, next| one < next);
            is_in_order
                .then_some(rows)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an index is not in order"))
        })
    }
}

impl Node {
    pub fn names(&self) -> Names {
        Names::of_entry(&self.entry)
    }

    fn read(sqlite: &Connection, key: &str) -> io::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "sessionId")]
            id: String,
        }
        let sql = "SELECT current_session_id, updated_at, entry_json FROM session_nodes WHERE session_key = ?1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let row = statement.query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)));
        let Some((session, updated_at, entry)) = row.optional().map_err(failed)? else { return Ok(None) };
        let has_session = serde_json::from_str::<Entry>(&entry).is_ok_and(|entry| !entry.id.trim().is_empty());
        Ok(has_session.then_some(Self { session, updated_at, entry }))
    }
}

impl Moment {
    pub(super) fn read(sqlite: &Connection, key: &str) -> io::Result<Option<Self>> {
        let sql = "SELECT node.current_session_id,
                (SELECT generation FROM transcript_rewrite_watermarks AS mark
                    WHERE mark.session_id = node.current_session_id),
                (SELECT max(seq) FROM transcript_events AS event WHERE event.session_id = node.current_session_id),
                (SELECT transcript_updated_at FROM session_windows AS windows
                    WHERE windows.session_id = node.current_session_id),
                EXISTS (SELECT 1 FROM session_transcript_cold_archives AS cold
                    WHERE cold.session_id = node.current_session_id)
            FROM session_nodes AS node WHERE node.session_key = ?1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let row = statement.query_row(params![key], |row| {
            Ok(Self {
                session: row.get(0)?,
                generation: row.get(1)?,
                latest: row.get(2)?,
                updated_at: row.get(3)?,
                is_cold: row.get(4)?,
            })
        });
        row.optional().map_err(failed)
    }
}
