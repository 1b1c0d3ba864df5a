//! Values by key, each kept for as long as somebody holds it.
//!
//! 1. Who joins under a key that others hold gets the value that they hold.
//! 2. A value leaves with its last holder, so the registry is never larger than what is held.
//! 3. Joining and leaving touch one entry, however many there are.
//! 4. A value may be withdrawn: its holders keep it, and who joins after that gets a new one.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::bearer::TokenDigest;

pub(crate) struct Registry<V>(Mutex<HashMap<TokenDigest, Held<V>>>);

struct Held<V> {
    value: Arc<V>,
    holders: usize,
}

/// A hold on a value, given up when it is dropped.
pub(crate) struct Member<V> {
    value: Arc<V>,
    /// Where it is known, and by which key; `None` for a value that was never put into a registry.
    home: Option<(Arc<Registry<V>>, TokenDigest)>,
}

impl<V> Registry<V> {
    /// Holds the value of `key`, which `make` makes if nobody does.
    pub(crate) fn join(self: &Arc<Self>, key: TokenDigest, make: impl FnOnce() -> V) -> Member<V> {
        let mut entries = self.entries();
        let held = entries.entry(key).or_insert_with(|| Held { value: Arc::new(make()), holders: 0 });
        held.holders += 1;
        Member { value: Arc::clone(&held.value), home: Some((Arc::clone(self), key)) }
    }

    /// The values of those of `keys` that somebody holds.
    pub(crate) fn of(&self, keys: &[TokenDigest]) -> Vec<Arc<V>> {
        let entries = self.entries();
        keys.iter().filter_map(|key| entries.get(key)).map(|held| Arc::clone(&held.value)).collect()
    }

    /// All values.
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.entries().values().map(|held| Arc::clone(&held.value)).collect()
    }

    /// Takes out the values that `wanted` picks.
    pub(crate) fn withdraw(&self, wanted: impl Fn(&V) -> bool) -> Vec<Arc<V>> {
        let mut withdrawn = Vec::new();
        self.entries().retain(|_, held| {
            let is_wanted = wanted(&held.value);
            if is_wanted {
                withdrawn.push(Arc::clone(&held.value));
            }
            !is_wanted
        });
        withdrawn
    }

    fn leave(&self, key: &TokenDigest, value: &Arc<V>) {
        let mut entries = self.entries();
        // After a withdrawal another value may stand there.
        let Some(held) = entries.get_mut(key).filter(|held| Arc::ptr_eq(&held.value, value)) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            entries.remove(key);
        }
    }

    // Each change to the entries is whole before anything can panic.
    fn entries(&self) -> MutexGuard<'_, HashMap<TokenDigest, Held<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Member<V> {
    /// A hold on a value that no registry knows.
    pub(crate) fn alone(value: Arc<V>) -> Self {
        Self { value, home: None }
    }

    pub(crate) fn value(&self) -> &Arc<V> {
        &self.value
    }
}

impl<V> Deref for Member<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> Drop for Member<V> {
    fn drop(&mut self) {
        if let Some((registry, key)) = &self.home {
            registry.leave(key, &self.value);
        }
    }
}

impl<V> Default for Registry<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> TokenDigest {
        TokenDigest::from_bytes([n; 32])
    }

    #[test]
    fn a_value_leaves_with_its_last_holder() {
        let registry = Arc::new(Registry::default());
        let first = registry.join(key(1), || "made once");
        let second = registry.join(key(1), || "never made");
        assert!(Arc::ptr_eq(first.value(), second.value()));
        drop(first);
        assert_eq!(registry.of(&[key(1), key(2)]).len(), 1);
        drop(second);
        assert!(registry.all().is_empty());
    }

    #[test]
    fn who_joins_after_a_withdrawal_gets_a_new_value_and_keeps_it() {
        let registry = Arc::new(Registry::default());
        let old = registry.join(key(1), || 1);
        registry.join(key(2), || 2);
        assert_eq!(registry.withdraw(|value| *value == 1), [Arc::new(1)]);
        let new = registry.join(key(1), || 3);
        drop(old);
        assert_eq!((*new, registry.all()), (3, vec![Arc::new(3)]));
    }
}
