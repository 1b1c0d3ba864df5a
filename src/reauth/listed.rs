//! What the registry of open streams keeps of one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::StreamId;
use crate::Access;

/// Times are those of [`OpenStreams::now`](super::OpenStreams::now).
pub(super) struct Listed {
    id: StreamId,
    access: Access,
    label: Option<Arc<str>>,
    opened: u64,
    confirmed: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Listed {
    pub(super) fn new(id: StreamId, access: Access, label: Option<Arc<str>>, now: u64) -> Self {
        let (frames, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { id, access, label, opened: now, confirmed: AtomicU64::new(now), frames, bytes }
    }

    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn label(&self) -> Option<Arc<str>> {
        self.label.clone()
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A frame passed. Only the stream itself counts, so that nothing is lost between reading and writing.
    pub(super) fn passed(&self, bytes: usize) {
        self.frames.store(self.frames() + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes() + bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn note_confirmed(&self, now: u64) {
        self.confirmed.store(now, Ordering::Relaxed);
    }
}
