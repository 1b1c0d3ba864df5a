//! Where an access came from: what is asked again.

use std::sync::Arc;

use super::Policy;
use crate::{
    revoke::{Registry, Revision, SharedCheck},
    verify::{CredentialKey, TokenDigest, Verification},
};

/// A credential that was let in, and the verifier that can be asked about it.
///
/// What is behind `verify`, `revision`, `key`, `detach` and `detached` is a user's own code: call it
/// while no lock is held.
pub(crate) trait Source: Send + Sync {
    fn verify(&self) -> Verification;
    fn revision(&self) -> Option<&Revision>;
    fn key(&self) -> Option<CredentialKey>;
    /// The digest of the token that it is, if it is one.
    fn token(&self) -> Option<TokenDigest> {
        self.key().map(|key| key.credential())
    }
    /// Where streams with equal keys find their shared check.
    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>>;
    /// Lets go of the request's buffers.
    fn detach(&self);
    /// The same source, without a hold on the request's buffers.
    fn detached(&self) -> Arc<dyn Source>;
    fn policy(&self) -> &Policy;
}
