//! What the targets of files share: a folder in memory, databases in it, and the pages that are shown of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    json::{self, Fields as _, Object},
    server::demo::database::Database as Writer,
    sessions::{
        history::{self, Query},
        projection::{State, seq},
        record::History as _,
        sqlite::{Database, Window},
        store::AgentId,
        transcript::{Place, Transcript, View},
    },
};

/// Some time, so that what does not say when it was reads the same each time.
pub(crate) const NOW: f64 = 1_800_000_000_000.0;

/// The only window of a database that is made here, and its session.
pub(crate) const WINDOW: &str = "window";
pub(crate) const KEY: &str = "agent:main:main";

/// A file of this process, in memory where the machine has files there.
pub(crate) fn file(name: &str) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        folder.expect("a folder")
    });
    folder.path().join(name)
}

/// Puts a database at this path. Beside it lies an empty log, as where it is in use: then nobody waits for it to rest.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("room in memory");
    fs::write(path.with_extension("sqlite-wal"), b"").expect("room in memory");
}

pub(crate) fn open(path: &Path) -> Arc<Database> {
    Arc::new(Database::new(path))
}

pub(crate) fn transcript(database: &Arc<Database>) -> Transcript {
    let window = Window { database: Arc::clone(database), agent: AgentId::main(), session: WINDOW.to_owned() };
    Transcript::new(Place::Database(window))
}

/// A database with these records, without a log of its own.
pub(crate) fn database(name: &str, records: &[json::Value]) -> Vec<u8> {
    let path = file(name);
    let mut writer = Writer::create(&path, "main", 1).expect("a database");
    writer.add_session(KEY, WINDOW, 1).expect("a session");
    writer.append(WINDOW, &records.iter().collect::<Vec<_>>(), 1).expect("records");
    writer.sqlite.pragma_update(None, "journal_mode", "delete").expect("a journal of the other kind");
    drop(writer);
    fs::read(&path).expect("a database")
}

/// A record of a message that comes after another one.
pub(crate) fn record(id: &str, parent: Option<&str>, message: json::Value) -> json::Value {
    json!({ "type": "message", "id": id, "parentId": parent, "timestamp": "2026-01-02T03:04:05Z", "message": message })
}

/// A page as a client sees it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Object>,
    pub(crate) next_cursor: Option<u64>,
}

pub(crate) fn page(view: &View, query: Query) -> io::Result<Page> {
    let page = history::read(view, query, NOW)?.page;
    let body = json::object(&page.body("key")).expect("a page is an object");
    assert_eq!(body.get("items"), body.get("messages"));
    let messages = body.array("messages").expect("a page has a list").iter();
    let page = Page {
        messages: messages.map(|message| message.as_object().expect("a message is an object").clone()).collect(),
        next_cursor: body.text("nextCursor").map(|cursor| cursor.parse().expect("a cursor is a number")),
    };
    assert!(page.next_cursor.is_none() || body.is("hasMore", true));
    Ok(page)
}

/// Reads all pages from the end, and says the numbers that they show.
pub(crate) fn walk(view: &View, limit: usize) -> io::Result<Vec<u64>> {
    let mut shown = Vec::new();
    let mut query = Query { limit: Some(limit), cursor: None };
    loop {
        let page = page(view, query)?;
        let numbers: Vec<u64> = page.messages.iter().filter_map(seq).collect();
        assert!(numbers.iter().all(|number| query.cursor.is_none_or(|cursor| *number < cursor)), "{numbers:?}");
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() <= limit, "{numbers:?} is more than {limit}");
        shown.extend(numbers);
        let Some(cursor) = page.next_cursor else { return Ok(shown) };
        assert!(query.cursor.is_none_or(|before| cursor < before), "the way back ends");
        query.cursor = Some(cursor);
    }
}

/// Reads all that can be read of a transcript: every number is one of the history.
pub(crate) fn read(view: &View) -> io::Result<()> {
    let length = view.len();
    let values = view.read(0..length)?.values(NOW);
    assert!(values.len() <= length);
    assert_eq!(view.sizes(0..length)?.len(), length);
    let whole = page(view, Query::default())?;
    assert_eq!(whole.next_cursor, None);
    for limit in [1, 3, 1000] {
        walk(view, limit)?;
    }
    Ok(())
}

/// What is pending where a history begins.
pub(crate) const START: State = State { turn_boundary: false, failed_turn: false };
