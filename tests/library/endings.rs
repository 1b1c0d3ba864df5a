//! Promise 8: clean end, last event, last bytes, abort, gRPC trailers: the user chooses.
//! `size_hint`, `is_end_stream` and what comes after the end stay true.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio_test::{assert_pending, task};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer, RequireScopeLayer, StreamReauthLayer,
    reauth::{EndReason, Ending},
    verify::VerifyError,
};

use crate::support::{
    BodyReader, Feed, Oracle, READ, Reader, Script, Seen, Wall, alice, event_stream, handler, open, reauth, request,
    script,
};

/// What brings an end about.
type Cause = fn(&Oracle);

/// Every reason for which the gate ends a stream.
fn reasons() -> [(EndReason, Cause); 7] {
    [
        (EndReason::Expired, |oracle| oracle.says(Err(VerifyError::Expired))),
        (EndReason::Revoked, |oracle| oracle.says(Err(VerifyError::Rejected))),
        (EndReason::ScopeLost, |oracle| oracle.says(Ok(alice()))),
        (EndReason::LockedOut, |oracle| oracle.says(Err(VerifyError::locked_out_for(Duration::from_secs(60))))),
        (EndReason::Unavailable, |oracle| oracle.says(Err(VerifyError::unavailable()))),
        (EndReason::TimedOut, Oracle::waits),
        (EndReason::CheckPanicked, Oracle::panics),
    ]
}

/// A stream of `content_type` that requires READ and ends like this.
async fn stream(oracle: &Oracle, ending: Ending, content_type: &'static str) -> (Feed, Reader<Script>) {
    stream_with(oracle, ending, &[(header::CONTENT_TYPE, content_type)]).await
}

