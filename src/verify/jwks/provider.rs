//! A provider's keys as they are known, and the task that keeps them fresh.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{Jwks, JwksError, fetch::Fetched, log};
use crate::{
    revoke::Revision,
    timer::timer,
    unwind::{Contained, contained},
    verify::{
        Rejection, VerifyError,
        jwt::{Asked, KeySet},
    },
};

/// How often keys are fetched where the provider does not say.
const UNSAID: Duration = Duration::from_secs(5 * 60);
/// How long after an error the provider is asked again: as long at first, and twice as long each time, up to the
/// other.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A provider: its task ends when this is dropped.
pub(crate) struct Provider {
    shared: Arc<Shared>,
    task: ArcSwapOption<AbortHandle>,
}

struct Shared {
    jwks: Jwks,
    known: ArcSwap<Known>,
    revision: Revision,
    progress: watch::Sender<Progress>,
    asked: Notify,
}

/// What is known of the keys.
#[derive(Clone, Default)]
struct Known {
    /// With the moment until which they are good; `None` before there were any.
    keys: Option<(Arc<KeySet>, Instant)>,
    /// Whether it was told that they are not any longer.
    is_over: bool,
    /// Whether the provider answered when it was asked last.
    is_reached: bool,
}

/// How far the task is.
#[derive(Clone, Copy)]
struct Progress {
    /// How many fetches have ended.
    fetches: u64,
    /// When the last one did; `None` while one is on its way.
    rests_since: Option<Instant>,
}

impl Provider {
    pub(crate) fn new(jwks: Jwks) -> Self {
        let shared = Shared {
            jwks,
            known: ArcSwap::default(),
            revision: Revision::new(),
            progress: watch::Sender::new(Progress { fetches: 0, rests_since: None }),
            asked: Notify::new(),
        };
        let provider = Self { shared: Arc::new(shared), task: ArcSwapOption::empty() };
        provider.is_kept();
        provider
    }

