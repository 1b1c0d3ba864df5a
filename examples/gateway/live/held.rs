//! [`Shared`]: values that are there for as long as somebody holds them.

use std::{
    collections::HashMap,
    hash::Hash,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Values by key, each for as long as somebody holds it.
pub struct Shared<K: Eq + Hash, V>(Mutex<HashMap<K, Weak<Held<K, V>>>>);

/// A value that is held. The last holder takes it out.
pub struct Held<K: Eq + Hash, V> {
    value: V,
    key: K,
    shared: Arc<Shared<K, V>>,
}

impl<K: Clone + Eq + Hash, V> Shared<K, V> {
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<Held<K, V>>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries().get(key).and_then(Weak::upgrade)
    }

    /// The value that somebody holds, or else a new one. `new` does next to nothing.
    pub fn get_or_insert(self: &Arc<Self>, key: K, new: impl FnOnce() -> V) -> Arc<Held<K, V>> {
        let mut entries = self.entries();
        if let Some(held) = entries.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        let held = Arc::new(Held { value: new(), key: key.clone(), shared: Arc::clone(self) });
        entries.insert(key, Arc::downgrade(&held));
        held
    }

    /// Takes the value out, so that the next to ask for it gets another one.
    pub fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<Held<K, V>>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries().remove(key).and_then(|held| held.upgrade())
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, Weak<Held<K, V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Deref for Held<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K: Eq + Hash, V> Drop for Held<K, V> {
    fn drop(&mut self) {
        let mut entries = self.shared.entries();
        // It may have another one in its place by now.
        if entries.get(&self.key).is_some_and(|held| held.strong_count() == 0) {
            entries.remove(&self.key);
        }
    }
}
