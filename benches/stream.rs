//! What a stream pays.
//!
//! `cargo bench --bench stream`: criterion's figures for a frame, then one table of what
//! `StreamReauth` adds to a frame of the bare body, and the time from a revocation to the end of the
//! streams that it cuts, by hand and by an event of a provider. The budget: at most 30 ns for a frame while the verifier's revision is
//! unchanged, 60 ns where there is an expiry to compare, and a 99th percentile under 10 ms for the
//! end of 1,000 streams.

#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/streams.rs"]
mod streams;

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{runtime::Builder, task::JoinSet};
use tower::ServiceExt;
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Identity, StaticToken, StreamReauthLayer,
    revoke::{
        Revocations,
        events::{EventReceiver, Signed},
    },
    verify::verify_fn,
};

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
    println!("\nfrom a provider's event to end, milliseconds   median |   p99 |   max");
    for streams in if wanted { vec![1, 1_000] } else { vec![1, 10] } {
        event(streams, if wanted { 20 } else { 1 });
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

/// Streams that were polled and rest, and when each ends.
async fn rest<B>(streams: usize, open: impl Fn() -> B) -> JoinSet<Instant>
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Send,
{
    let mut ends = JoinSet::new();
    for _ in 0..streams {
        let mut body = open();
        ends.spawn(async move {
            assert!(body.frame().await.is_none(), "the stream ends, and cleanly");
            Instant::now()
        });
    }
    tokio::time::sleep(Duration::from_millis(50 + streams as u64 / 50)).await;
    ends
}

/// How long after `began` each of them ended.
async fn ended(mut ends: JoinSet<Instant>, began: Instant) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(ends.len());
    while let Some(ended) = ends.join_next().await {
        latencies.push(ended.expect("no stream panics").duration_since(began));
    }
    latencies
}

/// Pushes a `session-revoked` of whom all streams belong to, `times` times over.
fn event(streams: usize, times: usize) {
    const ISSUER: &str = "https://issuer.example";
    const EVENT: &str = r#"{"iss": "https://issuer.example", "aud": "us", "jti": "1", "iat": 4000000000,
        "sub_id": {"format": "iss_sub", "iss": "https://issuer.example", "sub": "alice"},
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}}}"#;

    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime starts");
    let mut latencies = Vec::with_capacity(streams * times);
    for _ in 0..times {
        runtime.block_on(async {
            let revocations = Revocations::new();
            // The signature is the crate's that checks it; here it is none.
            let keys = async |token: String| Signed::new(Some("secevent+jwt"), token.as_bytes());
            let receiver = EventReceiver::new(ISSUER, "us", keys, &revocations);
            let alice = verify_fn(|_| Ok(Identity::new("alice", AuthMethod::Token).with_issuer(ISSUER)));
            let auth = BearerAuthLayer::new(alice).with_revocations(&revocations);
            let ends = rest(streams, door(auth, StreamReauthLayer::new(), "text/event-stream", Idle)).await;

            let posted = Instant::now();
            let request = Request::post("/events").header("content-type", "application/secevent+jwt");
            let request = request.body(Full::new(Bytes::from(EVENT))).expect("a request");
            let Ok(response) = receiver.oneshot(request).await;
            assert_eq!(response.status(), 202);
            latencies.extend(ended(ends, posted).await);
        });
    }
    show(streams, latencies);
}

/// Cuts `streams` idle streams at once, `times` times over.
fn revocation(streams: usize, times: usize) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime starts");
    let mut latencies = Vec::with_capacity(streams * times);
    for _ in 0..times {
        runtime.block_on(async {
            let secret = StaticToken::new(TOKEN);
            let open = door(BearerAuthLayer::new(secret.clone()), StreamReauthLayer::new(), "text/event-stream", Idle);
            let ends = rest(streams, open).await;

            let revoked = Instant::now();
            secret.rotate("another secret");
            latencies.extend(ended(ends, revoked).await);
        });
    }
    show(streams, latencies);
}

fn show(streams: usize, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let milliseconds = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{streams:6} streams                        {:7.2} | {:5.2} | {:5.2}",
        milliseconds(50),
        milliseconds(99),
        milliseconds(100)
    );
}
