//! A log in memory, and the wires to it, which can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tower_reauth::revoke::shared::{Entry, LogError, Origin, RevocationLog, Standing};

use crate::support::Wall;

/// The server.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    wall: Wall,
    kept: Mutex<Kept>,
    grown: Notify,
}

#[derive(Clone)]
pub struct Kept {
    life: u64,
    since: SystemTime,
    entries: Vec<(u64, Entry)>,
    state: BTreeMap<String, Entry>,
    /// The entries that forget, which may come twice.
    forgotten: BTreeSet<String>,
    /// By how much its clock is behind.
    behind: Duration,
    last: u64,
    appends: usize,
    asked: usize,
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
    delay: Duration,
    /// So much later than it is there what was read comes.
    lag: Duration,
    /// What was written is there, and nobody is told.
    keeps_silent: bool,
    bytes_a_second: Option<usize>,
    /// It is another life whenever it is asked.
    alternates: bool,
    /// How often what was asked by then was left without an answer.
    hung: usize,
    /// Its numbers are as high as numbers are.
    boasts: bool,
    panics: bool,
    /// Everything goes just before the state is read.
    flushes: bool,
}

impl Memory {
    pub fn new() -> Self {
        let wall = Wall::new();
        // It has been there for a while.
        let since = wall.now() - Duration::from_secs(3600);
        let kept = Kept {
            life: 1,
            since,
            entries: Vec::new(),
            state: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            behind: Duration::ZERO,
            last: 0,
            appends: 0,
            asked: 0,
        };
        Self(Arc::new(Inner { wall, kept: Mutex::new(kept), grown: Notify::new() }))
    }

    pub fn wire(&self) -> Wire {
        Wire { memory: self.clone(), faults: Arc::default() }
    }

    /// How it stands: what a copy on another machine has.
    pub fn copy(&self) -> Kept {
        self.kept().clone()
    }

    /// A copy takes its place, with all that this does not have.
    pub fn fail_over_to(&self, copy: Kept) {
        let life = self.kept().life + 1;
        *self.kept() = Kept { life, since: self.wall().now(), ..copy };
    }

    /// Its clock is so much behind from now on.
    pub fn set_back(&self, behind: Duration) {
        let mut kept = self.kept();
        kept.behind = behind;
        kept.since -= behind;
    }

    /// Everything is gone.
    pub fn flush(&self) {
        let mut kept = self.kept();
        kept.entries.clear();
        kept.state.clear();
        kept.forgotten.clear();
        kept.last = 0;
        kept.life += 1;
        kept.since = self.wall().now();
    }

    /// The entries go but for the last of them; the state stays.
    pub fn trim(&self, left: usize) {
        let mut kept = self.kept();
        let gone = kept.entries.len().saturating_sub(left);
        kept.entries.drain(..gone);
    }

    /// One entry goes; the state stays.
    pub fn remove(&self, number: u64) {
        self.kept().entries.retain(|(each, _)| *each != number);
    }

    /// It has been there for so long.
    pub fn age(&self, age: Duration) {
        let since = self.wall().now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        self.kept().since = since;
    }

    /// How often somebody wanted to know where it stands.
    pub fn asked(&self) -> usize {
        self.kept().asked
    }

    pub fn entries(&self) -> Vec<String> {
        self.kept().entries.iter().map(|(_, entry)| entry.to_string()).collect()
    }

    pub fn appends(&self) -> usize {
        self.kept().appends
    }

    pub fn append(&self, entries: &[Entry], origin: Origin) {
        let mut kept = self.kept();
        let now = self.wall().now() - kept.behind;
        if origin == Origin::Lost {
            kept.since = now;
        }
        entries.iter().for_each(|entry| kept.append(entry.clone()));
        // It sweeps.
        kept.state.retain(|_, entry| entry.kept_until().is_none_or(|until| until > now));
        drop(kept);
        self.0.grown.notify_waiters();
    }

    pub fn standing(&self) -> Standing {
        let mut kept = self.kept();
        kept.asked += 1;
        let first = kept.entries.first().map_or(kept.last + 1, |(number, _)| *number);
        let now = self.wall().now() - kept.behind;
        Standing { life: kept.life.to_string(), since: kept.since, first, last: kept.last, now }
    }

    pub fn state(&self) -> BTreeMap<String, Entry> {
        self.kept().state.clone()
    }

