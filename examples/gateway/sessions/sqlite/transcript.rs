//! [`Transcript`]: the records of a session's window, and [`View`]: what is shown of them at one moment.
//!
//! A look costs what is looked at: which records are shown is told by numbers ([`Layout`]), and their text is read
//! for a page only. In between the database is not held: what was read of a generation stays as it is, so the
//! next read only asks whether it is the same generation still.

use std::{
    fs,
    hash::{Hash, Hasher},
    io,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use memchr::memmem;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::{
    branch::Branch,
    cold::{Archive, ColdRecords},
    database::{Database, FileId, Snapshot, failed, lock},
    event,
    facts::Facts,
    layout::{self, Counts, Layout, Shown},
};
use crate::{
    json::{self, Fields as _, Value},
    sessions::{
        projection::tool_activity,
        record::{Activity, History, TranscriptSource},
        store::AgentId,
        transcript::{Generation, Position, RawMessages, Share, written_over},
    },
};

/// How many records are asked for at once.
const AT_ONCE: usize = 4096;

/// Which transcript it is: a window of a session is one.
#[derive(Clone, Debug)]
pub struct Window {
    pub database: Arc<Database>,
    pub agent: AgentId,
    /// The id of the window.
    pub session: String,
}

/// A window of a session, known as far as it was looked at.
#[derive(Debug)]
pub struct Transcript {
    window: Window,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    moment: Option<Arc<Moment>>,
    branch: Option<OwnBranch>,
}

/// The branch as it was worked out here.
#[derive(Debug)]
struct OwnBranch {
    file: FileId,
    generation: Option<String>,
    branch: Branch,
    /// The last record that was looked at.
    last: Option<u64>,
}

/// What was shown at one moment.
#[derive(Debug)]
struct Moment {
    life: Generation,
    file: FileId,
    head: Head,
    source: Option<TranscriptSource>,
    layout: Layout,
    /// The records of the messages of the branch, if the database does not count them.
    messages: Option<Vec<u64>>,
    counts: Counts,
    /// The last record of the branch, by which it is known again.
    end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    raw: u64,
    id: Option<String>,
}

/// What the database says of a window as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    generation: Option<String>,
    latest: Option<i64>,
    /// The branch as the database has counted it, if it has up to the latest record.
    index: Option<(Counts, Option<String>)>,
    /// Where the records are, if they are in cold storage.
    archive: Option<Archive>,
}

