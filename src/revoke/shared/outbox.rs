//! What was revoked on this node and is not known to be in the log, or was not read from there yet.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::PoisonError,
};

use tokio::sync::Notify;

use super::{Entry, batch::Batch, entry::Topic};
use crate::sync::{Mutex, MutexGuard};

/// Entries on their way to the log, for each topic that waits no more than two: however long the log is away, there are
/// no more of them than things that were revoked.
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
    waiting: BTreeMap<u64, Unwritten>,
    numbers: HashMap<Topic, u64>,
    /// Those that are being written.
    on_their_way: BTreeMap<u64, Unwritten>,
    next: u64,
    /// What was not read yet from the log, be it written or not: of what is read meanwhile it cannot be told whether it
    /// came before it.
    unread: HashMap<Topic, Unread>,
    /// How often it was asked where the log ends.
    asked: u64,
}

/// What is to be written about a topic, in this order.
struct Unwritten {
    forgets: Option<Entry>,
    revokes: Option<Entry>,
}

#[derive(Default)]
struct Unread {
    /// How often it had been asked where the log ends when this was there for certain.
    written: Option<u64>,
    /// If it was read that it is forgotten: what was read after that, and revokes it.
    since_forgotten: Option<Option<Entry>>,
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

    pub(super) fn done(&self) {
        let mut state = self.state();
        let State { on_their_way, numbers, unread, asked, .. } = &mut *state;
        for written in std::mem::take(on_their_way).into_values() {
            let topic = written.topic().filter(|topic| !numbers.contains_key(topic));
            if let Some(unread) = topic.and_then(|topic| unread.get_mut(topic)) {
                unread.written = Some(*asked);
            }
        }
        drop(state);
        self.emptied.notify_waiters();
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        let unwritten = std::mem::take(&mut state.on_their_way);
        for (number, unwritten) in unwritten {
            state.put_back(number, unwritten);
        }
    }

    /// It is asked where the log ends: what was written by now is before that.
    pub(super) fn asks(&self) -> u64 {
        let mut state = self.state();
        state.asked += 1;
        state.asked
    }

    /// The log is read as far as it went when it was asked the time with this number. Of what was written before and is
    /// forgotten: its topic, and what has revoked it since.
    pub(super) fn read_as_of(&self, asked: u64) -> Vec<(Topic, Option<Entry>)> {
        let mut forgotten = Vec::new();
        self.state().unread.retain(|topic, unread| {
            let is_unread = unread.written.is_none_or(|written| written >= asked);
            if !is_unread {
                forgotten.extend(unread.since_forgotten.take().map(|since| (topic.clone(), since)));
            }
            is_unread
        });
        forgotten
    }

    /// Not all of the log was read, or it has lost something: perhaps what this node wrote after what was read last.
    pub(super) fn begin_anew(&self) {
        self.state().unread.values_mut().for_each(|unread| unread.since_forgotten = None);
    }

    /// The log says that something is revoked, or forgotten. Whether the latter is to be passed over for now: what this
    /// node wrote about it, or will, may come later.
    pub(super) fn reads(&self, entry: &Entry) -> bool {
        let mut state = self.state();
        let Some(unread) = state.unread.get_mut(entry.about()) else { return false };
        if entry.rank().is_none() {
            unread.since_forgotten = Some(None);
        } else if let Some(since) = &mut unread.since_forgotten {
            *since = either(since.take(), Some(entry.clone()));
        }
        true
    }

    /// The log has this of a topic, and no more. Whether that is to be passed over for now.
    pub(super) fn reads_less(&self, topic: &Topic, there: Option<&Entry>) -> bool {
        let mut state = self.state();
        let Some(unread) = state.unread.get_mut(topic) else { return false };
        unread.since_forgotten = Some(there.cloned());
        true
    }

    /// What was written about this topic is in the log.
    pub(super) fn has(&self, topic: &Topic) {
        self.state().unread.remove(topic);
    }

    /// Whether it is not known yet what the log has of this topic.
    pub(super) fn is_about(&self, topic: &Topic) -> bool {
        self.state().unread.contains_key(topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, entry: Entry) {
        let topic = entry.about().clone();
        let unwritten = Unwritten::from(entry);
        self.unread.entry(topic.clone()).or_default().written = None;
        if let Some(waiting) = self.numbers.get(&topic).and_then(|number| self.waiting.get_mut(number)) {
            waiting.add(unwritten);
            return;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(topic, number);
        self.waiting.insert(number, unwritten);
    }

    /// One that was not written waits again, in its place.
    fn put_back(&mut self, number: u64, mut unwritten: Unwritten) {
        let Some(topic) = unwritten.topic().cloned() else { return };
        if let Some(later) = self.numbers.remove(&topic).and_then(|later| self.waiting.remove(&later)) {
            unwritten.add(later);
        }
        self.numbers.insert(topic, number);
        self.waiting.insert(number, unwritten);
    }

    fn take(&mut self) -> Option<Vec<Entry>> {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some((number, unwritten)) = self.waiting.pop_first() else { break };
            for entry in unwritten.entries() {
                self.numbers.remove(entry.about());
                batch.add(entry.clone());
            }
            self.on_their_way.insert(number, unwritten);
        }
        let entries = batch.take();
        (!entries.is_empty()).then_some(entries)
    }

    /// The number of the first that is not written.
    fn first(&self) -> Option<u64> {
        let first = |entries: &BTreeMap<u64, Unwritten>| entries.first_key_value().map(|(number, _)| *number);
        [first(&self.on_their_way), first(&self.waiting)].into_iter().flatten().min()
    }
}

impl Unwritten {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.forgets.iter().chain(&self.revokes)
    }

    fn topic(&self) -> Option<&Topic> {
        self.entries().next().map(Entry::about)
    }

    /// What comes later and is about the same.
    fn add(&mut self, later: Self) {
        if later.forgets.is_some() {
            *self = later;
        } else {
            self.revokes = either(self.revokes.take(), later.revokes);
        }
    }
}

/// Of two that revoke the same, the one that holds.
fn either(one: Option<Entry>, other: Option<Entry>) -> Option<Entry> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.or(other)),
        (one, other) => one.or(other),
    }
}

impl From<Entry> for Unwritten {
    fn from(entry: Entry) -> Self {
        match entry.rank() {
            Some(_) => Self { forgets: None, revokes: Some(entry) },
            None => Self { forgets: Some(entry), revokes: None },
        }
    }
}
