//! Since when what was answered about tokens is void, as the log has it.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::Entry;
use crate::{revoke::remembered::MARGIN, verify::TokenDigest};

/// What is void, by the token; without one, of all of them. So that an entry that comes twice is one.
#[derive(Default)]
pub(super) struct Voids {
    since: HashMap<Option<TokenDigest>, SystemTime>,
    /// How many there were when the old ones were removed last.
    swept: usize,
}

impl Voids {
    /// Takes over what the log says. Whether it is news.
    pub(super) fn take(&mut self, token: Option<TokenDigest>, time: SystemTime, now: Option<SystemTime>) -> bool {
        // Twice as many as were left the last time: so each is looked at a few times in all.
        if let Some(now) = now.filter(|_| self.since.len() > 2 * self.swept + 64) {
            self.since.retain(|_, since| since.checked_add(MARGIN).is_none_or(|end| end > now));
            self.swept = self.since.len();
        }
        let known = self.since.entry(token).or_insert(UNIX_EPOCH);
        let is_news = *known < time;
        *known = time.max(*known);
        is_news
    }

    /// A time that is later than those before it, whatever the clock says.
    #[cfg(feature = "cached")]
    pub(super) fn later(&self, token: Option<TokenDigest>, now: SystemTime) -> SystemTime {
        let next = |known: &SystemTime| known.checked_add(std::time::Duration::from_millis(1));
        self.since.get(&token).and_then(next).map_or(now, |next| now.max(next))
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.since.iter().map(|(token, since)| Entry::void(*token, *since)).collect()
    }
}
