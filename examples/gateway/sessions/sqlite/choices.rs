//! [`Choices`]: what records of the type `leaf` stand for. One chooses another record, which may be one that chooses as
//! well, and so on.
//!
//! Any of them may come again and choose another: what leads to it leads elsewhere then, or round and round, or no more so.
//! Whoever went all the way each time would go it for each record that comes after a long one. So the ways are the trees of
//! a link/cut forest (Sleator and Tarjan, "A Data Structure for Dynamic Trees", 1983, and "Self-Adjusting Binary Search
//! Trees", 1985), in which each step takes O(log n), amortised: a way that was gone lately is a splay tree, in its order.

use super::branch::Name;

/// By name, what was chosen. Each choice is a link of the forest but for one of each ring: that of a root.
#[derive(Debug, Default)]
pub(super) struct Choices(Vec<Record>);

#[derive(Clone, Copy, Debug)]
struct Record {
    /// `None` if it is not of the type `leaf`.
    choice: Option<Option<Name>>,
    /// Where it hangs in its splay tree; at the root of one, to which record this way leads.
    up: Name,
    /// What of its way comes later, and what earlier.
    down: [Name; 2],
}

const NONE: Name = Name::MAX;
const LATER: usize = 0;
const EARLIER: usize = 1;

impl Choices {
    /// A record chooses this from now on. `None` if it is not of the type `leaf`.
    pub(super) fn set(&mut self, id: Name, choice: Option<Option<Name>>) {
        let end = self.end(id);
        if end != id {
            self.cut(id);
        }
        self.record(id).choice = choice;
        // Of a ring that went by here the other end was left open.
        if end != id {
            self.link(end);
        }
        self.link(id);
    }

    /// What a record stands for: itself if it is not of the type `leaf`. Of choices that go round and round the first one that
    /// is come to again.
    pub(super) fn chosen(&mut self, id: Name) -> Option<Name> {
        let end = self.end(id);
        match self.record(end).choice {
            None => Some(end),
            Some(None) => None,
            Some(Some(next)) => {
                self.go(id);
                Some(self.go(next))
            }
        }
    }

    /// Adds the choice of a root, unless that closes a ring.
    fn link(&mut self, root: Name) {
        if let Some(Some(next)) = self.record(root).choice
            && self.end(next) != root
        {
            self.go(root);
            self.record(root).up = next;
        }
    }

    /// Takes the link of a record away, which is no root.
    fn cut(&mut self, id: Name) {
        self.go(id);
        let later = std::mem::replace(&mut self.record(id).down[LATER], NONE);
        self.record(later).up = NONE;
    }

    /// The root of a record's tree.
    fn end(&mut self, id: Name) -> Name {
        self.go(id);
        let mut end = id;
        while self.record(end).down[LATER] != NONE {
            end = self.record(end).down[LATER];
        }
        self.splay(end);
        end
    }

    /// Makes the way from a record to its root one splay tree, the record at its top. Gives where that way meets the one that
    /// was gone last, if they have the same root.
    fn go(&mut self, id: Name) -> Name {
        let (mut at, mut before) = (id, NONE);
        while at != NONE {
            self.splay(at);
            self.record(at).down[EARLIER] = before;
            before = at;
            at = self.record(at).up;
        }
        self.splay(id);
        before
    }

    fn splay(&mut self, id: Name) {
        while let Some(side) = self.side(id) {
            let up = self.record(id).up;
            match self.side(up) {
                Some(upper) if upper == side => self.rotate(up),
                Some(_) => self.rotate(id),
                None => {}
            }
            self.rotate(id);
        }
    }

    /// Puts a record in the place of the one that it hangs at.
    fn rotate(&mut self, id: Name) {
        let Some(side) = self.side(id) else { return };
        let up = self.record(id).up;
        let above = self.record(up).up;
        if let Some(side) = self.side(up) {
            self.record(above).down[side] = id;
        }
        let between = std::mem::replace(&mut self.record(id).down[1 - side], up);
        self.record(up).down[side] = between;
        if between != NONE {
            self.record(between).up = up;
        }
        self.record(up).up = id;
        self.record(id).up = above;
    }

    /// On which side a record hangs. `None` at the root of a splay tree.
    fn side(&mut self, id: Name) -> Option<usize> {
        let up = self.record(id).up;
        (up != NONE).then(|| self.record(up).down)?.iter().position(|down| *down == id)
    }

    fn record(&mut self, id: Name) -> &mut Record {
        let at = id as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, Record { choice: None, up: NONE, down: [NONE; 2] });
        }
        &mut self.0[at]
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{HashMap, HashSet},
        time::Duration,
    };

    use proptest::prelude::*;
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// The whole way, step by step.
    fn walked(choices: &HashMap<Name, Option<Name>>, id: Name) -> Option<Name> {
        let (mut at, mut seen) = (id, HashSet::new());
        while let Some(next) = choices.get(&at) {
            if !seen.insert(at) {
                break;
            }
            at = (*next)?;
        }
        Some(at)
    }

    #[test]
    fn choices_that_go_round_and_round_stand_for_the_first_that_is_come_to_again() {
        let mut choices = Choices::default();
        for (id, next) in [(0, 1), (1, 2), (2, 3), (3, 1), (4, 3)] {
            choices.set(id, Some(Some(next)));
        }
        assert_eq!([0, 1, 2, 3, 4, 5].map(|id| choices.chosen(id)), [1, 1, 2, 3, 3, 5].map(Some));
        choices.set(2, None);
        assert_eq!([0, 1, 2, 3, 4].map(|id| choices.chosen(id)), [Some(2); 5]);
        choices.set(2, Some(None));
        assert_eq!([0, 1, 2, 3, 4].map(|id| choices.chosen(id)), [None; 5]);
    }

    /// The time that it takes to ask as many times where a way of this length leads, whose end is made again each time.
    fn worked(length: Name) -> Duration {
        let mut choices = Choices::default();
        (0..length).for_each(|id| choices.set(id, Some(Some(id + 1))));
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let before = now();
        for again in 0..length {
            choices.set(length, Some(Some(length + 1 + again % 2)));
            assert_eq!(choices.chosen(again), Some(length + 1 + again % 2));
        }
        now() - before
    }

    #[test]
    fn a_way_is_not_gone_for_each_record_after_it() {
        let least = |length| (0..3).map(|_| worked(length)).min().unwrap();
        let (short, long) = (least(1000), least(8000));
        assert!(long < 24 * short, "{short:?}, and {long:?} for 8 times as many");
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_leads_to_where_its_way_does(
            steps in prop::collection::vec((0..12_u32, prop::option::weighted(0.9, prop::option::weighted(0.9, 0..12_u32))), 1..60),
        ) {
            let mut known = HashMap::new();
            let mut choices = Choices::default();
            for (id, choice) in steps {
                choices.set(id, choice);
                match choice {
                    Some(choice) => known.insert(id, choice),
                    None => known.remove(&id),
                };
                for id in 0..12 {
                    prop_assert_eq!(choices.chosen(id), walked(&known, id));
                }
            }
        }
    }
}
