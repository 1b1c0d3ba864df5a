//! Counts failures, and locks clients out.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{FailureLimits, client::Client, table::FailureTable};
use crate::{revoke::Revision, unwind::contained};

/// Counts failures per client in a sliding window, and locks out the client that has too many.
///
/// Clones are handles on the same counts. Time is [`tokio::time`]'s.
#[derive(Clone, Default)]
pub struct FailureLimiter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    revision: Revision,
}

#[derive(Default)]
struct State {
    limits: FailureLimits,
    table: FailureTable,
    hooks: Vec<Hook>,
}

type Hook = Arc<dyn Fn(IpAddr, Duration) + Send + Sync>;

impl FailureLimiter {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(limits: FailureLimits) -> Self {
        let state = Mutex::new(State { limits, ..State::default() });
        Self(Arc::new(Shared { state, revision: Revision::new() }))
    }

    /// Counts by other limits from now on. What was counted stays, and so does the end of each lock.
    pub fn set_limits(&self, limits: FailureLimits) {
        self.state().limits = limits;
    }

    /// Calls `hook` for each lock from now on, once when it begins: with the address whose failure began
    /// it, an IPv4-mapped one as the IPv4 address, and for how long it holds. Several hooks are all
    /// called, each for as long as the limiter lives.
    ///
    /// The lock holds before the hook is called. The request that failed waits for it, so it must not
    /// block; if it panics, the request is answered all the same.
    pub fn on_lock(&self, hook: impl Fn(IpAddr, Duration) + Send + Sync + 'static) {
        let hook = Arc::new(hook);
        self.state().hooks.push(hook);
    }

    /// Whether the client at `address` may try.
    ///
    /// # Errors
    ///
    /// How long it stays locked out, if it is.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        let state = self.state();
        let left = state.client(address).and_then(|client| state.table.lock_left(client, Instant::now()));
        left.map_or(Ok(()), Err)
    }

    /// Records a failure of the client at `address`; nothing while it is locked out.
    pub fn failed(&self, address: IpAddr) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(client) = state.client(address) else { return };
        if state.table.lock_left(client, now).is_some() {
            return;
        }
        let State { limits, table, hooks } = &mut *state;
        let Some(lockout) = table.fail(client, now, limits) else { return };
        let hooks = hooks.clone();
        drop(state);
        // Quietly: or strangers could wake every open stream by being locked out.
        self.0.revision.bump_quietly();
        tell(&hooks, address.to_canonical(), lockout);
    }

    /// Forgets the failures of the client at `address`. A lock holds until it ends.
    pub fn succeeded(&self, address: IpAddr) {
        let mut state = self.state();
        if let Some(client) = state.client(address) {
            state.table.clear(client);
        }
    }

    /// What moves when a lock begins, without waking anybody: an open stream sees the lock at its
    /// next frame or heartbeat.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.0.revision
    }

    // A panic elsewhere leaves the state whole: nothing in here calls foreign code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls the hooks for a lock, which holds already, whatever becomes of them.
fn tell(hooks: &[Hook], address: IpAddr, lockout: Duration) {
    #[cfg(feature = "tracing")]
    contained(|| tracing::warn!(%address, ?lockout, "client locked out: too many failed attempts"));
    for hook in hooks {
        contained(|| hook(address, lockout));
    }
}

impl State {
    /// Who is counted at `address`; nobody if it is exempt.
    fn client(&self, address: IpAddr) -> Option<Client> {
        let exempt = !self.limits.loopback_counted && address.to_canonical().is_loopback();
        (!exempt).then(|| address.into())
    }
}

impl fmt::Debug for FailureLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FailureLimiter")
            .field("limits", &state.limits)
            .field("clients", &state.table.len())
            .finish_non_exhaustive()
    }
}
