//! One node of those that share a log: it reads what others write, and writes what is revoked here.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;

use super::{Entry, LogError, Origin, RevocationLog, Standing, batch::Batch};
use crate::{
    Clock, fault,
    revoke::Revocations,
    sync::{AtomicU64, Ordering},
    timer::{timer, within},
    unwind::{Contained, contained},
};

/// How long what is written may take, and how long it may take until more of the state comes.
const LIMIT: Duration = Duration::from_secs(2);

/// How long after a failure it is tried again: twice as long after each.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many bytes a second are written at least, and may take longer than that.
const SLOWEST: usize = 32 * 1024;

/// No clock ends before that.
const LONGEST_STALENESS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A log is not asked more often than that where it stands, unless something was written to it.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// One that waited for longer to be written forgets nothing any more. A log knows for a day which it has.
const FORGET_WITHIN: Duration = Duration::from_secs(12 * 60 * 60);

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

/// How a log was read.
enum Followed {
    /// On from where it was read before.
    On,
    /// It is another one, of which all was read.
    Anew,
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
        let (mut place, mut is_anew, mut failures) = (None, false, Failures::default());
        loop {
            let result = match self.follow_once(&mut place).await {
                Ok(Followed::Anew) if is_anew => {
                    Err(LogError::unavailable("it is another one each time that it is asked"))
                }
                Ok(followed) => {
                    is_anew = matches!(followed, Followed::Anew);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) if is_anew => {}
                Ok(()) => failures.clear("it is heard again"),
                Err(error) => failures.pause(&error, self.longest_pause()).await,
            }
        }
    }

    /// Reads what there is, and waits for more if there is none.
    async fn follow_once(&self, place: &mut Option<Place>) -> Result<Followed, LogError> {
        let (asked, number) = (Instant::now(), self.revocations.asks());
        let standing = limited(self.limit(), self.log.standing()).await?;
        self.revocations.set_clock(standing.now);
        let known = place.take().filter(|place| place.life == standing.life && place.last <= standing.last);
        let Some(known) = known else {
            // What was vouched for before is so still: it was all there was by then.
            self.revocations.begin_anew(number);
            self.write_lost(&standing).await?;
            *place = Some(Place { life: standing.life, last: standing.last });
            // It may have lost something since it said where it stands: that is asked again.
            return Ok(Followed::Anew);
        };
        let current = place.insert(known);
        while current.last < standing.last {
            if current.last.saturating_add(1) < standing.first || !self.read(current, Duration::ZERO).await? {
                // Some of it is gone.
                self.revocations.begin_anew(number);
                if self.take_over_gap(&standing).await? {
                    current.last = current.last.max(standing.last);
                } else {
                    *place = None;
                }
                return Ok(Followed::On);
            }
        }
        self.revocations.read_as_of(number);
        if standing.now.duration_since(standing.since).is_ok_and(|age| age >= self.max_staleness / 2)
            && self.revocations.vouch_until(asked + self.max_staleness)
        {
            fault::mended(&PLACE, &"this node vouches for what it knows again");
        }
        self.read(current, self.tick()).await?;
        Ok(Followed::On)
    }

    /// Reads on. Whether nothing is missing in between.
    async fn read(&self, place: &mut Place, at_most: Duration) -> Result<bool, LogError> {
        let entries = limited(at_most + self.limit(), self.log.read(place.last, at_most)).await?;
        // Where there were some there must be some to read.
        let mut is_whole = !entries.is_empty() || !at_most.is_zero();
        for (number, entry) in entries {
            is_whole &= number.checked_sub(1) == Some(place.last);
            if !is_whole {
                break;
            }
            self.revocations.take_next(entry);
            place.last = number;
        }
        Ok(is_whole)
    }

    /// Takes over all that is revoked by a log that has perhaps lost something, and writes what it does not have.
    async fn write_lost(&self, standing: &Standing) -> Result<(), LogError> {
        let [lost, _] = self.take_over(standing).await?;
        if !lost.is_empty() {
            let lost = format!("it does not have {} of what is revoked, which is written to it", lost.len());
            fault::report(&PLACE, &lost);
        }
        let mut batch = Batch::default();
        for entry in lost.into_values() {
            batch.add(entry);
            if batch.is_full() {
                self.append(&batch.take(), Origin::Lost).await?;
            }
        }
        self.append(&batch.take(), Origin::Lost).await
    }

    /// Takes over all that is revoked, and no more, by a log of which some was not read. `false` if it is another one by
    /// now: what it does not have it has perhaps lost.
    async fn take_over_gap(&self, standing: &Standing) -> Result<bool, LogError> {
        let [known, mut there] = self.take_over(standing).await?;
        if !known.is_empty() && limited(self.limit(), self.log.standing()).await?.life != standing.life {
            return Ok(false);
        }
        for (topic, entry) in known {
            self.revocations.take_less(entry, there.remove(&topic));
        }
        Ok(true)
    }

    /// Takes over all that is revoked. What this node knows beyond that, by topic, and what there is of the same topics.
    async fn take_over(&self, standing: &Standing) -> Result<[BTreeMap<String, Entry>; 2], LogError> {
        // What is over it has lost on purpose.
        let is_kept = |entry: &Entry| entry.kept_until().is_none_or(|until| until > standing.now);
        let known = self.revocations.entries().filter(is_kept).map(|entry| (entry.topic(), entry));
        let (mut known, mut less): (BTreeMap<_, _>, BTreeMap<_, _>) = (known.collect(), BTreeMap::new());
        let taken = AtomicU64::new(0);
        let mut take = |entry: Entry| {
            taken.fetch_add(1, Ordering::Relaxed);
            let topic = entry.topic();
            match known.get(&topic) {
                Some(known) if known.rank() > entry.rank() => _ = less.insert(topic, entry),
                _ => {
                    known.remove(&topic);
                    self.revocations.take(entry);
                }
            }
        };
        limited_while(LIMIT, || taken.load(Ordering::Relaxed), self.log.state(&mut take)).await?;
        Ok([known, less])
    }

    async fn append(&self, entries: &[Entry], origin: Origin) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        let seconds = entries.iter().map(Entry::size).sum::<usize>() / SLOWEST;
        let limit = LIMIT.saturating_add(Duration::from_secs(seconds as u64));
        limited(limit, self.log.append(entries, origin)).await
    }

    /// Writes what is revoked here.
    async fn write(&self) -> Infallible {
        let Some(outbox) = self.revocations.outbox() else { return pending().await };
        let mut failures = Failures::default();
        loop {
            let mut batch = outbox.next().await;
            if let Some(now) = contained(|| self.revocations.now()) {
                let is_late = |at| now.duration_since(at).is_ok_and(|waited| waited > FORGET_WITHIN);
                batch.retain(|entry| !entry.forgotten_at().is_some_and(is_late));
            }
            match self.append(&batch, Origin::New).await {
                Ok(()) => {
                    outbox.done();
                    failures.clear("it takes what is revoked here again");
                }
                Err(error) => {
                    outbox.failed();
                    failures.pause(&error, self.longest_pause()).await;
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
        (self.max_staleness / 5).clamp(Duration::from_millis(50), LIMIT)
    }

    /// How long to wait before a log that failed is asked again: another one that took its place is noticed before others
    /// go by it.
    fn longest_pause(&self) -> Duration {
        (self.max_staleness / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
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
    /// Says that it is over, if it was said that there are any.
    fn clear(&mut self, mended: &str) {
        if !std::mem::take(self).told.is_empty() {
            fault::mended(&PLACE, &mended);
        }
    }

    /// Says what is wrong, once, and waits.
    async fn pause(&mut self, error: &LogError, longest: Duration) {
        let text = error.to_string();
        if text != self.told {
            fault::report(&PLACE, &text);
            self.told = text;
        }
        let pause = SHORTEST_PAUSE.saturating_mul(1 << self.count.min(8)).min(longest);
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
