//! Tokens that one node drops, and answers that one node forgets: so do all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::sleep;
use tower_reauth::{
    BearerAuthLayer, Clock, Tokens, VerifyToken,
    reauth::EndReason,
    revoke::{Revocations, shared::Entry},
    verify::{BearerToken, Cached, Token, TokenDigest, VerifyError},
};

use super::{Node, SECOND, STALENESS, end_of, memory::Memory};
use crate::support::{Feed, Oracle, Reader, Script, Wall, alice, knock, open_with, others, reauth};

/// A node, and the tokens that it was given.
struct Desk {
    node: Node,
    tokens: Tokens,
    auth: BearerAuthLayer,
}

impl Desk {
    async fn joined(memory: &Memory, tokens: impl IntoIterator<Item = Token>) -> Self {
        let desk = Self::start(memory, tokens);
        others().await;
        assert!(!desk.node.revocations.is_unsure());
        desk
    }

    fn start(memory: &Memory, tokens: impl IntoIterator<Item = Token>) -> Self {
        let node = Node::start(memory);
        let tokens = Tokens::new(tokens).expect("no duplicates").with_revocations(&node.revocations);
        let auth = door(tokens.clone(), &node.revocations, memory.wall());
        Self { node, tokens, auth }
    }

    fn replace(&self, tokens: impl IntoIterator<Item = Token>) {
        self.tokens.replace(tokens).expect("no duplicates");
    }

    async fn open(&self, token: &str) -> (Feed, Reader<Script>) {
        open(&self.auth, token).await
    }

    async fn status(&self, token: &str) -> u16 {
        knock(self.auth.clone(), reauth(), token).await.status().as_u16()
    }
}

fn door(verifier: impl VerifyToken, revocations: &Revocations, wall: &Wall) -> BearerAuthLayer {
    BearerAuthLayer::new(verifier).with_clock(wall.clock()).with_revocations(revocations)
}

async fn open(auth: &BearerAuthLayer, token: &str) -> (Feed, Reader<Script>) {
    let (feed, mut stream) = open_with(auth.clone(), reauth().without_heartbeat(), token).await;
    assert_eq!(stream.now(), None);
    (feed, stream)
}

async fn shared(nodes: &[&Node]) {
    for node in nodes {
        node.revocations.written().await;
    }
    others().await;
}

fn secrets<const N: usize>(secrets: [&str; N]) -> [Token; N] {
    secrets.map(|secret| Token::new(&secret[..1], secret))
}

