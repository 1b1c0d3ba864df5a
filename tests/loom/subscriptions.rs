//! The registry: a value is there for as long as it has subscribers, and is the same for all of them.

use std::sync::Arc;

use loom::thread;

use crate::{
    registry::{Entry, Registry},
    verify::TokenDigest,
};

const KEY: TokenDigest = TokenDigest::from_bytes([1; 32]);
const ANOTHER: TokenDigest = TokenDigest::from_bytes([2; 32]);

/// Whether these are the entries, and no copies of them.
fn are<V>(entries: &[Arc<Entry<V>>], expected: &[&Arc<Entry<V>>]) -> bool {
    entries.len() == expected.len() && entries.iter().zip(expected).all(|(a, b)| Arc::ptr_eq(a, b))
}

#[test]
fn two_that_subscribe_at_once_share_one_value() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let other = thread::spawn({
            let registry = Arc::clone(&registry);
            move || registry.subscribe(KEY, || 1)
        });
        let one = registry.subscribe(KEY, || 2);
        let other = other.join().expect("no panic");
        assert!(Arc::ptr_eq(one.entry(), other.entry()));
        drop(one);
        assert!(are(&registry.of(&[KEY, ANOTHER]), &[other.entry()]));
        drop(other);
        assert!(registry.all().is_empty());
    });
}

#[test]
fn one_that_subscribes_while_the_last_one_leaves_has_what_is_listed() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let last = registry.subscribe(KEY, || ());
        let leaves = thread::spawn(move || drop(last));
        let joined = registry.subscribe(KEY, || ());
        assert!(are(&registry.of(&[KEY]), &[joined.entry()]));
        leaves.join().expect("no panic");
        assert!(are(&registry.all(), &[joined.entry()]));
        drop(joined);
        assert!(registry.all().is_empty());
    });
}
