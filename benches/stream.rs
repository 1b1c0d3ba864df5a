//! What a stream pays.
//!
//! `cargo bench --bench stream`: criterion's figures for a frame, then one table of what
//! `StreamReauth` adds to a frame of the bare body, and the time from a revocation to the end of the
//! streams that it cuts. The budget: at most 30 ns for a frame while the verifier's revision is
//! unchanged, 60 ns where there is an expiry to compare, and a 99th percentile under 10 ms for the
//! end of 1,000 streams.

#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/streams.rs"]
mod streams;

use std::time::{Duration, Instant};

use criterion::Criterion;
use http_body_util::BodyExt;
use tokio::{runtime::Builder, task::JoinSet};
use tower_reauth::{StaticToken, StreamReauthLayer};

use rounds::{Call, Rounds};
use streams::{BARE, BUMP, Idle, MOVED, TOKEN, contestants, door};

fn main() {
    // Timers need a runtime; a frame that is ready needs none to run on it.
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let context = runtime.enter();

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    each_alone(&mut criterion);
    criterion.final_summary();

    let wanted = rounds::are_wanted();
    side_by_side(if wanted { Rounds { rounds: 400, batch: 4096 } } else { Rounds { rounds: 1, batch: 1 } });
    drop(context);

    println!("\nfrom revocation to end, milliseconds   median |   p99 |   max");
    for streams in if wanted { vec![1, 1_000, 10_000] } else { vec![1, 10] } {
        revocation(streams, if wanted { 20 } else { 1 });
    }
}

/// Criterion's own figures, the inner body's part included.
fn each_alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for mut contestant in contestants() {
        group.bench_function(contestant.name, |bencher| bencher.iter(|| contestant.next()));
    }
}

/// What each adds to a frame of the bare body.
fn side_by_side(rounds: Rounds) {
    let mut contestants = contestants();
    let names: Vec<_> = contestants.iter().map(|contestant| contestant.name).collect();
    let mut calls: Vec<Call<'_>> =
        contestants.iter_mut().map(|contestant| Box::new(|| contestant.next()) as Call<'_>).collect();
    let timings = rounds.time(&mut calls);

    let position = |wanted| names.iter().position(|name| *name == wanted).expect("it is one of them");
    println!("\na frame, nanoseconds                       adds");
    for (i, name) in names.iter().enumerate() {
        let base = position(if *name == MOVED { BUMP } else { BARE });
        println!("{name:42}{:5.0}", timings.over(i, base));
    }
}

/// Cuts `streams` idle streams at once, `times` times over.
fn revocation(streams: usize, times: usize) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime starts");
    let mut latencies = Vec::with_capacity(streams * times);
    for _ in 0..times {
        runtime.block_on(async {
            let secret = StaticToken::new(TOKEN);
            let open = door(secret.clone(), StreamReauthLayer::new(), "text/event-stream", Idle);
            let mut ends = JoinSet::new();
            for _ in 0..streams {
                let mut body = open();
                ends.spawn(async move {
                    assert!(body.frame().await.is_none(), "the stream ends, and cleanly");
                    Instant::now()
                });
            }
            // By then each of them was polled and rests.
            tokio::time::sleep(Duration::from_millis(50 + streams as u64 / 50)).await;

            let revoked = Instant::now();
            secret.rotate("another secret");
            while let Some(ended) = ends.join_next().await {
                let ended = ended.expect("no stream panics");
                latencies.push(ended.duration_since(revoked));
            }
        });
    }
    latencies.sort_unstable();
    let milliseconds = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{streams:6} streams                        {:7.2} | {:5.2} | {:5.2}",
        milliseconds(50),
        milliseconds(99),
        milliseconds(100)
    );
}
