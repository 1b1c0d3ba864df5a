//! [`Database`]: the file that holds an agent's sessions, read and never written.
//!
//! 1. Only SQLite opens the file, and only for reading (`mode=ro`): to close any other descriptor of it would drop
//!    the locks that this process has on it. Everybody else here asks `stat`.
//! 2. Where neither a `-wal` nor a `-journal` lies beside it nobody has it open. Then it is read as `immutable`,
//!    which makes no side files, and what was read counts only if nothing has changed meanwhile.
//! 3. A connection is for one file: when another one is at the path, or somebody has written it otherwise than by
//!    the `-wal`, the next read opens it anew. A checkpoint is taken for that, which is seldom and costs little.
//! 4. What is read, is read in one short transaction, on a thread that may block; a writer does not feel it.
//! 5. A connection has a shared lock on the file, which keeps its writers from putting the `-wal` away. So those
//!    that were not used for a while are closed ([`Database::rest`]).
//! 6. After an error all that are kept are closed. SQLite shares among the connections of a process what it knows of a `-wal` and
//!    its `-shm`, and as long as one is open that is not looked for again, even where both were removed.
//! 7. What is in the file is taken for rows and nothing else: a view, which may have no end, is not read.
//! 8. Of a version of the schema that is not known nothing is read ([`UnknownSchema`]).

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{OpenFlags, OptionalExtension, config::DbConfig};

use super::commits::Followers;
use crate::files::Stamp;

/// The version of the schema that is known: that of OpenClaw 2026.9.
pub const SCHEMA: i64 = 23;

/// How long a read waits for a lock of others. In WAL mode nothing locks readers out for longer than a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many connections are kept for the next read.
const KEPT: usize = 4;

/// How often a file that is changing is opened again, and how long after.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// An agent's database, whether or not there is one at its path.
pub struct Database {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    pulse: Mutex<Option<Pulse>>,
    /// Whether a connection was used since this was last asked.
    is_used: AtomicBool,
    /// The version of the schema that was complained of last.
    complained_of: AtomicI64,
    pub(super) followers: Mutex<Followers>,
}

/// A moment at which the database was as it was: two that are equal have nothing between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which connection said so; numbers of two cannot be compared.
    connection: u64,
    /// `PRAGMA data_version`: changes with every commit of others.
    data: i64,
}

impl Version {
    /// A version that no database has.
    pub(super) const NONE: Self = Self { connection: u64::MAX, data: 0 };
}

/// The connection that is asked for the version, and nothing long.
struct Pulse {
    connection: Connection,
    number: u64,
}

/// What a read sees.
pub(super) struct Snapshot<'a> {
    pub(super) sqlite: &'a rusqlite::Connection,
    /// Which file it is of.
    pub(super) file: FileId,
}

/// A file by its device and inode. No other has the same for as long as a connection is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

/// The database is of a version of OpenClaw that this gateway does not know.
#[derive(Debug)]
pub struct UnknownSchema {
    version: i64,
}

