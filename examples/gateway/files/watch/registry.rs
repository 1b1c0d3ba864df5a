//! Who watches which file, and which folders the operating system reports on for that.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode};
use tokio::sync::watch;

use super::points::{self, Point};
use crate::files::Stamp;

/// How often a path is walked again because it changed under the walk. More than a few times
/// means somebody plays games with it; the poll finds out how they ended.
const MAX_WALKS: usize = 8;

pub struct Registry {
    /// `None`: the operating system reports nothing.
    system: Option<RecommendedWatcher>,
    files: HashMap<PathBuf, File>,
    folders: HashMap<PathBuf, Folder>,
}

struct File {
    handles: usize,
    changes: watch::Sender<()>,
    /// `None`: it could not be looked at.
    stamp: Option<Stamp>,
    points: BTreeSet<Point>,
}

#[derive(Default)]
struct Folder {
    /// Whether the operating system reports on the folder that is at this path now.
    watched: bool,
    /// The files that depend on a name in this folder.
    names: HashMap<OsString, BTreeSet<PathBuf>>,
}

impl Registry {
    pub fn new(system: Option<RecommendedWatcher>) -> Self {
        Self { system, files: HashMap::new(), folders: HashMap::new() }
    }

    /// One more handle on `file`.
    pub fn add(&mut self, file: &Path) -> watch::Receiver<()> {
        if let Some(known) = self.files.get_mut(file) {
            known.handles += 1;
            return known.changes.subscribe();
        }
        let (changes, receiver) = watch::channel(());
        let new = File { handles: 1, changes, stamp: Stamp::of(file).ok(), points: BTreeSet::new() };
        self.files.insert(file.to_owned(), new);
        self.follow(file);
        receiver
    }

    /// One handle less.
    pub fn remove(&mut self, file: &Path) {
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.handles -= 1;
        if known.handles == 0 {
            self.depend(file, BTreeSet::new());
            self.files.remove(file);
        }
    }

    /// Every watched file.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// The operating system reports an event.
    pub fn on_event(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // It lost track. That means "check now", never "nothing happened".
            lost => {
                tracing::warn!(?lost, "file events were lost: looking at every file");
                for file in self.files() {
                    self.follow(&file);
                    self.signal(&file);
                }
                return;
            }
        };
        // Opening, reading and closing change nothing.
        if event.kind.is_access() {
            return;
        }
        // More bytes in a file cannot make a path lead elsewhere; anything else can.
        let only_data = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        for path in &event.paths {
            if !only_data {
                self.forget(path);
            }
            for file in self.dependents(path) {
                if !only_data {
                    self.follow(&file);
                }
                self.signal(&file);
            }
        }
    }

    /// The poll found this stamp at `file`.
    pub fn checked(&mut self, file: &Path, now: Option<Stamp>) {
        let Some(known) = self.files.get(file) else {
            return;
        };
        if known.stamp == now {
            return;
        }
        // Nobody said so: the folders on the way may not be those that are watched.
        let folders: Vec<_> = known.points.iter().map(|point| point.folder.clone()).collect();
        for folder in folders {
            self.forget(&folder);
        }
        self.follow(file);
        self.signal(file);
    }

    #[cfg(test)]
    pub fn folders_watched(&self) -> usize {
        self.folders.values().filter(|folder| folder.watched).count()
    }

    /// The files for which something at `path` matters: a name in a folder, or a folder itself.
    fn dependents(&self, path: &Path) -> BTreeSet<PathBuf> {
        let name =
            path.parent().zip(path.file_name()).and_then(|(folder, name)| self.folders.get(folder)?.names.get(name));
        let inside = self.folders.get(path).into_iter().flat_map(|folder| folder.names.values());
        name.into_iter().chain(inside).flatten().cloned().collect()
    }

    fn signal(&mut self, file: &Path) {
        if let Some(known) = self.files.get_mut(file) {
            known.stamp = Stamp::of(file).ok();
            known.changes.send_replace(());
        }
    }

    /// Walks the path of `file` and watches the folders that matter. Walks it again after a folder
    /// is newly watched: what happened there in between was not heard.
    fn follow(&mut self, file: &Path) {
        for _ in 0..MAX_WALKS {
            if !self.depend(file, points::of(file)) {
                break;
            }
        }
    }

    /// Makes `file` depend on these points and no others. `true` if the walk that found them may
    /// be out of date.
    fn depend(&mut self, file: &Path, points: BTreeSet<Point>) -> bool {
        let Some(known) = self.files.get_mut(file) else {
            return false;
        };
        let before = std::mem::replace(&mut known.points, points.clone());
        let mut again = false;
        for point in &points {
            let folder = self.folders.entry(point.folder.clone()).or_default();
            folder.names.entry(point.name.clone()).or_default().insert(file.to_owned());
            if !folder.watched {
                again |= self.watch(&point.folder);
            }
        }
        for point in before.difference(&points) {
            self.release(file, point);
        }
        again
    }

    /// `file` no longer depends on `point`; a folder nobody depends on is no longer watched.
    fn release(&mut self, file: &Path, point: &Point) {
        let Some(folder) = self.folders.get_mut(&point.folder) else {
            return;
        };
        if let Some(files) = folder.names.get_mut(&point.name) {
            files.remove(file);
            if files.is_empty() {
                folder.names.remove(&point.name);
            }
        }
        if folder.names.is_empty() {
            self.forget(&point.folder);
            self.folders.remove(&point.folder);
        }
    }

    /// Asks the operating system to report on a folder. `true` if it is worth walking again: the
    /// folder is watched from now on, or is gone already.
    fn watch(&mut self, path: &Path) -> bool {
        let (Some(system), Some(folder)) = (&mut self.system, self.folders.get_mut(path)) else {
            return false;
        };
        match notify::Watcher::watch(system, path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                folder.watched = true;
                true
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => true,
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "cannot watch this folder: polling");
                false
            }
        }
    }

    /// If this is a watched folder: it may have become another one, so it counts as not watched.
    fn forget(&mut self, path: &Path) {
        let (Some(system), Some(folder)) = (&mut self.system, self.folders.get_mut(path)) else {
            return;
        };
        if std::mem::take(&mut folder.watched) {
            // The error is that the watch ended with the folder.
            let _ = notify::Watcher::unwatch(system, path);
        }
    }
}
