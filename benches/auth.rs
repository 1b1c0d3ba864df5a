//! What a token check adds to a request.
//!
//! `cargo bench --bench auth`: criterion's figures for each contestant, then one table of what each
//! adds to the bare service it stands on, and the ratios that the budget names:
//!
//! 1. on axum the whole stack adds at most 3 times what tower-http's bearer check adds, and
//! 2. at most 1.2 times what a hand-written `from_fn` check adds;
//! 3. on a tower service it adds at most 220 ns;
//! 4. a hit of `Cached` costs at most 250 ns more than `Tokens`.

#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/stacks.rs"]
mod stacks;

use std::{hint::black_box, time::Duration};

use criterion::Criterion;

use rounds::{Call, Rounds};
use stacks::{BARE, Base, CACHED, Contestant, FROM_FN, Head, Presents, TOKENS, TOWER_HTTP, WHOLE_STACK};

fn main() {
    let contestants = stacks::contestants();
    contestants.iter().for_each(Contestant::assert_works);

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    each_alone(&mut criterion, &contestants);
    criterion.final_summary();

    let rounds = if rounds::are_wanted() { Rounds { rounds: 400, batch: 512 } } else { Rounds { rounds: 1, batch: 1 } };
    for base in [Base::Tower, Base::Axum] {
        side_by_side(rounds, base, contestants.iter().filter(|contestant| contestant.base == base).collect());
    }
}

/// Criterion's own figures, the making of the request included.
fn each_alone(criterion: &mut Criterion, contestants: &[Contestant]) {
    for (presents, group) in [(Presents::Token, "accepted"), (Presents::WrongToken, "refused")] {
        let mut group = criterion.benchmark_group(group);
        let head = Head::new(presents);
        for contestant in contestants {
            let name = format!("{:?}/{}", contestant.base, contestant.name);
            group.bench_function(name, |bencher| bencher.iter(|| contestant.call(&head)));
        }
    }
}

/// What each adds: the bare service, which answers the same request, taken away. A refusal is spared
/// the service and has only the making of the request taken away.
fn side_by_side(rounds: Rounds, base: Base, contestants: Vec<&Contestant>) {
    let heads = [Presents::Token, Presents::WrongToken, Presents::Nothing].map(Head::new);
    let mut calls: Vec<Call<'_>> = Vec::new();
    for head in &heads {
        calls.push(Box::new(|| drop(black_box(head.request()))));
        for contestant in &contestants {
            calls.push(Box::new(|| _ = black_box(contestant.call(head))));
        }
    }
    let timings = rounds.time(&mut calls);

    // Within what presents the same: the making of the request, then the contestants, the bare one first.
    let stride = contestants.len() + 1;
    let made_with = |presents: usize| presents * stride;
    let adds = |contestant: usize| timings.over(contestant + 1, 1);

    println!("\n{base:?} service, nanoseconds          adds |  accepted | refused: wrong token |  no token");
    for (i, contestant) in contestants.iter().enumerate() {
        let takes = |presents: usize| timings.over(made_with(presents) + 1 + i, made_with(presents));
        println!("{:45}{:8.0} | {:9.0} | {:20.0} | {:9.0}", contestant.name, adds(i), takes(0), takes(1), takes(2));
    }

    let named = |name: &str| contestants.iter().position(|contestant| contestant.name == name).map(adds);
    let ours = named(WHOLE_STACK).expect("it is one of them");
    if base == Base::Tower {
        println!("whole stack = {ours:.0} ns (budget 220)");
    }
    for (limit, other) in [(3.0, TOWER_HTTP), (1.2, FROM_FN)] {
        if let Some(theirs) = named(other).filter(|_| base == Base::Axum) {
            println!("whole stack : {other} = {:.2} (budget {limit:.2})", ours / theirs);
        }
    }
    if let (Some(cached), Some(tokens)) = (named(CACHED), named(TOKENS)) {
        println!("{CACHED} over {TOKENS} = {:.0} ns (budget 250)", cached - tokens);
    }
    assert_eq!(contestants.first().map(|contestant| contestant.name), Some(BARE));
}