#[tokio::test(start_paused = true)]
async fn a_token_that_one_node_drops_is_refused_on_all_though_they_have_it() {
    let memory = Memory::new();
    let (one, two) =
        (Desk::joined(&memory, secrets(["a1", "b"])).await, Desk::joined(&memory, secrets(["a1", "b"])).await);
    let ((_feed, mut dropped), (feed, mut kept)) = (two.open("a1").await, two.open("b").await);
    one.replace(secrets(["a2", "b"]));
    assert_eq!(one.status("a1").await, 401, "here at once");
    shared(&[&one.node]).await;
    assert_eq!(end_of(&mut dropped), Some(EndReason::Revoked));
    feed.data("on");
    assert_eq!(kept.now(), Some(crate::support::Seen::data("on")));
    assert_eq!((two.status("a1").await, two.status("b").await), (401, 200));
    assert_eq!((one.status("a2").await, two.status("a2").await), (200, 401), "the log gives nothing");
    // Its turn.
    two.replace(secrets(["a2", "b"]));
    assert_eq!(two.status("a2").await, 200);
    shared(&[&two.node]).await;
    assert_eq!(memory.entries().len(), 1, "{:?}", memory.entries());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_with_an_old_set_gives_nothing_back() {
    let memory = Memory::new();
    let one = Desk::joined(&memory, secrets(["a", "b"])).await;
    one.replace(secrets(["b"]));
    shared(&[&one.node]).await;
    for left in [10, 0] {
        // Whether it is read entry by entry, or as what has become of them.
        memory.trim(left);
        let late = Desk::start(&memory, secrets(["a", "b"]));
        assert_eq!(late.status("a").await, 503, "it has not heard of anything yet");
        others().await;
        assert_eq!((late.status("a").await, late.status("b").await), (401, 200));
        // Another change says nothing of it.
        late.replace(secrets(["a", "b", "c"]));
        shared(&[&late.node]).await;
        assert_eq!((late.status("a").await, late.status("c").await), (401, 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_adds_what_was_dropped_gives_it_back_on_all() {
    let memory = Memory::new();
    let (one, two) =
        (Desk::joined(&memory, secrets(["a", "b"])).await, Desk::joined(&memory, secrets(["a", "b"])).await);
    one.replace(secrets(["b"]));
    shared(&[&one.node]).await;
    one.replace(secrets(["a", "b"]));
    shared(&[&one.node]).await;
    assert_eq!((one.status("a").await, two.status("a").await), (200, 200));
    // By whoever takes it out and puts it in, too.
    one.replace(secrets(["b"]));
    shared(&[&one.node]).await;
    two.replace(secrets(["b"]));
    two.replace(secrets(["a", "b"]));
    shared(&[&two.node]).await;
    assert_eq!((one.status("a").await, two.status("a").await), (401, 200), "one does not have it");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_panics_while_a_set_gives_something_back_leaves_nothing_half_replaced() {
    let memory = Memory::new();
    let (wall, fails) = (memory.wall().clone(), Arc::new(AtomicBool::new(false)));
    let (expires_at, date_fails) = (wall.after(60), Arc::clone(&fails));
    let clock = Clock::from_fn({
        let wall = wall.clone();
        move || if date_fails.load(Relaxed) { panic!("no date") } else { wall.now() }
    });
    // The log, by whose clock it goes when it can, was never heard.
    let wire = memory.wire();
    wire.cut();
    let node = Node::start_on(&memory, wire, |node| node.with_clock(clock).preferring_availability());
    let tokens = Tokens::new([Token::new("a", "a")]).expect("no duplicates").with_revocations(&node.revocations);
    let auth = door(tokens.clone(), &node.revocations, &wall);
    node.revocations.revoke_token_until(TokenDigest::of("b"), expires_at);
    let (_feed, mut expired) = open(&auth, "a").await;
    fails.store(true, Relaxed);
    let shortened = Token::new("a", "a").with_expires_at(wall.started() - SECOND);
    tokens.replace([shortened, Token::new("b", "b")]).expect("no duplicates");
    fails.store(false, Relaxed);
    assert_eq!(end_of(&mut expired), Some(EndReason::Expired));
    // What could not be taken back holds on.
    assert_eq!(knock(auth, reauth(), "b").await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_while_the_log_is_away_is_gone_everywhere_when_it_is_back() {
    let memory = Memory::new();
    let (one, two) =
        (Desk::joined(&memory, secrets(["a", "b"])).await, Desk::joined(&memory, secrets(["a", "b"])).await);
    one.node.wire.cut();
    one.replace(secrets(["b"]));
    assert_eq!((one.status("a").await, two.status("a").await), (401, 200));
    one.node.wire.mend();
    sleep(5 * SECOND).await;
    assert_eq!(two.status("a").await, 401);
    memory.flush();
    let late = Desk::start(&memory, secrets(["a", "b"]));
    sleep(2 * STALENESS).await;
    assert_eq!((late.status("a").await, late.status("b").await), (401, 200), "nor is it lost with the log");
}

/// Two files may say two dates of one token. It is gone for as long as either would have it good.
#[tokio::test(start_paused = true)]
async fn a_node_that_knows_a_later_expiry_of_what_was_dropped_has_it_gone_for_as_long() {
    for expires_at in [Some(Duration::from_secs(3_600)), None] {
        let memory = Memory::new();
        let wall = memory.wall();
        let later = match expires_at {
            Some(_) => Token::new("a", "a").with_expires_at(wall.after(3_600)),
            None => Token::new("a", "a"),
        };
        let one = Desk::joined(&memory, [Token::new("a", "a").with_expires_at(wall.after(60))]).await;
        let two = Desk::joined(&memory, [later.clone()]).await;
        one.replace([]);
        shared(&[&one.node, &two.node]).await;
        for _ in 0..30 {
            sleep(100 * SECOND).await;
            assert_eq!(two.status("a").await, 401);
        }
        // Nor does one that hears of it now, and one that heard of it first and is given its tokens then.
        let late = Desk::joined(&memory, [later.clone()]).await;
        assert_eq!(late.status("a").await, 401);
        let node = Node::joined(&memory).await;
        let tokens = Tokens::new([later]).expect("no duplicates").with_revocations(&node.revocations);
        let auth = door(tokens, &node.revocations, memory.wall());
        assert_eq!(knock(auth, reauth(), "a").await.status(), 401);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_is_no_guess_on_any_node() {
    let memory = Memory::new();
    let (one, two) = (Desk::joined(&memory, secrets(["a", "b"])).await, Desk::joined(&memory, secrets(["b"])).await);
    one.replace(secrets(["b"]));
    shared(&[&one.node]).await;
    let token = |text: &str| {
        let header = http::HeaderValue::from_str(text).expect("a header can hold it");
        BearerToken::from_header(&header, 0..text.len()).expect("it is one")
    };
    for desk in [&one, &two] {
        assert_eq!(desk.tokens.verify(&token("a")).await.err(), Some(VerifyError::Revoked));
        assert_eq!(desk.tokens.verify(&token("x")).await.err(), Some(VerifyError::Rejected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_cache_forgets_on_one_node_is_asked_anew_on_all() {
    let all: [(&str, fn(&Cached<Oracle>)); 2] =
        [("a token", |cached| cached.forget(TokenDigest::of("t0ken"))), ("everything", Cached::forget_all)];
    for (name, forget) in all {
        let memory = Memory::new();
        let caches = [&memory, &memory].map(|memory| {
            let (node, oracle) = (Node::start(memory), Oracle::without_revision());
            let cached = Cached::new(oracle.clone(), Duration::from_secs(600)).with_revocations(&node.revocations);
            let auth = door(cached.clone(), &node.revocations, memory.wall());
            (node, oracle, cached, auth)
        });
        others().await;
        let [(one, _, cached, _), (_, oracle, of_two, auth)] = &caches;
        let (_feed, mut stream) = open(auth, "t0ken").await;
        assert_eq!(oracle.asked(), 1);
        // Two in one instant: both are heard of.
        for asked in [2, 3] {
            forget(cached);
            shared(&[one]).await;
            assert_eq!(stream.now(), None);
            assert_eq!(oracle.asked(), asked, "{name}: an open stream asks at once");
            assert_eq!(of_two.len(), (1, 0));
        }
        oracle.says(Err(VerifyError::Rejected));
        forget(cached);
        shared(&[one]).await;
        assert_eq!(end_of(&mut stream), Some(EndReason::Revoked), "{name}");
        assert_eq!(knock(auth.clone(), reauth(), "t0ken").await.status(), 401);
        // It comes once, however often the log is read.
        let asked = oracle.asked();
        memory.fail_over_to(memory.copy());
        sleep(2 * STALENESS).await;
        assert_eq!(oracle.asked(), asked, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_cache_forgets_is_not_lost_with_the_log() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let oracle = Oracle::without_revision();
    let of_one = Cached::new(Oracle::without_revision(), SECOND).with_revocations(&one.revocations);
    let of_two = Cached::new(oracle.clone(), 600 * SECOND).with_revocations(&two.revocations);
    let auth = door(of_two, &two.revocations, memory.wall());
    assert_eq!(knock(auth.clone(), reauth(), "t0ken").await.status(), 200);
    two.wire.cut();
    let copy = memory.copy();
    of_one.forget(TokenDigest::of("t0ken"));
    shared(&[&one]).await;
    memory.fail_over_to(copy);
    sleep(2 * STALENESS).await;
    two.wire.mend();
    sleep(2 * STALENESS).await;
    assert_eq!(knock(auth, reauth(), "t0ken").await.status(), 200);
    assert_eq!(oracle.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cache_forgets_a_token_that_is_revoked_anywhere_and_the_door_refuses_it() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let oracle = Oracle::without_revision();
    let cached = Cached::new(oracle.clone(), Duration::from_secs(600)).with_revocations(&two.revocations);
    let auth = door(cached.clone(), &two.revocations, memory.wall());
    let (_feed, mut stream) = open(&auth, "t0ken").await;
    one.revocations.revoke_token(TokenDigest::of("t0ken"));
    shared(&[&one]).await;
    assert_eq!(cached.len(), (0, 0));
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
    assert_eq!(knock(auth.clone(), reauth(), "t0ken").await.status(), 401);
    oracle.says(Ok(alice()));
    assert_eq!(knock(auth, reauth(), "another").await.status(), 200);
}

/// A clock that was set back does not hide what is forgotten after that.
#[tokio::test(start_paused = true)]
async fn what_is_forgotten_later_comes_later_whatever_the_clock_says() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let (oracle, wall) = (Oracle::without_revision(), memory.wall());
    let of_one = Cached::new(Oracle::without_revision(), SECOND).with_revocations(&one.revocations);
    let of_two = Cached::new(oracle.clone(), 600 * SECOND).with_revocations(&two.revocations);
    let auth = door(of_two, &two.revocations, wall);
    for asked in 1..5 {
        assert_eq!(knock(auth.clone(), reauth(), "t0ken").await.status(), 200);
        assert_eq!(oracle.asked(), asked);
        of_one.forget(TokenDigest::of("t0ken"));
        shared(&[&one]).await;
        wall.set_by(-60);
        sleep(3 * SECOND).await;
    }
}

#[test]
fn an_entry_about_tokens_is_read_as_it_was_written_and_shows_no_digest() {
    let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for text in [
        format!("1 token {hex} 9007199254740991"),
        format!("1 token {hex} 1767225600000"),
        format!("1 token {hex} ~1767225600000"),
        format!("1 answers {hex} 1767225600000"),
        "1 answers 1767225600000".to_owned(),
    ] {
        let entry: Entry = text.parse().expect("an entry");
        assert_eq!(entry.to_string(), text);
        assert!(!format!("{entry:?}").contains("9f86"), "{entry:?}");
    }
    for digest in [
        "",
        "9f86",
        &hex.to_uppercase(),
        &hex[1..],
        &format!("{hex}0"),
        &hex.replace('9', "g"),
        &hex.replace("9f", "é"),
    ] {
        assert_eq!(
            format!("1 token {digest} 1").parse::<Entry>(),
            Err(tower_reauth::revoke::shared::InvalidEntry::Syntax),
            "{digest}"
        );
    }
}
