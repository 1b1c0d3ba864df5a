//! What is written to the log at once.

use super::Entry;

const MOST_ENTRIES: usize = 256;

/// So many bytes, but for the entry that goes beyond.
const MOST_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    pub(super) fn add(&mut self, entry: Entry) {
        self.bytes += entry.size();
        self.entries.push(entry);
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MOST_ENTRIES || self.bytes >= MOST_BYTES
    }

    /// What was added since this was called last.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(self).entries
    }
}
