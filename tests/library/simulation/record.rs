//! What was revoked, when the log took it, who knows it, and what was seen to pass after that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tower_reauth::revoke::shared::{Entry, Origin};

/// A node, and how often it was started.
pub type NodeId = (usize, u32);

pub struct Record {
    started: Instant,
    staleness: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    matters: BTreeMap<String, Matter>,
    /// What is being forgotten: nothing is said of it until that is written.
    forgetting: BTreeSet<String>,
    /// What was forgotten, if a node has not heard of that it may hold on to it.
    forgotten: BTreeMap<String, What>,
    /// When the log lost something, stood still, or was written what it had lost, the last time.
    disturbed: Option<Instant>,
    seen: Seen,
    /// The sum of what was seen, so that what happened in one millisecond may have happened in any order.
    print: u64,
    failures: Vec<String>,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub frames: u64,
    pub revoked: u64,
    pub unavailable: u64,
    /// Revocations that the log has lost and somebody knew.
    pub restored: u64,
    /// Those that nobody knew any more who could reach it in time.
    pub lost: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.revoked += other.revoked;
        self.unavailable += other.unavailable;
        self.restored += other.restored;
        self.lost += other.lost;
    }
}

/// Something that was revoked.
#[derive(Clone)]
struct Matter {
    what: What,
    called: Instant,
    /// Where it was revoked: there it holds from then on.
    on: BTreeSet<NodeId>,
    /// Since when the log has it, or somebody who will write it again.
    took: Option<Instant>,
    was_taken: bool,
    loss: Option<Loss>,
}

/// The log has lost it.
#[derive(Clone)]
struct Loss {
    /// Nobody goes by the log before.
    until: Instant,
    /// Who knows it, and can reach the log.
    knowers: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Credential(String),
    /// By the log's clock.
    Subject(String, SystemTime),
    All(SystemTime),
}

/// A caller, and where.
#[derive(Clone)]
pub struct Caller {
    pub client: usize,
    pub node: NodeId,
    pub id: String,
    pub subject: String,
    pub issued_at: Option<SystemTime>,
    /// When its stream was opened.
    pub opened: Instant,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, node, id, subject, issued_at, opened } = self;
        write!(f, "client {client} of node {node:?}, {id} of {subject}")?;
        if let Some(issued_at) = issued_at {
            write!(f, ", issued at {issued_at:?}")?;
        }
        write!(f, ", open for {:?}", opened.elapsed())
    }
}

/// Whether a revocation is about a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    Not,
    /// It was issued, or opened, at about the time.
    Perhaps,
    Surely,
}

/// What is about the same time.
const ABOUT: Duration = Duration::from_secs(4);

impl What {
    /// As the log writes it.
    pub fn topic(&self) -> String {
        match self {
            Self::Credential(id) => format!("credential {id}"),
            Self::Subject(subject, _) => format!("subject ~ {subject}"),
            Self::All(_) => "all".to_owned(),
        }
    }
}

impl Matter {
    fn concerns(&self, caller: &Caller) -> Concern {
        let by_date = |at: SystemTime, without: Concern| match caller.issued_at {
            None => without,
            Some(issued_at) if issued_at + ABOUT <= at => Concern::Surely,
            Some(issued_at) if issued_at >= at + ABOUT => Concern::Not,
            Some(_) => Concern::Perhaps,
        };
        match &self.what {
            What::Credential(id) if *id == caller.id => Concern::Surely,
            What::Subject(subject, at) if *subject == caller.subject => by_date(*at, Concern::Surely),
            What::All(_) if caller.opened < self.called => Concern::Surely,
            // A node that hears of it late ends what was opened meanwhile, whatever its date is.
            What::All(at) => by_date(*at, Concern::Perhaps).max(Concern::Perhaps),
            What::Credential(_) | What::Subject(..) => Concern::Not,
        }
    }
}

impl Concern {
    fn max(self, other: Self) -> Self {
        if self == Self::Not { other } else { self }
    }
}

impl Record {
    pub fn new(staleness: Duration) -> Self {
        Self { started: Instant::now(), staleness, inner: Mutex::default() }
    }

    pub fn staleness(&self) -> Duration {
        self.staleness
    }

    /// After how long without trouble a node vouches, and has written what it knows: what it asked before is given up
    /// by then, and a log that lost something is gone by.
    pub fn calm(&self) -> Duration {
        Duration::from_secs(4) + 2 * self.staleness
    }

    /// It is revoked on this node now.
    pub fn called(&self, what: What, node: NodeId) {
        let mut inner = self.inner();
        let matter = inner.matters.entry(what.topic()).or_insert_with(|| Matter {
            what,
            called: Instant::now(),
            on: BTreeSet::new(),
            took: None,
            was_taken: false,
            loss: None,
        });
        matter.on.insert(node);
    }

    /// It is to be good again.
    pub fn forgets(&self, what: What) {
        let (mut inner, topic) = (self.inner(), what.topic());
        inner.matters.remove(&topic);
        inner.forgotten.insert(topic.clone(), what);
        inner.forgetting.insert(topic);
    }

    /// The log has it that it is good again.
    pub fn forgot(&self, topic: &str) {
        self.inner().forgetting.remove(topic);
    }

    pub fn is_being_forgotten(&self, topic: &str) -> bool {
        self.inner().forgetting.contains(topic)
    }

    pub fn is_called(&self, topic: &str) -> bool {
        self.inner().matters.contains_key(topic)
    }

    /// The log has these now.
    pub fn took(&self, entries: &[Entry], origin: Origin) {
        let mut inner = self.inner();
        let now = Instant::now();
        if origin == Origin::Lost {
            inner.disturbed = Some(now);
        }
        for entry in entries.iter().filter(|entry| entry.rank().is_some()) {
            let Some(matter) = inner.matters.get_mut(&entry.topic()) else { continue };
            matter.took.get_or_insert(now);
            matter.was_taken = true;
        }
    }

