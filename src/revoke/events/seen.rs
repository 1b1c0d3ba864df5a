//! The events that were applied, by their ids.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use crate::verify::TokenDigest;

/// How many ids are known: the newest.
const MOST: usize = 10_000;

/// As digests, so that no id is too long to be kept.
#[derive(Default)]
pub(super) struct Seen(Mutex<Ids>);

#[derive(Default)]
struct Ids {
    known: HashSet<TokenDigest>,
    in_order: VecDeque<TokenDigest>,
}

impl Seen {
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&TokenDigest::of(id))
    }

    /// The event with this id is applied.
    pub(super) fn add(&self, id: &str) {
        let id = TokenDigest::of(id);
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.known.insert(id) {
            ids.in_order.push_back(id);
        }
        if ids.in_order.len() > MOST {
            if let Some(oldest) = ids.in_order.pop_front() {
                ids.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ids_are_known_and_no_more_than_there_is_room_for() {
        let seen = Seen::default();
        for n in 0..MOST + 10 {
            seen.add(&n.to_string());
            seen.add(&n.to_string());
        }
        let ids = seen.0.lock().expect("nobody panics");
        assert_eq!((ids.known.len(), ids.in_order.len()), (MOST, MOST));
        drop(ids);
        assert!(!seen.knows("9") && seen.knows("10") && seen.knows(&(MOST + 9).to_string()));
    }
}
