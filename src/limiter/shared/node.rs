//! One node of those that share a store: it tells what happens here, and hears what happens elsewhere.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;

use super::{FailureStore, StoreError, backoff::Backoff};
use crate::{
    limiter::{FailureLimiter, FailureLimits},
    timer::within,
    unwind::Contained,
};

/// How long what is told may take.
const LIMIT: Duration = Duration::from_secs(2);

/// How long it may take to hear more of what holds, and all of it.
const PATIENCE: Duration = Duration::from_secs(4);
const LONG_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait for news before they are asked for again.
const WAIT: Duration = Duration::from_secs(5);

/// A store that is sooner than that no further does not wait for news.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// Builds a [`FailureLimiter`] that other nodes share, and keeps them in step: see the [module](super).
#[must_use = "it shares nothing unless it is run"]
pub struct SharedLimiter<S> {
    store: S,
    limiter: FailureLimiter,
}

impl<S: FailureStore> SharedLimiter<S> {
    pub(in super::super) fn new(limits: FailureLimits, store: S) -> Self {
        Self { store, limiter: FailureLimiter::of_a_node(limits) }
    }

    /// What [`Limited`](crate::limiter::Limited) is given.
    #[must_use]
    pub fn limiter(&self) -> FailureLimiter {
        self.limiter.clone()
    }

    /// Tells and hears for as long as it is polled: to be spawned, and dropped or aborted at the end. When it is dropped
    /// the limiter goes on by itself.
    pub async fn run(self) -> Infallible {
        let (mut tell, mut hear) = (pin!(self.tell()), pin!(self.hear()));
        poll_fn(|cx| {
            let _: [Poll<Infallible>; 2] = [tell.as_mut().poll(cx), hear.as_mut().poll(cx)];
            Poll::Pending
        })
        .await
    }

    async fn tell(&self) -> Infallible {
        let mut backoff = Backoff::default();
        loop {
            let (batch, limits) = self.limiter.reports().await;
            let asked = Instant::now();
            match limited(LIMIT, self.store.record(&batch.reports, &limits)).await {
                Ok(locks) => {
                    self.limiter.told(&batch);
                    backoff.clear();
                    for (address, lock) in batch.addresses.iter().zip(locks) {
                        if let Some(left) = lock {
                            self.limiter.locked(*address, left.saturating_sub(asked.elapsed()));
                        }
                    }
                }
                Err(error) => backoff.failed(&error).await,
            }
        }
    }

    async fn hear(&self) -> Infallible {
        let (mut place, mut backoff) = (None, Backoff::default());
        loop {
            match self.hear_once(&mut place, &mut backoff).await {
                Ok(()) => {}
                Err(error) => {
                    place = None;
                    backoff.failed(&error).await;
                }
            }
        }
    }

    async fn hear_once(&self, place: &mut Option<String>, backoff: &mut Backoff) -> Result<(), StoreError> {
        let Some(known) = place.take() else {
            *place = Some(limited(LONG_LIMIT, self.hear_all()).await?);
            return Ok(());
        };
        let asked = Instant::now();
        let news = limited(WAIT + LIMIT, self.store.read(&known, WAIT)).await?;
        // A process that was stopped does not know how old an answer is.
        if asked.elapsed() > WAIT + LIMIT {
            return Err(StoreError::TimedOut);
        }
        match news {
            // Some are missing: what holds is asked for anew, and not without end.
            None => backoff.pause().await,
            Some((last, news)) => {
                news.into_iter().for_each(|news| self.limiter.hear(news));
                if last == known && asked.elapsed() < SHORTEST_WAIT {
                    backoff.pause().await;
                } else {
                    backoff.clear();
                }
                *place = Some(last);
            }
        }
        Ok(())
    }

    /// Hears all that holds, for as long as there is more of it in time.
    async fn hear_all(&self) -> Result<String, StoreError> {
        let heard = AtomicBool::new(false);
        let mut take = |news| {
            heard.store(true, Ordering::Relaxed);
            self.limiter.hear(news);
        };
        let mut all = Contained::new(self.store.snapshot(&mut take));
        loop {
            match within(Some(Instant::now() + PATIENCE), &mut all).await {
                Some(answer) => return answer.unwrap_or(Err(StoreError::Panicked)),
                None if heard.swap(false, Ordering::Relaxed) => {}
                None => return Err(StoreError::TimedOut),
            }
        }
    }
}

async fn limited<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    match within(Some(Instant::now() + limit), Contained::new(asked)).await {
        Some(Some(answer)) => answer,
        Some(None) => Err(StoreError::Panicked),
        None => Err(StoreError::TimedOut),
    }
}

impl<S> fmt::Debug for SharedLimiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimiter").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
