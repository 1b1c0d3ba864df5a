//! Where an access came from: what is asked again.

use std::sync::Arc;

use tokio::time::Instant;

use super::Policy;
use crate::{
    revoke::{Registry, Revision, SharedCheck},
    verify::{CredentialKey, Verification},
};

/// A credential that was let in, and the verifier that can be asked about it.
///
/// What is behind `verify`, `revision`, `key`, `detach` and `detached` is a user's own code: call it
/// while no lock is held.
pub(crate) trait Source: Send + Sync {
    fn verify(&self) -> Verification;
    fn revision(&self) -> Option<&Revision>;
    fn key(&self) -> Option<CredentialKey>;
    /// Where streams with equal keys find their shared check.
    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>>;
    /// Lets go of the request's buffers.
    fn detach(&self);
    /// The same source, without a hold on the request's buffers.
    fn detached(&self) -> Arc<dyn Source>;
    fn policy(&self) -> &Policy;
}

/// As of when the answer at the door holds. Read before the check, so that a revocation during the
/// check is not lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmed {
    pub(crate) at: Instant,
    /// The answer holds for as long as the revision stays at this number; `None` for a verifier without
    /// a revision.
    pub(crate) revision: Option<u64>,
}

impl Confirmed {
    pub(crate) fn by(revision: Option<&Revision>) -> Self {
        Self { at: Instant::now(), revision: revision.map(Revision::current) }
    }
}
