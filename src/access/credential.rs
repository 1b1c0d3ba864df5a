//! The credential that a stream goes by: that of its own request, or the one it was renewed with.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use super::{Access, Policy, Source};
use crate::{
    Denied, Identity,
    revoke::{Confirmed, Registry, Revision, SharedCheck},
    verify::{CredentialKey, TokenDigest, Verification, VerifyError},
};

/// A credential as one stream uses it, until its access is renewed with another.
#[derive(Clone)]
pub(crate) struct CredentialInUse {
    pub(super) access: Access,
    pub(super) renewed: Option<Arc<Renewed>>,
    pub(super) renewals: u64,
}

/// A credential from a later request.
pub(super) struct Renewed {
    pub(super) confirmed: Confirmed,
    pub(super) epoch: u64,
    pub(super) source: Arc<dyn Source>,
}

/// What the answer to a check means for an access.
pub(crate) enum Effect {
    Confirmed {
        expires_at: Option<SystemTime>,
    },
    Denied(Denied),
    Panicked,
    /// The check was about a credential that the stream no longer goes by.
    Outdated,
}

impl CredentialInUse {
    pub(crate) fn verify(&self) -> Verification {
        self.source().verify()
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.source().policy()
    }

    pub(crate) fn confirmed(&self) -> Confirmed {
        self.renewed.as_ref().map_or(self.access.0.confirmed, |renewed| renewed.confirmed)
    }

    /// Whether everything was revoked since the door, or this identity is revoked.
    pub(crate) fn is_revoked(&self, identity: &Identity) -> bool {
        self.policy().epoch() != self.epoch() || self.policy().is_revoked(identity, || self.token())
    }

    /// Whether it is still good, as far as that can be said without its verifier.
    pub(crate) fn judge(&self, identity: &Identity) -> Result<(), VerifyError> {
        self.policy().judge_since(self.epoch(), identity, || self.token())
    }

    /// The digest of the token that it is, if it is one.
    pub(super) fn token(&self) -> Option<TokenDigest> {
        self.source().token()
    }

    /// Whether `access` still goes by it.
    pub(crate) fn is_current(&self, access: &Access) -> bool {
        access.0.renewals.load(Ordering::Acquire) == self.renewals
    }

    pub(super) fn epoch(&self) -> u64 {
        self.renewed.as_ref().map_or(self.access.0.epoch, |renewed| renewed.epoch)
    }

    pub(super) fn source(&self) -> &dyn Source {
        self.renewed.as_ref().map_or(&self.access.0.source, |renewed| &*renewed.source)
    }
}

/// As the source of a fork.
impl Source for CredentialInUse {
    fn verify(&self) -> Verification {
        self.source().verify()
    }

    fn revision(&self) -> Option<&Revision> {
        self.source().revision()
    }

    fn key(&self) -> Option<CredentialKey> {
        self.source().key()
    }

    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>> {
        self.source().shared_checks()
    }

    fn detach(&self) {
        self.source().detach();
    }

    fn detached(&self) -> Arc<dyn Source> {
        self.source().detached()
    }

    fn policy(&self) -> &Policy {
        self.source().policy()
    }
}