impl Window {
    /// The database's file.
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    fn key(&self) -> (&Path, &str) {
        (self.path(), &self.session)
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Window {}

impl Hash for Window {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Transcript {
    pub fn new(window: Window) -> Self {
        Self { window, known: Mutex::default() }
    }

    /// The transcript as it is now. Blocks.
    pub fn view(&self) -> io::Result<View> {
        let mut known = lock(&self.known);
        let before = known.moment.clone();
        let read = self.window.database.read(|snapshot| {
            let head = Head::read(snapshot.sqlite, &self.window.session)?;
            if let Some(before) = before.as_ref().filter(|before| before.file == snapshot.file && before.head == head) {
                return Ok(Read::Same(Arc::clone(before)));
            }
            match (&head.index, head.latest) {
                (Some((counts, _)), _) => {
                    self.indexed(snapshot, head.clone(), *counts, before.as_deref()).map(Read::Indexed)
                }
                (None, None) if head.archive.is_none() => self.empty(snapshot, head.clone()).map(Read::Indexed),
                _ => Ok(Read::NotIndexed(head)),
            }
        })?;
        let moment = match read {
            Read::Same(moment) => moment,
            Read::Indexed(moment) => {
                known.branch = None;
                Arc::new(moment)
            }
            Read::NotIndexed(Head { archive: Some(archive), .. }) => Arc::new(self.archived(&archive)?),
            Read::NotIndexed(_) => Arc::new(self.worked_out(&mut known.branch, before.as_deref())?),
        };
        known.moment = Some(Arc::clone(&moment));
        Ok(View { window: self.window.clone(), moment, archived: OnceLock::new() })
    }

    /// Forgets a moment of which something turned out not to be so.
    pub fn forget(&self, position: Position) {
        let mut known = lock(&self.known);
        if known.moment.as_ref().is_some_and(|moment| moment.life == position.generation) {
            *known = Known::default();
        }
    }

    /// A window without records. One that no session has any more is not empty, it is gone.
    fn empty(&self, snapshot: &Snapshot<'_>, head: Head) -> io::Result<Moment> {
        let sql = "SELECT EXISTS (SELECT 1 FROM session_nodes WHERE current_session_id = ?1)";
        let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
        let is_there: bool = statement.query_row(params![self.window.session], |row| row.get(0)).map_err(failed)?;
        is_there.then_some(()).ok_or_else(written_over)?;
        self.moment(snapshot, head, Layout::default(), None, Counts::default(), None, None)
    }

    fn indexed(
        &self,
        snapshot: &Snapshot<'_>,
        head: Head,
        counts: Counts,
        before: Option<&Moment>,
    ) -> io::Result<Moment> {
        let sqlite = snapshot.sqlite;
        let record_at = |position: Option<u64>| {
            let Some(position) = position else { return Ok(None) };
            let sql =
                "SELECT event_seq FROM session_transcript_active_events WHERE session_id = ?1 AND active_position = ?2";
            let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
            statement.query_row(params![self.window.session, position], |row| row.get(0)).optional().map_err(failed)
        };
        let before = match before.filter(|before| before.is_of(snapshot, &head)) {
            Some(before)
                if record_at(before.counts.records.checked_sub(1))? == before.end.as_ref().map(|end| end.raw) =>
            {
                let is_same =
                    before.end == End::of(sqlite, &self.window.session, before.end.as_ref().map(|end| end.raw))?;
                is_same.then_some(before)
            }
            _ => None,
        };
        let from = before.map(|before| {
            // There may be no number after it, and then no record either.
            let raw = before.head.latest.map_or(0, |latest| latest.saturating_add(1).max(0) as u64);
            (&before.layout, layout::From { position: before.counts.records, raw })
        });
        let layout = Layout::of_index(sqlite, &self.window.session, counts, from)?;
        let end = record_at(counts.records.checked_sub(1))?;
        self.moment(snapshot, head, layout, None, counts, end, before)
    }

    /// Works the branch out, or goes on with it, in more than one transaction if it is long.
    fn worked_out(&self, own: &mut Option<OwnBranch>, before: Option<&Moment>) -> io::Result<Moment> {
        loop {
            let moment = self.window.database.read(|snapshot| {
                let head = Head::read(snapshot.sqlite, &self.window.session)?;
                let is_same = |own: &&mut OwnBranch| own.file == snapshot.file && own.generation == head.generation;
                let own = match own.as_mut().filter(is_same) {
                    Some(own) => own,
                    None => own.insert(OwnBranch {
                        file: snapshot.file,
                        generation: head.generation.clone(),
                        branch: Branch::default(),
                        last: None,
                    }),
                };
                let is_whole = own.catch_up(snapshot.sqlite, &self.window.session)?;
                if !is_whole {
                    return Ok(None);
                }
                own.branch.settle();
                let (layout, messages) = Layout::of_branch(&own.branch);
                let rows = own.branch.rows();
                let counts = Counts { records: rows.len() as u64, messages: messages.len() as u64 };
                let before = before.filter(|before| {
                    let last = (before.counts.records as usize).checked_sub(1);
                    let known = last.and_then(|last| rows.get(last)).map(|row| row.raw);
                    before.is_of(snapshot, &head) && known == before.end.as_ref().map(|end| end.raw)
                });
                let end = rows.last().map(|row| row.raw);
                self.moment(snapshot, head, layout, Some(messages), counts, end, before).map(Some)
            })?;
            if let Some(moment) = moment {
                return Ok(moment);
            }
        }
    }

    /// What an archive shows. Its records are read for that, and let go.
    fn archived(&self, archive: &Archive) -> io::Result<Moment> {
        let mut branch = Branch::default();
        for (raw, json) in archive.read(&self.window)?.iter() {
            branch.push(raw, &Facts::parse(json.as_bytes()));
        }
        branch.settle();
        let (layout, messages) = Layout::of_branch(&branch);
        let counts = Counts { records: branch.rows().len() as u64, messages: messages.len() as u64 };
        self.window.database.read(|snapshot| {
            let head = Head::read(snapshot.sqlite, &self.window.session)?;
            if head.archive.as_ref() != Some(archive) {
                return Err(written_over());
            }
            self.moment(snapshot, head, layout.clone(), Some(messages.clone()), counts, None, None)
        })
    }

    /// `before` is what this goes on from, if the branch does.
    #[expect(clippy::too_many_arguments)]
    fn moment(
        &self,
        snapshot: &Snapshot<'_>,
        head: Head,
        layout: Layout,
        messages: Option<Vec<u64>>,
        counts: Counts,
        end: Option<u64>,
        before: Option<&Moment>,
    ) -> io::Result<Moment> {
        let goes_on = before.filter(|before| layout.goes_on_from(&before.layout));
        let source = match before {
            Some(before) => before.source.clone(),
            None => head.generation().map(|generation| self.source(generation)).transpose()?,
        };
        let life = goes_on.map_or_else(Generation::next, |before| before.life);
        let end = End::of(snapshot.sqlite, &self.window.session, end)?;
        Ok(Moment { life, file: snapshot.file, head, source, layout, messages, counts, end })
    }

    /// By what name a generation is known (`source`).
    fn source(&self, generation: &str) -> io::Result<TranscriptSource> {
        let path = fs::canonicalize(self.window.database.path())?;
        let parts = serde_json::json!([
            "sqlite",
            path.to_string_lossy(),
            self.window.agent.as_str(),
            self.window.session,
            generation
        ]);
        Ok(TranscriptSource::new(&base64url(&Sha256::digest(parts.to_string()))))
    }
}

enum Read {
    Same(Arc<Moment>),
    Indexed(Moment),
    NotIndexed(Head),
}

impl Moment {
    /// Whether it is of this file and generation.
    fn is_of(&self, snapshot: &Snapshot<'_>, head: &Head) -> bool {
        self.file == snapshot.file && self.head.generation == head.generation
    }
}

impl End {
    fn of(sqlite: &Connection, session: &str, raw: Option<u64>) -> io::Result<Option<Self>> {
        let Some(raw) = raw else { return Ok(None) };
        let sql = "SELECT event_id FROM transcript_event_identities WHERE session_id = ?1 AND seq = ?2";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let id = statement.query_row(params![session, raw], |row| row.get(0)).optional().map_err(failed)?;
        Ok(Some(Self { raw, id }))
    }
}

impl Head {
    fn read(sqlite: &Connection, session: &str) -> io::Result<Self> {
        let sql = "SELECT mark.generation, latest.seq, state.indexed_seq, state.active_event_count,
                state.active_message_count, state.leaf_event_id,
                state.needs_rebuild
                    OR EXISTS (SELECT 1 FROM session_transcript_active_events AS active
                        WHERE active.session_id = ?1 AND active.context_eligible IS NULL)
                    OR NOT EXISTS (SELECT 1 FROM transcript_event_identities AS identity
                        WHERE identity.session_id = ?1 AND identity.seq = latest.first)
            FROM (SELECT (SELECT max(seq) FROM transcript_events WHERE session_id = ?1) AS seq,
                    (SELECT min(seq) FROM transcript_events WHERE session_id = ?1) AS first) AS latest
                LEFT JOIN session_transcript_index_state AS state ON state.session_id = ?1
                LEFT JOIN transcript_rewrite_watermarks AS mark ON mark.session_id = ?1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let head = statement.query_row(params![session], |row| {
            let latest: Option<i64> = row.get(1)?;
            let indexed: Option<i64> = row.get(2)?;
            let index = match latest.is_some() && latest == indexed && !row.get(6)? {
                true => Some((Counts { records: row.get(3)?, messages: row.get(4)? }, row.get(5)?)),
                false => None,
            };
            Ok(Self { generation: row.get(0)?, latest, index, archive: None })
        });
        let head = head.map_err(failed)?;
        let archive = if head.latest.is_none() { Archive::find(sqlite, session)? } else { None };
        Ok(Self { archive, ..head })
    }

    /// The mark goes with the records into the archive.
    fn generation(&self) -> Option<&str> {
        self.generation.as_deref().or(self.archive.as_ref().map(Archive::generation))
    }
}

impl OwnBranch {
    /// Takes in the records that came since, and says whether that was all of them.
    fn catch_up(&mut self, sqlite: &Connection, session: &str) -> io::Result<bool> {
        let facts = layout::FACTS;
        let sql = format!(
            "SELECT seq, {facts} FROM transcript_events
            WHERE session_id = ?1 AND seq >= 0 AND seq > coalesce(?2, -1) ORDER BY seq LIMIT ?3"
        );
        let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params![session, self.last, AT_ONCE as u64]).map_err(failed)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            let raw: u64 = row.get(0).map_err(failed)?;
            let facts = row.get_ref(1).map_err(failed)?.as_bytes_or_null().map_err(|error| failed(error.into()))?;
            self.branch.push(raw, &facts.map(Facts::parse).unwrap_or_default());
            self.last = Some(raw);
            count += 1;
        }
        Ok(count < AT_ONCE)
    }
}

/// A transcript at one moment.
#[derive(Debug)]
pub struct View {
    window: Window,
    moment: Arc<Moment>,
    /// The records, if they are in cold storage and were looked at.
    archived: OnceLock<ColdRecords>,
}

impl View {
    /// How far the history has got at this moment.
    pub fn position(&self) -> Position {
        Position { generation: self.moment.life, length: self.len() }
    }

