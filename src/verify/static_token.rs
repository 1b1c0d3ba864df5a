//! One secret.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use super::{BearerToken, TokenDigest, Verification, VerifyError, VerifyToken};
use crate::{AuthMethod, Identity, ScopeSet, revoke::Revision};

/// One secret that every caller shares.
///
/// Kept as a SHA-256 digest and compared in constant time, whatever its length. Clones are handles
/// on the same secret: keep one to [`rotate`](Self::rotate) it.
#[derive(Clone)]
pub struct StaticToken(Arc<Shared>);

struct Shared {
    current: ArcSwap<Known>,
    revision: Revision,
}

#[derive(Clone)]
struct Known {
    digest: TokenDigest,
    identity: Identity,
}

impl StaticToken {
    /// Accepts `secret`; its bearer is the subject `shared-secret`, without scopes of its own.
    #[must_use]
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        let identity = Identity::new("shared-secret", AuthMethod::SharedSecret);
        Self::from_known(Known { digest: TokenDigest::of(secret), identity })
    }

    /// Binds scopes to the secret, so that no [`ScopeResolverLayer`](crate::ScopeResolverLayer) is
    /// needed to say what its bearer may do. Every handle on the secret is one on its scopes.
    #[must_use]
    pub fn with_scopes(self, scopes: impl Into<ScopeSet>) -> Self {
        let mut known = Known::clone(&self.0.current.load());
        known.identity = known.identity.with_scopes(scopes);
        self.0.current.store(Arc::new(known));
        self.0.revision.bump();
        self
    }

    /// Accepts `secret` from now on, and the old one no longer: streams that it opened end at once.
    pub fn rotate(&self, secret: impl AsRef<[u8]>) {
        let digest = TokenDigest::of(secret);
        let identity = self.0.current.load().identity.clone();
        // First the secret, then the revision: whoever sees the new revision sees the new secret.
        let old = self.0.current.swap(Arc::new(Known { digest, identity }));
        if old.digest != digest {
            self.0.revision.bump_for([old.digest, digest]);
        }
    }

    fn from_known(known: Known) -> Self {
        Self(Arc::new(Shared { current: ArcSwap::from_pointee(known), revision: Revision::new() }))
    }
}

impl VerifyToken for StaticToken {
    fn verify(&self, token: &BearerToken) -> Verification {
        let known = self.0.current.load();
        if token.digest() == known.digest {
            Ok(known.identity.clone()).into()
        } else {
            Err(VerifyError::Rejected).into()
        }
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0.revision)
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken").field("identity", &self.0.current.load().identity).finish_non_exhaustive()
    }
}
