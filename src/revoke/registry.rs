//! Values by key, each kept for as long as it has subscribers.
//!
//! 1. Subscribers of one key share one value.
//! 2. A value leaves with its last subscriber, so the registry is never larger than what is in use.
//! 3. Subscribing and unsubscribing touch one entry, however many there are.
//! 4. A value is made and dropped while the registry is not locked.

use std::{
    collections::{HashMap, hash_map},
    ops::Deref,
    sync::{Arc, PoisonError},
};

use crate::{
    sync::{Mutex, MutexGuard},
    verify::TokenDigest,
};

pub(crate) struct Registry<V>(Mutex<HashMap<TokenDigest, Listed<V>>>);

struct Listed<V> {
    entry: Arc<Entry<V>>,
    subscribers: usize,
}

/// A value under its key.
pub(crate) struct Entry<V> {
    key: TokenDigest,
    value: V,
}

/// A share in a value, given up when it is dropped.
pub(crate) struct Subscription<V> {
    entry: Arc<Entry<V>>,
    /// Where it is listed, if it ever was.
    home: Option<Arc<Registry<V>>>,
}

impl<V> Registry<V> {
    /// Subscribes to the value of `key`, which `make` makes if it has no subscribers.
    pub(crate) fn subscribe(self: &Arc<Self>, key: TokenDigest, make: impl FnOnce() -> V) -> Subscription<V> {
        let entry = match self.join(key, None) {
            Some(entry) => entry,
            None => {
                let new = Entry::new(key, make());
                // Another may have been listed meanwhile: then this one is dropped, after the lock.
                self.join(key, Some(&new)).unwrap_or(new)
            }
        };
        Subscription { entry, home: Some(Arc::clone(self)) }
    }

    /// Counts one more subscriber of what is listed under `key`, which is `new` if nothing is.
    fn join(&self, key: TokenDigest, new: Option<&Arc<Entry<V>>>) -> Option<Arc<Entry<V>>> {
        let mut entries = self.entries();
        let listed = match (entries.entry(key), new) {
            (hash_map::Entry::Occupied(listed), _) => listed.into_mut(),
            (hash_map::Entry::Vacant(vacant), Some(new)) => {
                vacant.insert(Listed { entry: Arc::clone(new), subscribers: 0 })
            }
            (hash_map::Entry::Vacant(_), None) => return None,
        };
        listed.subscribers += 1;
        Some(Arc::clone(&listed.entry))
    }

    /// The values of `keys`, as far as they have subscribers.
    pub(crate) fn of(&self, keys: &[TokenDigest]) -> Vec<Arc<Entry<V>>> {
        let entries = self.entries();
        keys.iter().filter_map(|key| entries.get(key)).map(|listed| Arc::clone(&listed.entry)).collect()
    }

    /// All values.
    pub(crate) fn all(&self) -> Vec<Arc<Entry<V>>> {
        self.entries().values().map(|listed| Arc::clone(&listed.entry)).collect()
    }

    fn unsubscribe(&self, entry: &Arc<Entry<V>>) {
        let mut entries = self.entries();
        let Some(listed) = entries.get_mut(&entry.key) else { return };
        listed.subscribers -= 1;
        if listed.subscribers == 0 {
            let removed = entries.remove(&entry.key);
            drop(entries);
            drop(removed);
        }
    }

    // Each change to the entries is whole before anything can panic.
    fn entries(&self) -> MutexGuard<'_, HashMap<TokenDigest, Listed<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Subscription<V> {
    /// A subscription to a value that no registry lists.
    pub(crate) fn unlisted(entry: Arc<Entry<V>>) -> Self {
        Self { entry, home: None }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<V>> {
        &self.entry
    }
}

impl<V> Entry<V> {
    /// A value that no registry lists.
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

impl<V> Deref for Subscription<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.entry.value
    }
}

impl<V> Drop for Subscription<V> {
    fn drop(&mut self) {
        if let Some(registry) = &self.home {
            registry.unsubscribe(&self.entry);
        }
    }
}

impl<V> Default for Registry<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
