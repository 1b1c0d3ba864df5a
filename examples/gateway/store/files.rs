//! [`StoreFiles`]: `sessions.json` files, each read once and again only when it has changed.

use std::{
    fs,
    io::{self, ErrorKind},
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::rows::Rows;

/// How many stores are remembered; an agent has one, seldom two.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// The stores that were looked at last.
///
/// Each has a lock of its own, so that only those who want a store wait while it is read.
pub(super) struct StoreFiles(Mutex<LruCache<PathBuf, Arc<Mutex<StoreFile>>>>);

impl StoreFiles {
    /// The rows that the store at `path` has now: none if it cannot be read.
    pub(super) fn rows(&self, path: &Path) -> Arc<Rows> {
        let stamp = Stamp::of(path);
        if stamp == Stamp::Missing {
            // Not remembered: a request can name any agent, and most do not exist.
            return Arc::default();
        }
        let file = {
            let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.get_or_insert_mut(path.to_owned(), Arc::default).clone()
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.stamp != stamp {
            let rows = read(path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "session store taken as empty");
                Rows::default()
            });
            *file = StoreFile { stamp, rows: Arc::new(rows) };
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
    stamp: Stamp,
    rows: Arc<Rows>,
}

/// What is compared to see whether a file has changed.
#[derive(Clone, Debug, Default, PartialEq)]
enum Stamp {
    #[default]
    Missing,
    Unreadable(ErrorKind),
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
    },
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) => Self::File {
                device: file.dev(),
                inode: file.ino(),
                size: file.size(),
                modified: (file.mtime(), file.mtime_nsec()),
            },
            Err(error) if is_missing(&error) => Self::Missing,
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
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
        let rows = files.rows(path);
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
        assert!(Arc::ptr_eq(&files.rows(&path), &files.rows(&path)));

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
