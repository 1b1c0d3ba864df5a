//! The connections to a server that are kept, all of them to the same one.

use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// One connection for each task. When anything fails on one of them, or it turns out that the log is another one, none is
/// kept: they may lead to a server whose place another one has taken.
pub(super) struct Connections<T>(Mutex<State<T>>);

struct State<T> {
    kept: Vec<(Task, T)>,
    /// How often all were dropped: what was taken before that is not kept.
    dropped: u64,
    /// Which life of the log they lead to, once that is known.
    life: String,
}

/// What a connection is for. None waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Ask,
    Read,
    Write,
}

/// Drops all connections when it is dropped: what was asked of one failed, or was given up.
pub(super) struct Lost<'a, T>(pub(super) &'a Connections<T>);

impl<T> Connections<T> {
    /// The connection that is kept for `task`, and the number by which it is [put](Self::put) back.
    pub(super) fn take(&self, task: Task) -> (u64, Option<T>) {
        let mut state = self.state();
        let at = state.kept.iter().position(|(each, _)| *each == task);
        (state.dropped, at.map(|at| state.kept.swap_remove(at).1))
    }

    pub(super) fn put(&self, task: Task, number: u64, connection: T) {
        let mut state = self.state();
        if state.dropped == number {
            state.kept.push((task, connection));
        }
    }

    pub(super) fn drop_all(&self) {
        let mut state = self.state();
        state.dropped += 1;
        let kept = std::mem::take(&mut state.kept);
        drop(state);
        drop(kept);
    }

    /// They lead to this life of the log, or are dropped.
    pub(super) fn belong_to(&self, life: &str) {
        let known = self.life();
        if known != life {
            life.clone_into(&mut self.state().life);
            if !known.is_empty() {
                self.drop_all();
            }
        }
    }

    /// Which life of the log they lead to, empty where that is not known.
    pub(super) fn life(&self) -> String {
        self.state().life.clone()
    }

    /// Whether an entry that was written in this life is one of the life that they lead to. Of both there is the start and
    /// the end.
    pub(super) fn are_of(&self, short: &str) -> bool {
        let life = self.life();
        let parts = (life.get(..8), life.len().checked_sub(8).and_then(|start| life.get(start..)));
        match parts {
            (Some(start), Some(end)) => short.strip_prefix(start) == Some(end),
            _ => life.is_empty(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Connections<T> {
    fn default() -> Self {
        Self(Mutex::new(State { kept: Vec::new(), dropped: 0, life: String::new() }))
    }
}

impl<T> Drop for Lost<'_, T> {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}
