//! One node of those that share a log: it reads what others write, and writes what is revoked here.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Entry, LogError, Origin, RevocationLog};
use crate::{
    Clock, fault,
    revoke::Revocations,
    sync::{AtomicU64, Ordering},
    timer::{timer, within},
    unwind::Contained,
};

/// How long what is written may take, and how long it may take until more of the state comes.
const LIMIT: Duration = Duration::from_secs(2);

/// How long after a failure it is tried again: twice as long after each.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// No clock ends before that.
const LONGEST_STALENESS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A log is not asked more often than that where it stands, unless something was written to it.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// How many entries that a log has lost are written at once.
const BATCH: usize = 256;

/// Builds [`Revocations`] that other nodes share, and keeps them in step: see the [module](super).
#[must_use = "it shares nothing unless it is run"]
pub struct SharedRevocations<L> {
    log: L,
    revocations: Revocations,
    max_staleness: Duration,
}

/// What this node has read of the log.
struct Place {
    life: String,
    last: u64,
}

impl<L: RevocationLog> SharedRevocations<L> {
    pub(in super::super) fn new(log: L) -> Self {
        let revocations = Revocations::of_a_node(Clock::default(), false);
        Self { log, revocations, max_staleness: Duration::from_secs(5) }
    }

    /// For how long this node vouches for what it has read without hearing from the log again. Default: five seconds.
    /// It asks five times as often, and at least once a second. A log that has just begun, or has lost something, is
    /// trusted after half of it: until then others write what they know. More than 30 days are 30 days.
    pub fn with_max_staleness(mut self, max_staleness: Duration) -> Self {
        self.max_staleness = max_staleness.min(LONGEST_STALENESS);
        self
    }

    /// Has a node that hears nothing from the log go by what it knows, for as long as that takes: streams go on, and
    /// doors are open, to what is revoked elsewhere meanwhile too. Call it before [`revocations`](Self::revocations).
    pub fn preferring_availability(mut self) -> Self {
        self.revocations = Revocations::of_a_node(self.revocations.clock().clone(), true);
        self
    }

