//! Fifty nodes, the clients of each, and what befalls them.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower_reauth::{
    BearerAuthLayer, Clock,
    reauth::EndReason,
    revoke::{Revision, Revocation, Revocations},
};

use super::{
    network::{Link, Server, Sky, Weather},
    record::{Caller, NodeId, Record, Seen, What},
};
use crate::{
    shared_revocations::{
        Signed,
        memory::{Kept, Memory},
    },
    support::{self, Reader, ask, reauth},
};

const NODES: usize = 50;
const CLIENTS: usize = 3;
const SECOND: Duration = Duration::from_secs(1);

/// Credentials, some of which are revoked; subjects, by the remainder.
const CREDENTIALS: usize = 24;
const SUBJECTS: usize = 8;

/// Those that nobody revokes, by id or by subject.
const UNTOUCHED: usize = 7;

struct World {
    record: Arc<Record>,
    server: Arc<Server>,
    slots: Vec<Mutex<Slot>>,
    /// What a replica of the log has.
    copies: Mutex<Vec<Kept>>,
}

struct Slot {
    node: Option<Arc<Node>>,
    /// How often it was started.
    starts: u32,
    rng: Rng,
    sky: Arc<Sky>,
    /// By how many seconds its wall clock is wrong.
    skew: Arc<AtomicI64>,
    /// When it is started again.
    starts_at: Instant,
    /// Since when nothing is wrong with it, which may be to come.
    calm_since: Instant,
}

struct Node {
    id: NodeId,
    revocations: Revocations,
    auth: BearerAuthLayer,
    stalled_until: Arc<Mutex<Instant>>,
    running: JoinHandle<()>,
}

/// What was seen in a world, the sum of it, and what was wrong.
pub type Outcome = (Seen, u64, Vec<String>);

/// A world that is as this seed has it.
pub async fn run(seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let staleness = [1, 2, 5][rng.usize(..3)] * SECOND;
    let memory = Memory::new();
    let record = Arc::new(Record::new(staleness));
    let server = Server::new(memory, Arc::clone(&record));
    let now = Instant::now();
    let slots = (0..NODES).map(|_| {
        let skew = Arc::new(AtomicI64::new(rng.i64(-60..=60)));
        let (sky, rng) = (Sky::calm(), rng.fork());
        Mutex::new(Slot { node: None, starts: 0, rng, sky, skew, starts_at: now, calm_since: now })
    });
    let world = Arc::new(World { record, server, slots: slots.collect(), copies: Mutex::default() });
    (0..NODES).for_each(|slot| world.start(slot));
    for client in 0..NODES * CLIENTS {
        tokio::spawn(follow(Arc::clone(&world), client, rng.fork()));
    }
    world.befall(&mut rng, Instant::now() + 10 * staleness + 6 * SECOND).await;
    world.heal().await;
    let (seen, print) = world.record.seen();
    (seen, print, world.record.failures())
}