    /// The numbers of the records that are shown at these places, and how long they are.
    fn find(&self, range: Range<usize>) -> io::Result<Vec<(u64, u64)>> {
        let end = self.len();
        // Not listed: how many there are is what the database says, and they may not all be there.
        let shown = || self.moment.layout.shown(range.start.min(end)..range.end.min(end));
        match self.archived()? {
            Some(archived) => self.archived_records(archived, shown()),
            None => self.window.database.read(|snapshot| self.records(snapshot, shown())),
        }
    }

    /// The records that are in cold storage, if they are.
    fn archived(&self) -> io::Result<Option<&ColdRecords>> {
        let Some(archive) = &self.moment.head.archive else { return Ok(None) };
        if let Some(archived) = self.archived.get() {
            return Ok(Some(archived));
        }
        let records = archive.read(&self.window)?;
        Ok(Some(self.archived.get_or_init(|| records)))
    }

    fn archived_records(
        &self,
        archived: &ColdRecords,
        shown: impl Iterator<Item = Shown>,
    ) -> io::Result<Vec<(u64, u64)>> {
        let raws = self.moment.messages.as_deref().unwrap_or_default();
        let of = |shown: Shown| {
            let raw = match shown {
                Shown::Marker(raw) => raw,
                Shown::Message(position) => *raws.get(position as usize)?,
            };
            Some((raw, archived.get(raw)?.len() as u64))
        };
        shown.map(of).collect::<Option<_>>().ok_or_else(written_over)
    }

