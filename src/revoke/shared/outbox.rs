//! What was revoked on this node and is not known to be in the log.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::PoisonError,
};

use tokio::sync::Notify;

use super::{Entry, entry::Topic};
use crate::sync::{Mutex, MutexGuard};

/// How many entries are written at once.
const BATCH: usize = 256;

/// Entries on their way to the log, one for each topic that waits: however long the log is away, there are no more of
/// them than things that were revoked.
#[derive(Default)]
pub(in super::super) struct Outbox {
    state: Mutex<State>,
    /// Rung when there is something to write.
    filled: Notify,
    /// Rung when something was written.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    /// By the order in which they came.
    waiting: BTreeMap<u64, Entry>,
    numbers: HashMap<Topic, u64>,
    /// Those that are being written.
    on_their_way: BTreeMap<u64, Entry>,
    next: u64,
}

impl Outbox {
    pub(in super::super) fn push(&self, entry: Entry) {
        self.state().push(entry);
        self.filled.notify_one();
    }

    /// Completes when all that was pushed before this was called is written.
    pub(in super::super) async fn written(&self) {
        let end = self.state().next;
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = pin!(emptied);
            emptied.as_mut().enable();
            if self.state().first().is_none_or(|first| first >= end) {
                return;
            }
            emptied.await;
        }
    }

    /// The next ones to write, when there are some. They are on their way until [`done`](Self::done) or
    /// [`failed`](Self::failed).
    pub(super) async fn next(&self) -> Vec<Entry> {
        loop {
            let filled = self.filled.notified();
            if let Some(batch) = self.state().take() {
                return batch;
            }
            filled.await;
        }
    }

    /// Whether something about this topic is not written yet.
    pub(super) fn is_about(&self, topic: &Topic) -> bool {
        let state = self.state();
        state.numbers.contains_key(topic) || state.on_their_way.values().any(|entry| entry.is_about(topic))
    }

    pub(super) fn done(&self) {
        self.state().on_their_way.clear();
        self.emptied.notify_waiters();
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        let unwritten = std::mem::take(&mut state.on_their_way);
        for (number, entry) in unwritten {
            state.put_back(number, entry);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, entry: Entry) {
        let topic = entry.about().clone();
        if let Some(waiting) = self.numbers.get(&topic).and_then(|number| self.waiting.get_mut(number)) {
            waiting.replace(entry);
            return;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(topic, number);
        self.waiting.insert(number, entry);
    }

    /// One that was not written waits again, in its place.
    fn put_back(&mut self, number: u64, mut entry: Entry) {
        let topic = entry.about().clone();
        if let Some(later) = self.numbers.remove(&topic).and_then(|later| self.waiting.remove(&later)) {
            entry.replace(later);
        }
        self.numbers.insert(topic, number);
        self.waiting.insert(number, entry);
    }

    fn take(&mut self) -> Option<Vec<Entry>> {
        for _ in 0..BATCH {
            let Some((number, entry)) = self.waiting.pop_first() else { break };
            self.numbers.remove(entry.about());
            self.on_their_way.insert(number, entry);
        }
        (!self.on_their_way.is_empty()).then(|| self.on_their_way.values().cloned().collect())
    }

    /// The number of the first that is not written.
    fn first(&self) -> Option<u64> {
        let first = |entries: &BTreeMap<u64, Entry>| entries.first_key_value().map(|(number, _)| *number);
        [first(&self.on_their_way), first(&self.waiting)].into_iter().flatten().min()
    }
}