impl Database {
    /// The database at this path. Opens nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            idle: Mutex::default(),
            pulse: Mutex::default(),
            is_used: AtomicBool::new(false),
            complained_of: AtomicI64::new(SCHEMA),
            followers: Mutex::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that commits are written to first.
    pub(super) fn wal(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    /// Reads in one transaction; once more if the file has changed under it otherwise than by a commit. Blocks.
    pub(super) fn read<T>(&self, mut read: impl FnMut(&Snapshot<'_>) -> io::Result<T>) -> io::Result<T> {
        self.is_used.store(true, Ordering::Relaxed);
        for again in 0..LOOKS {
            if again > 0 {
                thread::sleep(PAUSE);
            }
            let connection = self.connection()?;
            let result = connection.read(&mut read);
            if !connection.is_immutable || connection.is_current(&self.path)? {
                let result = result.inspect_err(|error| self.heed(error))?;
                let mut idle = lock(&self.idle);
                if idle.len() < KEPT && connection.sqlite.is_autocommit() {
                    idle.push(connection);
                }
                return Ok(result);
            }
        }
        Err(changing())
    }

    /// The version of this moment. Blocks for as long as it takes to open the database, or others lock it.
    pub fn version(&self) -> io::Result<Version> {
        self.is_used.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.version_now() {
                // Not under the lock: those who cannot wait look at it too.
                Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                version => return version.inspect_err(|error| self.heed(error)),
            }
        }
    }

    fn version_now(&self) -> io::Result<Version> {
        let mut pulse = lock(&self.pulse);
        let is_current = match &*pulse {
            Some(pulse) => pulse.connection.is_current(&self.path)?,
            None => false,
        };
        if !is_current {
            *pulse = None;
            let connection = Connection::open(&self.path)?;
            connection.sqlite.busy_timeout(Duration::ZERO).map_err(failed)?;
            *pulse = Some(Pulse { connection, number: next_number() });
        }
        let version = pulse.as_ref().map(Pulse::version).transpose();
        let version = version.inspect_err(|_| *pulse = None)?;
        version.ok_or_else(changing)
    }

    /// Closes the connections, if none was used since this was last called.
    pub fn rest(&self) {
        if !self.is_used.swap(false, Ordering::Relaxed) {
            self.close();
        }
    }

    fn close(&self) {
        lock(&self.idle).clear();
        *lock(&self.pulse) = None;
    }

    /// Whether this is the version of this moment, as far as that can be told without opening anything. Does not
    /// block.
    pub fn is_at(&self, version: Version) -> bool {
        self.is_used.store(true, Ordering::Relaxed);
        let pulse = lock(&self.pulse);
        pulse.as_ref().is_some_and(|pulse| {
            let is_current = pulse.connection.is_current(&self.path).unwrap_or(false);
            is_current && pulse.version().is_ok_and(|now| now == version)
        })
    }

    /// Reads a little on the connection that is open already, and says at which version. `None` if that cannot be
    /// done at once. Does not block.
    pub(super) fn at_once<T>(&self, read: impl FnOnce(&rusqlite::Connection) -> io::Result<T>) -> Option<(Version, T)> {
        let pulse = lock(&self.pulse);
        let pulse = pulse.as_ref().filter(|pulse| pulse.connection.is_current(&self.path).unwrap_or(false))?;
        let version = pulse.version().ok()?;
        Some((version, read(&pulse.connection.sqlite).ok()?))
    }

    fn connection(&self) -> io::Result<Connection> {
        loop {
            let kept = lock(&self.idle).pop();
            match kept {
                Some(connection) if connection.is_current(&self.path)? => return Ok(connection),
                Some(_) => {}
                None => return Connection::open(&self.path),
            }
        }
    }

    /// Closes what an error may come from, and says in the log that the schema is not known: once, whoever asks how
    /// often.
    fn heed(&self, error: &io::Error) {
        if error.kind() != ErrorKind::ResourceBusy {
            self.close();
        }
        let Some(UnknownSchema { version }) = UnknownSchema::of(error) else { return };
        if self.complained_of.swap(*version, Ordering::Relaxed) != *version {
            tracing::error!(path = %self.path.display(), version, known = SCHEMA, "a database of an unknown version is not read");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Pulse {
    fn version(&self) -> io::Result<Version> {
        let mut statement = self.connection.sqlite.prepare_cached("PRAGMA data_version").map_err(failed)?;
        let data = statement.query_row([], |row| row.get(0)).map_err(failed)?;
        Ok(Version { connection: self.number, data })
    }
}

impl UnknownSchema {
    /// The cause of an error, if it is this one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for UnknownSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The agent's database has schema version {}; this gateway reads version {SCHEMA}.", self.version)
    }
}

impl std::error::Error for UnknownSchema {}

/// The database has no tables: somebody is making it, or has cut it off.
#[derive(Debug)]
struct Blank;

/// Whether the error says that there is nothing in the database, not even that it is empty.
pub fn is_blank(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Blank>())
}

impl fmt::Display for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database has no tables")
    }
}

impl std::error::Error for Blank {}