    /// The numbers of the records that are shown, and how long they are.
    fn records(&self, snapshot: &Snapshot<'_>, shown: impl Iterator<Item = Shown>) -> io::Result<Vec<(u64, u64)>> {
        self.check_generation(snapshot)?;
        let length = event::LENGTH;
        let of_record = format!("SELECT seq, {length} FROM transcript_events WHERE session_id = ?1 AND seq = ?2");
        let mut of_record = snapshot.sqlite.prepare_cached(&of_record).map_err(failed)?;
        let of_messages = format!(
            "SELECT event.seq, {length} FROM session_transcript_active_events AS active
                CROSS JOIN transcript_events AS event
                    ON event.session_id = active.session_id AND event.seq = active.event_seq
            WHERE active.session_id = ?1 AND active.message_position BETWEEN ?2 AND ?3
            ORDER BY active.message_position"
        );
        let mut of_messages = snapshot.sqlite.prepare_cached(&of_messages).map_err(failed)?;
        let mut records = Vec::new();
        let mut shown = shown.peekable();
        while let Some(first) = shown.next() {
            let known = records.len();
            let mut count = 1;
            let mut add = |rows: rusqlite::Result<rusqlite::Rows<'_>>| -> rusqlite::Result<()> {
                let mut rows = rows?;
                while let Some(row) = rows.next()? {
                    records.push((row.get(0)?, row.get(1)?));
                }
                Ok(())
            };
            match (first, &self.moment.messages) {
                (Shown::Marker(raw), _) => add(of_record.query(params![self.window.session, raw])).map_err(failed)?,
                (Shown::Message(position), Some(raws)) => {
                    let raw = raws.get(position as usize).ok_or_else(written_over)?;
                    add(of_record.query(params![self.window.session, raw])).map_err(failed)?;
                }
                (Shown::Message(first), None) => {
                    while count < AT_ONCE && shown.next_if_eq(&Shown::Message(first + count as u64)).is_some() {
                        count += 1;
                    }
                    let last = first + count as u64 - 1;
                    add(of_messages.query(params![self.window.session, first, last])).map_err(failed)?;
                }
            }
            if records.len() != known + count {
                return Err(written_over());
            }
        }
        if self.moment.messages.is_none() {
            self.check_branch(snapshot)?;
        }
        Ok(records)
    }