    /// The keys, as long as they are good.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        let is_kept = self.is_kept();
        let known = self.shared.known.load();
        let (keys, until) = known.keys.as_ref()?;
        (is_kept && Instant::now() < *until).then(|| Arc::clone(keys))
    }

    pub(crate) fn revision(&self) -> &Revision {
        &self.shared.revision
    }

    /// Waits for the answer that is on its way, or for one that is asked for now, unless one came a moment ago.
    /// A provider that did not answer the last time is asked too, and nobody waits for it.
    pub(crate) fn ask(&self) -> Option<Asked> {
        if !self.is_kept() {
            return None;
        }
        let shared = &self.shared;
        let mut progress = shared.progress.subscribe();
        let now = *progress.borrow_and_update();
        if let Some(rests_since) = now.rests_since {
            if rests_since.elapsed() < shared.jwks.cooldown {
                return None;
            }
            shared.asked.notify_one();
        }
        if now.fetches > 0 && !shared.known.load().is_reached {
            return None;
        }
        Some(Box::pin(async move {
            // An error says that the task has ended, with all handles on the keys.
            let _ = progress.wait_for(|later| later.fetches != now.fetches).await;
        }))
    }

    /// What is to be said of a token whose key is unknown.
    pub(crate) fn unknown(&self) -> VerifyError {
        if self.keys().is_some() && self.shared.known.load().is_reached {
            VerifyError::rejected(Rejection::UNKNOWN_KEY)
        } else {
            VerifyError::unavailable()
        }
    }

    /// Waits until there are keys.
    pub(crate) async fn ready(&self) {
        let mut progress = self.shared.progress.subscribe();
        while self.keys().is_none() {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Has a task keep the keys. A runtime takes its tasks with it, so another one may have to. `false` where
    /// there is none.
    fn is_kept(&self) -> bool {
        let task = self.task.load();
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        if timer(Instant::now()).is_none() {
            return false;
        }
        let new = runtime.spawn(keep(Arc::clone(&self.shared))).abort_handle();
        let before = self.task.compare_and_swap(&task, Some(Arc::new(new.clone())));
        if before.as_ref().map(Arc::as_ptr) != task.as_ref().map(Arc::as_ptr) {
            // Another one was faster.
            new.abort();
        }
        true
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(task) = &*self.task.load() {
            task.abort();
        }
    }
}

/// Fetches the keys again and again.
async fn keep(shared: Arc<Shared>) {
    let mut failures = 0_u32;
    loop {
        shared.progress.send_modify(|progress| progress.rests_since = None);
        let result = shared.fetch().await;
        let pause = match result {
            Ok(fetched) => {
                failures = 0;
                let Jwks { least, most, .. } = shared.jwks;
                let pause = fetched.freshness.unwrap_or(UNSAID).clamp(least, most);
                shared.learn(fetched.keys, pause);
                pause
            }
            Err(error) => {
                let pause = FIRST_RETRY.saturating_mul(1 << failures.min(6)).min(LAST_RETRY).min(shared.jwks.most);
                failures = failures.saturating_add(1);
                shared.fail(&error);
                // It may be a client's own.
                contained(|| drop(error));
                pause
            }
        };
        let now = Instant::now();
        shared.progress.send_modify(|progress| {
            progress.fetches += 1;
            progress.rests_since = Some(now);
        });
        shared.rest(now + pause, now + shared.jwks.cooldown).await;
    }
}

impl Shared {
    /// Asks the provider, within its time. Meanwhile what is known may come to its end.
    async fn fetch(&self) -> Result<Fetched, JwksError> {
        let mut fetch = Box::pin(timeout(self.jwks.timeout, Contained::new(self.jwks.fetch())));
        let result = match self.end_of_known() {
            None => fetch.await,
            Some(end) => match timeout_at(end, fetch.as_mut()).await {
                Ok(result) => result,
                Err(_) => {
                    self.end_known();
                    fetch.await
                }
            },
        };
        result.map_err(|_| JwksError::TimedOut)?.ok_or(JwksError::ClientPanicked)?
    }

    /// Waits until it is time, or somebody asks who may, or what is known comes to its end.
    async fn rest(&self, until: Instant, askable_from: Instant) {
        loop {
            let end = self.end_of_known();
            let asked = timeout_at(end.map_or(until, |end| end.min(until)), self.asked.notified()).await.is_ok();
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return self.end_known();
            }
            // Whoever asked in the last moment of the fetch before has had their answer.
            if now >= until || asked && now >= askable_from {
                return;
            }
        }
    }

    /// When it is to be told that the known keys are no longer good: a moment that has passed, where an answer came
    /// at that moment.
    fn end_of_known(&self) -> Option<Instant> {
        let known = self.known.load();
        known.keys.as_ref().filter(|_| !known.is_over).map(|(_, until)| *until)
    }

    /// Tells that the known keys are no longer good.
    fn end_known(&self) {
        self.known.store(Arc::new(Known { is_over: true, ..Known::clone(&self.known.load()) }));
        self.revision.bump();
    }

    /// Knows `keys`, which are fetched again after `pause`.
    fn learn(&self, keys: KeySet, pause: Duration) {
        // A provider that is there is asked before they are over, and has its time to answer.
        let until = Instant::now() + self.jwks.outage.max(pause + self.jwks.timeout);
        let new = Arc::new(keys);
        let old = self.known.swap(Arc::new(Known {
            keys: Some((Arc::clone(&new), until)),
            is_over: false,
            is_reached: true,
        }));
        // First the keys, then the revision: one who sees the new revision sees the new keys.
        match &old.keys {
            Some((old, _)) if new.contains(old) && old.contains(&new) => return,
            Some((old, _)) if !new.contains(old) => self.revision.bump(),
            _ => self.revision.bump_quietly(),
        }
        log::fetched(&new);
    }

    fn fail(&self, error: &JwksError) {
        let known = self.known.load();
        let left = known.keys.as_ref().map(|(_, until)| until.saturating_duration_since(Instant::now()));
        self.known.store(Arc::new(Known { is_reached: false, ..Known::clone(&known) }));
        log::not_fetched(error, left);
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.shared.known.load();
        f.debug_struct("Provider")
            .field("jwks", &self.shared.jwks)
            .field("keys", &known.keys.as_ref().map(|(keys, _)| keys))
            .finish_non_exhaustive()
    }
}