    /// Reads the wall clock elsewhere: it must be the clock of the layers. Call it before
    /// [`revocations`](Self::revocations).
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.revocations = Revocations::of_a_node(clock, self.revocations.prefers_availability());
        self
    }

    /// What the layers are given, and what is revoked by.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        self.revocations.clone()
    }

    /// Reads and writes for as long as it is polled: to be spawned, and dropped or aborted at the end. When it is
    /// dropped this node vouches for nothing any more.
    pub async fn run(self) -> Infallible {
        let _ended = EndsTheLease(&self.revocations);
        let (mut follow, mut write, mut watch) = (pin!(self.follow()), pin!(self.write()), pin!(self.watch()));
        poll_fn(|cx| {
            let _: [Poll<Infallible>; 3] = [follow.as_mut().poll(cx), write.as_mut().poll(cx), watch.as_mut().poll(cx)];
            Poll::Pending
        })
        .await
    }

    /// Reads on, and begins again after each failure.
    async fn follow(&self) -> Infallible {
        let (mut place, mut failures) = (None, Failures::default());
        loop {
            match self.follow_once(&mut place).await {
                Ok(()) => failures.clear(),
                Err(error) => failures.pause(&error).await,
            }
        }
    }

    /// Reads what there is, and waits for more if there is none.
    async fn follow_once(&self, place: &mut Option<Place>) -> Result<(), LogError> {
        let asked = Instant::now();
        let standing = limited(self.limit(), self.log.standing()).await?;
        self.revocations.set_clock(standing.now);
        let known = place.take().filter(|place| place.life == standing.life && place.last <= standing.last);
        let is_gap = known.as_ref().is_some_and(|place| place.last + 1 < standing.first);
        let current = match known {
            Some(known) if !is_gap => place.insert(known),
            known => {
                // What was vouched for before is so still: it was all there was by then.
                self.take_over(known.is_none(), standing.now).await?;
                *place = Some(Place { life: standing.life, last: standing.last });
                // It may have lost something since it said where it stands: that is asked again.
                return Ok(());
            }
        };
        while current.last < standing.last {
            if !self.read(current, Duration::ZERO).await? {
                // Some of it is gone.
                self.take_over(false, standing.now).await?;
                current.last = current.last.max(standing.last);
                return Ok(());
            }
        }
        if standing.now.duration_since(standing.since).is_ok_and(|age| age >= self.max_staleness / 2) {
            self.revocations.vouch_until(asked + self.max_staleness);
        }
        self.read(current, self.tick()).await.map(|_| ())
    }

    /// Reads on. Whether nothing is missing in between.
    async fn read(&self, place: &mut Place, at_most: Duration) -> Result<bool, LogError> {
        let entries = limited(at_most + self.limit(), self.log.read(place.last, at_most)).await?;
        // Where there were some there must be some to read.
        let mut is_whole = !entries.is_empty() || !at_most.is_zero();
        for (number, entry) in entries {
            is_whole &= number == place.last + 1;
            if !is_whole {
                break;
            }
            self.revocations.take(entry);
            place.last = number;
        }
        Ok(is_whole)
    }

    /// Takes over all that is revoked, and, of a log that has perhaps lost something, writes what it does not have.
    async fn take_over(&self, may_have_lost: bool, now: SystemTime) -> Result<(), LogError> {
        // What is over it has lost on purpose.
        let is_kept = |entry: &Entry| entry.kept_until().is_none_or(|until| until > now);
        let mut unknown: BTreeMap<String, Entry> = match may_have_lost {
            true => self.revocations.entries().filter(is_kept).map(|entry| (entry.topic(), entry)).collect(),
            false => BTreeMap::new(),
        };
        let taken = AtomicU64::new(0);
        let mut take = |entry: Entry| {
            taken.fetch_add(1, Ordering::Relaxed);
            if unknown.get(&entry.topic()).is_some_and(|known| known.rank() <= entry.rank()) {
                unknown.remove(&entry.topic());
            }
            self.revocations.take(entry);
        };
        limited_while(LIMIT, || taken.load(Ordering::Relaxed), self.log.state(&mut take)).await?;
        let unknown: Vec<_> = unknown.into_values().collect();
        if !unknown.is_empty() {
            let lost = format!("it does not have {} of what is revoked, which is written to it", unknown.len());
            fault::report(&PLACE, &lost);
        }
        for batch in unknown.chunks(BATCH) {
            limited(LIMIT, self.log.append(batch, Origin::Lost)).await?;
        }
        Ok(())
    }

    /// Writes what is revoked here.
    async fn write(&self) -> Infallible {
        let Some(outbox) = self.revocations.outbox() else { return pending().await };
        let mut failures = Failures::default();
        loop {
            let batch = outbox.next().await;
            match limited(LIMIT, self.log.append(&batch, Origin::New)).await {
                Ok(()) => {
                    outbox.done();
                    failures.clear();
                }
                Err(error) => {
                    outbox.failed();
                    failures.pause(&error).await;
                }
            }
        }
    }

    /// Wakes the open streams when this node stops to vouch.
    async fn watch(&self) -> Infallible {
        loop {
            let end = self.revocations.vouched_for().await;
            match timer(end) {
                Some(timer) => timer.await,
                None => return pending().await,
            }
            if self.revocations.is_unsure() {
                fault::report(&PLACE, &"nothing was heard of it for too long: this node vouches for nothing");
                self.revocations.wake();
            }
        }
    }

    /// How long what is asked may take, so that it can be asked once more in time.
    fn limit(&self) -> Duration {
        (self.max_staleness / 4).clamp(Duration::from_millis(50), LIMIT)
    }

    /// How long to wait for an entry before the log is asked again where it stands.
    fn tick(&self) -> Duration {
        (self.max_staleness / 5).clamp(SHORTEST_TICK, Duration::from_secs(1))
    }
}

const PLACE: &str = "the log of revocations";

/// That this node vouches for nothing when it does not run.
struct EndsTheLease<'a>(&'a Revocations);

impl Drop for EndsTheLease<'_> {
    fn drop(&mut self) {
        self.0.doubt();
    }
}

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    told: String,
}

impl Failures {
    fn clear(&mut self) {
        *self = Self::default();
    }

    /// Says what is wrong, once, and waits.
    async fn pause(&mut self, error: &LogError) {
        let text = error.to_string();
        if text != self.told {
            fault::report(&PLACE, &text);
            self.told = text;
        }
        let pause = SHORTEST_PAUSE.saturating_mul(1 << self.count.min(8)).min(LONGEST_PAUSE);
        self.count += 1;
        match timer(Instant::now() + pause) {
            Some(timer) => timer.await,
            None => pending().await,
        }
    }
}

async fn limited<T>(limit: Duration, asked: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
    limited_while(limit, || 0, asked).await
}

/// The limit begins anew when `progress` is another number than before.
async fn limited_while<T>(
    limit: Duration,
    progress: impl Fn() -> u64,
    asked: impl Future<Output = Result<T, LogError>> + Send,
) -> Result<T, LogError> {
    let (mut asked, mut before) = (pin!(Contained::new(asked)), progress());
    loop {
        match within(Some(Instant::now() + limit), asked.as_mut()).await {
            Some(answer) => return answer.unwrap_or(Err(LogError::Panicked)),
            None if progress() == before => return Err(LogError::TimedOut),
            None => before = progress(),
        }
    }
}

impl<L> fmt::Debug for SharedRevocations<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRevocations")
            .field("revocations", &self.revocations)
            .field("max_staleness", &self.max_staleness)
            .finish_non_exhaustive()
    }
}
