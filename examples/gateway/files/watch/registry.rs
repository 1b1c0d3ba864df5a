//! Who watches which file, and which folders the operating system reports on for that.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use notify::event::ModifyKind;
use notify::{Event, EventKind};
use tokio::sync::watch;

use super::looks::Look;
use super::points::Point;
use super::system::{Asked, Asking, Order, Ordered};
use crate::files::Stamp;

pub struct Registry {
    /// `None`: the operating system reports nothing.
    orders: Option<Sender<Order>>,
    ordered: u64,
    files: HashMap<PathBuf, File>,
    folders: HashMap<PathBuf, Folder>,
}

struct File {
    handles: usize,
    /// With the time at which a change was noticed.
    changes: watch::Sender<Instant>,
    /// When something was heard of it that nobody was woken for yet.
    heard: Option<Instant>,
    /// Whether all that happens from now on is reported.
    is_followed: bool,
    /// `None`: it could not be looked at.
    stamp: Option<Stamp>,
    points: BTreeSet<Point>,
}

#[derive(Default)]
struct Folder {
    state: Watch,
    /// The files that depend on a name in this folder.
    names: HashMap<OsString, BTreeSet<PathBuf>>,
}

/// Whether the operating system reports on the folder that is at this path now.
#[derive(Default)]
enum Watch {
    #[default]
    No,
    Ordered {
        number: u64,
        asking: Vec<Asking>,
    },
    Yes,
}

impl Registry {
    pub fn new(orders: Option<Sender<Order>>) -> Self {
        Self { orders, ordered: 0, files: HashMap::new(), folders: HashMap::new() }
    }

    /// One more handle on `file`, and whether it is followed already.
    pub fn add(&mut self, file: &Path) -> (watch::Receiver<Instant>, bool) {
        let file = self.files.entry(file.to_owned()).or_insert_with(|| File {
            handles: 0,
            changes: watch::Sender::new(Instant::now()),
            heard: None,
            is_followed: false,
            stamp: None,
            points: BTreeSet::new(),
        });
        file.handles += 1;
        (file.changes.subscribe(), file.is_followed)
    }

    /// One handle less.
    pub fn remove(&mut self, file: &Path) {
        let Some(known) = self.files.get_mut(file) else {
            return;
        };
        known.handles -= 1;
        if known.handles == 0 {
            self.set_points(file, BTreeSet::new());
            self.files.remove(file);
        }
    }

    /// Every watched file.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// The file is followed from now on, and had this stamp.
    pub fn set_followed(&mut self, file: &Path, stamp: Option<Stamp>) {
        if let Some(known) = self.files.get_mut(file).filter(|known| !known.is_followed) {
            known.is_followed = true;
            known.stamp = stamp;
        }
    }

