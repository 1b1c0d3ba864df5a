//! [`Databases`]: the agents' databases that were looked at last.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use crate::sessions::sqlite::Database;

/// How many are remembered; an agent has one. Each keeps a few connections open.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// Databases by path, shared by all who read them: each has its connections, and one look for each commit.
#[derive(Debug)]
pub(super) struct Databases(Mutex<LruCache<PathBuf, Arc<Database>>>);

impl Databases {
    /// The database at this path. Does not open it.
    pub(super) fn at(&self, path: &Path) -> Arc<Database> {
        let mut databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(databases.get_or_insert_mut_ref(path, || Arc::new(Database::new(path))))
    }
}

impl Default for Databases {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}
