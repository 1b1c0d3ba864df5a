//! What is allocated, counted exactly: `cargo bench --bench allocations`.
//!
//! A program of its own, since counting would distort the timings of the others, and one that fails:
//! a count is the same on every machine, so a budget that is exceeded is a mistake.

#[path = "shared/stacks.rs"]
mod stacks;
#[path = "shared/streams.rs"]
mod streams;

use std::{
    pin::Pin,
    task::{Context, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use http_body::Body;
use tower_reauth::{BearerAuthLayer, StaticToken, StreamReauthLayer};

use stacks::{BARE, BEARER_AUTH, Base, Head, Presents, WHOLE_STACK, WHOLE_STACK_AND_STREAM};
use streams::{Idle, TOKEN, door};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let _context = runtime.enter();
    requests();
    frames();
    idle_stream();
}

/// What each stack allocates for a request, the making of the request taken away.
fn requests() {
    let heads = [Presents::Token, Presents::WrongToken, Presents::Nothing].map(Head::new);
    println!("allocations (bytes)                                        accepted |  wrong token |     no token");
    for contestant in stacks::contestants() {
        contestant.assert_works();
        let [accepted, refused, missing] = heads.each_ref().map(|head| {
            let made = settled(|| drop(head.request()));
            let called = settled(|| _ = contestant.call(head));
            (called.count_total - made.count_total, called.bytes_total - made.bytes_total)
        });
        let show = |(count, bytes): (u64, u64)| format!("{count} ({bytes})");
        println!(
            "{:5?} {:45}{:>16} | {:>12} | {:>12}",
            contestant.base,
            contestant.name,
            show(accepted),
            show(refused),
            show(missing)
        );

        let ours = [BEARER_AUTH, WHOLE_STACK, WHOLE_STACK_AND_STREAM].contains(&contestant.name);
        if ours && contestant.base == Base::Tower {
            assert!(accepted.0 <= 4, "an accepted request takes at most four allocations");
            assert!(
                refused.0 <= 5 && missing.0 <= 5,
                "a refusal takes at most five: two for the challenge's header, three for the reason in the extensions"
            );
            assert!(refused.1 < accepted.1 && missing.1 < accepted.1, "a refusal takes less than an answer");
        }
        assert!(contestant.base != Base::Tower || contestant.name != BARE || accepted.0 == 0);
    }
}

/// What a frame allocates.
fn frames() {
    println!("\nallocations in 1,000 frames");
    for mut contestant in streams::contestants() {
        let allocated = settled(|| (0..1_000).for_each(|_| contestant.next())).count_total;
        println!("{:45}{allocated:6}", contestant.name);
        let asks_somebody_who_allocates = contestant.name == streams::MOVED;
        assert!(allocated == 0 || asks_somebody_who_allocates, "a frame allocates nothing");
    }
}

/// What is kept for a stream that rests, its access and its token included, and what the streams of
/// one credential share.
fn idle_stream() {
    let layer = StreamReauthLayer::new();
    let open = door(BearerAuthLayer::new(StaticToken::new(TOKEN)), layer, "text/event-stream", Idle);
    let idle = || {
        let mut body = Box::new(open());
        assert!(Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        body
    };
    drop(idle());
    let mut kept = Vec::with_capacity(2);
    let [first, second] = [(), ()].map(|()| measure(|| kept.push(idle())).bytes_current);
    println!("\nbytes kept for an idle stream: {second}, and {} for its credential", first - second);
    assert!(second <= 1024, "an idle stream keeps at most 1 KiB");
}

/// What `run` allocates once everything that is made only once is there.
fn settled(mut run: impl FnMut()) -> AllocationInfo {
    run();
    measure(run)
}