async fn stream_with(
    oracle: &Oracle,
    ending: Ending,
    headers: &[(header::HeaderName, &'static str)],
) -> (Feed, Reader<Script>) {
    oracle.says(Ok(alice().with_scopes(READ)));
    let (feed, body) = script();
    let mut response = event_stream(body);
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(RequireScopeLayer::new(READ))
        .layer(StreamReauthLayer::new().with_jitter(0.0).with_ending(ending))
        .service(handler(response));
    let Ok(response) = service.oneshot(request()).await;
    (feed, Reader::of(response))
}

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

#[tokio::test(start_paused = true)]
async fn by_default_the_end_is_clean() {
    for (reason, brings_about) in reasons() {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream(&oracle, Ending::default(), EVENTS).await;
        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
        brings_about(&oracle);
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::End], "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_event_always_has_data_that_can_be_parsed() {
    for (reason, brings_about) in reasons() {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = stream(&oracle, Ending::LastEvent, EVENTS).await;
        brings_about(&oracle);
        oracle.moves();
        let Seen::Data(last) = stream.next().await else { panic!("{reason:?}: no last event") };
        assert!(stream.is_end_stream());
        assert_eq!(stream.rest().await, [Seen::End]);

        let last = std::str::from_utf8(&last).expect("UTF-8").strip_suffix("\n\n").expect("a whole event");
        let fields: Vec<(&str, &str)> = last.lines().filter_map(|line| line.split_once(": ")).collect();
        let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        assert_eq!(field("event"), Some("reauth"));
        let data: serde_json::Value = serde_json::from_str(field("data").expect("data")).expect("JSON");
        assert_eq!(data["reason"], reason.as_str());
        assert_eq!(data["reconnect"], reason.is_transient());
        assert_eq!(field("retry").is_some(), reason.is_transient(), "{reason:?}");
        assert!(field("retry").is_none_or(|retry| retry.parse::<u64>().is_ok_and(|ms| ms > 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_event_stands_only_between_events() {
    for (prefix, is_written) in
        [("", true), ("data: 1\n\n", true), ("data: 1\r\n\r\n", true), ("data: 1\r\r", true), (": ok\n\n", true)]
            .into_iter()
            .chain([
                ("d", false),
                ("data: 1", false),
                ("data: 1\n", false),
                ("data: 1\r\n", false),
                ("data: 1\r", false),
            ])
    {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream(&oracle, Ending::LastEvent, EVENTS).await;
        feed.data(prefix);
        assert_eq!(stream.next().await, Seen::data(prefix));
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        let rest = stream.rest().await;
        assert_eq!(rest.len(), if is_written { 2 } else { 1 }, "after {prefix:?}: {rest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_event_is_written_only_into_a_plain_event_stream() {
    for headers in [[(header::CONTENT_TYPE, LINES)], [(header::CONTENT_ENCODING, "gzip")]] {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = stream_with(&oracle, Ending::LastEvent, &headers).await;
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::End], "{headers:?}");
    }
}

fn last_line() -> Ending {
    Ending::last_bytes(|cut| Bytes::from(format!("{{\"end\":\"{}\"}}\n", cut.reason.as_str())))
}

#[tokio::test(start_paused = true)]
async fn last_bytes_are_given_the_reason() {
    for (reason, brings_about) in reasons() {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream(&oracle, last_line(), LINES).await;
        feed.data("{}\n");
        assert_eq!(stream.next().await, Seen::data("{}\n"));
        brings_about(&oracle);
        oracle.moves();
        let last = format!("{{\"end\":\"{}\"}}\n", reason.as_str());
        assert_eq!(stream.rest().await, [Seen::data(last), Seen::End]);
    }
}

#[tokio::test(start_paused = true)]
async fn last_bytes_are_left_out_in_the_middle_of_an_event_and_under_a_content_encoding() {
    let encoded: [(header::HeaderName, &'static str); 2] =
        [(header::CONTENT_TYPE, LINES), (header::CONTENT_ENCODING, "gzip")];
    for (headers, prefix) in [(encoded.as_slice(), "\x1f\u{8b}"), (&[(header::CONTENT_TYPE, EVENTS)], "data: 1\n")] {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream_with(&oracle, last_line(), headers).await;
        feed.data(prefix);
        assert_eq!(stream.next().await, Seen::data(prefix));
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::End], "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_error_that_names_the_reason() {
    for (reason, brings_about) in reasons() {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = stream(&oracle, Ending::Abort, EVENTS).await;
        brings_about(&oracle);
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::Cut(reason), Seen::End]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_lets_one_turn_pass_so_that_data_given_before_is_not_lost() {
    let oracle = Oracle::with_revision();
    let (feed, stream) = stream(&oracle, Ending::Abort, EVENTS).await;
    let mut body = task::spawn(stream.into_body());
    let mut poll = move || {
        let polled = body.enter(|cx, body| body.get_mut().as_mut().poll_frame(cx));
        (polled.map(|frame| frame.map(|frame| frame.is_ok())), body.is_woken(), body.is_end_stream())
    };
    feed.data("data: 1\n\n");
    assert_eq!(poll(), (std::task::Poll::Ready(Some(true)), false, false));

    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    let (first, is_woken, is_end_stream) = poll();
    assert_pending!(first);
    assert!(is_woken, "it wakes itself");
    assert!(!is_end_stream, "the error is still owed");
    assert!(feed.is_dropped());
    assert_eq!(poll(), (std::task::Poll::Ready(Some(false)), false, true));
    assert_eq!(poll(), (std::task::Poll::Ready(None), false, true));
}

#[tokio::test(start_paused = true)]
async fn grpc_ends_with_trailers_once_and_nothing_after_them() {
    for (reason, brings_about) in reasons() {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream(&oracle, Ending::GrpcTrailers, "application/grpc").await;
        feed.data("message");
        assert_eq!(stream.next().await, Seen::data("message"));
        brings_about(&oracle);
        oracle.moves();
        feed.data("too late");
        let status = match reason {
            EndReason::ScopeLost => "7",
            EndReason::Expired | EndReason::Revoked => "16",
            _ => "14",
        };
        let trailers = HeaderMap::from_iter([
            (header::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status)),
            (header::HeaderName::from_static("grpc-message"), HeaderValue::from_static(reason.as_str())),
        ]);
        assert_eq!(stream.next().await, Seen::Trailers(trailers));
        assert!(stream.is_end_stream());
        assert_eq!(stream.rest().await, [Seen::End]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_after_the_trailers_of_the_inner_body() {
    for ending in [Ending::GrpcTrailers, Ending::LastEvent, Ending::Abort] {
        let oracle = Oracle::with_revision();
        let (feed, mut stream) = stream(&oracle, ending, EVENTS).await;
        feed.trailers("grpc-status", "0");
        feed.data("data: after the trailers\n\n");
        assert!(matches!(stream.next().await, Seen::Trailers(trailers) if trailers["grpc-status"] == "0"));
        assert!(stream.is_end_stream());
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::End]);
    }
}

fn endings() -> [Ending; 5] {
    [Ending::Clean, Ending::LastEvent, last_line(), Ending::Abort, Ending::GrpcTrailers]
}

#[tokio::test(start_paused = true)]
async fn after_the_end_there_is_nothing_for_ever() {
    for ending in endings() {
        let ends: [fn(&Feed, &Oracle); 4] = [
            |feed, _| feed.end(),
            |feed, _| feed.failure(),
            |feed, _| feed.trailers("checksum", "1234"),
            |_, oracle| {
                oracle.says(Err(VerifyError::Rejected));
                oracle.moves();
            },
        ];
        for ends in ends {
            let oracle = Oracle::with_revision();
            let (feed, mut stream) = stream(&oracle, ending.clone(), EVENTS).await;
            ends(&feed, &oracle);
            stream.rest().await;
            for _ in 0..3 {
                feed.data("data: 1\n\n");
                oracle.moves();
                assert_eq!(stream.now(), Some(Seen::End), "{ending:?}");
                assert!(stream.is_end_stream());
                assert_eq!(stream.size_hint().exact(), Some(0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_never_says_that_it_is_at_its_end_while_something_is_owed() {
    for ending in endings() {
        let oracle = Oracle::without_revision();
        let (feed, mut stream) = stream(&oracle, ending.clone(), EVENTS).await;
        // The inner body knows that this is its last frame, and that frame must wait.
        oracle.waits();
        feed.data("data: last\n\n");
        feed.knows_its_end();
        assert_eq!(stream.now(), None);
        assert!(!stream.is_end_stream(), "a frame is owed");
        assert_eq!(stream.size_hint().exact(), None);

        oracle.answers(Err(VerifyError::Rejected));
        assert!(!stream.rest().await.contains(&Seen::data("data: last\n\n")), "{ending:?}");
        assert!(stream.is_end_stream(), "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_knows_its_end_is_at_its_end_with_its_last_frame() {
    let (feed, mut stream) = stream(&Oracle::with_revision(), Ending::LastEvent, EVENTS).await;
    feed.data("data: 1\n\n");
    feed.data("data: last\n\n");
    feed.knows_its_end();
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert!(!stream.is_end_stream());
    assert_eq!(stream.next().await, Seen::data("data: last\n\n"));
    assert!(stream.is_end_stream());
    assert_eq!(stream.size_hint().exact(), Some(0));
    assert_eq!(stream.rest().await, [Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_be_cut_short_promises_no_length() {
    let (feed, mut stream) = stream(&Oracle::with_revision(), Ending::Clean, EVENTS).await;
    for _ in 0..3 {
        feed.data("data: 1\n\n");
        assert_eq!((stream.size_hint().lower(), stream.size_hint().upper()), (0, None));
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_reason_wins() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let (feed, mut stream) = crate::support::open(auth, crate::support::reauth()).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    feed.failure();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
}

#[test]
fn each_reason_has_a_word_of_its_own_and_a_code_for_each_protocol() {
    use EndReason::*;
    let transient = [LockedOut, Unavailable, TimedOut, CheckPanicked];
    let lasting = [Expired, Revoked, ScopeLost, Closed];
    let words: std::collections::HashSet<&str> = transient
        .iter()
        .chain(&lasting)
        .chain(&[Finished, Failed, Disconnected, ShuttingDown])
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(words.len(), 12);
    for reason in transient {
        assert!(reason.is_transient());
        assert_eq!((reason.close_code(), reason.grpc_status()), (1013, 14));
    }
    for reason in lasting {
        assert!(!reason.is_transient());
        assert_eq!(reason.close_code(), 1008);
    }
    assert!(ShuttingDown.is_transient());
    assert_eq!((ShuttingDown.close_code(), ShuttingDown.grpc_status()), (1001, 14));
    assert_eq!([Expired, Revoked, ScopeLost, Closed].map(EndReason::grpc_status), [16, 16, 7, 7]);
    assert_eq!([Finished, Disconnected, Failed].map(EndReason::grpc_status), [0, 1, 13], "not a matter of access");
}

#[tokio::test(start_paused = true)]
async fn a_last_event_says_when_the_verifier_said_to_come_back() {
    for (denied, retry) in [
        (VerifyError::locked_out_for(Duration::from_secs(300)), "retry: 300000\n"),
        (VerifyError::unavailable_for(Duration::from_secs(7)), "retry: 7000\n"),
        // Not before what the layer says.
        (VerifyError::unavailable_for(Duration::ZERO), "retry: 1000\n"),
        (VerifyError::unavailable_for(Duration::from_nanos(7_000_000_001)), "retry: 7001\n"),
        (VerifyError::locked_out_for(Duration::MAX), "retry: 2147483647\n"),
    ] {
        let oracle = Oracle::with_revision();
        let (_feed, mut stream) = stream(&oracle, Ending::LastEvent, "text/event-stream").await;
        oracle.says(Err(denied));
        oracle.moves();
        let Seen::Data(last) = stream.next().await else { panic!("a last event") };
        assert!(String::from_utf8_lossy(&last).contains(retry), "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_below_a_millisecond_is_no_retry_at_once() {
    let oracle = Oracle::with_revision();
    let (_feed, body) = script();
    let layer = StreamReauthLayer::new().with_ending(Ending::LastEvent).with_retry(Duration::from_nanos(1));
    let service = BearerAuthLayer::new(oracle.clone()).layer(layer.layer(handler(event_stream(body))));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    oracle.says(Err(VerifyError::unavailable_for(Duration::ZERO)));
    oracle.moves();
    let Seen::Data(last) = stream.next().await else { panic!("a last event") };
    assert!(String::from_utf8_lossy(&last).contains("retry: 1\n"), "{last:?}");
}

/// A message of gRPC-Web: a flag, a length, the bytes.
fn message(flag: u8, bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).expect("a short one").to_be_bytes();
    [&[flag], &length[..], bytes].concat().into()
}

#[tokio::test(start_paused = true)]
async fn grpc_web_ends_with_a_last_message_between_two_messages_and_with_an_abort_in_the_middle_of_one() {
    let whole = message(0, b"hello");
    let cases = [
        (vec![], true),
        (vec![whole.clone()], true),
        (vec![whole.clone(), message(0, b"")], true),
        (vec![whole.slice(..3), whole.slice(3..)], true),
        (vec![whole.slice(..5), whole.slice(5..)], true),
        (vec![whole.slice(..1)], false),
        (vec![whole.slice(..5)], false),
        (vec![whole.clone(), whole.slice(..9)], false),
        (vec![[&whole[..], &whole[..7]].concat().into()], false),
    ];
    for ending in endings() {
        for (frames, is_between) in &cases {
            let oracle = Oracle::with_revision();
            let (feed, mut stream) = stream(&oracle, ending.clone(), "application/grpc-web+proto").await;
            for frame in frames {
                feed.data(frame.clone());
                assert_eq!(stream.next().await, Seen::Data(frame.clone()));
            }
            oracle.says(Err(VerifyError::Rejected));
            oracle.moves();
            feed.data("too late");
            if *is_between {
                let last = message(0x80, b"grpc-status:16\r\ngrpc-message:revoked\r\n");
                assert_eq!(stream.rest().await, [Seen::Data(last), Seen::End], "{ending:?}, {frames:?}");
            } else {
                assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "{ending:?}, {frames:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_chosen_no_cut_of_grpc_looks_like_a_success() {
    for ending in endings() {
        for coding in ["identity", "gzip"] {
            let oracle = Oracle::with_revision();
            let open = async |content_type| {
                let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, coding)];
                stream_with(&oracle, ending.clone(), &headers).await
            };
            let (_feed, mut native) = open("application/grpc+proto").await;
            let (_feed, mut text) = open("application/grpc-web-text").await;
            let (_feed, mut web) = open("application/grpc-web").await;
            oracle.says(Err(VerifyError::Rejected));
            oracle.moves();
            let Seen::Trailers(trailers) = native.next().await else { panic!("{ending:?} {coding}: no trailers") };
            assert_eq!(trailers["grpc-status"], "16", "{ending:?} {coding}");
            assert_eq!(text.next().await, Seen::Cut(EndReason::Revoked), "{ending:?} {coding}");
            let last = web.next().await;
            assert_eq!(last == Seen::Cut(EndReason::Revoked), coding == "gzip", "{ending:?} {coding}: {last:?}");
            assert_ne!(last, Seen::End, "{ending:?} {coding}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_are_cut_together_are_told_different_times_to_come_back() {
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let oracle = Oracle::with_revision();
        let layer = reauth().with_jitter(0.2).with_ending(Ending::LastEvent).with_retry(Duration::from_secs(1));
        let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
        assert_eq!(stream.now(), None);
        oracle.says(Err(VerifyError::unavailable()));
        oracle.moves();
        let Seen::Data(last) = stream.next().await else { panic!("a last event") };
        let last = String::from_utf8(last.to_vec()).expect("UTF-8");
        let retry = last.lines().find_map(|line| line.strip_prefix("retry: ")).expect("a time");
        told.insert(retry.parse::<u64>().expect("milliseconds"));
    }
    assert!(told.iter().all(|retry| (1_000..=5_000).contains(retry)), "{told:?}");
    assert!(told.len() > 25, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_has_an_ending_of_its_own_ends_in_that_way_at_every_watch() {
    for watches in [1, 2] {
        let oracle = Oracle::with_revision();
        oracle.says(Ok(alice().with_scopes(READ)));
        let (feed, body) = script();
        let mut response = event_stream(body);
        response.extensions_mut().insert(Ending::last_bytes(|cut| {
            assert!(cut.is_event_stream());
            format!("data: {}\n\n", cut.reason.as_str()).into()
        }));
        let auth = BearerAuthLayer::new(oracle.clone());
        let reauth = || StreamReauthLayer::new().with_jitter(0.0).with_ending(Ending::Abort);
        let inner = reauth().layer(handler(response));
        let mut stream = if watches == 1 {
            let Ok(response) = auth.layer(inner).oneshot(request()).await;
            BodyReader::of(response.map(BodyExt::boxed_unsync))
        } else {
            let Ok(response) = auth.layer(reauth().layer(inner)).oneshot(request()).await;
            BodyReader::of(response.map(BodyExt::boxed_unsync))
        };
        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(stream.rest().await, [Seen::data("data: revoked\n\n"), Seen::End], "{watches}");
    }
}
