//! [`StoreFiles`]: `sessions.json` files, each read once and again only when it has changed.

use std::{
    io::{self, ErrorKind},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use lru::LruCache;

use super::rows::Rows;
use crate::files::{Stamp, Stamps, disk};

/// How many stores are remembered; an agent has one, seldom two.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How often a store that is being written is looked at again, and how long after.
const LOOKS: usize = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// The stores that were looked at last.
///
/// Each has a lock of its own, so that only those who want a store wait while it is read.
pub(super) struct StoreFiles(Mutex<LruCache<PathBuf, Arc<Mutex<StoreFile>>>>);

impl StoreFiles {
    /// The rows that the store at `path` has now, whose stamp is taken. A store that is no JSON has none.
    pub(super) fn rows(&self, path: &Path, stamps: &mut Stamps) -> io::Result<Arc<Rows>> {
        let asked = Instant::now();
        let stamp = stamps.take(path)?;
        if stamp == Stamp::Missing {
            // Not remembered: a request can name any agent, and most do not exist.
            return Ok(Arc::default());
        }
        let file = {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.get_or_insert_mut(path.to_owned(), Arc::default).clone()
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // Of all who ask while a store is read, and it may be many, the next one reads it for the others.
        let is_newer = file.began.is_some_and(|began| began >= asked);
        if !is_newer && file.stamp.as_ref() != Some(&stamp) {
            *file = StoreFile::read(path)?;
        }
        Ok(Arc::clone(&file.rows))
    }
}

impl Default for StoreFiles {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

/// A store as it was when its stamp was taken, or newer.
#[derive(Default)]
struct StoreFile {
    /// When this was begun to be read.
    began: Option<Instant>,
    /// `None` if the stamp could not show the next change.
    stamp: Option<Stamp>,
    rows: Arc<Rows>,
}

impl StoreFile {
    /// Reads a store. One that changes while it is read, or is no JSON and was written a moment ago, is in the
    /// middle of being written: it is looked at again.
    fn read(path: &Path) -> io::Result<Self> {
        for look in 0..LOOKS {
            if look > 0 {
                thread::sleep(PAUSE);
            }
            let (began, now) = (Instant::now(), SystemTime::now());
            let (json, stamp) = match read(path) {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) if disk::is_missing(&error) => return Ok(Self::default()),
                Err(error) => return Err(error),
            };
            let is_settled = stamp.is_settled(now);
            let rows = match Rows::parse(json) {
                Some(rows) => rows,
                None if !is_settled => continue,
                None => {
                    tracing::warn!(path = %path.display(), "session store is no JSON object: taken as empty");
                    Rows::default()
                }
            };
            let stamp = is_settled.then_some(stamp);
            return Ok(Self { began: Some(began), stamp, rows: Arc::new(rows) });
        }
        Err(io::Error::new(ErrorKind::ResourceBusy, "the session store is being written"))
    }
}

/// What is in the file, and its stamp. `None` if it changed meanwhile.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, Stamp)>> {
    let file = disk::File::open(path)?;
    let stamp = file.stamp()?;
    let mut json = vec![0; usize::try_from(stamp.size()).map_err(|_| ErrorKind::FileTooLarge)?];
    match file.read_exact_at(&mut json, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    Ok((file.stamp()? == stamp).then_some((json, stamp)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn times(files: &StoreFiles, path: &Path) -> Vec<f64> {
        let rows = files.rows(path, &mut Stamps::default()).unwrap();
        let alike = rows.alike("k").into_iter();
        alike.map(|row| row.updated_at).collect()
    }

    #[test]
    fn a_store_is_read_again_only_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions.json");
        let files = StoreFiles::default();
        assert!(times(&files, &path).is_empty());

        fs::write(&path, r#"{"k":{"updatedAt":1}}"#).unwrap();
        assert_eq!(times(&files, &path), [1.0]);
        // Of two changes within a tick of the clock the second would not be seen.
        fs::write(&path, r#"{"k":{"updatedAt":3}}"#).unwrap();
        assert_eq!(times(&files, &path), [3.0]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let rows = || files.rows(&path, &mut Stamps::default()).unwrap();
        assert!(Arc::ptr_eq(&rows(), &rows()));

        // The same size and perhaps the same time, but another file.
        let other = directory.path().join("other.json");
        fs::write(&other, r#"{"k":{"updatedAt":2}}"#).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(times(&files, &path), [2.0]);

        fs::remove_file(&path).unwrap();
        assert!(times(&files, &path).is_empty());
    }

    #[test]
    fn what_is_no_json_is_empty_and_what_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let files = StoreFiles::default();
        let garbage = directory.path().join("garbage.json");
        fs::write(&garbage, "{oops").unwrap();
        assert!(times(&files, &garbage).is_empty());
        assert!(times(&files, &garbage.join("x")).is_empty());
        let folder = files.rows(directory.path(), &mut Stamps::default()).unwrap_err();
        assert_eq!(folder.kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_store_that_is_written_in_place_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sessions.json");
        fs::write(&path, r#"{"k":{"upda"#).unwrap();
        let whole = path.clone();
        let writer = thread::spawn(move || {
            thread::sleep(PAUSE);
            fs::write(whole, r#"{"k":{"updatedAt":1}}"#).unwrap();
        });
        assert_eq!(times(&StoreFiles::default(), &path), [1.0]);
        writer.join().unwrap();
    }
}
