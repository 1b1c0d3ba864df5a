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
    /// What was written, and where in the log was not read yet: of what is read meanwhile it cannot be told whether it
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

struct Unread {
    /// How often it had been asked where the log ends when this was there for certain.
    written: Option<u64>,
    /// Whether what was read about it last forgets it.
    is_forgotten: bool,
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
        let State { on_their_way, unread, asked, .. } = &mut *state;
        for written in std::mem::take(on_their_way).into_values() {
            if let Some(unread) = written.topic().and_then(|topic| unread.get_mut(topic)) {
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

    /// The log is read as far as it went when it was asked the time with this number. The topics of what was written
    /// before, where the last word is that they are forgotten.
    pub(super) fn read_as_of(&self, asked: u64) -> Vec<Topic> {
        let mut state = self.state();
        let State { unread, numbers, .. } = &mut *state;
        let mut forgotten = Vec::new();
        unread.retain(|topic, unread| {
            let is_unread = unread.written.is_none_or(|written| written >= asked);
            if !is_unread && unread.is_forgotten && !numbers.contains_key(topic) {
                forgotten.push(topic.clone());
            }
            is_unread
        });
        forgotten
    }

    /// Not all of the log was read, or it has lost something: perhaps what this node wrote after what was read last.
    pub(super) fn begin_anew(&self) {
        self.state().unread.values_mut().for_each(|unread| unread.is_forgotten = false);
    }

    /// The log says that a topic is forgotten, or that it is revoked. Whether the first is to be passed over for now: what
    /// this node wrote about it, or will, may come later.
    pub(super) fn reads(&self, topic: &Topic, is_forgotten: bool) -> bool {
        let mut state = self.state();
        let Some(unread) = state.unread.get_mut(topic) else { return state.numbers.contains_key(topic) };
        unread.is_forgotten = is_forgotten;
        true
    }

    /// What was written about this topic is in the log.
    pub(super) fn has(&self, topic: &Topic) {
        self.state().unread.remove(topic);
    }

    /// Whether it is not known yet what the log has of this topic.
    pub(super) fn is_about(&self, topic: &Topic) -> bool {
        let state = self.state();
        state.numbers.contains_key(topic) || state.unread.contains_key(topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, entry: Entry) {
        let topic = entry.about().clone();
        let unwritten = Unwritten::from(entry);
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
        self.unread.remove(&topic);
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
                self.unread.insert(entry.about().clone(), Unread { written: None, is_forgotten: false });
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
            self.revokes = match (self.revokes.take(), later.revokes) {
                (Some(known), Some(later)) => Some(known.or(later)),
                (known, later) => known.or(later),
            };
        }
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