/// A connection to the file that was at the path when it was opened.
struct Connection {
    sqlite: rusqlite::Connection,
    /// The file when it was opened.
    stamp: Stamp,
    id: FileId,
    /// The `-wal` when it was opened.
    wal: Stamp,
    /// Nobody had the file open.
    is_immutable: bool,
}

impl Connection {
    fn open(path: &Path) -> io::Result<Self> {
        for again in 0..LOOKS {
            if again > 0 {
                thread::sleep(PAUSE);
            }
            let since = SystemTime::now();
            let stamp = Stamp::of(path)?;
            let Stamp::Found { device, inode, .. } = stamp else { return Err(gone()) };
            let wal = Stamp::of(&beside(path, "-wal"))?;
            let is_immutable = wal == Stamp::Missing && Stamp::of(&beside(path, "-journal"))? == Stamp::Missing;
            if is_immutable && !stamp.is_settled(since) {
                // The next change might leave no trace.
                continue;
            }
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let sqlite = rusqlite::Connection::open_with_flags(uri(path, is_immutable), flags).map_err(failed)?;
            sqlite.busy_timeout(PATIENCE).map_err(failed)?;
            for trust in [DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA] {
                sqlite.set_db_config(trust, false).map_err(failed)?;
            }
            if Stamp::of(path)?.is_same_file(&stamp) {
                return Ok(Self { sqlite, stamp, id: FileId(device, inode), wal, is_immutable });
            }
        }
        Err(changing())
    }

    /// Whether the file at the path is still this one, and no one else than SQLite has written it.
    fn is_current(&self, path: &Path) -> io::Result<bool> {
        let wal = Stamp::of(&beside(path, "-wal"))?;
        let is_same_wal = match self.is_immutable {
            true => wal == Stamp::Missing && Stamp::of(&beside(path, "-journal"))? == Stamp::Missing,
            // With a journal of the other kind there is none.
            false => wal.is_same_file(&self.wal) || wal == self.wal,
        };
        Ok(is_same_wal && Stamp::of(path)? == self.stamp)
    }

    fn read<T>(&self, read: impl FnOnce(&Snapshot<'_>) -> io::Result<T>) -> io::Result<T> {
        let transaction = self.sqlite.unchecked_transaction().map_err(failed)?;
        check_schema(&transaction)?;
        read(&Snapshot { sqlite: &transaction, file: self.id })
    }
}

fn check_schema(sqlite: &rusqlite::Connection) -> io::Result<()> {
    let version = |sql| -> rusqlite::Result<Option<i64>> {
        sqlite.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
    };
    let version_of_file = version("PRAGMA user_version").map_err(failed)?.unwrap_or_default();
    if version_of_file == 0 && version("SELECT count(*) FROM sqlite_schema").map_err(failed)? == Some(0) {
        return Err(io::Error::other(Blank));
    }
    if version_of_file != SCHEMA {
        return Err(io::Error::new(ErrorKind::Unsupported, UnknownSchema { version: version_of_file }));
    }
    let said = version("SELECT schema_version FROM schema_meta WHERE meta_key = 'primary'").map_err(failed)?;
    match said {
        Some(SCHEMA) => Ok(()),
        said => Err(io::Error::new(ErrorKind::Unsupported, UnknownSchema { version: said.unwrap_or_default() })),
    }
}

/// What SQLite reports, as an error that is never taken for a transcript that is not there.
pub(super) fn failed(error: rusqlite::Error) -> io::Error {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase};
    let kind = match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => ErrorKind::ResourceBusy,
        Some(DatabaseCorrupt | NotADatabase) => ErrorKind::InvalidData,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

fn gone() -> io::Error {
    io::Error::other("the database is gone")
}

fn changing() -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, "the database is being written over")
}

/// The file of this ending beside another one.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// As SQLite takes a file name with parameters (<https://www.sqlite.org/uri.html>).
fn uri(path: &Path, is_immutable: bool) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
    let path = percent_encode(path.as_os_str().as_bytes(), ESCAPED);
    format!("file:{path}?mode=ro{}", if is_immutable { "&immutable=1" } else { "" })
}

fn next_number() -> u64 {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
