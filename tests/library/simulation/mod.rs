//! Fifty nodes that share a log, in a world where everything fails that can.
//!
//! A seed is a world: its nodes run the real thing, and what befalls them follows from the seed alone. Messages to the
//! log and back are late, lost, or arrive when nobody waits for them any more; nodes are cut off, stand still, crash and
//! start with nothing; their wall clocks are wrong by up to a minute, and are set; the log stands still, forgets old
//! entries, is flushed, and is replaced by a copy that lacks what it acknowledged last, with or without a word to those
//! who are connected. Clients follow streams on each node, and a recorder stamps each frame, and each door that opens, at
//! the moment at which it passes, by the paused clock: a seed is a random schedule in which none goes unseen. What must
//! hold:
//!
//! 1. No frame of a revoked credential passes, and no door opens to it, when the log took the revocation as long ago as
//!    the staleness, or longer; on the node that revoked it none passes from that moment on.
//! 2. That holds for what the log has lost, too, if a node knows it that can reach the log all the time, and for what was
//!    revoked once more after it was forgotten.
//! 3. No stream ends `revoked` whose credential nobody revoked; none ends `unavailable` unless its node does not vouch;
//!    and a node does that has had no trouble for a while.
//! 4. When all is well again all nodes vouch, and they and the log know the same.
//!
//! A world is one task after the other on tokio's paused clock, and a network of its own: what is between the nodes is
//! [`RevocationLog`](tower_reauth::revoke::shared::RevocationLog), which knows requests and no sockets. Turmoil, which
//! simulates sockets, has a runtime for each node and looks at each in each millisecond.
//!
//! ```sh
//! SIMULATION=0..10000 cargo test --release --test library simulation
//! ```

mod days;
mod network;
mod record;
mod world;

use std::{env, ops::Range, time::Instant};

use self::world::{Outcome, run};

/// The seeds that are tried unless others are asked for.
const SEEDS: Range<u64> = 0..60;

fn outcome(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(seed))
}

/// From an environment variable: `7..8`, say.
fn seeds() -> Range<u64> {
    let Ok(text) = env::var("SIMULATION") else { return SEEDS };
    let parsed = text.split_once("..").and_then(|(start, end)| Some(start.parse().ok()?..end.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("SIMULATION is no range of seeds: {text:?}"))
}

#[test]
fn whatever_befalls_nodes_and_log_no_frame_passes_after_the_bound_and_all_know_the_same_in_the_end() {
    let (started, seeds) = (Instant::now(), seeds());
    let mut sums = record::Seen::default();
    for seed in seeds.clone() {
        let (seen, _, failures) = outcome(seed);
        let alone = format!("SIMULATION={seed}..{} cargo test --test library simulation", seed + 1);
        assert!(
            failures.is_empty(),
            "seed {seed}: {seen:?}\n{}\n{alone}",
            failures[..failures.len().min(10)].join("\n")
        );
        sums.add(&seen);
    }
    println!("{} seeds in {:.1?}: {sums:?}", seeds.end - seeds.start, started.elapsed());
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in 0..2 {
        assert!(outcome(seed) == outcome(seed), "seed {seed}");
    }
}