    /// The number of the record with this id.
    fn named(&self, snapshot: &Snapshot<'_>, id: &str) -> io::Result<Option<u64>> {
        let sql = "SELECT seq FROM transcript_event_identities WHERE session_id = ?1 AND event_id = ?2";
        let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
        statement.query_row(params![self.window.session, id], |row| row.get(0)).optional().map_err(failed)
    }

    /// That the records are those of this moment.
    fn check_generation(&self, snapshot: &Snapshot<'_>) -> io::Result<()> {
        let sql = "SELECT generation FROM transcript_rewrite_watermarks WHERE session_id = ?1";
        let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
        let generation =
            statement.query_row(params![self.window.session], |row| row.get(0)).optional().map_err(failed)?;
        let is_same = snapshot.file == self.moment.file && self.moment.head.generation == generation;
        is_same.then_some(()).ok_or_else(written_over)
    }

    /// That the database counts the messages as at this moment: the last of them is the same.
    fn check_branch(&self, snapshot: &Snapshot<'_>) -> io::Result<()> {
        let Some(end) = &self.moment.end else { return Ok(()) };
        let sql =
            "SELECT event_seq FROM session_transcript_active_events WHERE session_id = ?1 AND active_position = ?2";
        let mut statement = snapshot.sqlite.prepare_cached(sql).map_err(failed)?;
        let last = params![self.window.session, self.moment.counts.records - 1];
        let raw: Option<u64> = statement.query_row(last, |row| row.get(0)).optional().map_err(failed)?;
        (raw == Some(end.raw)).then_some(()).ok_or_else(written_over)
    }
}

impl History for View {
    fn len(&self) -> usize {
        self.moment.layout.len()
    }

    fn sizes(&self, range: Range<usize>) -> io::Result<Vec<u64>> {
        // The end of the line counts, as if there were one.
        Ok(self.find(range)?.iter().map(|(_, bytes)| bytes + 1).collect())
    }

    fn read(&self, range: Range<usize>) -> io::Result<RawMessages> {
        let first_seq = range.start + 1;
        let records = self.find(range)?;
        let bytes = records.iter().map(|(_, bytes)| bytes).sum();
        if let Some(archived) = self.archived()? {
            // They are in memory, and counted there.
            let share = Share::take(0);
            let mut messages = RawMessages::of_records(first_seq, self.moment.source.clone(), bytes as usize, share);
            for (raw, _) in &records {
                let json = archived.get(*raw).ok_or_else(written_over)?;
                messages.push(*raw, |bytes| {
                    bytes.extend_from_slice(json.as_bytes());
                    Ok(())
                })?;
                place_activity(&mut messages, *raw, |id| Ok(archived.named(id)))?;
            }
            return Ok(messages);
        }
        // Not while the database is being read: others may have to give bytes back first.
        let share = Share::take(bytes);
        let mut messages = RawMessages::of_records(first_seq, self.moment.source.clone(), bytes as usize, share);
        self.window.database.read(|snapshot| {
            self.check_generation(snapshot)?;
            messages.clear();
            let sql = format!("SELECT {} FROM transcript_events WHERE session_id = ?1 AND seq = ?2", event::COLUMNS);
            let mut statement = snapshot.sqlite.prepare_cached(&sql).map_err(failed)?;
            for (raw, _) in &records {
                let mut rows = statement.query(params![self.window.session, raw]).map_err(failed)?;
                let row = rows.next().map_err(failed)?.ok_or_else(written_over)?;
                messages.push(*raw, |bytes| event::append(row, bytes))?;
                place_activity(&mut messages, *raw, |id| self.named(snapshot, id))?;
            }
            Ok(())
        })?;
        Ok(messages)
    }
}

