//! Revocations that nodes share: what is revoked on one is revoked on all, and a node that cannot know vouches for
//! nothing.

pub mod memory;
mod order;
mod tokens;

use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use http::Response;
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep, timeout},
};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Clock, Identity, StreamReauth, VerifyToken,
    reauth::EndReason,
    revoke::{
        Revision, Revocation, Revocations,
        shared::{Entry, InvalidEntry, SharedRevocations},
    },
    verify::{BearerToken, Verification},
};

use self::memory::{Memory, Wire};
use crate::security_events;
use crate::support::{Feed, Reader, Script, Seen, Wall, header, knock, open_with, others, reauth};

const STALENESS: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// Believes a token: its id and its subject, and the seconds after 1970 in which it was issued.
pub struct Signed(pub Revision);

impl VerifyToken for Signed {
    fn verify(&self, token: &BearerToken) -> Verification {
        let mut parts = token.to_str().expect("text").split('/');
        let (id, subject) = (parts.next().expect("an id"), parts.next().expect("a subject"));
        let identity = Identity::new(subject, AuthMethod::Token).with_credential_id(id);
        let issued_at = parts.next().map(|date| date.parse().expect("a date")).map(Duration::from_secs);
        Ok(match issued_at {
            Some(issued_at) => identity.with_issued_at(SystemTime::UNIX_EPOCH + issued_at),
            None => identity,
        })
        .into()
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0)
    }
}

struct Node {
    wire: Wire,
    revocations: Revocations,
    auth: BearerAuthLayer,
    running: JoinHandle<()>,
}

impl Node {
    fn start(memory: &Memory) -> Self {
        Self::start_with(memory, |node| node)
    }

    fn start_with(memory: &Memory, set: impl FnOnce(SharedRevocations<Wire>) -> SharedRevocations<Wire>) -> Self {
        Self::start_on(memory, memory.wire(), set)
    }

    fn start_on(
        memory: &Memory,
        wire: Wire,
        set: impl FnOnce(SharedRevocations<Wire>) -> SharedRevocations<Wire>,
    ) -> Self {
        let clock = memory.wall().clock();
        let node = set(Revocations::shared(wire.clone()).with_max_staleness(STALENESS).with_clock(clock.clone()));
        let revocations = node.revocations();
        let auth = BearerAuthLayer::new(Signed(Revision::new())).with_clock(clock).with_revocations(&revocations);
        let running = tokio::spawn(async move { match node.run().await {} });
        Self { wire, revocations, auth, running }
    }

    async fn joined(memory: &Memory) -> Self {
        let node = Self::start(memory);
        others().await;
        assert!(!node.revocations.is_unsure());
        node
    }

    async fn open(&self, token: &str) -> (Feed, Reader<Script>) {
        let (feed, mut stream) = open_with(self.auth.clone(), reauth().without_heartbeat(), token).await;
        assert_eq!(stream.now(), None);
        (feed, stream)
    }

    async fn knock(&self, token: &str) -> Response<StreamReauth<Script>> {
        knock(self.auth.clone(), reauth(), token).await
    }

    async fn status(&self, token: &str) -> u16 {
        self.knock(token).await.status().as_u16()
    }
}