    /// The operating system reports an event: what is to be looked at.
    pub fn on_event(&mut self, event: notify::Result<Event>) -> Vec<(PathBuf, Look)> {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // It lost track. That means "check now", never "nothing happened".
            lost => {
                tracing::warn!(?lost, "file events were lost: looking at every file");
                return self.files().into_iter().map(|file| (file, Look::Path)).collect();
            }
        };
        // Opening, reading and closing change nothing.
        if event.kind.is_access() {
            return Vec::new();
        }
        // More bytes in a file cannot make a path lead elsewhere; anything else can.
        let look = match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => Look::Content,
            _ => Look::Path,
        };
        let mut due = Vec::new();
        for path in &event.paths {
            if look == Look::Path {
                self.forget(path);
            }
            due.extend(self.dependents(path).into_iter().map(|file| (file, look)));
        }
        let now = Instant::now();
        for (file, _) in &due {
            if let Some(known) = self.files.get_mut(file) {
                known.heard.get_or_insert(now);
            }
        }
        due
    }

    /// Whether the poll found another stamp than is known. Nobody said so: the folders on the way may not be those
    /// that are watched.
    pub fn is_news(&mut self, file: &Path, now: Option<&Stamp>) -> bool {
        let is_news = |known: &&File| known.is_followed && known.stamp.as_ref() != now;
        let Some(known) = self.files.get(file).filter(is_news) else {
            return false;
        };
        let folders: Vec<_> = known.points.iter().map(|point| point.folder.clone()).collect();
        for folder in folders {
            self.forget(&folder);
        }
        true
    }

    /// Wakes who watches the file, which has this stamp.
    pub fn signal(&mut self, file: &Path, stamp: Option<Stamp>) {
        if let Some(known) = self.files.get_mut(file) {
            known.stamp = stamp;
            known.changes.send_replace(known.heard.take().unwrap_or_else(Instant::now));
        }
    }

    /// An order was obeyed, or was not.
    pub fn is_ordered(&mut self, folder: PathBuf, order: u64, result: Ordered) {
        let Some(known) = self.folders.get_mut(&folder) else { return };
        // It may have been forgotten meanwhile, and ordered again.
        let Watch::Ordered { number, asking } = &mut known.state else { return };
        if *number != order {
            return;
        }
        let asking = std::mem::take(asking);
        known.state = if result == Ordered::Watched { Watch::Yes } else { Watch::No };
        for asking in asking {
            // The error is that nobody waits any more.
            let _ = asking.send(result);
        }
    }

    #[cfg(test)]
    pub fn folders_watched(&self) -> usize {
        self.folders.values().filter(|folder| matches!(folder.state, Watch::Yes)).count()
    }

    /// The files for which something at `path` matters: a name in a folder, or a folder itself.
    fn dependents(&self, path: &Path) -> BTreeSet<PathBuf> {
        let name =
            path.parent().zip(path.file_name()).and_then(|(folder, name)| self.folders.get(folder)?.names.get(name));
        let inside = self.folders.get(path).into_iter().flat_map(|folder| folder.names.values());
        name.into_iter().chain(inside).flatten().cloned().collect()
    }

    /// Makes `file` depend on these points and no others, and asks for reports on their folders.
    pub fn depend(&mut self, file: &Path, points: BTreeSet<Point>) -> Asked {
        let folders: BTreeSet<_> = points.iter().map(|point| point.folder.clone()).collect();
        match self.set_points(file, points) {
            true => Asked::new(folders.iter().filter_map(|folder| self.watch(folder))),
            false => Asked::new([]),
        }
    }

    /// `false` if nobody watches the file any more.
    fn set_points(&mut self, file: &Path, points: BTreeSet<Point>) -> bool {
        let Some(known) = self.files.get_mut(file) else { return false };
        let before = std::mem::replace(&mut known.points, points.clone());
        for point in &points {
            let folder = self.folders.entry(point.folder.clone()).or_default();
            folder.names.entry(point.name.clone()).or_default().insert(file.to_owned());
        }
        for point in before.difference(&points) {
            self.release(file, point);
        }
        true
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

    /// Asks for reports on a folder, unless there are.
    fn watch(&mut self, path: &Path) -> Option<std::sync::mpsc::Receiver<Ordered>> {
        let (orders, folder) = (self.orders.as_ref()?, self.folders.get_mut(path)?);
        let (asking, answer) = channel();
        match &mut folder.state {
            Watch::Yes => return None,
            Watch::Ordered { asking: all, .. } => all.push(asking),
            Watch::No => {
                self.ordered += 1;
                folder.state = Watch::Ordered { number: self.ordered, asking: vec![asking] };
                // The error is that the thread has ended, as it does with the last handle.
                let _ = orders.send(Order::Watch { folder: path.to_owned(), number: self.ordered });
            }
        }
        Some(answer)
    }

    /// If this is a watched folder: it may have become another one, so it counts as not watched.
    fn forget(&mut self, path: &Path) {
        let (Some(orders), Some(folder)) = (&self.orders, self.folders.get_mut(path)) else {
            return;
        };
        if !matches!(std::mem::take(&mut folder.state), Watch::No) {
            let _ = orders.send(Order::Unwatch { folder: path.to_owned() });
        }
    }
}
