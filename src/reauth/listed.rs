//! What the registry of open streams keeps of one.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::{EndReason, StreamId};
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
    /// Zero, or a reason for which it is to end.
    ended: AtomicU8,
}

impl Listed {
    pub(super) fn new(id: StreamId, access: Access, label: Option<Arc<str>>, now: u64) -> Self {
        let (frames, bytes, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU8::new(0));
        Self { id, access, label, opened: now, confirmed: AtomicU64::new(now), frames, bytes, ended }
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

    /// Has the stream end, for the first reason that it is given.
    pub(super) fn end(&self, reason: EndReason) -> bool {
        let is_first = self.ended.compare_exchange(0, code(reason), Ordering::Release, Ordering::Relaxed).is_ok();
        // Its streams look why they were woken, and this one finds that it is to end.
        self.access.alert();
        is_first
    }

    /// Why the stream is to end, if it is.
    pub(super) fn is_to_end(&self) -> Option<EndReason> {
        let code = self.ended.load(Ordering::Acquire);
        (code != 0).then(|| REASONS.get(usize::from(code) - 1).copied().unwrap_or(EndReason::Closed))
    }
}

/// The reasons of access, each under the number that follows its place.
const REASONS: [EndReason; 9] = [
    EndReason::Closed,
    EndReason::ShuttingDown,
    EndReason::Expired,
    EndReason::Revoked,
    EndReason::ScopeLost,
    EndReason::LockedOut,
    EndReason::Unavailable,
    EndReason::TimedOut,
    EndReason::CheckPanicked,
];

fn code(reason: EndReason) -> u8 {
    let place = REASONS.iter().position(|known| *known == reason).unwrap_or(0);
    place as u8 + 1
}
