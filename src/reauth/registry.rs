//! Values by key, each kept for as long as somebody holds it.
//!
//! 1. Who joins under a key that others hold gets the value that they hold.
//! 2. A value leaves with its last holder, so the registry is never larger than what is held.
//! 3. Joining and leaving touch one entry, however many there are.
//! 4. A value may be withdrawn: its holders keep it, and who joins after that gets a new one.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, PoisonError},
};

use crate::{
    bearer::TokenDigest,
    sync::{Mutex, MutexGuard},
};

pub(crate) struct Registry<V>(Mutex<HashMap<TokenDigest, Listed<V>>>);

struct Listed<V> {
    entry: Arc<Entry<V>>,
    holders: usize,
}

/// A value under its key.
pub(crate) struct Entry<V> {
    key: TokenDigest,
    value: V,
}

/// A hold on a value, given up when it is dropped.
pub(crate) struct Member<V> {
    entry: Arc<Entry<V>>,
    /// Where it is listed, if it ever was.
    home: Option<Arc<Registry<V>>>,
}

impl<V> Registry<V> {
    /// Holds the value of `key`, which `make` makes if nobody does.
    pub(crate) fn join(self: &Arc<Self>, key: TokenDigest, make: impl FnOnce() -> V) -> Member<V> {
        let mut entries = self.entries();
        let new = || Listed { entry: Arc::new(Entry { key, value: make() }), holders: 0 };
        let listed = entries.entry(key).or_insert_with(new);
        listed.holders += 1;
        Member { entry: Arc::clone(&listed.entry), home: Some(Arc::clone(self)) }
    }

    /// The values of those of `keys` that somebody holds.
    pub(crate) fn of(&self, keys: &[TokenDigest]) -> Vec<Arc<Entry<V>>> {
        let entries = self.entries();
        keys.iter().filter_map(|key| entries.get(key)).map(|listed| Arc::clone(&listed.entry)).collect()
    }

    /// All values.
    pub(crate) fn all(&self) -> Vec<Arc<Entry<V>>> {
        self.entries().values().map(|listed| Arc::clone(&listed.entry)).collect()
    }

    /// Takes out the values that `wanted` picks.
    pub(crate) fn withdraw(&self, wanted: impl Fn(&V) -> bool) -> Vec<Arc<Entry<V>>> {
        let mut withdrawn = Vec::new();
        self.entries().retain(|_, listed| {
            let is_wanted = wanted(&listed.entry);
            if is_wanted {
                withdrawn.push(Arc::clone(&listed.entry));
            }
            !is_wanted
        });
        withdrawn
    }

    fn leave(&self, entry: &Arc<Entry<V>>) {
        let mut entries = self.entries();
        // After a withdrawal another value may stand there.
        let Some(listed) = entries.get_mut(&entry.key).filter(|listed| Arc::ptr_eq(&listed.entry, entry)) else {
            return;
        };
        listed.holders -= 1;
        if listed.holders == 0 {
            entries.remove(&entry.key);
        }
    }

    // Each change to the entries is whole before anything can panic.
    fn entries(&self) -> MutexGuard<'_, HashMap<TokenDigest, Listed<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Member<V> {
    /// A hold on a value that no registry lists.
    pub(crate) fn alone(entry: Arc<Entry<V>>) -> Self {
        Self { entry, home: None }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<V>> {
        &self.entry
    }
}

impl<V> Entry<V> {
    /// A value for a registry of its own.
    pub(crate) fn new(key: TokenDigest, value: V) -> Arc<Self> {
        Arc::new(Self { key, value })
    }
}

impl<V> Deref for Entry<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> Deref for Member<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.entry.value
    }
}

impl<V> Drop for Member<V> {
    fn drop(&mut self) {
        if let Some(registry) = &self.home {
            registry.leave(&self.entry);
        }
    }
}

impl<V> Default for Registry<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