/// Why it ends at once, if it does.
fn end_of(stream: &mut Reader<Script>) -> Option<EndReason> {
    // An abort takes two polls.
    match stream.now().or_else(|| stream.now()) {
        Some(Seen::Cut(reason)) => Some(reason),
        None => None,
        seen => panic!("{seen:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_on_one_node_ends_on_all_and_is_refused_there() {
    let revoke: [(&str, fn(&Revocations)); 5] = [
        ("a credential", |revocations| revocations.revoke("a")),
        ("one until it expires", |revocations| {
            revocations.revoke_until("a", SystemTime::UNIX_EPOCH + 3_000_000_000 * SECOND);
        }),
        ("a subject", |revocations| revocations.revoke_subject("alice")),
        ("a date", |revocations| revocations.revoke_issued_before(SystemTime::UNIX_EPOCH + 2 * SECOND)),
        ("everything", Revocations::revoke_all),
    ];
    for (name, revoke) in revoke {
        let memory = Memory::new();
        let nodes = [Node::joined(&memory).await, Node::joined(&memory).await, Node::joined(&memory).await];
        let mut streams = Vec::new();
        for node in &nodes {
            streams.push(node.open("a/alice/1").await);
        }
        revoke(&nodes[0].revocations);
        nodes[0].revocations.written().await;
        others().await;
        for (node, (_feed, stream)) in nodes.iter().zip(&mut streams) {
            assert_eq!(end_of(stream), Some(EndReason::Revoked), "{name}");
            assert_eq!(node.status("a/alice/1").await, 401, "{name}");
        }
        let later = memory.wall().now().duration_since(SystemTime::UNIX_EPOCH).expect("a date").as_secs() + 60;
        for node in &nodes {
            assert_eq!(node.status(&format!("b/bob/{later}")).await, 200, "{name}");
            assert_eq!(node.status("c/carol").await, 200, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_knows_what_was_revoked_before_it_lets_anybody_in() {
    let memory = Memory::new();
    let first = Node::joined(&memory).await;
    first.revocations.revoke("a");
    first.revocations.written().await;
    for left in [10, 0] {
        // Whether it is read entry by entry, or as what has become of them.
        memory.trim(left);
        let second = Node::start(&memory);
        assert_eq!(second.status("b/bob").await, 503, "it has not heard of anything yet");
        others().await;
        assert_eq!(second.status("a/alice").await, 401);
        assert_eq!(second.status("b/bob").await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_vouches_for_what_it_knows_for_so_long_and_no_longer() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let (feed, mut stream) = node.open("a/alice").await;
    node.wire.cut();
    other.revocations.revoke("a");
    other.revocations.written().await;

    sleep(STALENESS - 2 * SECOND).await;
    feed.data("still");
    assert_eq!(stream.now(), Some(Seen::data("still")));
    assert_eq!(node.status("a/alice").await, 200);

    sleep(2 * SECOND).await;
    feed.data("too late");
    assert_eq!(end_of(&mut stream), Some(EndReason::Unavailable));
    let response = node.knock("a/alice").await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, Some("1")));

    node.wire.mend();
    sleep(2 * SECOND + SECOND).await;
    assert_eq!(node.status("a/alice").await, 401, "it knows again");
    assert_eq!(node.status("b/bob").await, 200);
}

/// A process that was stopped, and goes on: its streams may be polled before its tasks are.
#[tokio::test(start_paused = true)]
async fn a_frame_after_a_sleep_of_the_process_waits_for_the_log() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let (feed, mut stream) = node.open("a/alice").await;
    let (feed_of_bob, mut stream_of_bob) = node.open("b/bob").await;
    node.wire.delay(Duration::from_millis(200));
    other.revocations.revoke("a");
    other.revocations.written().await;
    // Nothing of this runtime runs while time goes by.
    feed.data("a secret");
    feed_of_bob.data("a secret");
    advance_at_once(2 * STALENESS).await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Unavailable));
    assert_eq!(end_of(&mut stream_of_bob), Some(EndReason::Unavailable));
}

/// Without a turn for others in between.
async fn advance_at_once(duration: Duration) {
    // The clock has moved when it is polled first.
    let _ = advance(duration).now_or_never();
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_grace_outlives_a_short_silence() {
    let memory = Memory::new();
    let node = Node::joined(&memory).await;
    let layer = reauth().without_heartbeat().with_grace(60 * SECOND);
    let (feed, mut stream) = open_with(node.auth.clone(), layer, "a/alice").await;
    assert_eq!(stream.now(), None);
    node.wire.cut();
    sleep(2 * STALENESS).await;
    feed.data("within the grace");
    assert_eq!(stream.now(), Some(Seen::data("within the grace")));
    node.wire.mend();
    sleep(5 * SECOND).await;
    sleep(100 * SECOND).await;
    feed.data("long after it");
    assert_eq!(stream.now(), Some(Seen::data("long after it")));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_prefers_availability_goes_by_what_it_knows() {
    let memory = Memory::new();
    let node = Node::start_with(&memory, SharedRevocations::preferring_availability);
    let other = Node::joined(&memory).await;
    node.wire.cut();
    assert_eq!(node.status("a/alice").await, 200, "before it has heard of anything, too");
    let (feed, mut stream) = node.open("a/alice").await;
    other.revocations.revoke("a");
    other.revocations.written().await;
    sleep(10 * STALENESS).await;
    feed.data("on");
    assert_eq!(stream.now(), Some(Seen::data("on")));
    node.wire.mend();
    sleep(5 * SECOND).await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_while_the_log_is_away_holds_here_at_once_and_everywhere_when_it_is_back() {
    for fault in [Wire::cut, Wire::say_no, Wire::panic] {
        let memory = Memory::new();
        let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
        let (_feed, mut stream) = node.open("a/alice").await;
        fault(&node.wire);
        node.revocations.revoke("a");
        assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
        let written = timeout(3 * SECOND, node.revocations.written()).await;
        assert!(written.is_err(), "nobody else knows it");
        assert_eq!(other.status("a/alice").await, 200);
        node.wire.mend();
        timeout(5 * SECOND, node.revocations.written()).await.expect("it is written");
        others().await;
        assert_eq!(other.status("a/alice").await, 401);
    }
}

/// What a provider was told is taken outlives the node that took it.
#[tokio::test(start_paused = true)]
async fn an_event_is_accepted_when_the_log_has_what_it_revokes_and_not_before() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let receiver = security_events::receiver(&node.revocations);
    let event = security_events::token(&security_events::session_revoked("e1"));
    let kept = |node: &Node| node.revocations.list();
    node.wire.cut();
    assert_eq!(security_events::push(&receiver, event.clone()).await.0, 503);
    assert_eq!((kept(&node).len(), kept(&other).len()), (1, 0));
    node.wire.mend();
    assert_eq!(security_events::push(&receiver, event).await.0, 202);
    others().await;
    assert_eq!(kept(&other).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_failover_loses_is_written_again_by_those_who_know_it() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    let copy = memory.copy();
    one.revocations.revoke("lost");
    one.revocations.revoke_subject("mallory");
    one.revocations.written().await;
    others().await;
    memory.fail_over_to(copy);
    // One that starts just then does not go by what is there.
    let three = Node::start(&memory);
    let start = Instant::now();
    while three.revocations.is_unsure() {
        assert_ne!(three.status("lost/carol").await, 200);
        assert!(!one.revocations.is_unsure(), "who knew it all along goes on");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() > STALENESS / 2, "{:?}", start.elapsed());
    for node in [&one, &two, &three] {
        assert_eq!(node.status("a/alice").await, 401);
        assert_eq!(node.status("lost/carol").await, 401);
        assert_eq!(node.status("m/mallory/1").await, 401);
        assert_eq!(node.status("b/bob/1").await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flushed_log_makes_nothing_good_again() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.revoke_all();
    one.revocations.written().await;
    others().await;
    memory.flush();
    let three = Node::start(&memory);
    sleep(2 * STALENESS).await;
    for node in [&one, &two, &three] {
        assert_eq!(node.status("a/alice").await, 401);
        assert_eq!(node.status("c/carol/1").await, 401, "issued before everything was revoked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_what_is_gone_goes_by_what_became_of_it() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let (_feed, mut stream) = node.open("a/alice").await;
    node.wire.cut();
    for n in 0..100 {
        other.revocations.revoke(&format!("{n}"));
    }
    other.revocations.revoke("a");
    other.revocations.written().await;
    memory.trim(3);
    node.wire.mend();
    sleep(3 * SECOND).await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
    assert_eq!(node.status("17/somebody").await, 401);
    assert_eq!(node.status("b/bob").await, 200);
}

/// Of streams whose credentials have no date the state of the log cannot tell when they were opened; the node can.
#[tokio::test(start_paused = true)]
async fn that_everything_was_revoked_ends_what_is_open_on_a_node_that_did_not_read_of_it_in_order() {
    let missed: [(&str, fn(&Memory)); 2] = [
        ("the entry is gone", |memory| memory.trim(0)),
        ("it is another life of the log", |memory| memory.fail_over_to(memory.copy())),
    ];
    for (name, miss) in missed {
        let memory = Memory::new();
        let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
        let (_feed, mut stream) = node.open("c/carol").await;
        node.wire.cut();
        other.revocations.revoke_all();
        other.revocations.written().await;
        miss(&memory);
        node.wire.mend();
        sleep(4 * SECOND).await;
        assert_eq!(end_of(&mut stream), Some(EndReason::Revoked), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_gone_from_the_middle_is_found_in_the_state() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    node.wire.cut();
    for id in ["a", "b", "c"] {
        other.revocations.revoke(id);
    }
    other.revocations.written().await;
    memory.remove(2);
    node.wire.mend();
    node.wire.delay(Duration::from_millis(10));
    sleep(2 * STALENESS).await;
    for id in ["a", "b", "c"] {
        assert_eq!(node.status(&format!("{id}/alice")).await, 401, "{id}");
    }
    assert_eq!(node.status("d/dora").await, 200);
}

/// What it read of the state may be what was left of it.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_flushed_while_a_node_reads_it_is_not_gone_by() {
    let memory = Memory::new();
    let other = Node::joined(&memory).await;
    other.revocations.revoke("a");
    other.revocations.written().await;
    other.wire.cut();
    let wire = memory.wire();
    wire.flush_before_state();
    let node = Node::start_on(&memory, wire, |node| node);
    for _ in 0..20 {
        others().await;
        assert_ne!(node.status("a/alice").await, 200);
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_again_and_again_with_what_is_over_disturbs_no_other() {
    let memory = Memory::new();
    let node = Node::joined(&memory).await;
    let over = memory.wall().now() - Duration::from_secs(3 * 24 * 60 * 60);
    for _ in 0..20 {
        let other = Node::start_with(&memory, |other| {
            other.revocations().restore([Revocation::of_credential("over", Some(over))]);
            other
        });
        sleep(SECOND).await;
        other.running.abort();
        assert!(!node.revocations.is_unsure());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_works_with_any_staleness_or_vouches_for_nothing() {
    for (staleness, vouches) in [(Duration::MAX, true), (Duration::ZERO, false)] {
        let memory = Memory::new();
        memory.age(Duration::from_secs(60 * 24 * 60 * 60));
        let node = Node::start_with(&memory, |node| node.with_max_staleness(staleness));
        sleep(SECOND).await;
        assert!(!node.running.is_finished(), "{staleness:?}");
        assert_eq!(node.revocations.is_unsure(), !vouches, "{staleness:?}");
        assert!(memory.asked() < 1_000, "{staleness:?}: {}", memory.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_a_minute_apart_change_nothing() {
    for seconds in [[60, -60], [-60, 60], [60, 60], [-60, -60]] {
        let memory = Memory::new();
        let [one, two] = seconds.map(|seconds| {
            let wall = memory.wall().clone();
            let clock = Clock::from_fn(move || match seconds < 0 {
                true => wall.now() - 60 * SECOND,
                false => wall.now() + 60 * SECOND,
            });
            Node::start_with(&memory, move |node| node.with_clock(clock))
        });
        others().await;
        let now = memory.wall().now().duration_since(SystemTime::UNIX_EPOCH).expect("a date").as_secs();
        one.revocations.revoke_subject("alice");
        one.revocations.revoke_until("short", memory.wall().now() + 30 * SECOND);
        one.revocations.written().await;
        others().await;
        for node in [&one, &two] {
            assert_eq!(node.status(&format!("a/alice/{}", now - 2)).await, 401);
            assert_eq!(node.status(&format!("a/alice/{}", now + 2)).await, 200);
            assert_eq!(node.status("short/bob").await, 401);
        }
    }
}

/// A layer goes by its node's clock: a credential has not expired there only because it has by the log's.
#[tokio::test(start_paused = true)]
async fn what_is_revoked_until_it_expires_stays_so_where_the_clock_of_the_node_is_behind() {
    let memory = Memory::new();
    let wall = memory.wall().clone();
    let clock = Clock::from_fn(move || wall.now() - 60 * SECOND);
    let node = Node::start_with(&memory, |node| node.with_clock(clock));
    others().await;
    let (_feed, mut stream) = node.open("short/bob").await;
    node.revocations.revoke_until("short", memory.wall().now() - 30 * SECOND);
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
    assert_eq!(node.status("short/bob").await, 401);
    node.revocations.revoke_until("shorter", memory.wall().now() - 90 * SECOND);
    assert_eq!(node.status("shorter/bob").await, 200, "it is over by both clocks");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_leaves_nothing_open_that_is_revoked() {
    let memory = Memory::new();
    let wall = Wall::new();
    let node = Node::start_with(&memory, |node| node.with_clock(wall.clock()));
    sleep(SECOND / 2).await;
    let now = memory.wall().now().duration_since(SystemTime::UNIX_EPOCH).expect("a date").as_secs();
    let (_feed, mut stream) = node.open(&format!("a/alice/{}", now - 2)).await;
    wall.set_by(-60);
    node.revocations.revoke_subject("alice");
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
    assert_eq!(node.status(&format!("a/alice/{}", now - 2)).await, 401);
    assert_eq!(node.status(&format!("a/alice/{}", now + 2)).await, 200);
}

/// An answer that never comes is no reason to wait for it: it is asked for again.
#[tokio::test(start_paused = true)]
async fn a_node_that_starts_while_answers_are_lost_vouches_soon_after() {
    for lost_after in (0..60).map(Duration::from_millis) {
        let memory = Memory::new();
        let node = Node::start(&memory);
        node.wire.delay(Duration::from_millis(10));
        sleep(lost_after).await;
        node.wire.cut();
        sleep(SECOND).await;
        node.wire.mend();
        sleep(2 * SECOND).await;
        assert!(!node.revocations.is_unsure(), "what was asked after {lost_after:?} was lost");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_on_one_node_is_forgotten_on_all() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.revoke_subject("bob");
    one.revocations.written().await;
    others().await;
    assert_eq!((two.status("a/alice").await, two.status("b/bob").await), (401, 401));
    two.revocations.forget("a");
    two.revocations.forget_subject("bob");
    two.revocations.written().await;
    others().await;
    assert_eq!((one.status("a/alice").await, one.status("b/bob").await), (200, 200));
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    assert_eq!(two.status("a/alice").await, 401);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_is_never_passed_over() {
    // What a log gives to read is parsed by who implements it.
    for (text, error) in [
        ("2 credential a 1", InvalidEntry::Version),
        ("1 planet mars 1", InvalidEntry::Topic),
        ("1 credential a", InvalidEntry::Topic),
        ("1 credential a b 1", InvalidEntry::Topic),
        ("1 credential a x", InvalidEntry::Syntax),
        ("1 credential a ~", InvalidEntry::Syntax),
        ("1 credential a ~x", InvalidEntry::Syntax),
        ("1 credential a -1", InvalidEntry::Syntax),
        ("1 credential a 9007199254740992", InvalidEntry::Syntax),
        ("1 credential ~ 1", InvalidEntry::Syntax),
        ("1 credential a%2 1", InvalidEntry::Syntax),
        ("1 credential a%é 1", InvalidEntry::Syntax),
        ("", InvalidEntry::Version),
        ("1", InvalidEntry::Syntax),
        ("1 all", InvalidEntry::Topic),
    ] {
        assert_eq!(text.parse::<Entry>(), Err(error), "{text:?}");
    }
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let texts = ["", "a", "~", "~~", "%", "%20", "a b", "é", "a\nb", "\u{0}", "\u{7f}", "a/b:c@d"];
    let date = SystemTime::UNIX_EPOCH + 1_767_225_600 * SECOND;
    for text in texts {
        for issuer in [None, Some(""), Some("~"), Some("https://issuer.example/a b")] {
            let issuer = issuer.map(str::to_owned);
            for revocation in [
                Revocation::of_credential(text, None),
                Revocation::of_credential(text, Some(date)),
                Revocation::of_session(issuer.clone(), text, Some(date)),
                Revocation::of_subject((issuer.as_deref().unwrap_or_default(), text), date),
                Revocation::of_subject(text, date),
                Revocation::IssuedBefore(date),
            ] {
                let entry = Entry::from(revocation);
                let written = entry.to_string();
                assert_eq!(written.parse(), Ok(entry.clone()), "{written:?}");
                assert!(!written.contains(['\n', '\u{0}', '\u{7f}']), "{written:?}");
                assert_eq!(written, format!("1 {} {}", entry.topic(), entry.rank().expect("a rank")));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_run_any_more_vouches_for_nothing() {
    let memory = Memory::new();
    let node = Node::joined(&memory).await;
    let (_feed, mut stream) = node.open("a/alice").await;
    node.running.abort();
    others().await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Unavailable));
    assert_eq!(node.status("a/alice").await, 503);
}

#[tokio::test(start_paused = true)]
async fn a_slow_wire_is_a_late_revocation_and_no_silence() {
    let memory = Memory::new();
    let (node, other) = (Node::joined(&memory).await, Node::joined(&memory).await);
    node.wire.delay(Duration::from_millis(200));
    let (feed, mut stream) = node.open("a/alice").await;
    for _ in 0..60 {
        sleep(SECOND).await;
        feed.data("on");
        assert_eq!(stream.now(), Some(Seen::data("on")));
    }
    other.revocations.revoke("a");
    other.revocations.written().await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_revoked_nothing_is_written() {
    let memory = Memory::new();
    let nodes = [Node::joined(&memory).await, Node::joined(&memory).await];
    sleep(3600 * SECOND).await;
    assert_eq!(memory.appends(), 0);
    nodes[0].revocations.revoke("a");
    nodes[0].revocations.written().await;
    sleep(3600 * SECOND).await;
    assert_eq!(memory.entries(), ["1 credential a 9007199254740991"]);
    assert_eq!(memory.appends(), 1);
}