    pub async fn read(&self, after: u64, at_most: Duration) -> Vec<(u64, Entry)> {
        let read = async {
            loop {
                let grown = self.0.grown.notified();
                let entries: Vec<_> =
                    self.kept().entries.iter().filter(|(number, _)| *number > after).cloned().collect();
                if !entries.is_empty() {
                    return entries;
                }
                grown.await;
            }
        };
        timeout(at_most, read).await.unwrap_or_default()
    }

    /// Its clock.
    pub fn wall(&self) -> &Wall {
        &self.0.wall
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().expect("nobody panics")
    }
}

impl Kept {
    fn append(&mut self, entry: Entry) {
        self.appends += 1;
        let topic = entry.topic();
        if entry.rank().is_none() && !self.forgotten.insert(entry.to_string()) {
            return;
        }
        match (self.state.get(&topic).and_then(Entry::rank), entry.rank()) {
            (Some(known), Some(rank)) if known >= rank => return,
            (_, None) => _ = self.state.remove(&topic),
            _ => _ = self.state.insert(topic, entry.clone()),
        }
        self.last += 1;
        self.entries.push((self.last, entry));
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

    pub fn delay(&self, delay: Duration) {
        self.faults().delay = delay;
    }

    pub fn lag(&self, lag: Duration) {
        self.faults().lag = lag;
    }

    pub fn keep_silent(&self) {
        self.faults().keeps_silent = true;
    }

    pub fn limit(&self, bytes_a_second: usize) {
        self.faults().bytes_a_second = Some(bytes_a_second);
    }

    /// What was asked by now gets no answer.
    pub fn hang(&self) {
        self.faults().hung += 1;
    }

    pub fn alternate(&self) {
        self.faults().alternates = true;
    }

    pub fn boast(&self) {
        self.faults().boasts = true;
    }

    pub fn flush_before_state(&self) {
        self.faults().flushes = true;
    }

    pub fn panic(&self) {
        self.faults().panics = true;
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("nobody panics")
    }

    /// There or back.
    async fn pass(&self) -> Result<(), LogError> {
        let Faults { is_cut, says_no, delay, panics, .. } = *self.faults();
        assert!(!panics, "a bug of the log's");
        if is_cut {
            pending::<()>().await;
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if says_no { Err(LogError::unavailable("it says no")) } else { Ok(()) }
    }
}

impl RevocationLog for Wire {
    async fn standing(&self) -> Result<Standing, LogError> {
        self.pass().await?;
        let Faults { alternates, boasts, .. } = *self.faults();
        if alternates {
            self.memory.kept().life += 1;
        }
        let mut standing = self.memory.standing();
        if boasts {
            (standing.first, standing.last) = (u64::MAX, u64::MAX);
        }
        self.pass().await?;
        Ok(standing)
    }

    async fn state(&self, take: &mut (dyn FnMut(Entry) + Send)) -> Result<(), LogError> {
        self.pass().await?;
        if std::mem::take(&mut self.faults().flushes) {
            self.memory.flush();
        }
        let state = self.memory.state();
        self.pass().await?;
        state.into_values().for_each(take);
        Ok(())
    }

    async fn read(&self, after: u64, at_most: Duration) -> Result<Vec<(u64, Entry)>, LogError> {
        self.pass().await?;
        let hung = self.faults().hung;
        let mut entries = self.memory.read(after, at_most).await;
        let Faults { lag, boasts, hung: hung_by_now, .. } = *self.faults();
        if hung != hung_by_now {
            pending::<()>().await;
        }
        sleep(lag).await;
        if boasts {
            entries.push((u64::MAX, "1 credential a 1".parse().expect("an entry")));
        }
        self.pass().await?;
        Ok(entries)
    }

    fn append(&self, entries: &[Entry], origin: Origin) -> impl Future<Output = Result<(), LogError>> + Send {
        let entries = entries.to_vec();
        async move {
            self.pass().await?;
            let Faults { keeps_silent, bytes_a_second, .. } = *self.faults();
            if let Some(bytes_a_second) = bytes_a_second {
                let bytes: usize = entries.iter().map(|entry| entry.to_string().len()).sum();
                sleep(Duration::from_secs_f64(bytes as f64 / bytes_a_second as f64)).await;
            }
            self.memory.append(&entries, origin);
            if keeps_silent {
                pending::<()>().await;
            }
            self.pass().await
        }
    }
}
