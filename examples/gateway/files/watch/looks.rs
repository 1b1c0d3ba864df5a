//! [`Looks`]: looks at files, each by a thread that waits for one file at a time.
//!
//! 1. A file is looked at by one thread at a time. What is heard of it meanwhile is one more look after that.
//! 2. Two threads are enough while the file systems answer. When all threads have been at it for a moment, a file
//!    system hangs, and the next look gets a new one. Somebody has to [supervise](Looks::supervise) that.
//! 3. One folder never has more than [`PER_FOLDER`] threads: a hung one does not take all there are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Why a file is looked at; what is further down is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Nothing was heard.
    Poll,
    /// There are other bytes in it.
    Content,
    /// Its path may lead elsewhere.
    Path,
}

const ENOUGH: usize = 2;
const MOST: usize = 256;
const PER_FOLDER: usize = 8;
/// How long all threads have to be busy.
const MOMENT: Duration = Duration::from_millis(50);
/// How long a thread that is not needed waits for more.
const REST: Duration = Duration::from_secs(10);

/// Clones share the queue.
#[derive(Clone)]
pub struct Looks(Arc<Pool>);

struct Pool {
    queue: Mutex<Queue>,
    added: Condvar,
    /// Something was added while all threads were busy.
    waits: Condvar,
    look: Box<dyn Fn(&Path, Look) -> bool + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    due: HashMap<PathBuf, Look>,
    /// Those that are due and not looked at, in their order.
    next: VecDeque<PathBuf>,
    /// The same, where their folder has threads enough.
    held_back: HashMap<PathBuf, VecDeque<PathBuf>>,
    looked_at: HashSet<PathBuf>,
    /// How many threads look at a file in a folder.
    in_folder: HashMap<PathBuf, usize>,
    threads: usize,
    idle: usize,
    /// When a look last began or ended.
    moved: Option<Instant>,
    is_over: bool,
}

impl Looks {
    /// `look` says whether there will be more.
    pub fn new(look: impl Fn(&Path, Look) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Pool {
            queue: Mutex::default(),
            added: Condvar::new(),
            waits: Condvar::new(),
            look: Box::new(look),
        }))
    }

    /// Lets these files be looked at soon.
    pub fn add(&self, files: impl IntoIterator<Item = (PathBuf, Look)>) {
        let mut queue = self.0.lock();
        for (file, look) in files {
            queue.add(file, look);
        }
        if queue.next.is_empty() {
            return;
        }
        if queue.idle > 0 {
            self.0.added.notify_one();
        } else if queue.threads < ENOUGH {
            self.start_thread(queue);
        } else {
            self.0.waits.notify_one();
        }
    }

    /// Whoever can see to it for this long that no look waits for a thread. `false` when it is over.
    pub fn supervise(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut queue = self.0.lock();
        while !queue.is_over {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if queue.next.is_empty() || queue.idle > 0 {
                queue = self.0.waits.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            match queue.moved.map_or(Duration::ZERO, |moved| moved.elapsed()) {
                stuck if stuck >= MOMENT && queue.threads < MOST => {
                    queue.moved = Some(Instant::now());
                    self.start_thread(queue);
                    queue = self.0.lock();
                }
                _ => {
                    drop(queue);
                    thread::sleep(MOMENT.min(left));
                    queue = self.0.lock();
                }
            }
        }
        false
    }

    /// The threads end when they have looked at what they look at.
    pub fn end(&self) {
        self.0.lock().is_over = true;
        self.0.added.notify_all();
        self.0.waits.notify_all();
    }

    fn start_thread(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.threads += 1;
        drop(queue);
        let pool = Arc::clone(&self.0);
        let started = thread::Builder::new().name("watch-look".to_owned()).spawn(move || pool.work());
        if let Err(error) = started {
            self.0.lock().threads -= 1;
            tracing::warn!(%error, "files wait to be looked at");
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        while !queue.is_over {
            let Some((file, look)) = queue.take() else {
                queue.idle += 1;
                let (woken, rest) = self.added.wait_timeout(queue, REST).unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.idle -= 1;
                if rest.timed_out() && queue.next.is_empty() {
                    break;
                }
                continue;
            };
            // Others were added before this one woke, which was counted on for them too.
            if !queue.next.is_empty() {
                let taker = if queue.idle > 0 { &self.added } else { &self.waits };
                taker.notify_one();
            }
            drop(queue);
            let goes_on = (self.look)(&file, look);
            queue = self.lock();
            queue.is_over |= !goes_on;
            queue.done(file);
        }
        queue.threads -= 1;
    }
}

impl Queue {
    fn add(&mut self, file: PathBuf, look: Look) {
        match self.due.get_mut(&file) {
            Some(due) => *due = look.max(*due),
            None => {
                if !self.looked_at.contains(&file) {
                    self.next.push_back(file.clone());
                }
                self.due.insert(file, look);
            }
        }
    }

    fn take(&mut self) -> Option<(PathBuf, Look)> {
        while let Some(file) = self.next.pop_front() {
            let folder = folder(&file);
            let threads = self.in_folder.entry(folder.clone()).or_default();
            if *threads >= PER_FOLDER {
                self.held_back.entry(folder).or_default().push_back(file);
                continue;
            }
            let Some(look) = self.due.remove(&file) else { continue };
            *threads += 1;
            self.looked_at.insert(file.clone());
            self.moved = Some(Instant::now());
            return Some((file, look));
        }
        None
    }

    fn done(&mut self, file: PathBuf) {
        self.moved = Some(Instant::now());
        let folder = folder(&file);
        if let Some(threads) = self.in_folder.get_mut(&folder) {
            *threads -= 1;
            if *threads == 0 {
                self.in_folder.remove(&folder);
            }
        }
        if let Some(held_back) = self.held_back.get_mut(&folder) {
            self.next.extend(held_back.pop_front());
            if held_back.is_empty() {
                self.held_back.remove(&folder);
            }
        }
        self.looked_at.remove(&file);
        if self.due.contains_key(&file) {
            self.next.push_back(file);
        }
    }
}

fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_look_that_hangs_holds_up_none_that_came_before_its_thread_woke() {
        const SOON: Duration = Duration::from_secs(10);
        let (hung, well) = (Path::new("/a/hung"), Path::new("/b/well"));
        for round in 0..50 {
            let (seen, sees) = channel();
            let (released, release) = channel::<()>();
            let (seen, release) = (Mutex::new(seen), Mutex::new(release));
            let looks = Looks::new(move |file, _| {
                if file == hung {
                    let _ = release.lock().unwrap().recv();
                }
                seen.lock().unwrap().send(file.to_owned()).is_ok()
            });
            let supervised = thread::spawn({
                let looks = looks.clone();
                move || while looks.supervise(3600 * Duration::from_secs(1)) {}
            });
            looks.add([(well.to_owned(), Look::Content)]);
            assert_eq!(sees.recv_timeout(SOON).unwrap(), well);
            // Its thread waits for more, and has not woken for the first of these when the second comes.
            while looks.0.lock().idle == 0 {
                thread::yield_now();
            }
            looks.add([(hung.to_owned(), Look::Content)]);
            looks.add([(well.to_owned(), Look::Content)]);
            assert_eq!(sees.recv_timeout(SOON).as_deref(), Ok(well), "round {round}");
            drop(released);
            assert_eq!(sees.recv_timeout(SOON).unwrap(), hung);
            looks.end();
            supervised.join().unwrap();
        }
    }
}
