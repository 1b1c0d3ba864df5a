//! [`StoreFiles`]: `sessions.json` files, each read once and again only when it has changed.

use std::{
    fs,
    io::{self, ErrorKind},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use lru::LruCache;

use super::rows::Rows;
use crate::files::{Stamp, Stamps};

/// How many stores are remembered; an agent has one, seldom two.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// The stores that were looked at last.
///
/// Each has a lock of its own, so that only those who want a store wait while it is read.
pub(super) struct StoreFiles(Mutex<LruCache<PathBuf, Arc<Mutex<StoreFile>>>>);

impl StoreFiles {
    /// The rows that the store at `path` has now, whose stamp is taken: none if it cannot be read.
    pub(super) fn rows(&self, path: &Path, stamps: &mut Stamps) -> Arc<Rows> {
        let now = SystemTime::now();
        let stamp = stamps.take(path);
        if stamp == Stamp::Missing {
            // Not remembered: a request can name any agent, and most do not exist.
            return Arc::default();
        }
        let file = {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.get_or_insert_mut(path.to_owned(), Arc::default).clone()
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.stamp.as_ref() != Some(&stamp) {
            let rows = read(path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "session store taken as empty");
                Rows::default()
            });
            *file = StoreFile { stamp: Some(stamp).filter(|stamp| stamp.is_settled(now)), rows: Arc::new(rows) };
        }
        Arc::clone(&file.rows)
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
    /// `None` if the stamp could not show the next change.
    stamp: Option<Stamp>,
    rows: Arc<Rows>,
}

fn read(path: &Path) -> io::Result<Rows> {
    // A pipe in this place would keep the reader waiting for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    Rows::parse(&fs::read(path)?).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(files: &StoreFiles, path: &Path) -> Vec<f64> {
        let rows = files.rows(path, &mut Stamps::default());
        let alike = rows.alike("k").iter();
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
        let rows = || files.rows(&path, &mut Stamps::default());
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
    fn what_cannot_be_read_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let files = StoreFiles::default();
        let garbage = directory.path().join("garbage.json");
        fs::write(&garbage, "{oops").unwrap();
        for path in [garbage.clone(), directory.path().to_owned(), garbage.join("x")] {
            assert!(times(&files, &path).is_empty(), "{}", path.display());
        }
    }
}
