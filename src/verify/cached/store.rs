//! What is kept of earlier answers, in bounded room.
//!
//! 1. Identities and rejections are kept apart, so that strangers, who can cause rejections only, push out
//!    no identity.
//! 2. What is asked for least is pushed out first, and at once: the bound is exact, which is why this is an
//!    [`LruCache`] and not a cache that sweeps in the background.
//! 3. What leaves is dropped after the lock, for it may hold a user's claims.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::time::Instant;

use crate::{
    Identity,
    unwind::contained,
    verify::{TokenDigest, VerifyError},
};

pub(super) struct Store(Mutex<Kept>);

struct Kept {
    /// Moves when something is forgotten: what was asked before is not kept.
    generation: u64,
    good: Bounded<Good>,
    rejected: Bounded<Rejected>,
}

struct Bounded<T> {
    capacity: usize,
    entries: LruCache<TokenDigest, T>,
}

/// When a question was put, and by what its answer holds.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// The inner verifier's revision.
    pub(super) revision: Option<u64>,
    pub(super) generation: u64,
}

#[derive(Clone)]
pub(super) struct Good {
    pub(super) identity: Identity,
    pub(super) asked: Asked,
    /// Until when it may answer though its age is over, as the inner verifier could not.
    pub(super) stands_in_until: Option<Instant>,
}

#[derive(Clone, Copy)]
pub(super) struct Rejected {
    pub(super) error: VerifyError,
    pub(super) asked: Asked,
}

/// What is kept of a token.
pub(super) enum Entry {
    Good(Good),
    Rejected(Rejected),
}

impl Store {
    pub(super) fn new(good: usize, rejected: usize) -> Self {
        Self(Mutex::new(Kept { generation: 0, good: Bounded::new(good), rejected: Bounded::new(rejected) }))
    }

    pub(super) fn set_capacities(&self, good: Option<usize>, rejected: Option<usize>) {
        let mut kept = self.kept();
        kept.good.capacity = good.unwrap_or(kept.good.capacity);
        kept.rejected.capacity = rejected.unwrap_or(kept.rejected.capacity);
        let (mut pushed_out, mut others) = (Vec::new(), Vec::new());
        while let Some(entry) = kept.good.pop_beyond() {
            pushed_out.push(entry);
        }
        while let Some(entry) = kept.rejected.pop_beyond() {
            others.push(entry);
        }
        drop(kept);
        drop_each(pushed_out);
        drop(others);
    }

    pub(super) fn generation(&self) -> u64 {
        self.kept().generation
    }

    /// What is kept of a token. It is as recently used as can be from now on.
    pub(super) fn get(&self, token: &TokenDigest) -> Option<Entry> {
        let mut kept = self.kept();
        if let Some(good) = kept.good.entries.get(token) {
            return Some(Entry::Good(good.clone()));
        }
        kept.rejected.entries.get(token).copied().map(Entry::Rejected)
    }

    /// Keeps an identity in place of what was known of the token, unless that is newer.
    pub(super) fn put_good(&self, token: TokenDigest, good: Good) {
        let mut kept = self.kept();
        let replaced = if kept.takes(&token, good.asked) {
            kept.rejected.entries.pop(&token);
            kept.good.push(token, good)
        } else {
            [Some(good), None]
        };
        drop(kept);
        drop_each(replaced.into_iter().flatten());
    }

    /// Keeps a rejection, likewise.
    pub(super) fn put_rejected(&self, token: TokenDigest, rejected: Rejected) {
        let mut kept = self.kept();
        if !kept.takes(&token, rejected.asked) {
            return;
        }
        let replaced = kept.good.entries.pop(&token);
        kept.rejected.push(token, rejected);
        drop(kept);
        drop_each(replaced);
    }

    /// Lets the identity of a token, if it is the answer to the same question, answer until `until`.
    pub(super) fn stand_in(&self, token: &TokenDigest, asked_at: Instant, until: Instant) {
        if let Some(good) = self.kept().good.entries.peek_mut(token).filter(|good| good.asked.at == asked_at) {
            good.stands_in_until = Some(until);
        }
    }

    pub(super) fn forget(&self, token: &TokenDigest) {
        let mut kept = self.kept();
        kept.generation += 1;
        let forgotten = kept.good.entries.pop(token);
        kept.rejected.entries.pop(token);
        drop(kept);
        drop_each(forgotten);
    }

    pub(super) fn forget_all(&self) {
        let mut kept = self.kept();
        kept.generation += 1;
        let forgotten = std::mem::replace(&mut kept.good.entries, LruCache::unbounded());
        kept.rejected.entries = LruCache::unbounded();
        drop(kept);
        drop_each(forgotten.into_iter().map(|(_, good)| good));
    }

    /// How many identities, and how many rejections.
    pub(super) fn len(&self) -> (usize, usize) {
        let kept = self.kept();
        (kept.good.entries.len(), kept.rejected.entries.len())
    }

    // A panic elsewhere leaves it whole: nothing in here calls foreign code under the lock.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With an identity go its claims, and their `Drop` is a user's.
fn drop_each(given_up: impl IntoIterator<Item = Good>) {
    for good in given_up {
        contained(|| drop(good));
    }
}

impl Kept {
    /// Whether the answer to a question is news.
    fn takes(&self, token: &TokenDigest, asked: Asked) -> bool {
        let good = self.good.entries.peek(token).map(|good| good.asked.at);
        let known = good.max(self.rejected.entries.peek(token).map(|rejected| rejected.asked.at));
        asked.generation == self.generation && known.is_none_or(|known| known <= asked.at)
    }
}

impl<T> Bounded<T> {
    fn new(capacity: usize) -> Self {
        // Its room grows with what is in it.
        Self { capacity, entries: LruCache::unbounded() }
    }

    /// Returns what leaves for it: what it replaces, and what is pushed out.
    fn push(&mut self, token: TokenDigest, value: T) -> [Option<T>; 2] {
        let replaced = self.entries.put(token, value);
        [replaced, self.pop_beyond()]
    }

    fn pop_beyond(&mut self) -> Option<T> {
        if self.entries.len() > self.capacity { self.entries.pop_lru().map(|(_, value)| value) } else { None }
    }
}
