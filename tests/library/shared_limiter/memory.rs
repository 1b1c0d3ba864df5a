//! A store in memory, and the wires to it, which can be cut.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tower_reauth::limiter::{
    Client, FailureLimits,
    shared::{FailureStore, News, Report, StoreError, What},
};

/// The server.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    kept: Mutex<Kept>,
    grown: Notify,
}

#[derive(Default)]
struct Kept {
    failed: HashMap<Client, Vec<Instant>>,
    taken: HashSet<String>,
    locked: HashMap<Client, Instant>,
    news: Vec<(usize, Event)>,
    last: usize,
    /// Which it is: another after all was lost.
    life: usize,
    reports: Vec<Report>,
    calls: usize,
    snapshots: usize,
}

#[derive(Clone, Copy)]
enum Event {
    Failing(Client),
    Cleared(Client),
    LockedOut(Client, Instant),
}

/// A node's way to the server.
#[derive(Clone)]
pub struct Wire {
    memory: Memory,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    is_cut: bool,
    says_no: bool,
    loses_answers: bool,
    delay: Duration,
    panics: bool,
    lies: bool,
}

impl Memory {
    pub fn wire(&self) -> Wire {
        Wire { memory: self.clone(), faults: Arc::default() }
    }

    /// Everything is gone.
    pub fn flush(&self) {
        let mut kept = self.kept();
        let life = kept.life + 1;
        *kept = Kept { life, ..Kept::default() };
    }

    /// The news go; what holds stays.
    pub fn trim(&self) {
        self.kept().news.clear();
    }

    /// All that was told.
    pub fn reports(&self) -> Vec<Report> {
        self.kept().reports.clone()
    }

    /// How often it was told something.
    pub fn calls(&self) -> usize {
        self.kept().calls
    }

    /// How often a node asked for all that holds.
    pub fn snapshots(&self) -> usize {
        self.kept().snapshots
    }

    pub fn news(&self) -> usize {
        self.kept().last
    }

    /// For how long a client is locked out of what goes by it.
    pub fn left(&self, client: Client) -> Option<Duration> {
        self.kept().left(client)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().expect("nobody panics")
    }
}

impl Kept {
    fn say(&mut self, event: Event) {
        self.last += 1;
        self.news.push((self.last, event));
    }

    fn left(&self, client: Client) -> Option<Duration> {
        let left = self.locked.get(&client)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn record(&mut self, report: &Report, limits: &FailureLimits) -> Option<Duration> {
        self.reports.push(report.clone());
        let client = report.client;
        if self.left(client).is_some() {
            return self.left(client);
        }
        if report.what == What::Succeeded {
            if self.failed.remove(&client).is_some() {
                self.say(Event::Cleared(client));
            }
            return None;
        }
        let at = Instant::now() - report.ago;
        let failed = self.failed.entry(client).or_default();
        let is_first = failed.is_empty();
        if self.taken.insert(report.id.clone()) {
            failed.push(at);
            failed.sort();
        }
        let last = failed.last().copied()?;
        failed.retain(|at| last - *at < limits.window());
        if report.what == What::LockedOut || failed.len() >= limits.max_attempts() {
            self.failed.remove(&client);
            self.locked.insert(client, at + limits.lockout());
            if self.left(client).is_some() {
                self.say(Event::LockedOut(client, at + limits.lockout()));
            }
        } else if is_first {
            self.say(Event::Failing(client));
        }
        self.left(client)
    }

    fn place(&self, number: usize) -> String {
        format!("{}-{number}", self.life)
    }
}

impl Event {
    fn news(self) -> News {
        match self {
            Self::Failing(client) => News::Failing(client),
            Self::Cleared(client) => News::Cleared(client),
            Self::LockedOut(client, until) => {
                News::LockedOut { client, left: until.saturating_duration_since(Instant::now()) }
            }
        }
    }
}

impl Wire {
    pub fn cut(&self) {
        self.faults().is_cut = true;
    }

    pub fn mend(&self) {
        *self.faults() = Faults::default();
    }

    pub fn say_no(&self) {
        self.faults().says_no = true;
    }

    pub fn lose_answers(&self) {
        self.faults().loses_answers = true;
    }

    pub fn delay(&self, delay: Duration) {
        self.faults().delay = delay;
    }

    pub fn panic(&self) {
        self.faults().panics = true;
    }

    /// Everybody is locked out for ever, and there is no end of news.
    pub fn lie(&self) {
        self.faults().lies = true;
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("nobody panics")
    }

    async fn there(&self) -> Result<(), StoreError> {
        let Faults { is_cut, says_no, delay, panics, .. } = *self.faults();
        assert!(!panics, "a bug of the store's");
        if is_cut {
            pending::<()>().await;
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if says_no { Err(StoreError::unavailable("it says no")) } else { Ok(()) }
    }

    async fn back(&self) -> Result<(), StoreError> {
        if self.faults().loses_answers {
            return Err(StoreError::unavailable("the answer is lost"));
        }
        self.there().await
    }
}

impl FailureStore for Wire {
    async fn record(&self, reports: &[Report], limits: &FailureLimits) -> Result<Vec<Option<Duration>>, StoreError> {
        self.there().await?;
        if self.faults().lies {
            return Ok(vec![Some(Duration::from_millis(10_u64.pow(18))); reports.len() + 1]);
        }
        let answers = {
            let mut kept = self.memory.kept();
            kept.calls += 1;
            reports.iter().map(|report| kept.record(report, limits)).collect()
        };
        self.memory.0.grown.notify_waiters();
        self.back().await?;
        Ok(answers)
    }

    async fn snapshot(&self, take: &mut (dyn FnMut(News) + Send)) -> Result<String, StoreError> {
        self.there().await?;
        let (place, news) = {
            let mut kept = self.memory.kept();
            kept.snapshots += 1;
            let locked = kept.locked.iter().map(|(client, until)| Event::LockedOut(*client, *until).news());
            let news: Vec<_> = locked.chain(kept.failed.keys().map(|client| News::Failing(*client))).collect();
            (kept.place(kept.last), news)
        };
        self.back().await?;
        news.into_iter().for_each(take);
        Ok(place)
    }

    async fn read(&self, place: &str, at_most: Duration) -> Result<Option<(String, Vec<News>)>, StoreError> {
        self.there().await?;
        if self.faults().lies {
            let client = "203.0.113.200".parse().expect("a client");
            return Ok(Some((place.to_owned(), vec![News::LockedOut { client, left: Duration::MAX }])));
        }
        let read = async {
            loop {
                let grown = self.memory.0.grown.notified();
                {
                    let kept = self.memory.kept();
                    let number = place.strip_prefix(&format!("{}-", kept.life)).and_then(|number| number.parse().ok());
                    let number: usize = number?;
                    let news: Vec<_> = kept.news.iter().filter(|(each, _)| *each > number).copied().collect();
                    if kept.last > number {
                        let is_whole = news.first().is_some_and(|(first, _)| *first == number + 1);
                        return is_whole.then(|| (kept.place(kept.last), news));
                    }
                }
                grown.await;
            }
        };
        let read = timeout(at_most, read).await.unwrap_or_else(|_| Some((place.to_owned(), Vec::new())));
        self.back().await?;
        Ok(read.map(|(place, events)| (place, events.into_iter().map(|(_, event)| event.news()).collect())))
    }
}
