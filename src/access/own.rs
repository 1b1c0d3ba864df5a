//! An access of a source of your own.

use std::{fmt, sync::Arc, time::Duration};

use super::{Access, Policy, Source};
use crate::{
    Clock, Denied,
    challenge::Challenge,
    observe::{self, Occasion},
    revoke::{Confirmed, Registry, Revision, Revocations, SharedCheck},
    verify::{CredentialKey, Verification},
};

/// A source of [`Access`] in place of [`BearerAuthLayer`](crate::BearerAuthLayer): for a protocol that
/// signs callers in by other means than a request's head, such as the first message of a WebSocket.
///
/// Keep one for all callers, and clone it freely: streams whose accesses have equal keys share their
/// checks, as those of one layer do.
///
/// ```
/// use tower_reauth::{AuthMethod, Identity, access::AccessSource, verify::{TokenDigest, CredentialKey, Verification}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let source = AccessSource::new();
/// let key = CredentialKey::new(TokenDigest::of("a session's id"));
/// let access = source
///     .verify(key, || Verification::ready(Ok(Identity::new("alice", AuthMethod::Token))))
///     .await
///     .expect("alice is let in");
/// assert_eq!(access.identity().subject(), "alice");
/// # }
/// ```
#[derive(Clone)]
pub struct AccessSource(Arc<Shared>);

#[derive(Clone, Default)]
struct Shared {
    policy: Policy,
    revision: Option<Revision>,
    shared_checks: Arc<Registry<SharedCheck>>,
}

impl AccessSource {
    /// A source without a revision, leeway or revocations, that reads the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Takes `revision` for a counter that moves whenever an earlier answer may have changed.
    #[must_use]
    pub fn with_revision(self, revision: &Revision) -> Self {
        self.with(|shared| shared.revision = Some(revision.clone()))
    }

    /// Accepts a credential for `leeway` longer than its expiry says, and from as much earlier on than it begins.
    #[must_use]
    pub fn with_leeway(self, leeway: Duration) -> Self {
        self.with(|shared| shared.policy.leeway = leeway)
    }

    /// Reads the wall clock elsewhere.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with(|shared| shared.policy.clock = clock)
    }

    /// Replaces the challenge of what the scope layers refuse.
    #[must_use]
    pub fn with_challenge(self, challenge: Challenge) -> Self {
        self.with(|shared| shared.policy.challenge = Arc::new(challenge))
    }

    /// Refuses what `revocations` says is revoked, and ends its open streams. Called again, it adds to
    /// what it was called with before.
    #[must_use]
    pub fn with_revocations(self, revocations: &Revocations) -> Self {
        self.with(|shared| shared.policy.revocations.push(revocations.clone()))
    }

    /// Access for the caller that `verify` names, which is asked again for as long as a stream is open.
    ///
    /// Equal keys share their checks, so two credentials may have the same key only if `verify` answers
    /// the same for both.
    ///
    /// # Errors
    ///
    /// What `verify` answers, and [`Denied::Expired`] or [`Denied::Revoked`] for an identity that is
    /// no longer good.
    pub async fn verify(
        &self,
        key: CredentialKey,
        verify: impl Fn() -> Verification + Send + Sync + 'static,
    ) -> Result<Access, Denied> {
        let Shared { policy, revision, .. } = &*self.0;
        // Both before the check, so that a revocation during it is not lost.
        let (confirmed, epoch) = (Confirmed::by(revision.as_ref()), policy.epoch());
        let identity = observe::check(Occasion::Door, confirmed.at, &verify).await?;
        let identity = policy.admit(identity, || Some(key.credential()))?;
        let source = Own { verify: Arc::new(verify), key: Some(key), shared: Arc::clone(&self.0) };
        Ok(Access::from_source(identity, confirmed, epoch, source))
    }

    /// Each setting makes a source of its own, so that clones made before do not change.
    fn with(self, change: impl FnOnce(&mut Shared)) -> Self {
        let mut shared = Arc::unwrap_or_clone(self.0);
        change(&mut shared);
        shared.shared_checks = Arc::default();
        for revocations in &shared.policy.revocations {
            revocations.watch(&shared.shared_checks);
        }
        Self(Arc::new(shared))
    }
}

impl Default for AccessSource {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AccessSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessSource").field("policy", &self.0.policy).finish_non_exhaustive()
    }
}

/// One caller's part in a source.
pub(super) struct Own<F> {
    verify: Arc<F>,
    key: Option<CredentialKey>,
    shared: Arc<Shared>,
}

impl<F> Own<F> {
    /// A source for one access, without a key, a revision or a policy.
    pub(super) fn alone(verify: F) -> Self {
        Self { verify: Arc::new(verify), key: None, shared: Arc::default() }
    }
}

impl<F: Fn() -> Verification + Send + Sync + 'static> Source for Own<F> {
    fn verify(&self) -> Verification {
        (self.verify)()
    }

    fn revision(&self) -> Option<&Revision> {
        self.shared.revision.as_ref()
    }

    fn key(&self) -> Option<CredentialKey> {
        self.key
    }

    fn shared_checks(&self) -> Option<&Arc<Registry<SharedCheck>>> {
        Some(&self.shared.shared_checks)
    }

    fn detach(&self) {}

    fn detached(&self) -> Arc<dyn Source> {
        Arc::new(Self { verify: Arc::clone(&self.verify), key: self.key, shared: Arc::clone(&self.shared) })
    }

    fn policy(&self) -> &Policy {
        &self.shared.policy
    }
}
