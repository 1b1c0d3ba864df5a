//! A limiter that nodes share: who is locked out on one is locked out on all, and without the store each node goes on
//! by itself.

mod memory;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use tokio::{
    runtime,
    task::JoinHandle,
    time::{advance, sleep},
};
use tower_reauth::limiter::{FailureLimiter, FailureLimits, shared::What};

use self::memory::{Memory, Wire};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(20);
const LOCKOUT: Duration = Duration::from_secs(300);
const STRANGER: &str = "203.0.113.1";

struct Node {
    wire: Wire,
    limiter: FailureLimiter,
    /// Of which the hook was told.
    locks: Arc<Mutex<Vec<(IpAddr, Duration)>>>,
    running: JoinHandle<()>,
}

impl Node {
    fn start(memory: &Memory) -> Self {
        Self::start_with(memory, FailureLimits::new())
    }

    fn start_with(memory: &Memory, limits: FailureLimits) -> Self {
        let wire = memory.wire();
        let node = FailureLimiter::shared(limits, wire.clone());
        let limiter = node.limiter();
        let locks = Arc::<Mutex<Vec<_>>>::default();
        limiter.on_lock({
            let locks = Arc::clone(&locks);
            move |address, lockout| locks.lock().unwrap().push((address, lockout))
        });
        let running = tokio::spawn(async move { match node.run().await {} });
        Self { wire, limiter, locks, running }
    }

    fn fail(&self, client: &str, times: usize) {
        (0..times).for_each(|_| self.limiter.failed(address(client)));
    }

    fn left(&self, client: &str) -> Option<Duration> {
        self.limiter.check(address(client)).err()
    }

    fn locks(&self) -> usize {
        self.locks.lock().unwrap().len()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn address(client: &str) -> IpAddr {
    client.parse().unwrap()
}

async fn three(memory: &Memory) -> [Node; 3] {
    let nodes = [(); 3].map(|()| Node::start(memory));
    sleep(MOMENT).await;
    nodes
}

#[tokio::test(start_paused = true)]
async fn ten_failures_lock_a_client_on_all_nodes_wherever_they_came_from() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    for (node, times) in nodes.iter().zip([4, 3, 2]) {
        node.fail(STRANGER, times);
        sleep(MOMENT).await;
    }
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_none()));
    nodes[1].fail(STRANGER, 1);
    sleep(MOMENT).await;
    for node in &nodes {
        let left = node.left(STRANGER).expect("locked out");
        assert!(left <= LOCKOUT && left > LOCKOUT - SECOND, "{left:?}");
        assert_eq!(node.left("203.0.113.2"), None);
    }
    // It ends by itself, and the count begins anew.
    advance(LOCKOUT - MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_none()));
    for node in &nodes {
        node.fail(STRANGER, 3);
        sleep(MOMENT).await;
        assert_eq!(node.left(STRANGER), None);
    }
    nodes[0].fail(STRANGER, 1);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_begins_on_one_node_holds_there_at_once_and_on_the_others_a_moment_later() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].fail(STRANGER, 10);
    assert_eq!(nodes[0].left(STRANGER), Some(LOCKOUT));
    assert_eq!(nodes[1].left(STRANGER), None);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
}

