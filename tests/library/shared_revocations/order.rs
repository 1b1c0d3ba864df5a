//! What was said later holds, on every node, however late it is heard, how often, and by which clock.

use super::*;

/// That for so long what the node is asked about is refused, without a moment in between.
async fn refuses_throughout(node: &Node, token: &str, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert_eq!(node.status(token).await, 401);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_twice_undoes_nothing_that_was_revoked_in_between() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    two.wire.keep_silent();
    two.revocations.forget("a");
    sleep(SECOND).await;
    assert_eq!(one.status("a/alice").await, 200, "it is heard of");
    one.revocations.revoke("a");
    one.revocations.written().await;
    two.wire.mend();
    timeout(10 * SECOND, two.revocations.written()).await.expect("it is written once more");
    others().await;
    for node in [&one, &two] {
        assert_eq!(node.status("a/alice").await, 401);
    }
    two.revocations.forget("a");
    two.revocations.written().await;
    others().await;
    for node in [&one, &two] {
        assert_eq!(node.status("a/alice").await, 200, "it can be forgotten again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_forgotten_half_a_day_ago_is_not_any_more() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    two.wire.cut();
    two.revocations.forget("a");
    sleep(13 * 3600 * SECOND).await;
    two.wire.mend();
    timeout(10 * SECOND, two.revocations.written()).await.expect("nothing is left to write");
    others().await;
    assert_eq!(one.status("a/alice").await, 401);
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_here_is_not_good_for_a_moment_as_others_forgot_it_before() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    one.wire.lag(Duration::from_millis(300));
    sleep(2 * SECOND).await;
    two.revocations.forget("a");
    two.revocations.written().await;
    one.revocations.revoke("a");
    one.revocations.written().await;
    refuses_throughout(&one, "a/alice", 3 * SECOND).await;
    assert_eq!(two.status("a/alice").await, 401);

    // And what is forgotten after that is forgotten.
    two.revocations.forget("a");
    two.revocations.written().await;
    sleep(3 * SECOND).await;
    assert_eq!((one.status("a/alice").await, two.status("a/alice").await), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn what_others_forget_right_after_it_was_revoked_here_is_forgotten_here_too() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.wire.lag(Duration::from_millis(300));
    sleep(2 * SECOND).await;
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    assert_eq!(two.status("a/alice").await, 401);
    two.revocations.forget("a");
    two.revocations.written().await;
    sleep(3 * SECOND).await;
    assert_eq!((one.status("a/alice").await, two.status("a/alice").await), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn what_others_forget_and_revoke_for_a_while_right_after_it_was_revoked_here_is_so_for_that_while() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.wire.lag(Duration::from_millis(300));
    sleep(2 * SECOND).await;
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    let until = SystemTime::UNIX_EPOCH + 3_000_000_000 * SECOND;
    two.revocations.forget("a");
    two.revocations.revoke_until("a", until);
    two.revocations.written().await;
    refuses_throughout(&one, "a/alice", 3 * SECOND).await;
    for node in [&one, &two] {
        assert_eq!(node.revocations.list(), [Revocation::of_credential("a", Some(until))]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_forget_while_it_waits_to_be_revoked_here_for_a_while_is_revoked_for_that_while() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let until = SystemTime::UNIX_EPOCH + 3_000_000_000 * SECOND;
    for is_gone in [false, true] {
        two.revocations.revoke("a");
        two.revocations.written().await;
        others().await;
        one.wire.cut();
        one.revocations.revoke_until("a", until);
        sleep(SECOND / 2).await;
        two.revocations.forget("a");
        two.revocations.written().await;
        if is_gone {
            memory.trim(0);
        }
        one.wire.mend();
        timeout(10 * SECOND, one.revocations.written()).await.expect("it is written");
        refuses_throughout(&one, "a/alice", 3 * SECOND).await;
        for node in [&one, &two] {
            assert_eq!(node.revocations.list(), [Revocation::of_credential("a", Some(until))]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_and_revoked_for_a_while_is_revoked_for_that_while() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    let until = SystemTime::UNIX_EPOCH + 3_000_000_000 * SECOND;
    for wait in [false, true] {
        if wait {
            one.wire.cut();
        }
        one.revocations.forget("a");
        one.revocations.revoke_until("a", until);
        one.wire.mend();
        timeout(10 * SECOND, one.revocations.written()).await.expect("it is written");
        others().await;
        for node in [&one, &two] {
            assert_eq!(node.revocations.list(), [Revocation::of_credential("a", Some(until))]);
        }
        one.revocations.revoke("a");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_revoked_once_more_by_a_clock_that_was_set_back() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke_all();
    one.revocations.written().await;
    // What takes its place has another clock.
    memory.fail_over_to(memory.copy());
    memory.set_back(60 * SECOND);
    sleep(2 * STALENESS).await;
    let (_feed, mut stream) = two.open("c/carol").await;
    one.revocations.revoke_all();
    one.revocations.written().await;
    others().await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn everything_is_revoked_once_more_by_a_node_that_has_not_heard_of_the_first_time() {
    let memory = Memory::new();
    let (one, two, three) = (Node::joined(&memory).await, Node::joined(&memory).await, Node::joined(&memory).await);
    memory.set_back(60 * SECOND);
    sleep(2 * SECOND).await;
    two.wire.cut();
    memory.set_back(Duration::ZERO);
    sleep(2 * SECOND).await;
    one.revocations.revoke_all();
    one.revocations.written().await;
    others().await;
    let (_feed, mut stream) = three.open("c/carol").await;
    two.revocations.revoke_all();
    two.wire.mend();
    sleep(10 * SECOND).await;
    assert_eq!(end_of(&mut stream), Some(EndReason::Revoked));
    // And no more than that.
    let (feed, mut stream) = three.open("c/carol").await;
    sleep(60 * SECOND).await;
    feed.data("on");
    assert_eq!(stream.now(), Some(Seen::data("on")));
    let entries = memory.entries().len();
    assert_eq!(entries, 2, "{:?}", memory.entries());
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_while_a_node_was_cut_off_is_forgotten_there_too() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    let until = SystemTime::UNIX_EPOCH + 3_000_000_000 * SECOND;
    for id in ["a", "b", "c"] {
        one.revocations.revoke(id);
    }
    one.revocations.written().await;
    others().await;
    two.wire.cut();
    one.revocations.forget("a");
    one.revocations.forget("b");
    one.revocations.revoke_until("b", until);
    for n in 0..100 {
        one.revocations.revoke_until(&format!("{n}"), SystemTime::UNIX_EPOCH + SECOND);
    }
    one.revocations.written().await;
    memory.trim(3);
    // It has said something meanwhile, too.
    two.revocations.revoke("d");
    two.wire.mend();
    sleep(4 * SECOND).await;
    for node in [&one, &two] {
        let list = node.revocations.list();
        let has = |id: &str, until| list.contains(&Revocation::of_credential(id, until));
        assert!(has("b", Some(until)) && has("c", None) && has("d", None), "{list:?}");
        assert_eq!(node.status("a/alice").await, 200);
    }
}

/// What is not there was lost, and not forgotten.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_flushed_while_a_node_reads_what_it_missed_makes_nothing_good() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.revocations.revoke("a");
    one.revocations.written().await;
    others().await;
    two.wire.cut();
    for n in 0..100 {
        one.revocations.revoke(&format!("{n}"));
    }
    one.revocations.written().await;
    one.running.abort();
    memory.trim(3);
    two.wire.mend();
    two.wire.flush_before_state();
    sleep(4 * STALENESS).await;
    assert!(!two.revocations.is_unsure());
    assert_eq!(two.status("a/alice").await, 401);
    let three = Node::joined(&memory).await;
    assert_eq!(three.status("a/alice").await, 401, "it was written again");
}

#[tokio::test(start_paused = true)]
async fn ids_of_any_length_are_written_over_a_slow_wire() {
    let memory = Memory::new();
    let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
    one.wire.limit(40 * 1024);
    let long = |n: usize| format!("{n}-{}", "x".repeat(64 * 1024));
    for n in 0..40 {
        one.revocations.revoke(&long(n));
    }
    one.revocations.revoke(&"y".repeat(1024 * 1024));
    timeout(120 * SECOND, one.revocations.written()).await.expect("it is written");
    others().await;
    assert_eq!(two.revocations.list().len(), 41);

    // What a log has lost is written again as well.
    memory.flush();
    sleep(120 * SECOND).await;
    assert_eq!(Node::joined(&memory).await.revocations.list().len(), 41);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_another_one_whenever_it_is_asked_is_not_asked_without_a_pause() {
    let memory = Memory::new();
    let node = Node::joined(&memory).await;
    node.wire.alternate();
    let asked = memory.asked();
    sleep(60 * SECOND).await;
    assert!(memory.asked() - asked < 200, "{}", memory.asked() - asked);
    assert!(node.revocations.is_unsure(), "nobody knows what it has lost");
    node.wire.mend();
    sleep(STALENESS).await;
    assert!(!node.revocations.is_unsure());
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_numbers_are_beyond_all_bounds_ends_no_node() {
    let memory = Memory::new();
    let node = Node::joined(&memory).await;
    let other = Node::joined(&memory).await;
    node.wire.boast();
    other.revocations.revoke("b");
    sleep(60 * SECOND).await;
    assert!(!node.running.is_finished());
    node.wire.mend();
    sleep(2 * STALENESS).await;
    assert_eq!((node.status("b/bob").await, node.status("c/carol").await), (401, 200));
}

/// Others have half of the staleness for it.
#[tokio::test(start_paused = true)]
async fn a_failover_is_noticed_in_time_by_a_node_whose_questions_hang() {
    for millisecond in (0..2_000).step_by(100) {
        let memory = Memory::new();
        let (one, two) = (Node::joined(&memory).await, Node::joined(&memory).await);
        sleep(Duration::from_millis(millisecond)).await;
        let copy = memory.copy();
        one.revocations.revoke("a");
        one.revocations.written().await;
        others().await;
        two.running.abort();
        one.wire.hang();
        memory.fail_over_to(copy);
        let three = Node::start(&memory);
        while three.revocations.is_unsure() {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(three.status("a/alice").await, 401, "{millisecond}");
    }
}
