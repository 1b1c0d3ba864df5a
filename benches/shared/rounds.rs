//! Timing side by side: many short interleaved rounds, so that whatever else the machine does hits
//! every contestant alike.
//!
//! 1. A round times one batch of each contestant, and each round begins with another one.
//! 2. What one costs more than another is the median over the rounds of the difference *within* a
//!    round.

use std::time::Instant;

/// What is timed: one call.
pub type Call<'a> = Box<dyn FnMut() + 'a>;

/// How often.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub rounds: usize,
    /// Calls of each contestant in a round.
    pub batch: usize,
}

/// Nanoseconds of a call, by contestant and round.
pub struct Timings(Vec<Vec<f64>>);

impl Rounds {
    pub fn time(self, contestants: &mut [Call<'_>]) -> Timings {
        let mut timings = vec![Vec::with_capacity(self.rounds); contestants.len()];
        for round in 0..self.rounds {
            for turn in 0..contestants.len() {
                let contestant = (round + turn) % contestants.len();
                let call = &mut contestants[contestant];
                // Brings its code and data back into the caches.
                (0..self.batch / 8).for_each(|_| call());
                let start = Instant::now();
                (0..self.batch).for_each(|_| call());
                timings[contestant].push(start.elapsed().as_nanos() as f64 / self.batch as f64);
            }
        }
        Timings(timings)
    }
}

impl Timings {
    /// What a call of `contestant` costs more than one of `base`.
    pub fn over(&self, contestant: usize, base: usize) -> f64 {
        median(self.0[contestant].iter().zip(&self.0[base]).map(|(more, less)| more - less).collect())
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether figures are wanted: under `cargo bench`, and not under `cargo test --benches`.
pub fn are_wanted() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--bench") && !has("--test") && !has("--list")
}
