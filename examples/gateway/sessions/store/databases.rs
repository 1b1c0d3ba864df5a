//! [`Databases`]: the agents' databases that were looked at last.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use lru::LruCache;

use crate::sessions::sqlite::Database;

/// How many are remembered; an agent has one. Each keeps a few connections open.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// For how long at least a connection is kept open that is not used.
const REST: Duration = Duration::from_secs(1);

/// Databases by path, shared by all who read them: each has its connections, and one look for each commit.
#[derive(Debug, Default)]
pub(super) struct Databases(Mutex<Option<Arc<Remembered>>>);

type Remembered = Mutex<LruCache<PathBuf, Arc<Database>>>;

impl Databases {
    /// The database at this path. Does not open it.
    pub(super) fn at(&self, path: &Path) -> Arc<Database> {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = remembered.get_or_insert_with(|| {
            let remembered = Arc::new(Mutex::new(LruCache::new(REMEMBERED)));
            let resting = Arc::downgrade(&remembered);
            // Without it connections are kept open, which others may feel and nobody is wronged by.
            let _ = thread::Builder::new().name("databases".to_owned()).spawn(|| rest(resting));
            remembered
        });
        let mut databases = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(databases.get_or_insert_mut_ref(path, || Arc::new(Database::new(path))))
    }
}

/// Closes what is not used, until nobody remembers a database any more.
fn rest(remembered: Weak<Remembered>) {
    loop {
        thread::sleep(REST);
        let Some(remembered) = remembered.upgrade() else { return };
        let databases: Vec<_> = {
            let databases = remembered.lock().unwrap_or_else(PoisonError::into_inner);
            databases.iter().map(|(_, database)| Arc::clone(database)).collect()
        };
        // Not under the lock: to close one asks the disk.
        databases.iter().for_each(|database| database.rest());
    }
}
