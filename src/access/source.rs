//! Where an access came from: what is asked again.

use std::sync::Arc;

use tokio::time::Instant;

use super::Policy;
use crate::{
    revoke::{Registry, Revision, SharedCheck},
    verify::{CredentialKey, Verification},
};

/// A credential that was let in, and whoever can verify it.
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

/// As of when the answer at the door holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Confirmed {
    /// For as long as the revision stays at this number, which was read before the check.
    AtRevision(u64),
    /// From the time of the check, for a verifier without a revision.
    AtTime(Instant),
}

impl Confirmed {
    /// Read this before the check, so that a revocation during the check is not lost.
    pub(crate) fn by(revision: Option<&Revision>) -> Self {
        revision.map_or_else(|| Self::AtTime(Instant::now()), |revision| Self::AtRevision(revision.current()))
    }
}

/// A source made of a closure, without a key, a revision or a policy of its own.
pub(super) struct FnSource<F> {
    recheck: Arc<F>,
    policy: Arc<Policy>,
}

impl<F> FnSource<F> {
    pub(super) fn new(recheck: F) -> Self {
        Self { recheck: Arc::new(recheck), policy: Arc::default() }
    }
}

impl<F: Fn() -> Verification + Send + Sync + 'static> Source for FnSource<F> {
    fn verify(&self) -> Verification {
        (self.recheck)()
    }

    fn revision(&self) -> Option<&Revision> {
        None
    }

    fn key(&self) -> Option<CredentialKey> {
        None
    }

    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>> {
        None
    }

    fn detach(&self) {}

    fn detached(&self) -> Arc<dyn Source> {
        Arc::new(Self { recheck: Arc::clone(&self.recheck), policy: Arc::clone(&self.policy) })
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }
}