#[tokio::test(start_paused = true)]
async fn each_node_says_of_a_lock_once_that_it_began() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    for node in &nodes {
        node.wire.delay(Duration::from_millis(5));
        node.fail("2001:db8::77", 4);
    }
    sleep(SECOND).await;
    let late = Node::start(&memory);
    for node in nodes.iter().chain([&late]) {
        // It asks anew what holds.
        node.wire.say_no();
        sleep(20 * SECOND).await;
        node.wire.mend();
    }
    sleep(20 * SECOND).await;
    for node in nodes.iter().chain([&late]) {
        assert!(node.left("2001:db8::1").is_some());
        assert_eq!(node.locks(), 1);
    }
    assert_eq!(late.locks.lock().unwrap()[0].0, address("2001:db8::"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_knows_who_is_locked_out() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].fail(STRANGER, 10);
    sleep(100 * SECOND).await;
    let late = Node::start(&memory);
    sleep(MOMENT).await;
    let left = late.left(STRANGER).expect("locked out");
    assert!(left <= LOCKOUT - 100 * SECOND, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_success_clears_on_all_nodes_what_any_has_counted() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].fail(STRANGER, 9);
    sleep(MOMENT).await;
    nodes[1].limiter.succeeded(address(STRANGER));
    sleep(MOMENT).await;
    nodes[0].fail(STRANGER, 5);
    sleep(MOMENT).await;
    nodes[2].fail(STRANGER, 4);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_none()));
    nodes[2].fail(STRANGER, 1);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
    // No success ends a lock, whoever tells of it.
    nodes[0].limiter.succeeded(address(STRANGER));
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fail_tells_nobody() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    for _ in 0..100 {
        nodes[0].limiter.succeeded(address(STRANGER));
        assert_eq!(nodes[0].limiter.check(address(STRANGER)), Ok(()));
        nodes[0].limiter.failed(address("127.0.0.1"));
    }
    sleep(MOMENT).await;
    assert_eq!((memory.calls(), memory.news()), (0, 0));

    nodes[0].fail(STRANGER, 10);
    sleep(MOMENT).await;
    // Who is locked out asks in vain.
    nodes[1].fail(STRANGER, 50);
    nodes[1].limiter.succeeded(address(STRANGER));
    sleep(MOMENT).await;
    assert_eq!((memory.reports().len(), memory.calls(), memory.news()), (10, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_node_has_its_own_limits_and_tells_later() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes.iter().for_each(|node| node.wire.cut());
    nodes[0].fail(STRANGER, 9);
    nodes[1].fail(STRANGER, 9);
    nodes[2].fail("203.0.113.2", 10);
    sleep(10 * SECOND).await;
    assert_eq!(nodes[0].left(STRANGER), None);
    assert_eq!(nodes[2].left("203.0.113.2"), Some(LOCKOUT - 10 * SECOND));
    assert_eq!(nodes[0].left("203.0.113.2"), None);
    nodes.iter().for_each(|node| node.wire.mend());
    sleep(10 * SECOND).await;
    for node in &nodes {
        assert!(node.left(STRANGER).is_some());
        let left = node.left("203.0.113.2").expect("locked out");
        assert!(left <= LOCKOUT - 20 * SECOND, "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_happened_too_long_ago_is_not_told_but_a_lock_for_as_long_as_it_holds() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].wire.cut();
    nodes[0].fail("203.0.113.2", 9);
    nodes[0].limiter.succeeded(address("203.0.113.2"));
    nodes[0].fail(STRANGER, 10);
    nodes[0].fail("203.0.113.3", 9);
    sleep(200 * SECOND).await;
    nodes[0].wire.mend();
    sleep(10 * SECOND).await;
    for node in &nodes {
        let left = node.left(STRANGER).expect("locked out");
        assert!(left <= LOCKOUT - 210 * SECOND + MOMENT, "{left:?}");
        node.fail("203.0.113.3", 1);
        assert_eq!(node.left("203.0.113.3"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_counts_nothing_twice() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].wire.lose_answers();
    nodes[0].fail(STRANGER, 5);
    sleep(10 * SECOND).await;
    assert!(memory.calls() > 3);
    nodes[0].wire.mend();
    sleep(10 * SECOND).await;
    nodes[1].fail(STRANGER, 4);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_none()));
    nodes[2].fail(STRANGER, 1);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_says_no_panics_or_is_flushed_keeps_nobody_from_being_locked_out() {
    type Fault = fn(&Wire);
    for fault in [Wire::cut as Fault, Wire::say_no, Wire::panic, Wire::lose_answers] {
        let memory = Memory::default();
        let nodes = three(&memory).await;
        nodes.iter().for_each(|node| fault(&node.wire));
        for node in &nodes {
            node.fail(STRANGER, 9);
            sleep(SECOND).await;
            assert_eq!(node.locks(), 0);
            node.fail(STRANGER, 1);
            assert_eq!(node.left(STRANGER), Some(LOCKOUT));
            assert_eq!(node.left("203.0.113.2"), None);
        }
        nodes.iter().for_each(|node| node.wire.mend());
        sleep(20 * SECOND).await;
        nodes[0].fail("203.0.113.2", 10);
        sleep(MOMENT).await;
        assert!(nodes.iter().all(|node| node.left("203.0.113.2").is_some()));
    }
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].fail(STRANGER, 10);
    nodes[0].fail("203.0.113.2", 9);
    sleep(MOMENT).await;
    memory.flush();
    sleep(20 * SECOND).await;
    assert!(nodes.iter().all(|node| node.left(STRANGER).is_some()));
    nodes[0].fail("203.0.113.2", 1);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left("203.0.113.2").is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lies_locks_for_no_longer_than_a_lockout_and_only_whom_it_names() {
    let memory = Memory::default();
    let node = Node::start(&memory);
    sleep(MOMENT).await;
    node.wire.lie();
    node.fail(STRANGER, 1);
    node.fail("127.0.0.1", 1);
    sleep(20 * SECOND).await;
    let left = node.left(STRANGER).expect("locked out");
    assert!(left <= LOCKOUT, "{left:?}");
    assert!(node.left("203.0.113.200").is_some_and(|left| left <= LOCKOUT));
    assert_eq!(node.left("203.0.113.2"), None);
    assert_eq!(node.left("127.0.0.1"), None);
    // Each was said once, though it is said all the time.
    assert_eq!(node.locks(), 2);
}

#[tokio::test(start_paused = true)]
async fn news_that_are_gone_are_made_up_for_by_what_holds() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[2].wire.cut();
    nodes[0].fail(STRANGER, 10);
    sleep(10 * SECOND).await;
    memory.trim();
    nodes[2].wire.mend();
    sleep(10 * SECOND).await;
    assert!(nodes[2].left(STRANGER).is_some());
    let snapshots = memory.snapshots();
    nodes[0].fail("203.0.113.2", 10);
    sleep(MOMENT).await;
    assert!(nodes.iter().all(|node| node.left("203.0.113.2").is_some()));
    assert_eq!(memory.snapshots(), snapshots);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_addresses_fill_neither_a_node_nor_what_it_has_to_tell() {
    let memory = Memory::default();
    let limits = FailureLimits::new().with_capacity(1_000);
    let [one, other] = [(); 2].map(|()| Node::start_with(&memory, limits));
    sleep(MOMENT).await;
    one.wire.cut();
    for n in 0..100_000 {
        one.limiter.failed(Ipv4Addr::from_bits(0x0b00_0000 + n).into());
    }
    one.fail(STRANGER, 10);
    sleep(SECOND).await;
    assert!(format!("{:?}", one.limiter).contains("clients: 1000"));
    one.wire.mend();
    sleep(20 * SECOND).await;
    assert_eq!(memory.reports().len(), 10_000);
    // What came last is what was kept.
    assert!(other.left(STRANGER).is_some());
    assert!(format!("{:?}", other.limiter).contains("clients: 1000"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_runs_no_more_goes_on_by_itself() {
    let memory = Memory::default();
    let nodes = three(&memory).await;
    nodes[0].running.abort();
    sleep(MOMENT).await;
    nodes[0].fail(STRANGER, 10);
    nodes[1].fail("203.0.113.2", 10);
    sleep(MOMENT).await;
    assert_eq!((nodes[0].left("203.0.113.2"), nodes[1].left(STRANGER)), (None, None));
    assert!(nodes[0].left(STRANGER).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_began_here_is_told_as_one() {
    let memory = Memory::default();
    let node = Node::start_with(&memory, FailureLimits::new().with_max_attempts(2).with_loopback_counted());
    sleep(MOMENT).await;
    node.fail("127.0.0.1", 2);
    sleep(MOMENT).await;
    let told: Vec<_> = memory.reports().into_iter().map(|report| (report.client.to_string(), report.what)).collect();
    assert_eq!(told, [("127.0.0.1".to_owned(), What::Failed), ("127.0.0.1".to_owned(), What::LockedOut)]);
}

#[cfg(feature = "redis")]
#[test]
fn the_store_in_redis_shows_no_password() {
    use tower_reauth::limiter::shared::RedisFailures;

    let store = RedisFailures::open("redis://user:hunter2@127.0.0.1:1/0").unwrap().with_prefix("x");
    let shown = format!("{store:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(RedisFailures::open("http://127.0.0.1").is_err());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Fails { node: usize, client: u8, times: usize },
    Succeeds { node: usize, client: u8 },
    Passes(u32),
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Cut,
    SaysNo,
    LosesAnswers,
    Slow,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => Just(Trouble::None),
        1 => Just(Trouble::Cut),
        1 => Just(Trouble::SaysNo),
        1 => Just(Trouble::LosesAnswers),
        1 => Just(Trouble::Slow),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, 0..3u8, 1..4usize).prop_map(|(node, client, times)| Step::Fails { node, client, times }),
        1 => (0..4usize, 0..3u8).prop_map(|(node, client)| Step::Succeeds { node, client }),
        2 => (0..30u32).prop_map(Step::Passes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nodes_that_share_a_store_are_one_limiter_up_to_a_round_trip(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let memory = Memory::default();
            let limits = FailureLimits::new().with_max_attempts(5).with_window(40 * SECOND).with_lockout(60 * SECOND);
            let nodes = [(); 4].map(|()| Node::start_with(&memory, limits));
            nodes.iter().for_each(|node| node.wire.delay(Duration::from_millis(1)));
            let one = FailureLimiter::new(limits);
            sleep(MOMENT).await;
            for step in steps {
                let of = |client| IpAddr::from([203, 0, 113, client]);
                // Each is told before the next one comes.
                match step {
                    Step::Fails { node, client, times } => for _ in 0..times {
                        if one.check(of(client)).is_ok() {
                            one.failed(of(client));
                            nodes[node].limiter.failed(of(client));
                        }
                        sleep(MOMENT).await;
                    },
                    Step::Succeeds { node, client } => {
                        if one.check(of(client)).is_ok() {
                            one.succeeded(of(client));
                            nodes[node].limiter.succeeded(of(client));
                        }
                        sleep(MOMENT).await;
                    }
                    Step::Passes(seconds) => sleep(seconds * SECOND).await,
                }
                for client in 0..3 {
                    let expected = one.check(of(client)).err().unwrap_or_default();
                    for node in &nodes {
                        let left = node.limiter.check(of(client)).err().unwrap_or_default();
                        assert!(left.abs_diff(expected) < MOMENT, "{step:?}: {left:?} in place of {expected:?}");
                    }
                }
            }
        });
    }

    #[test]
    fn whatever_becomes_of_the_wires_who_fails_too_often_is_locked_out_and_nobody_else(
        steps in prop::collection::vec((step(), 0..4usize, trouble(), 0..20u32), 1..60),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let memory = Memory::default();
            let limits = FailureLimits::new().with_max_attempts(5).with_window(40 * SECOND).with_lockout(60 * SECOND);
            let nodes = [(); 4].map(|()| Node::start_with(&memory, limits));
            let of = |client: u8| IpAddr::from([203, 0, 113, client]);
            let (mut failures, mut flushes) = ([0; 3], 0);
            for (step, node, trouble, flush) in steps {
                let wire = &nodes[node].wire;
                wire.mend();
                match trouble {
                    Trouble::None => {}
                    Trouble::Cut => wire.cut(),
                    Trouble::SaysNo => wire.say_no(),
                    Trouble::LosesAnswers => wire.lose_answers(),
                    Trouble::Slow => wire.delay(SECOND),
                }
                if flush == 0 {
                    flushes += 1;
                    memory.flush();
                }
                match step {
                    Step::Fails { node, client, times } => for _ in 0..times {
                        failures[usize::from(client)] += 1;
                        nodes[node].limiter.failed(of(client));
                        sleep(MOMENT).await;
                    },
                    Step::Succeeds { node, client } => nodes[node].limiter.succeeded(of(client)),
                    Step::Passes(seconds) => sleep(seconds * SECOND).await,
                }
                for (client, failures) in (0..).zip(failures) {
                    for node in nodes.iter().filter(|_| failures < 5) {
                        assert_eq!(node.limiter.check(of(client)), Ok(()), "{failures} failures");
                    }
                }
            }
            // The node's own limits are no less than that.
            (0..5).for_each(|_| nodes[3].limiter.failed(of(7)));
            assert!(nodes[3].limiter.check(of(7)).is_err());

            nodes.iter().for_each(|node| node.wire.mend());
            sleep(20 * SECOND).await;
            nodes[0].limiter.failed(of(8));
            sleep(MOMENT).await;
            for client in [0, 1, 2, 7, 8] {
                let expected = memory.left(of(client).into()).unwrap_or_default();
                for node in &nodes {
                    let left = node.limiter.check(of(client)).err().unwrap_or_default();
                    assert!(left + MOMENT >= expected, "{left:?} in place of {expected:?} after {flushes} flushes");
                }
            }
        });
    }
}
