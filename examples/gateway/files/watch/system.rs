//! The thread that asks the operating system to report on folders.
//!
//! To ask takes a walk to the folder, which may hang. Who asks waits no longer than [`PATIENCE`]; until there is an
//! answer, the poll has to do.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode};

const PATIENCE: Duration = Duration::from_millis(500);

/// What is asked of the operating system, in this order.
pub enum Order {
    Watch { folder: PathBuf, number: u64 },
    Unwatch { folder: PathBuf },
}

/// What became of an order to watch a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    Watched,
    /// There is no such folder any more.
    Gone,
    Refused,
}

/// Obeys until nobody orders any more, or nobody hears.
pub fn obey(mut system: RecommendedWatcher, orders: Receiver<Order>, is_heard: impl Fn(PathBuf, u64, Ordered) -> bool) {
    for order in orders {
        match order {
            // The error is that the watch ended with the folder.
            Order::Unwatch { folder } => drop(notify::Watcher::unwatch(&mut system, &folder)),
            Order::Watch { folder, number } => {
                let result = match notify::Watcher::watch(&mut system, &folder, RecursiveMode::NonRecursive) {
                    Ok(()) => Ordered::Watched,
                    Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => Ordered::Gone,
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), %error, "cannot watch this folder: polling");
                        Ordered::Refused
                    }
                };
                if !is_heard(folder, number, result) {
                    return;
                }
            }
        }
    }
}

/// Answers to come, of folders that a file depends on.
pub struct Asked(Vec<Receiver<Ordered>>);

impl Asked {
    pub fn new(answers: impl IntoIterator<Item = Receiver<Ordered>>) -> Self {
        Self(answers.into_iter().collect())
    }

    /// Waits for all of them: whether a folder is watched from now on, or is gone already.
    pub fn wait(self) -> bool {
        let answers = self.0.into_iter().map(|answer| answer.recv_timeout(PATIENCE));
        // Each is waited for.
        answers.fold(false, |again, answer| again | matches!(answer, Ok(Ordered::Watched | Ordered::Gone)))
    }
}

/// Who waits for an answer.
pub type Asking = Sender<Ordered>;
