//! What tells two credentials apart without keeping either.

use std::fmt;

use sha2::{Digest, Sha256};

use super::TokenDigest;

/// What tells one credential from another: by it, streams that were opened with the same credential
/// share one check, and a verifier wakes those of one credential and no others.
///
/// Made of digests, and kept where the credential is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CredentialKey {
    credential: TokenDigest,
    check: TokenDigest,
}

impl CredentialKey {
    /// The key of a credential with this digest: what [`Revision::bump_for`](crate::revoke::Revision::bump_for)
    /// takes.
    #[must_use]
    pub const fn new(credential: TokenDigest) -> Self {
        Self { credential, check: credential }
    }

    /// The same credential, where its verification hangs on more than the credential: on the client
    /// that presents it, say. It is woken as before, and shares its checks only with those that have
    /// all of this in common.
    #[must_use]
    pub fn and(mut self, more: impl AsRef<[u8]>) -> Self {
        let digest = Sha256::new().chain_update(self.check.as_bytes()).chain_update(more.as_ref());
        self.check = TokenDigest::from_bytes(digest.finalize().into());
        self
    }

    /// The digest by which a verifier names the credential.
    pub(crate) fn credential(&self) -> TokenDigest {
        self.credential
    }

    /// The digest by which equal checks are known.
    pub(crate) fn check(&self) -> TokenDigest {
        self.check
    }
}

// A digest of a short password can be guessed at, so it stays out of logs.
impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialKey(redacted)")
    }
}
