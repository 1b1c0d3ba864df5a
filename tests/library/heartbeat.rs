//! Promise 4: every interval access is asked for again even when the stream is idle and unpushed,
//! and a comment is written so that proxies keep the line.

use std::{collections::HashMap, time::Duration};

use http::{HeaderValue, Response, header};
use tokio::time::{Instant, advance};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StreamReauthLayer, reauth::EndReason, verify::VerifyError};

use crate::support::{
    Feed, KEEPALIVE, Oracle, Reader, Script, Seen, alice, assert_took, handler, open, reauth, request, script,
};

const BEAT: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn an_idle_stream_asks_again_and_writes_a_comment_at_every_interval() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
        for _ in 0..10 {
            let started = Instant::now();
            assert_eq!(stream.next().await, Seen::data(KEEPALIVE));
            assert_took(started, BEAT);
        }
        assert_eq!(oracle.asked(), 1 + 10);
    }
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_ones_own_choice() {
    let oracle = Oracle::without_revision();
    let layer = reauth().with_heartbeat(Duration::from_millis(40));
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    let started = Instant::now();
    for _ in 0..25 {
        assert_eq!(stream.next().await, Seen::data(KEEPALIVE));
    }
    assert_took(started, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_heartbeat_an_idle_stream_is_left_alone() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth().without_heartbeat()).await;
    let waited = tokio::time::timeout(Duration::from_secs(86_400), stream.next()).await;
    assert!(waited.is_err());
    assert_eq!(oracle.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_asks_at_every_interval_too() {
    let oracle = Oracle::with_revision();
    let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    for _ in 0..60 {
        advance(Duration::from_secs(1)).await;
        feed.data("data: 1\n\n");
        while stream.now().is_some() {}
    }
    assert_eq!(oracle.asked(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn no_comment_is_written_until_access_is_confirmed() {
    let oracle = Oracle::with_revision();
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
    oracle.says_after(Duration::from_secs(3), Ok(alice()));
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::data(KEEPALIVE));
    assert_took(started, BEAT + Duration::from_secs(3));

    oracle.says_after(Duration::from_secs(3), Err(VerifyError::Rejected));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_comment_waits_for_the_end_of_the_event() {
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
    for part in ["da", "ta: 1", "\n", "data: 2\n"] {
        feed.data(part);
        assert_eq!(stream.now(), Some(Seen::data(part)));
        advance(BEAT).await;
        assert_eq!(stream.now(), None, "after {part:?}");
    }
    feed.data("\n");
    assert_eq!(stream.now(), Some(Seen::data("\n")));
    assert_eq!(stream.now(), Some(Seen::data(KEEPALIVE)), "one, however many intervals went by");
    assert_eq!(stream.now(), None);
}

#[tokio::test(start_paused = true)]
async fn the_text_of_the_comment_is_ones_own_choice() {
    for (text, comment) in [("still here", ": still here\n\n"), ("", ": \n\n")] {
        let layer = reauth().with_comment(text);
        let (_feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), layer).await;
        assert_eq!(stream.next().await, Seen::data(comment));
    }
}

/// A stream with these headers.
async fn with_headers(oracle: &Oracle, headers: &[(header::HeaderName, &'static str)]) -> (Feed, Reader<Script>) {
    let (feed, body) = script();
    let mut response = Response::new(body);
    for (name, value) in headers {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let service =
        ServiceBuilder::new().layer(BearerAuthLayer::new(oracle.clone())).layer(reauth()).service(handler(response));
    let Ok(response) = service.oneshot(request()).await;
    (feed, Reader::of(response))
}

#[tokio::test(start_paused = true)]
async fn a_comment_is_written_only_into_a_plain_event_stream_and_every_stream_is_asked_about() {
    use header::{CONTENT_ENCODING, CONTENT_TYPE};
    const EVENTS: &str = "text/event-stream";
    let cases: [(&[(header::HeaderName, &'static str)], bool); 11] = [
        (&[(CONTENT_TYPE, EVENTS)], true),
        (&[(CONTENT_TYPE, "Text/Event-Stream")], true),
        (&[(CONTENT_TYPE, "text/event-stream; charset=utf-8")], true),
        (&[(CONTENT_TYPE, "text/event-stream ;charset=utf-8")], true),
        (&[(CONTENT_TYPE, EVENTS), (CONTENT_ENCODING, "identity")], true),
        (&[(CONTENT_TYPE, EVENTS), (CONTENT_ENCODING, "gzip")], false),
        (&[(CONTENT_TYPE, EVENTS), (CONTENT_ENCODING, "identity"), (CONTENT_ENCODING, "br")], false),
        (&[(CONTENT_TYPE, "text/event-streams")], false),
        (&[(CONTENT_TYPE, "application/x-ndjson")], false),
        (&[(CONTENT_TYPE, "text/plain; note=text/event-stream")], false),
        (&[], false),
    ];
    for (headers, is_written) in cases {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = with_headers(&oracle, headers).await;
        assert_eq!(stream.now(), None);
        advance(BEAT).await;
        assert_eq!(stream.now(), is_written.then(|| Seen::data(KEEPALIVE)), "{headers:?}");
        assert_eq!(oracle.asked(), 2, "{headers:?}");
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_keeps_a_thousand_streams_from_waking_in_one_tick() {
    let oracle = Oracle::without_revision();
    let layer = StreamReauthLayer::new();
    let started = Instant::now();
    for _ in 0..1_000 {
        let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer.clone()).await;
        tokio::spawn(async move {
            let _feed = feed;
            stream.next().await
        });
    }
    tokio::time::sleep(BEAT + Duration::from_millis(1)).await;

    let asked = oracle.asked_at().split_off(1_000);
    assert_eq!(asked.len(), 1_000, "each asked again once");
    let mut by_tick = HashMap::<u128, usize>::new();
    for at in &asked {
        let after = at.duration_since(started);
        assert!(after >= BEAT.mul_f64(0.8) && after <= BEAT + Duration::from_millis(1), "{after:?}: early, never late");
        *by_tick.entry(after.as_millis()).or_default() += 1;
    }
    // The window of 3 s has 204.8 slots, and a wake of the runtime is for all that are in one. In what is left of the
    // slot in which the window begins, less than 15 ms, each has its own time.
    assert!((150..=220).contains(&by_tick.len()), "{} ticks", by_tick.len());
    let most = by_tick.into_values().max();
    assert!(most < Some(20), "{most:?} in one millisecond");
}

/// Opens streams of one credential with the default jitter, `apart` from each other, and returns when each had its
/// heartbeats of `time`.
async fn heartbeats(oracle: &Oracle, streams: usize, apart: Duration, time: Duration) -> Vec<Vec<Instant>> {
    heartbeats_of(StreamReauthLayer::new(), oracle, streams, apart, time).await
}

async fn heartbeats_of(
    layer: StreamReauthLayer,
    oracle: &Oracle,
    streams: usize,
    apart: Duration,
    time: Duration,
) -> Vec<Vec<Instant>> {
    let auth = BearerAuthLayer::new(oracle.clone());
    let mut tasks = tokio::task::JoinSet::new();
    let end = Instant::now() + time;
    for _ in 0..streams {
        let (feed, mut stream) = open(auth.clone(), layer.clone()).await;
        let opened = Instant::now();
        tasks.spawn(async move {
            let _feed = feed;
            let mut beats = vec![opened];
            while let Ok(seen) = tokio::time::timeout_at(end, stream.next()).await {
                assert_eq!(seen, Seen::data(KEEPALIVE));
                beats.push(Instant::now());
            }
            beats
        });
        tokio::time::sleep(apart).await;
    }
    tasks.join_all().await
}

fn by_tick(beats: impl IntoIterator<Item = Instant>) -> HashMap<Instant, usize> {
    let mut by_tick = HashMap::new();
    for at in beats {
        *by_tick.entry(at).or_default() += 1;
    }
    by_tick
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_never_later_than_its_interval_nor_earlier_than_the_jitter_lets_it() {
    for (streams, apart) in [(1, 0), (200, 0), (200, 50), (2_000, 0)] {
        let oracle = Oracle::with_revision();
        let all = heartbeats(&oracle, streams, Duration::from_millis(apart), 10 * BEAT).await;
        for beats in all {
            for (before, after) in beats.iter().zip(&beats[1..]) {
                let gap = after.duration_since(*before);
                // A stream that uses the check of another counts from that.
                assert!(gap <= BEAT + Duration::from_millis(1), "{streams} streams, {apart} ms apart: {gap:?}");
            }
            let each = beats[beats.len() - 1].duration_since(beats[0]) / (beats.len() as u32 - 1);
            assert!(each >= BEAT.mul_f64(0.8) - Duration::from_millis(500), "{streams} streams: {each:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn however_early_a_heartbeat_may_come_there_are_no_more_than_a_few_in_an_interval() {
    for streams in [1, 100, 1_000] {
        let layer = StreamReauthLayer::new().with_jitter(1.0);
        let all = heartbeats_of(layer, &Oracle::without_revision(), streams, Duration::ZERO, 20 * BEAT).await;
        let beats = all.iter().map(|beats| beats.len() - 1).sum::<usize>();
        assert!(beats <= 4 * 20 * streams, "{beats} of {streams} streams in 20 intervals");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_streams_of_one_credential_come_to_have_their_heartbeats_at_one_time() {
    let oracle = Oracle::without_revision();
    let all = heartbeats(&oracle, 64, Duration::from_millis(200), 10 * BEAT).await;
    let last_of_each = all.iter().map(|beats| beats[beats.len() - 1]);
    let ticks = by_tick(last_of_each);
    assert_eq!(ticks.len(), 1, "{ticks:?}");
}

#[tokio::test(start_paused = true)]
async fn many_streams_of_one_credential_have_their_heartbeats_64_at_a_time() {
    let oracle = Oracle::without_revision();
    let all = heartbeats(&oracle, 2_000, Duration::ZERO, 10 * BEAT).await;
    let count = all.iter().map(|beats| beats.len() - 1).sum::<usize>();
    let ticks = by_tick(all.iter().flat_map(|beats| beats[1..].iter().copied()));
    let most = ticks.values().max();
    assert!(most <= Some(&(2 * 64)), "two batches may meet, and no more: {most:?}");
    let each = count / ticks.len();
    assert!(each >= 48, "{each} in a tick: each wakes the runtime");
}

#[tokio::test(start_paused = true)]
async fn streams_that_share_a_heartbeat_share_its_check() {
    let oracle = Oracle::without_revision();
    let all = heartbeats(&oracle, 500, Duration::ZERO, 10 * BEAT).await;
    let most = all.iter().map(|beats| beats.len() - 1).max().expect("there are streams");
    let rechecks = oracle.asked() - 500;
    assert!(rechecks <= most + 1, "{rechecks} checks for {most} intervals");
}

#[tokio::test(start_paused = true)]
async fn without_jitter_streams_keep_step() {
    let oracle = Oracle::without_revision();
    for _ in 0..10 {
        let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), reauth()).await;
        tokio::spawn(async move {
            let _feed = feed;
            stream.next().await
        });
    }
    tokio::time::sleep(BEAT + Duration::from_millis(1)).await;
    let asked = oracle.asked_at().split_off(10);
    assert!(asked.iter().all(|at| *at == asked[0]), "{asked:?}");
}

#[test]
fn what_no_heartbeat_can_be_is_refused_when_the_layer_is_built() {
    let builders: [fn() -> StreamReauthLayer; 8] = [
        || reauth().with_heartbeat(Duration::ZERO),
        || reauth().with_heartbeat(Duration::from_micros(999)),
        || reauth().with_jitter(-0.1),
        || reauth().with_jitter(1.1),
        || reauth().with_jitter(f64::NAN),
        || reauth().with_comment("a\nb"),
        || reauth().with_comment("a\r"),
        || reauth().with_jitter(f64::INFINITY),
    ];
    for build in builders {
        assert!(std::panic::catch_unwind(build).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn no_interval_and_no_jitter_makes_a_stream_spin() {
    for interval in [Duration::from_millis(1), BEAT, Duration::from_secs(u64::MAX), Duration::MAX] {
        for jitter in [0.0, 0.5, 1.0, f64::MIN_POSITIVE] {
            let oracle = Oracle::with_revision();
            let layer = StreamReauthLayer::new().with_heartbeat(interval).with_jitter(jitter);
            let (feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
            feed.data("data: 1\n\n");
            assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")), "{interval:?} {jitter}");
            advance(Duration::from_millis(1)).await;
            feed.data("data: 2\n\n");
            while stream.now().is_some() {}
            assert!(oracle.asked() < 10, "{interval:?} {jitter}: it spins");
        }
    }
}
