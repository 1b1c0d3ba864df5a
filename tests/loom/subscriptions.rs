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

#[test]
fn one_that_subscribes_after_a_withdrawal_gets_a_new_value_and_keeps_it() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let old = registry.subscribe(KEY, || "old");
        registry.subscribe(ANOTHER, || "left alone");
        let was = Arc::clone(old.entry());
        let withdraws = thread::spawn({
            let (registry, was) = (Arc::clone(&registry), Arc::clone(&was));
            move || {
                let withdrawn = registry.withdraw(|value| *value == "old");
                assert!(withdrawn.is_empty() || are(&withdrawn, &[&was]));
                registry.subscribe(KEY, || "new")
            }
        });
        drop(old);
        let new = withdraws.join().expect("no panic");
        assert!(*new == "new" && are(&registry.all(), &[new.entry()]));
        drop(new);
        assert!(registry.all().is_empty());
    });
}

#[test]
fn one_that_subscribes_while_a_value_is_withdrawn_leaves_nothing_behind() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let first = registry.subscribe(KEY, || ());
        let withdraws = thread::spawn({
            let registry = Arc::clone(&registry);
            move || registry.withdraw(|()| true)
        });
        let leaves = thread::spawn(move || drop(first));
        let second = registry.subscribe(KEY, || ());
        let withdrawn = withdraws.join().expect("no panic");
        leaves.join().expect("no panic");
        // Either it was taken out, or it is still there.
        let is_withdrawn = withdrawn.iter().any(|entry| Arc::ptr_eq(entry, second.entry()));
        assert_eq!(are(&registry.all(), &[second.entry()]), !is_withdrawn);
        drop(second);
        assert!(registry.all().is_empty());
    });
}