impl World {
    fn slot(&self, slot: usize) -> MutexGuard<'_, Slot> {
        self.slots[slot].lock().expect("nobody panics")
    }

    fn node(&self, slot: usize) -> Option<Arc<Node>> {
        self.slot(slot).node.clone()
    }

    fn log_time(&self) -> SystemTime {
        self.server.memory.wall().now()
    }

    /// Starts a node, which remembers nothing.
    fn start(&self, number: usize) {
        let mut slot = self.slot(number);
        slot.starts += 1;
        let id = (number, slot.starts);
        let (wall, skew) = (self.server.memory.wall().clone(), Arc::clone(&slot.skew));
        let clock = Clock::from_fn(move || {
            let by = Duration::from_secs(skew.load(Ordering::Relaxed).unsigned_abs());
            if skew.load(Ordering::Relaxed) < 0 { wall.now() - by } else { wall.now() + by }
        });
        let rng = slot.rng.fork();
        let link = Link::new(&self.server, &slot.sky, rng);
        let shared = Revocations::shared(link).with_max_staleness(self.record.staleness()).with_clock(clock.clone());
        let revocations = shared.revocations();
        let auth = BearerAuthLayer::new(Signed(Revision::new())).with_clock(clock).with_revocations(&revocations);
        let stalled_until = Arc::new(Mutex::new(Instant::now()));
        let running = tokio::spawn(stalling(Arc::clone(&stalled_until), async move { match shared.run().await {} }));
        slot.calm_since = slot.calm_since.max(Instant::now());
        slot.node = Some(Arc::new(Node { id, revocations, auth, stalled_until, running }));
    }

    /// Things happen, until then.
    async fn befall(&self, rng: &mut Rng, end: Instant) {
        let unit = self.record.staleness();
        // Where nodes have less trouble, more is still known of what the log loses.
        let trouble = [10, 40, 100][rng.usize(..3)];
        while Instant::now() < end {
            sleep(unit.mul_f64(rng.f64() * 0.25)).await;
            self.restart(Instant::now());
            match rng.u8(..100) {
                0..30 => self.revoke(rng),
                30..65 | 85..87 if rng.u8(..100) >= trouble => {}
                30..50 => self.weather(rng),
                50..58 => self.crash(rng),
                58..65 => self.stall(rng),
                65..75 => self.step(rng),
                75..78 => self.lose(rng, false),
                78..80 => self.lose(rng, true),
                80..85 => self.server.memory.trim(rng.usize(..4)),
                85..87 => self.hold(rng),
                87..92 => self.forget(rng),
                _ => {}
            }
            // A replica lags behind.
            let mut copies = self.copies.lock().expect("nobody panics");
            copies.push(self.server.memory.copy());
            if copies.len() > 8 {
                copies.remove(0);
            }
        }
    }

    /// Starts those whose time has come.
    fn restart(&self, now: Instant) {
        for slot in 0..NODES {
            let is_due = {
                let slot = self.slot(slot);
                slot.node.is_none() && slot.starts_at <= now
            };
            if is_due {
                self.start(slot);
            }
        }
    }

    /// Something is revoked on a node.
    fn revoke(&self, rng: &mut Rng) {
        let Some(node) = self.node(rng.usize(..NODES)) else { return };
        let credential = rng.usize(..CREDENTIALS);
        let subject = credential % SUBJECTS;
        if subject == UNTOUCHED || self.record.is_being_forgotten(&What::Credential(format!("c{credential}")).topic()) {
            return;
        }
        let revocations = &node.revocations;
        let by_subject = What::Subject(format!("s{subject}"), self.log_time());
        let all = What::All(self.log_time());
        let is_new = |what: &What| !self.record.is_called(&what.topic());
        let what = match rng.u8(..20) {
            // Once each: of two the later date holds, whose rank this does not know. The offset of a node that has not
            // heard of the log yet is no offset.
            0..3 if is_new(&by_subject) && !revocations.is_unsure() => {
                revocations.revoke_subject(&*format!("s{subject}"));
                by_subject
            }
            3 if is_new(&all) && !revocations.is_unsure() => {
                revocations.revoke_all();
                all
            }
            4..8 => {
                revocations.revoke_until(&format!("c{credential}"), UNIX_EPOCH + 3_000_000_000 * SECOND);
                What::Credential(format!("c{credential}"))
            }
            _ => {
                revocations.revoke(&format!("c{credential}"));
                What::Credential(format!("c{credential}"))
            }
        };
        let topic = what.topic();
        self.record.called(what, node.id);
        let (record, revocations) = (Arc::clone(&self.record), revocations.clone());
        tokio::spawn(async move {
            revocations.written().await;
            record.written(&topic);
        });
    }

    /// Something is good again. It is not revoked anew before the log has that.
    fn forget(&self, rng: &mut Rng) {
        let (node, credential) = (self.node(rng.usize(..NODES)), rng.usize(..CREDENTIALS));
        let Some(node) = node else { return };
        let what = What::Credential(format!("c{credential}"));
        let topic = what.topic();
        if !self.record.is_called(&topic) || self.record.is_being_forgotten(&topic) {
            return;
        }
        self.record.forgets(what);
        node.revocations.forget(&format!("c{credential}"));
        let (record, revocations) = (Arc::clone(&self.record), node.revocations.clone());
        tokio::spawn(async move {
            revocations.written().await;
            record.forgot(&topic);
        });
    }

    /// The ways of some nodes to the log become bad for a while.
    fn weather(&self, rng: &mut Rng) {
        let weather = [Weather::Slow, Weather::Late, Weather::Lossy, Weather::Refused, Weather::Cut, Weather::Cut];
        let weather = weather[rng.usize(..weather.len())];
        let lasts = self.record.staleness().mul_f64(rng.f64() * 2.5);
        for number in some(rng) {
            self.slot(number).sky.set(weather, Instant::now() + lasts);
            self.trouble(number, lasts);
        }
    }

    /// Some nodes are gone at once, with what they know.
    fn crash(&self, rng: &mut Rng) {
        let lasts = self.record.staleness().mul_f64(rng.f64() * 1.5);
        for number in some(rng) {
            self.trouble(number, lasts);
            let mut slot = self.slot(number);
            slot.starts_at = Instant::now() + lasts;
            if let Some(node) = slot.node.take() {
                node.running.abort();
            }
        }
    }

    /// Nothing of some nodes runs but their streams, for a while.
    fn stall(&self, rng: &mut Rng) {
        let lasts = self.record.staleness().mul_f64(rng.f64() * 2.0);
        for number in some(rng) {
            self.trouble(number, lasts);
            if let Some(node) = self.node(number) {
                *node.stalled_until.lock().expect("nobody panics") = Instant::now() + lasts;
            }
        }
    }

    /// The wall clocks of some nodes are set, by up to a minute.
    fn step(&self, rng: &mut Rng) {
        for number in some(rng) {
            self.slot(number).skew.store(rng.i64(-60..=60), Ordering::Relaxed);
        }
    }

    /// The log loses everything, or what a replica of it does not have.
    fn lose(&self, rng: &mut Rng, is_flushed: bool) {
        let copy = {
            let copies = self.copies.lock().expect("nobody panics");
            copies.get(copies.len().saturating_sub(1 + rng.usize(..4))).cloned()
        };
        match copy {
            Some(copy) if !is_flushed => self.server.fail_over_to(copy, rng.bool()),
            _ => self.server.memory.flush(),
        }
        self.copies.lock().expect("nobody panics").clear();
        let state = self.server.memory.state();
        let now = Instant::now();
        let knowers = |what: &What| {
            let nodes = (0..NODES)
                .filter(|slot| self.slot(*slot).calm_since + self.record.calm() <= now)
                .filter_map(|slot| self.node(slot));
            nodes.filter(|node| knows(&node.revocations, what)).map(|node| node.id).collect::<BTreeSet<_>>()
        };
        self.record.lost(|topic| state.contains_key(topic), knowers);
    }

    /// The log stands still for a while.
    fn hold(&self, rng: &mut Rng) {
        let lasts = self.record.staleness().mul_f64(rng.f64() * 1.5);
        self.server.hold(Instant::now() + lasts);
        self.record.disturbed(Instant::now() + lasts);
        (0..NODES).for_each(|number| self.trouble(number, lasts));
    }

    /// Something is wrong with a node for so long.
    fn trouble(&self, number: usize, lasts: Duration) {
        let id = {
            let mut slot = self.slot(number);
            slot.calm_since = slot.calm_since.max(Instant::now() + lasts);
            (number, slot.starts)
        };
        let state = self.server.memory.state();
        self.record.troubled(id, |topic| state.contains_key(topic));
    }

    /// All is well from now on: after a while all nodes vouch, and know the same.
    async fn heal(&self) {
        let now = Instant::now();
        self.server.hold(now);
        self.record.disturbed(now);
        for number in 0..NODES {
            let mut slot = self.slot(number);
            slot.sky.set(Weather::Calm, now);
            slot.starts_at = now;
            slot.calm_since = now;
            if let Some(node) = &slot.node {
                *node.stalled_until.lock().expect("nobody panics") = now;
            }
        }
        self.restart(now);
        sleep(self.record.calm()).await;
        let state = self.server.memory.state();
        let known_to_all = self.record.known_to_all();
        let mut first: Option<BTreeSet<String>> = None;
        for node in (0..NODES).filter_map(|slot| self.node(slot)) {
            let id = node.id;
            if node.revocations.is_unsure() {
                self.record.fail(format!("{id:?} does not vouch though all is well"));
            }
            for what in &known_to_all {
                if !knows(&node.revocations, what) || !state.contains_key(&what.topic()) {
                    self.record.fail(format!("{id:?}, or the log, does not know {what:?}"));
                }
            }
            let list: BTreeSet<_> = node.revocations.list().iter().map(|each| format!("{each:?}")).collect();
            let first = first.get_or_insert_with(|| list.clone());
            if *first != list {
                self.record.fail(format!("{id:?} and another know different things: {list:?}, {first:?}"));
            }
        }
    }
}

