//! Values by key, each kept for as long as it has subscribers.
//!
//! 1. Subscribers of one key share one value.
//! 2. A value leaves with its last subscriber, so the registry is never larger than what is in use.
//! 3. Subscribing and unsubscribing touch one entry, however many there are.
//! 4. A value may be withdrawn: its subscribers keep it, and later ones get a new one.

use std::{
    collections::HashMap,
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
        let mut entries = self.entries();
        let new = || Listed { entry: Arc::new(Entry { key, value: make() }), subscribers: 0 };
        let listed = entries.entry(key).or_insert_with(new);
        listed.subscribers += 1;
        Subscription { entry: Arc::clone(&listed.entry), home: Some(Arc::clone(self)) }
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

    fn unsubscribe(&self, entry: &Arc<Entry<V>>) {
        let mut entries = self.entries();
        // After a withdrawal another value may stand there.
        let Some(listed) = entries.get_mut(&entry.key).filter(|listed| Arc::ptr_eq(&listed.entry, entry)) else {
            return;
        };
        listed.subscribers -= 1;
        if listed.subscribers == 0 {
            entries.remove(&entry.key);
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
