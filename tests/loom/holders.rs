//! The registry: a value is there for as long as somebody holds it, and is the same for all who do.

use std::sync::Arc;

use loom::thread;

use crate::{
    bearer::TokenDigest,
    registry::{Entry, Registry},
};

const KEY: TokenDigest = TokenDigest::from_bytes([1; 32]);
const ANOTHER: TokenDigest = TokenDigest::from_bytes([2; 32]);

/// Whether these are the entries, and no copies of them.
fn are<V>(entries: &[Arc<Entry<V>>], expected: &[&Arc<Entry<V>>]) -> bool {
    entries.len() == expected.len() && entries.iter().zip(expected).all(|(a, b)| Arc::ptr_eq(a, b))
}

#[test]
fn two_who_join_at_once_hold_one_value() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let other = thread::spawn({
            let registry = Arc::clone(&registry);
            move || registry.join(KEY, || 1)
        });
        let one = registry.join(KEY, || 2);
        let other = other.join().expect("no panic");
        assert!(Arc::ptr_eq(one.entry(), other.entry()));
        drop(one);
        assert!(are(&registry.of(&[KEY, ANOTHER]), &[other.entry()]));
        drop(other);
        assert!(registry.all().is_empty());
    });
}

#[test]
fn who_joins_while_the_last_holder_leaves_holds_what_is_listed() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let last = registry.join(KEY, || ());
        let leaves = thread::spawn(move || drop(last));
        let joined = registry.join(KEY, || ());
        assert!(are(&registry.of(&[KEY]), &[joined.entry()]));
        leaves.join().expect("no panic");
        assert!(are(&registry.all(), &[joined.entry()]));
        drop(joined);
        assert!(registry.all().is_empty());
    });
}

#[test]
fn who_joins_after_a_withdrawal_gets_a_new_value_and_keeps_it() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let old = registry.join(KEY, || "old");
        registry.join(ANOTHER, || "left alone");
        let was = Arc::clone(old.entry());
        let withdraws = thread::spawn({
            let (registry, was) = (Arc::clone(&registry), Arc::clone(&was));
            move || {
                let withdrawn = registry.withdraw(|value| *value == "old");
                assert!(withdrawn.is_empty() || are(&withdrawn, &[&was]));
                registry.join(KEY, || "new")
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
fn who_joins_while_a_value_is_withdrawn_leaves_nothing_behind() {
    loom::model(|| {
        let registry = Arc::new(Registry::default());
        let first = registry.join(KEY, || ());
        let withdraws = thread::spawn({
            let registry = Arc::clone(&registry);
            move || registry.withdraw(|()| true)
        });
        let leaves = thread::spawn(move || drop(first));
        let second = registry.join(KEY, || ());
        let withdrawn = withdraws.join().expect("no panic");
        leaves.join().expect("no panic");
        // Either it was taken out, or it is still there.
        let is_withdrawn = withdrawn.iter().any(|entry| Arc::ptr_eq(entry, second.entry()));
        assert_eq!(are(&registry.all(), &[second.entry()]), !is_withdrawn);
        drop(second);
        assert!(registry.all().is_empty());
    });
}
