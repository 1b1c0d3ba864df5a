//! As of when an answer holds.

use tokio::time::Instant;

use super::Revision;

/// As of when the answer to a check holds. Read before the check, so that a revocation during the check is
/// not lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmed {
    pub(crate) at: Instant,
    /// Once the revision is at another number the answer holds no longer; `None` for a verifier without a
    /// revision.
    pub(crate) revision: Option<u64>,
    /// While the revision stays at this number the answer holds.
    pub(crate) vouches: bool,
}

impl Confirmed {
    pub(crate) fn by(revision: Option<&Revision>) -> Self {
        let vouches = revision.is_some_and(|revision| !revision.is_partial());
        Self { at: Instant::now(), revision: revision.map(Revision::current), vouches }
    }
}
