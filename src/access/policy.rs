//! What holds at the door and for as long as the response streams.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    Clock, Identity,
    challenge::Challenge,
    revoke::Revocations,
    verify::{Rejection, TokenDigest, VerifyError},
};

/// What a layer was configured with: the same for its requests and for the streams that they open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) clock: Clock,
    pub(crate) leeway: Duration,
    /// Shared with the responses on their way, which it may have to complete.
    pub(crate) challenge: Arc<Challenge>,
    /// What any of them says is revoked is.
    pub(crate) revocations: Vec<Revocations>,
}

impl Policy {
    /// Whether a credential that expires at `expires_at` is no longer good.
    pub(crate) fn is_expired(&self, expires_at: SystemTime) -> bool {
        self.end(expires_at).is_some_and(|end| self.clock.now() >= end)
    }

    /// When a credential is no longer good, the leeway included. `None` is a date past the end of time, which is
    /// never reached.
    pub(crate) fn end(&self, expires_at: SystemTime) -> Option<SystemTime> {
        expires_at.checked_add(self.leeway)
    }

    /// Whether a credential is not good yet.
    fn is_early(&self, identity: &Identity) -> bool {
        let start = identity.not_before().and_then(|start| start.checked_sub(self.leeway));
        start.is_some_and(|start| self.clock.now() < start)
    }

    /// Rejects an identity whose credential is not good yet, has expired or is revoked: the one judge of that, at the
    /// door, at a recheck, at a renewal, and where a handler asks. `token` is asked for the credential's digest where that
    /// matters.
    pub(crate) fn admit(
        &self,
        identity: Identity,
        token: impl Fn() -> Option<TokenDigest>,
    ) -> Result<Identity, VerifyError> {
        self.judge(&identity, token).map(|()| identity)
    }

    /// See [`admit`](Self::admit).
    pub(crate) fn judge(
        &self,
        identity: &Identity,
        token: impl Fn() -> Option<TokenDigest>,
    ) -> Result<(), VerifyError> {
        match identity.expires_at() {
            Some(expires_at) if self.is_expired(expires_at) => Err(VerifyError::Expired),
            _ if self.is_revoked(identity, token) => Err(VerifyError::Revoked),
            _ if self.is_early(identity) => Err(VerifyError::rejected(Rejection::NOT_YET_VALID)),
            _ if self.revocations.iter().any(Revocations::is_unsure) => Err(VerifyError::unavailable()),
            _ => Ok(()),
        }
    }

    /// See [`admit`](Self::admit), for an identity that was let in when everything had been revoked `epoch` times.
    pub(crate) fn judge_since(
        &self,
        epoch: u64,
        identity: &Identity,
        token: impl Fn() -> Option<TokenDigest>,
    ) -> Result<(), VerifyError> {
        if self.epoch() == epoch { self.judge(identity, token) } else { Err(VerifyError::Revoked) }
    }

    /// The number of times that everything was revoked.
    pub(crate) fn epoch(&self) -> u64 {
        self.revocations.iter().map(Revocations::epoch).fold(0, u64::wrapping_add)
    }

    /// Whether a credential of this identity is revoked, or the token that it is.
    pub(crate) fn is_revoked(&self, identity: &Identity, token: impl Fn() -> Option<TokenDigest>) -> bool {
        self.revocations.iter().any(|revocations| revocations.is_revoked_with(identity, &token, self.leeway))
    }
}
