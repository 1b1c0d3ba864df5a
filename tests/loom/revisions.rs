//! Promises 3 and 14: a move of the revision reaches each stream that it concerns, whenever the stream
//! begins.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crate::{
    revision::{Revision, RevisionWatch},
    verify::TokenDigest,
};

const CREDENTIAL: TokenDigest = TokenDigest::from_bytes([1; 32]);
const ANOTHER: TokenDigest = TokenDigest::from_bytes([2; 32]);

fn keyed(revision: &Revision) -> RevisionWatch {
    revision.watch(Some(CREDENTIAL), CREDENTIAL)
}

fn keyless(revision: &Revision) -> RevisionWatch {
    revision.watch(None, ANOTHER)
}

/// A verifier revokes a credential and then moves `moved` by `bump`, while a stream begins that follows
/// `shown` by `watch`: the stream is refused, or learns of it.
fn is_never_lost(moved: &Revision, bump: fn(&Revision), shown: &Revision, watch: fn(&Revision) -> RevisionWatch) {
    let is_revoked = Arc::new(AtomicBool::new(false));
    let revokes = thread::spawn({
        let (is_revoked, moved) = (Arc::clone(&is_revoked), moved.clone());
        move || {
            // It need not be more than this: the revision is what makes it known.
            is_revoked.store(true, Relaxed);
            bump(&moved);
        }
    });

    let since = shown.current();
    let is_refused = is_revoked.load(Relaxed);
    let watch = watch(shown);
    let before = watch.at(since);

    revokes.join().expect("no panic");
    assert!(is_refused || watch.current() != before);
}

/// As with [`is_never_lost`], for a stream that watches already: it sees the move when it looks, or is
/// woken after that.
fn wakes(moved: &Revision, bump: fn(&Revision), watch: &RevisionWatch) {
    let before = watch.current();
    let moves = thread::spawn({
        let moved = moved.clone();
        move || bump(&moved)
    });
    let notified = Arc::clone(watch.moved()).notified_owned();
    let seen = watch.current();
    moves.join().expect("no panic");
    assert!(seen != before || notified.has_fired());
    assert_ne!(watch.current(), before);
}

fn for_one(revision: &Revision) {
    revision.bump_for([CREDENTIAL]);
}

#[test]
fn a_revocation_between_the_door_and_the_watch_is_never_lost() {
    loom::model(|| {
        let revision = Revision::new();
        is_never_lost(&revision, for_one, &revision, keyed);
    });
}

#[test]
fn nor_is_it_where_another_stream_watches_the_credential_already() {
    loom::model(|| {
        let revision = Revision::new();
        let _other = keyed(&revision);
        is_never_lost(&revision, for_one, &revision, keyed);
    });
}

#[test]
fn nor_is_it_for_a_credential_without_a_key() {
    loom::model(|| {
        let revision = Revision::new();
        is_never_lost(&revision, for_one, &revision, keyless);
    });
}

#[test]
fn nor_is_a_move_for_all_or_a_quiet_one() {
    for bump in [Revision::bump, Revision::bump_quietly] {
        for watch in [keyed, keyless] {
            loom::model(move || {
                let revision = Revision::new();
                is_never_lost(&revision, bump, &revision, watch);
            });
        }
    }
}

#[test]
fn nor_is_a_move_of_one_of_several_revisions() {
    for bump in [for_one, Revision::bump] {
        loom::model(move || {
            let revisions = [Revision::new(), Revision::new()];
            let merged = Revision::merged(&revisions);
            is_never_lost(&revisions[1], bump, &merged, keyed);
        });
    }
}

#[test]
fn a_move_is_seen_or_wakes() {
    for bump in [for_one, Revision::bump] {
        for watch in [keyed, keyless] {
            loom::model(move || {
                let revision = Revision::new();
                wakes(&revision, bump, &watch(&revision));
            });
            loom::model(move || {
                let revision = Revision::new();
                wakes(&revision, bump, &watch(&Revision::merged([&revision])));
            });
        }
    }
}

#[test]
fn a_move_for_one_neither_moves_nor_wakes_another() {
    loom::model(|| {
        let revision = Revision::new();
        let other = revision.watch(Some(ANOTHER), ANOTHER);
        let notified = Arc::clone(other.moved()).notified_owned();
        let moves = thread::spawn({
            let revision = revision.clone();
            move || for_one(&revision)
        });
        let before = other.current();
        moves.join().expect("no panic");
        assert!(other.current() == before && !notified.has_fired());
    });
}

#[test]
fn two_moves_at_once_are_two() {
    for bump in [for_one, Revision::bump_quietly] {
        loom::model(move || {
            let revision = Revision::new();
            let watch = keyed(&revision);
            let moves = thread::spawn({
                let revision = revision.clone();
                move || bump(&revision)
            });
            bump(&revision);
            moves.join().expect("no panic");
            assert_eq!((revision.current(), watch.current()), (2, 2));
        });
    }
}

#[test]
fn what_is_watched_is_forgotten_with_its_last_watch() {
    for watch in [keyed, keyless] {
        loom::model(move || {
            let revision = Revision::new();
            let first = watch(&revision);
            let topic = Arc::downgrade(first.moved());
            let leaves = thread::spawn(move || drop(first));
            let moves = thread::spawn({
                let revision = revision.clone();
                move || for_one(&revision)
            });
            drop(watch(&revision));
            leaves.join().expect("no panic");
            moves.join().expect("no panic");
            assert!(topic.upgrade().is_none());
        });
    }
}