/// A few nodes mostly, and all of them at times.
fn some(rng: &mut Rng) -> Vec<usize> {
    let count = match rng.u8(..32) {
        0..26 => rng.usize(1..=4),
        26..31 => rng.usize(1..=NODES / 2),
        _ => NODES,
    };
    rng.choose_multiple(0..NODES, count)
}

fn knows(revocations: &Revocations, what: &What) -> bool {
    revocations.list().iter().any(|known| match (known, what) {
        (Revocation::Credential { id, .. }, What::Credential(other)) => id == other,
        (Revocation::Subject { subject, .. }, What::Subject(other, _)) => subject == other,
        (Revocation::IssuedBefore(_), What::All(_)) => true,
        _ => false,
    })
}

/// What is not polled while it is stalled.
async fn stalling(stalled_until: Arc<Mutex<Instant>>, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    loop {
        let until = *stalled_until.lock().expect("nobody panics");
        if until > Instant::now() {
            sleep_until(until).await;
        }
        let is_done = poll_fn(|cx| match *stalled_until.lock().expect("nobody panics") {
            until if until > Instant::now() => Poll::Ready(false),
            _ => future.as_mut().poll(cx).map(|()| true),
        });
        if is_done.await {
            return;
        }
    }
}

/// Notes whether the node was unsure at a poll: an abort takes two, and by the second it may vouch again.
async fn noting<T>(node: &Node, was_unsure: &mut bool, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        *was_unsure |= node.revocations.is_unsure();
        future.as_mut().poll(cx)
    })
    .await
}