    /// What was revoked is said to be written.
    pub fn written(&self, topic: &str) {
        if self.inner().matters.get(topic).is_some_and(|matter| !matter.was_taken) {
            self.fail(format!("{topic} is said to be written, and the log never had it"));
        }
    }

    /// The log has lost something: of what it had before, what it has now, and who knows what it does not have.
    pub fn lost(&self, has: impl Fn(&str) -> bool, knowers: impl Fn(&What) -> BTreeSet<NodeId>) {
        let mut inner = self.inner();
        let now = Instant::now();
        inner.disturbed = Some(now);
        let Inner { matters, seen, .. } = &mut *inner;
        for (_, matter) in matters.iter_mut().filter(|(topic, matter)| matter.took.is_some() && !has(topic)) {
            let knowers = knowers(&matter.what);
            if knowers.is_empty() {
                matter.took = None;
                matter.loss = None;
                seen.lost += 1;
            } else {
                matter.loss = Some(Loss { until: now + self.staleness / 2, knowers });
                seen.restored += 1;
            }
        }
    }

    /// The log stands still until then.
    pub fn disturbed(&self, until: Instant) {
        let mut inner = self.inner();
        inner.disturbed = inner.disturbed.max(Some(until));
    }

    /// This node cannot be counted on for what the log has lost.
    pub fn troubled(&self, node: NodeId, has: impl Fn(&str) -> bool) {
        let mut inner = self.inner();
        let now = Instant::now();
        let Inner { matters, seen, .. } = &mut *inner;
        for (topic, matter) in matters {
            let Some(loss) = matter.loss.as_mut().filter(|loss| loss.until > now) else { continue };
            loss.knowers.remove(&node);
            if loss.knowers.is_empty() {
                matter.loss = None;
                if !has(topic) {
                    matter.took = None;
                    seen.lost += 1;
                    seen.restored -= 1;
                }
            }
        }
    }

    /// A frame passed, or a door opened.
    pub fn passed(&self, caller: &Caller, how: &str) {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.seen.frames += 1;
        inner.note((now - self.started, caller.client, how));
        let wrong = |(topic, matter): (&String, &Matter)| {
            if matter.concerns(caller) != Concern::Surely {
                return None;
            }
            if matter.on.contains(&caller.node) {
                return Some(format!("{topic} was revoked on this node {:?} ago", now - matter.called));
            }
            let took = matter.took.filter(|took| now >= *took + self.staleness)?;
            Some(format!("the log took {topic} {:?} ago", now - took))
        };
        let wrong: Vec<_> = inner.matters.iter().filter_map(wrong).collect();
        drop(inner);
        wrong.iter().for_each(|wrong| self.fail(format!("{how} of {caller:?}: {wrong}")));
    }

    /// A stream ended, or a door was closed, as its credential is revoked.
    pub fn revoked(&self, caller: &Caller) {
        let mut inner = self.inner();
        inner.seen.revoked += 1;
        inner.note((self.started.elapsed(), caller.client, "revoked"));
        let is_forgotten = |what: &What| matches!(what, What::Credential(id) if *id == caller.id);
        let is_right = inner.matters.values().any(|matter| matter.concerns(caller) != Concern::Not)
            || inner.forgotten.values().any(is_forgotten);
        drop(inner);
        if !is_right {
            self.fail(format!("{caller:?} is refused as revoked, and nobody revoked it"));
        }
    }

    /// A stream ended, or a door was closed, as the node vouches for nothing; which was not told that it cannot reach
    /// the log since `calm`.
    pub fn unavailable(&self, caller: &Caller, is_unsure: bool, calm: Option<Duration>) {
        let mut inner = self.inner();
        inner.seen.unavailable += 1;
        inner.note((self.started.elapsed(), caller.client, "unavailable"));
        let log_calm = inner.disturbed.is_none_or(|disturbed| disturbed + self.calm() <= Instant::now());
        drop(inner);
        if !is_unsure {
            self.fail(format!("{caller:?} is refused as if its node were not sure"));
        }
        if let Some(calm) = calm.filter(|calm| log_calm && *calm >= self.calm()) {
            self.fail(format!("{caller:?}: its node vouches for nothing, and nothing was wrong for {calm:?}"));
        }
    }

    /// When it will be too late for a frame of this caller, if that is to come.
    pub fn next_bound(&self, caller: &Caller) -> Option<Duration> {
        let now = Instant::now();
        let inner = self.inner();
        let surely = inner.matters.values().filter(|matter| matter.concerns(caller) == Concern::Surely);
        let bounds = surely.filter_map(|matter| matter.took).map(|took| took + self.staleness);
        bounds.filter(|bound| *bound > now).min().map(|bound| bound - now)
    }

    /// What everybody must know who is connected.
    pub fn known_to_all(&self) -> Vec<What> {
        let inner = self.inner();
        inner.matters.values().filter(|matter| matter.took.is_some()).map(|matter| matter.what.clone()).collect()
    }

    pub fn fail(&self, what: String) {
        let at = self.started.elapsed();
        let mut inner = self.inner();
        inner.note((at, &what));
        inner.failures.push(format!("after {at:?}: {what}"));
    }

    pub fn failures(&self) -> Vec<String> {
        self.inner().failures.clone()
    }

    pub fn seen(&self) -> (Seen, u64) {
        let inner = self.inner();
        (inner.seen, inner.print)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics")
    }
}

impl Inner {
    fn note(&mut self, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.print = self.print.wrapping_add(hasher.finish());
    }
}
