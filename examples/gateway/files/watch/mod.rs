//! Noticing that a file changed, by any process.
//!
//! One [`Watcher`] serves the whole process. [`Watcher::watch`] gives a [`Watched`] handle, and
//! [`Watched::changed`] wakes within a few milliseconds of a write. The rules:
//!
//! 1. A wake means "something may have changed: look". It never says what, and many changes in a
//!    row may wake once. The first of them is not held back.
//! 2. A change before [`Watcher::watch`] returned is not reported, every later one is. So take the
//!    handle first and read the file after.
//! 3. The file need not exist, nor its folder. What is watched are *names in folders*: the file in
//!    its folder, each symbolic link on the way to it, and the first name that is missing. Thus a
//!    file that is renamed over, deleted and written again, or reached through a link that is
//!    swapped (as Kubernetes mounts its secrets) is followed like one that is appended to.
//! 4. However many handles there are, a folder is watched once.
//! 5. The operating system may be silent: a network file system, a limit on watches, a folder far
//!    above that was renamed. So each file is also looked at every two seconds.
//! 6. A file system may hang. What it is asked about a file is asked by a thread that waits for this file
//!    alone, and under no lock: all other files are watched as before.
//!
//! - `registry`: who watches what; memory, behind the one lock
//! - `points`: which names a path depends on
//! - `looks`: the threads that ask the file system
//! - `system`: the thread that asks the operating system to report

mod looks;
mod points;
mod registry;
mod system;
#[cfg(test)]
mod tests;

use std::future;
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use notify::RecommendedWatcher;
use tokio::sync::watch;

use self::looks::{Look, Looks};
use self::registry::Registry;
use crate::files::Stamp;

/// How often a file is looked at, should the operating system be silent about it.
const POLL: Duration = Duration::from_secs(2);

/// How often a path is walked again because it changed under the walk. More than a few times
/// means somebody plays games with it; the poll finds out how they ended.
const MAX_WALKS: usize = 8;

/// Watches files. Clones share everything.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    /// Starts a few threads, which end when the last clone and the last handle are gone. A system that
    /// refuses to watch at all leaves the polling, and a line in the log.
    pub fn new() -> io::Result<Self> {
        let (heard, events) = mpsc::channel();
        let system = notify::recommended_watcher(heard)
            .inspect_err(|error| tracing::warn!(%error, "no file watches: polling only"))
            .ok();
        Self::start(system, events, POLL)
    }

    fn start(
        system: Option<RecommendedWatcher>,
        events: mpsc::Receiver<notify::Result<notify::Event>>,
        poll: Duration,
    ) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let registry = Registry::new(system.is_some().then_some(orders));
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let looker = shared.clone();
            let look = move |file: &Path, look| {
                let shared = looker.upgrade();
                shared.map(|shared| shared.look(file, look)).is_some()
            };
            Shared { registry: Mutex::new(registry), looks: Looks::new(look) }
        });

        if let Some(system) = system {
            let shared = Arc::downgrade(&shared);
            let obey = move || {
                system::obey(system, ordered, |folder, order, result| {
                    shared.upgrade().map(|shared| shared.lock().is_ordered(folder, order, result)).is_some()
                });
            };
            thread::Builder::new().name("watch-system".to_owned()).spawn(obey)?;
        }

        let hearer = Arc::downgrade(&shared);
        thread::Builder::new().name("watch-events".to_owned()).spawn(move || {
            for event in events {
                let Some(shared) = hearer.upgrade() else {
                    break;
                };
                let due = shared.lock().on_event(event);
                shared.looks.add(due);
            }
        })?;

        let (poller, looks) = (Arc::downgrade(&shared), shared.looks.clone());
        let look_in_turn = move || while looks.supervise(poll) && Shared::check_all(&poller) {};
        thread::Builder::new().name("watch-poll".to_owned()).spawn(look_in_turn)?;

        Ok(Self { shared })
    }

    /// Watches `file` until the handle is dropped. Asks the file system about it, so this may take long, and
    /// nobody else waits for it.
    pub fn watch(&self, file: impl AsRef<Path>) -> Watched {
        // A path that cannot be made absolute is empty, or there is no current folder: it names
        // no file, and nothing will ever be heard of it.
        let file = path::absolute(&file).unwrap_or_else(|_| file.as_ref().to_owned());
        let (changes, is_followed) = self.shared.lock().add(&file);
        // The handle first: whatever happens, it is taken back.
        let watched = Watched { file, changes, shared: Arc::clone(&self.shared) };
        if !is_followed {
            self.shared.begin(&watched.file);
        }
        watched
    }
}

/// One watched file.
pub struct Watched {
    file: PathBuf,
    changes: watch::Receiver<Instant>,
    shared: Arc<Shared>,
}

impl Watched {
    /// Waits until the file may have changed since the last call returned, or since the handle was
    /// made. May be dropped and called again: no change is lost. Says when the last of them was noticed.
    pub async fn changed(&mut self) -> Instant {
        // The sender lives as long as there is a handle, so the error does not happen.
        if self.changes.changed().await.is_err() {
            future::pending().await
        }
        *self.changes.borrow()
    }

    /// Changes up to now wake no one: the caller is about to look.
    pub fn mark_seen(&mut self) {
        self.changes.mark_unchanged();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.file);
    }
}

struct Shared {
    /// Nobody who has it asks the file system anything.
    registry: Mutex<Registry>,
    looks: Looks,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.looks.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at every file once. `false` when nobody watches any more.
    fn check_all(shared: &Weak<Self>) -> bool {
        let Some(shared) = shared.upgrade() else {
            return false;
        };
        let files = shared.lock().files();
        shared.looks.add(files.into_iter().map(|file| (file, Look::Poll)));
        true
    }

    /// Begins to follow a file.
    fn begin(&self, file: &Path) {
        self.follow(file);
        let stamp = Stamp::of(file).ok();
        self.lock().set_followed(file, stamp);
    }

    /// Looks at a file of which something was heard, or not.
    fn look(&self, file: &Path, look: Look) {
        match look {
            Look::Content => {}
            Look::Path => self.follow(file),
            Look::Poll => {
                let stamp = Stamp::of(file).ok();
                if !self.lock().is_news(file, stamp.as_ref()) {
                    return;
                }
                self.follow(file);
            }
        }
        // First the stamp, then the word: what changes after the stamp is news to the next look.
        let stamp = Stamp::of(file).ok();
        self.lock().signal(file, stamp);
    }

    /// Walks the path of a file and watches the folders that matter. Walks it again after a folder is newly
    /// watched: what happened there in between was not heard.
    fn follow(&self, file: &Path) {
        for _ in 0..MAX_WALKS {
            let points = points::of(file);
            let asked = self.lock().depend(file, points);
            if !asked.wait() {
                break;
            }
        }
    }
}