/// A client, which follows a stream for as long as it may, and asks again.
async fn follow(world: Arc<World>, client: usize, mut rng: Rng) {
    let slot = client % NODES;
    let (credential, has_date) = (rng.usize(..CREDENTIALS), rng.bool());
    let record = &world.record;
    loop {
        sleep(Duration::from_millis(rng.u64(50..1_500))).await;
        let Some(node) = world.node(slot) else { continue };
        // Issued a moment ago, in whole seconds.
        let now = world.log_time().duration_since(UNIX_EPOCH).expect("a date").as_secs();
        let date = has_date.then(|| now - 1);
        let caller = Caller {
            client,
            node: node.id,
            id: format!("c{credential}"),
            subject: format!("s{}", credential % SUBJECTS),
            issued_at: date.map(|date| UNIX_EPOCH + Duration::from_secs(date)),
            opened: Instant::now(),
        };
        let calm = || Instant::now().checked_duration_since(world.slot(slot).calm_since);
        let date = date.map(|date| format!("/{date}")).unwrap_or_default();
        let token = format!("{}/{}{date}", caller.id, caller.subject);
        let (feed, response) = ask(node.auth.clone(), reauth().without_heartbeat(), &token).await;
        match response.status().as_u16() {
            200 => record.passed(&caller, "a door"),
            401 => record.revoked(&caller),
            503 => record.unavailable(&caller, node.revocations.is_unsure(), calm()),
            status => record.fail(format!("{caller:?} got {status}")),
        }
        if !response.status().is_success() {
            continue;
        }
        let mut stream = Reader::of(response);
        loop {
            let pause = Duration::from_millis(rng.u64(50..1_000));
            let pause = record.next_bound(&caller).map_or(pause, |bound| pause.min(bound));
            let mut was_unsure = false;
            match timeout(pause, noting(&node, &mut was_unsure, stream.next())).await {
                Err(_) if world.node(slot).is_none_or(|now| now.id != node.id) => break,
                Err(_) => feed.data("data: on\n\n"),
                Ok(support::Seen::Data(_)) => record.passed(&caller, "a frame"),
                Ok(support::Seen::Cut(EndReason::Revoked)) => {
                    record.revoked(&caller);
                    break;
                }
                Ok(support::Seen::Cut(EndReason::Unavailable)) => {
                    record.unavailable(&caller, was_unsure, calm());
                    break;
                }
                Ok(seen) => {
                    record.fail(format!("{caller:?} saw {seen:?}"));
                    break;
                }
            }
        }
    }
}
