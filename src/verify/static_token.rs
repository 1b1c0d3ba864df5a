//! One secret.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{BearerToken, InvalidSecret, TokenDigest, Verification, VerifyError, VerifyToken};
use crate::{AuthMethod, Identity, ScopeSet, revoke::Revision};

/// One secret that every caller shares.
///
/// Kept as a SHA-256 digest and compared in constant time, whatever its length. Clones are handles on
/// the same secret, keep one to [`rotate`](Self::rotate) it; what its bearer may do is said for each
/// handle.
#[derive(Clone)]
pub struct StaticToken {
    secret: Arc<Secret>,
    identity: Identity,
}

struct Secret {
    /// Of those who change it, one at a time does.
    changes: Mutex<()>,
    /// Its digest, by the word.
    // One who reads while it changes may see words of two digests. No token has such a digest, so the answer is
    // that of a moment at which the other one of the two secrets was the good one.
    words: [AtomicU64; 4],
    revision: Revision,
}

impl StaticToken {
    /// Accepts `secret`; its bearer is the subject `shared-secret`, without scopes of its own.
    ///
    /// A secret with a character outside of RFC 6750's `b64token`, a space say, is presented to a layer
    /// that takes [`TokenSyntax::Opaque`](crate::bearer::TokenSyntax::Opaque).
    ///
    /// # Panics
    ///
    /// If nobody could ever present the secret. Where it comes from a user, see
    /// [`try_new`](Self::try_new).
    #[must_use]
    #[track_caller]
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self::try_new(secret).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`new`](Self::new), for a secret that comes from a user.
    ///
    /// # Errors
    ///
    /// If nobody could ever present the secret.
    pub fn try_new(secret: impl AsRef<[u8]>) -> Result<Self, InvalidSecret> {
        let digest = digest(secret)?;
        let words = digest.words().map(AtomicU64::new);
        let identity = Identity::new("shared-secret", AuthMethod::SharedSecret);
        let secret = Secret { changes: Mutex::default(), words, revision: Revision::new() };
        Ok(Self { secret: Arc::new(secret), identity })
    }

    /// Binds scopes to the secret where this handle is asked, so that no
    /// [`ScopeResolverLayer`](crate::ScopeResolverLayer) is needed to say what its bearer may do. Other
    /// handles on the secret keep theirs.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl Into<ScopeSet>) -> Self {
        self.identity = self.identity.with_scopes(scopes);
        self
    }

    /// Accepts `secret` from now on, at every handle, and the old one no longer: streams that it opened
    /// end at once.
    ///
    /// # Panics
    ///
    /// If nobody could ever present the secret; the old one then stays good. Where it comes from a user,
    /// see [`try_rotate`](Self::try_rotate).
    #[track_caller]
    pub fn rotate(&self, secret: impl AsRef<[u8]>) {
        self.try_rotate(secret).unwrap_or_else(|error| panic!("{error}"));
    }

    /// As [`rotate`](Self::rotate), for a secret that comes from a user.
    ///
    /// # Errors
    ///
    /// If nobody could ever present the secret; the old one then stays good.
    pub fn try_rotate(&self, secret: impl AsRef<[u8]>) -> Result<(), InvalidSecret> {
        let digest = digest(secret)?;
        // First the secret, then the revision: one who sees the new revision sees the new secret.
        let old = self.secret.replace(digest);
        if old != digest {
            self.secret.revision.bump_for([old, digest]);
        }
        Ok(())
    }
}

impl Secret {
    fn digest(&self) -> TokenDigest {
        TokenDigest::from_words(self.words.each_ref().map(|word| word.load(Ordering::Acquire)))
    }

    /// Returns the digest that was there before.
    fn replace(&self, digest: TokenDigest) -> TokenDigest {
        let _only = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.digest();
        for (word, new) in self.words.iter().zip(digest.words()) {
            word.store(new, Ordering::Release);
        }
        old
    }
}

fn digest(secret: impl AsRef<[u8]>) -> Result<TokenDigest, InvalidSecret> {
    InvalidSecret::check(secret.as_ref())?;
    Ok(TokenDigest::of(secret))
}

impl VerifyToken for StaticToken {
    fn verify(&self, token: &BearerToken) -> Verification {
        if token.digest() == self.secret.digest() {
            Ok(self.identity.clone()).into()
        } else {
            Err(VerifyError::Rejected).into()
        }
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.secret.revision)
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken").field("identity", &self.identity).finish_non_exhaustive()
    }
}