/// Says of the record that was read last, whose number is `raw`, where it belongs, if it is an activity and comes after
/// a record that there is. `named` is the number of the record with an id.
fn place_activity(
    messages: &mut RawMessages,
    raw: u64,
    named: impl Fn(&str) -> io::Result<Option<u64>>,
) -> io::Result<()> {
    let json = messages.last();
    if memmem::find(json, tool_activity::KIND.as_bytes()).is_none() {
        return Ok(());
    }
    let record = json::object(json);
    let details = record.as_ref().and_then(|record| tool_activity::details(record.object("message")?));
    let Some((details, scope_id)) = details.and_then(|details| Some((details, details.text("scopeId")?))) else {
        return Ok(());
    };
    let after_raw_seq = match details.text("afterEntryId") {
        None => None,
        Some(id) => match named(id)?.filter(|after| *after < raw) {
            Some(after) => Some(after),
            None => return Ok(()),
        },
    };
    let start_order = details.get("startOrder").and_then(Value::as_u64).unwrap_or_default();
    let activity = Activity { after_raw_seq, scope_id: scope_id.to_owned(), start_order };
    messages.set_activity(activity);
    Ok(())
}

/// As RFC 4648 section 5 has it, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::super::super::demo::database::Database as Writer, *};

    #[test]
    fn base64_is_that_of_the_rfc_for_urls() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (&[0xFB, 0xFF], "-_8"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    /// A record that comes after the one before.
    fn any_record() -> impl Strategy<Value = (Value, Option<prop::sample::Index>)> {
        let message = |role: &str| json!({ "type": "message", "message": { "role": role, "content": "text" } });
        let time = "2026-01-02T03:04:05Z";
        let mark = |kind: &str| json!({ "type": kind, "timestamp": time });
        let custom = |display: bool| json!({ "type": "custom_message", "display": display, "timestamp": time });
        let record = prop_oneof![
            4 => Just(message("user")),
            4 => Just(message("assistant")),
            2 => Just(message("toolResult")),
            1 => Just(mark("compaction")),
            1 => Just(mark("reset")),
            1 => Just(mark("model_change")),
            1 => Just(custom(true)),
            1 => Just(custom(false)),
        ];
        (record, prop::option::of(any::<prop::sample::Index>()))
    }

    fn shown(view: &View) -> Vec<String> {
        let values = view.read(0..view.len()).unwrap().values(0.0);
        values.iter().map(|value| value["__openclaw"].to_string()).collect()
    }

    #[test]
    fn an_activity_says_after_which_record_it_belongs_if_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("openclaw-agent.sqlite");
        let mut writer = Writer::create(&path, "main", 1).unwrap();
        writer.add_session("k", "window", 1).unwrap();
        let activity = |after: Value, order: u64| {
            json!({
                "role": "custom", "customType": tool_activity::KIND, "display": true, "excludeFromContext": true,
                "content": "", "timestamp": 5,
                "details": {
                    "runId": "run", "scopeId": "scope", "afterEntryId": after, "startOrder": order, "toolCallId": "call",
                    "toolName": "read", "input": {}, "result": { "content": [] }, "isError": false, "startedAt": 5,
                    "timestamp": 6,
                },
            })
        };
        let messages = [
            json!({ "role": "user", "content": "go" }),
            activity("r0".into(), 0),
            activity(Value::Null, 1),
            activity("nobody".into(), 2),
            activity("r4".into(), 3),
            activity("r5".into(), 4),
            json!({ "role": "user", "content": tool_activity::KIND }),
        ];
        for (at, message) in messages.into_iter().enumerate() {
            let parent = at.checked_sub(1).map(|before| format!("r{before}"));
            let record = json!({ "type": "message", "id": format!("r{at}"), "parentId": parent, "message": message });
            writer.append("window", &[&record], 1).unwrap();
        }
        let window =
            Window { database: Arc::new(Database::new(&path)), agent: AgentId::main(), session: "window".into() };
        let view = Transcript::new(window).view().unwrap();
        let placed: Vec<Value> = view
            .read(0..view.len())
            .unwrap()
            .values(0.0)
            .into_iter()
            .map(|mut message| message["__openclaw"]["transcriptPosition"]["activity"].take())
            .collect();
        let after = |raw: Value, order: u64| json!({ "afterRawSeq": raw, "scopeId": "scope", "startOrder": order });
        let nowhere = Value::Null;
        assert_eq!(
            placed,
            [
                nowhere.clone(),
                after(view.find(0..1).unwrap()[0].0.into(), 0),
                after(Value::Null, 1),
                nowhere.clone(),
                nowhere.clone(),
                nowhere.clone(),
                nowhere,
            ]
        );
    }

    #[test]
    fn what_a_database_says_of_itself_takes_no_memory_and_is_an_error_where_it_is_not_so() {
        let behind = "; UPDATE session_transcript_index_state SET needs_rebuild = 1";
        let last = i64::MAX;
        for (sql, is_read) in [
            ("UPDATE transcript_events SET event_utf8_bytes = 1 << 60".to_owned(), true),
            (format!("UPDATE transcript_events SET seq = {last} WHERE seq = 2{behind}"), true),
            (format!("UPDATE transcript_events SET seq = -1 WHERE seq = 2{behind}"), true),
            ("UPDATE session_transcript_index_state SET active_message_count = 1 << 60, active_event_count = 1 << 60".to_owned(), false),
            ("UPDATE session_transcript_index_state SET active_message_count = 1 << 60".to_owned(), false),
            ("UPDATE transcript_events SET event_json = NULL, event_zstd = x'00', event_utf8_bytes = 1 << 60".to_owned(), false),
            ("UPDATE transcript_events SET event_json = NULL, event_zstd = x'00', event_utf8_bytes = -1".to_owned(), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("openclaw-agent.sqlite");
            let mut writer = Writer::create(&path, "main", 1).unwrap();
            writer.add_session("k", "window", 1).unwrap();
            let message = json!({ "role": "user", "content": "text" });
            let record = |id: &str, parent: Value| json!({ "type": "message", "id": id, "parentId": parent, "message": message });
            let records = [record("a", Value::Null), record("b", "a".into())];
            writer.append("window", &records.iter().collect::<Vec<_>>(), 1).unwrap();
            writer.sqlite.execute_batch(&sql).unwrap();
            let window =
                Window { database: Arc::new(Database::new(&path)), agent: AgentId::main(), session: "window".into() };
            let transcript = Transcript::new(window);
            for _ in 0..2 {
                let read = transcript.view().and_then(|view| view.read(0..view.len()));
                assert_eq!(read.is_ok(), is_read, "{sql}: {read:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_shows_the_same_whether_the_database_counts_or_the_records_are_looked_at_and_as_it_grows(
            records in prop::collection::vec(any_record(), 1..24),
            looks in prop::collection::vec(any::<bool>(), 24),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("openclaw-agent.sqlite");
            let mut writer = Writer::create(&path, "main", 1).unwrap();
            writer.add_session("k", "window", 1).unwrap();
            let database = Arc::new(Database::new(&path));
            let window = || Window { database: Arc::clone(&database), agent: AgentId::main(), session: "window".into() };
            let grown = Transcript::new(window());
            for (at, ((mut record, kept), look)) in records.into_iter().zip(looks).enumerate() {
                record["id"] = format!("r{at}").into();
                record["parentId"] = at.checked_sub(1).map(|before| format!("r{before}")).into();
                if let Some(kept) = kept.filter(|_| record["type"] == "reset" && at > 0) {
                    record["firstKeptEntryId"] = format!("r{}", kept.index(at)).into();
                }
                writer.append("window", &[&record], 1).unwrap();
                if look {
                    grown.view().unwrap();
                }
            }
            let counted = shown(&Transcript::new(window()).view().unwrap());
            prop_assert_eq!(&shown(&grown.view().unwrap()), &counted);
            let before = grown.view().unwrap().position();
            writer.sqlite.execute_batch("UPDATE session_transcript_index_state SET needs_rebuild = 1").unwrap();
            prop_assert_eq!(&shown(&Transcript::new(window()).view().unwrap()), &counted);
            prop_assert_eq!(&shown(&grown.view().unwrap()), &counted);
            prop_assert_eq!(grown.view().unwrap().position(), before);
        }
    }
}
