//! Counts failures, and locks clients out.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Client, FailureLimits,
    shared::{Batch, FailureStore, News, Reports, SharedLimiter, What},
    table::FailureTable,
};
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
    /// Rung when there is something to tell other nodes.
    reported: Notify,
}

#[derive(Default)]
struct State {
    limits: FailureLimits,
    table: FailureTable,
    hooks: Vec<Hook>,
    /// What other nodes are to be told, if there are any.
    reports: Option<Reports>,
}

type Hook = Arc<dyn Fn(IpAddr, Duration) + Send + Sync>;

impl FailureLimiter {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(limits: FailureLimits) -> Self {
        let state = Mutex::new(State { limits, ..State::default() });
        Self(Arc::new(Shared { state, revision: Revision::new(), reported: Notify::new() }))
    }

    /// One that counts with those of other nodes, by a store that all of them reach: see [`shared`](super::shared).
    pub fn shared<S: FailureStore>(limits: FailureLimits, store: S) -> SharedLimiter<S> {
        SharedLimiter::new(limits, store)
    }

    /// One whose failures are kept to be told.
    pub(super) fn of_a_node(limits: FailureLimits) -> Self {
        let limiter = Self::new(limits);
        limiter.state().reports = Some(Reports::new());
        limiter
    }

    /// Counts by other limits from now on. What was counted stays, and so does the end of each lock.
    pub fn set_limits(&self, limits: FailureLimits) {
        self.state().limits = limits;
    }

    /// Calls `hook` for each lock from now on, once when it begins: with the address whose failure began
    /// it, an IPv4-mapped one as the IPv4 address, and for how long it holds. Of a lock that other nodes began it is the
    /// [address of the client](Client::address). Several hooks are all called, each for as long as the limiter lives.
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
        let State { limits, table, hooks, reports } = &mut *state;
        let lockout = table.fail(client, now, limits);
        if let Some(reports) = reports {
            reports.push(address, if lockout.is_some() { What::LockedOut } else { What::Failed }, now);
        }
        let began = lockout.map(|lockout| (lockout, hooks.clone()));
        drop(state);
        self.0.ring();
        if let Some((lockout, hooks)) = began {
            self.0.began(&hooks, address, lockout, Whose::Own);
        }
    }

    /// Forgets the failures of the client at `address`. A lock holds until it ends.
    pub fn succeeded(&self, address: IpAddr) {
        let mut state = self.state();
        let Some(client) = state.client(address) else { return };
        let has_failed = state.table.clear(client);
        let Some(reports) = state.reports.as_mut().filter(|_| has_failed) else { return };
        reports.push(address, What::Succeeded, Instant::now());
        drop(state);
        self.0.ring();
    }

    /// What other nodes are to be told, when there is something, and the limits that it counts by.
    pub(super) async fn reports(&self) -> (Batch, FailureLimits) {
        loop {
            let reported = self.0.reported.notified();
            {
                let mut state = self.state();
                let limits = state.limits;
                if let Some(batch) = state.reports.as_mut().and_then(|reports| reports.batch(Instant::now(), &limits)) {
                    return (batch, limits);
                }
            }
            reported.await;
        }
    }

    /// That the other nodes know.
    pub(super) fn told(&self, batch: &Batch) {
        if let Some(reports) = &mut self.state().reports {
            reports.told(batch);
        }
    }

    /// That with a failure here, of this address, all nodes together have counted too many.
    pub(super) fn locked(&self, address: IpAddr, left: Duration) {
        self.lock(address.into(), address, left, Whose::Own);
    }

    /// What is said of a client on other nodes.
    pub(super) fn hear(&self, news: News) {
        match news {
            News::Failing(client) => {
                let mut state = self.state();
                let State { limits, table, .. } = &mut *state;
                table.note(client, Instant::now(), limits);
            }
            News::Cleared(client) => _ = self.state().table.clear(client),
            News::LockedOut { client, left } => self.lock(client, client.address(), left, Whose::Others),
        }
    }

    /// Locks out a client, for no longer than a failure here would. Of two locks the one holds that ends later.
    fn lock(&self, client: Client, address: IpAddr, left: Duration, whose: Whose) {
        let now = Instant::now();
        let mut state = self.state();
        // Whoever is exempt here may not be elsewhere.
        if state.client(address).is_none() {
            return;
        }
        let State { limits, table, hooks, .. } = &mut *state;
        let left = left.min(limits.lockout());
        let known = table.lock_left(client, now);
        if left <= known.unwrap_or_default() {
            return;
        }
        table.lock(client, now, left, limits);
        if known.is_some() {
            return;
        }
        let hooks = hooks.clone();
        drop(state);
        self.0.began(&hooks, address, left, whose);
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

/// Whose failure began a lock.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "the log tells one from the other"))]
enum Whose {
    Own,
    Others,
}

impl Shared {
    fn ring(&self) {
        // A waker is an executor's own.
        contained(|| self.reported.notify_one());
    }

    /// What follows from a lock, which holds already, whatever becomes of the hooks.
    fn began(&self, hooks: &[Hook], address: IpAddr, lockout: Duration, _whose: Whose) {
        // Quietly: or strangers could wake every open stream by being locked out.
        self.revision.bump_quietly();
        let address = address.to_canonical();
        #[cfg(feature = "tracing")]
        contained(|| match _whose {
            Whose::Own => tracing::warn!(%address, ?lockout, "client locked out: too many failed attempts"),
            Whose::Others => tracing::info!(%address, ?lockout, "client locked out on another node"),
        });
        for hook in hooks {
            contained(|| hook(address, lockout));
        }
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
