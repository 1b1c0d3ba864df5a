//! Promise 6: while access holds, the bytes of the inner body arrive unchanged, in order, once;
//! trailers too. A comment stands only between events.

use std::{collections::VecDeque, convert::Infallible, future::Future, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tokio::time::advance;
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StreamReauthLayer};

use crate::support::{
    Feed, KEEPALIVE, Oracle, Reader, Script, Seen, event_stream, handler, open, reauth, request, script,
};

/// A comment that no script says.
const COMMENT: &str = ": \u{1f493}\n\n";

#[tokio::test(start_paused = true)]
async fn frames_arrive_unchanged_in_order_and_once_the_trailers_last() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let (feed, mut stream) = open(BearerAuthLayer::new(oracle), reauth()).await;
        let frames: Vec<Bytes> = (0..100).map(|n| Bytes::from(format!("data: {n}\n\n"))).collect();
        frames.iter().cloned().for_each(|frame| feed.data(frame));
        feed.trailers("checksum", "1234");
        let mut seen = stream.rest().await;
        assert_eq!(seen.pop(), Some(Seen::End));
        assert!(matches!(seen.pop(), Some(Seen::Trailers(trailers)) if trailers["checksum"] == "1234"));
        assert_eq!(seen, frames.into_iter().map(Seen::Data).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_handed_on_without_a_copy() {
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::without_revision()), reauth()).await;
    let frame = Bytes::from(b"data: 1\n\n".to_vec());
    feed.data(frame.clone());
    let Seen::Data(seen) = stream.next().await else { panic!("no data") };
    assert_eq!(seen.as_ptr(), frame.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn an_empty_frame_is_a_frame() {
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
    feed.data("");
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data(""));
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_the_inner_body_is_handed_on_after_the_frames_before_it() {
    let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::without_revision()), reauth()).await;
    feed.data("data: 1\n\n");
    feed.failure();
    assert_eq!(stream.rest().await, [Seen::data("data: 1\n\n"), Seen::Failure, Seen::End]);
}

/// Runs on tokio's paused clock.
fn paused<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn stream_of(content_type: Option<&str>) -> (Feed, Reader<Script>) {
    let (feed, body) = script();
    let response = match content_type {
        None => event_stream(body),
        Some(content_type) => Response::builder().header("content-type", content_type).body(body).expect("a response"),
    };
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::with_revision()))
        .layer(StreamReauthLayer::new().with_jitter(0.0).with_comment("\u{1f493}"))
        .service(handler(response));
    let Ok(response) = service.oneshot(request()).await;
    (feed, Reader::of(response))
}

/// The bytes of all that there is to see now.
fn read(stream: &mut Reader<Script>, into: &mut Vec<u8>, comments_at: &mut Vec<usize>) {
    while let Some(seen) = stream.now() {
        match seen {
            Seen::Data(data) if data == COMMENT => comments_at.push(into.len()),
            Seen::Data(data) => into.extend_from_slice(&data),
            Seen::End => return,
            seen => panic!("{seen:?}"),
        }
    }
}

/// Lines as the standard reads them: they end with LF, CR or CR LF.
fn lines(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n")
}

/// The events of a stream: for each the lines that count, and what is left over at the end.
fn events(text: &[u8]) -> Vec<Vec<String>> {
    let mut events = vec![Vec::new()];
    for line in lines(text).split('\n') {
        match line {
            "" if events.last().is_some_and(Vec::is_empty) => {}
            "" => events.push(Vec::new()),
            comment if comment.starts_with(':') => {}
            field => events.last_mut().expect("there is one").push(field.to_owned()),
        }
    }
    events
}

/// Whether the end of `text` stands between two events.
fn is_between_events(text: &[u8]) -> bool {
    let lines = lines(text);
    lines.ends_with("\n\n") || lines.chars().all(|c| c == '\n')
}

/// A piece of a stream, and whether a heartbeat is due after it.
fn piece() -> impl Strategy<Value = (String, bool)> {
    let part = prop_oneof![
        4 => Just("\n"), 4 => Just("\r"), 4 => Just("\r\n"), 2 => Just("\n\n"), 2 => Just("\r\n\r\n"),
        3 => Just("data: 1"), 1 => Just("id: 7"), 1 => Just(": note"), 1 => Just("data"), 1 => Just("\u{e9}"), 1 => Just(""),
    ];
    (prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat()), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_an_event_stream_comes_out_identical_with_comments_only_between_events(
        pieces in prop::collection::vec(piece(), 0..30),
    ) {
        paused(async {
            let (feed, mut stream) = stream_of(None).await;
            let (mut sent, mut seen) = (Vec::new(), Vec::new());
            let mut with_comments = Vec::new();
            let mut is_owed = false;
            for (piece, beats) in pieces {
                feed.data(piece.clone());
                sent.extend_from_slice(piece.as_bytes());
                with_comments.extend_from_slice(piece.as_bytes());
                // A comment is owed from its heartbeat on, until there is a place for it.
                let mut expected = Vec::new();
                let mut comments_at = Vec::new();
                for beats in [false, beats] {
                    if beats {
                        advance(Duration::from_secs(15)).await;
                        is_owed = true;
                    }
                    if is_owed && is_between_events(&sent) {
                        expected.push(sent.len());
                        is_owed = false;
                    }
                    read(&mut stream, &mut seen, &mut comments_at);
                }
                prop_assert_eq!(&comments_at, &expected, "after {:?}", String::from_utf8_lossy(&sent));
                comments_at.iter().for_each(|_| with_comments.extend_from_slice(COMMENT.as_bytes()));
            }
            prop_assert_eq!(&seen, &sent);
            prop_assert_eq!(events(&with_comments), events(&sent));
            Ok(())
        })?;
    }

    #[test]
    fn any_split_of_any_other_body_comes_out_identical_with_no_comment_at_all(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), any::<bool>()), 0..30),
    ) {
        paused(async {
            let (feed, mut stream) = stream_of(Some("application/octet-stream")).await;
            let (mut sent, mut seen, mut comments_at) = (Vec::new(), Vec::new(), Vec::new());
            for (piece, beats) in pieces {
                sent.extend_from_slice(&piece);
                feed.data(piece);
                if beats {
                    advance(Duration::from_secs(15)).await;
                }
                read(&mut stream, &mut seen, &mut comments_at);
            }
            feed.end();
            read(&mut stream, &mut seen, &mut comments_at);
            prop_assert_eq!(seen, sent);
            prop_assert!(comments_at.is_empty());
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_comment_does_not_make_a_letter_of_the_mark_at_the_head() {
    for (frames, rest) in [
        (&["\u{feff}data: hello\n\n".as_bytes()][..], "data: hello\n\n".as_bytes()),
        (&[b"\xEF\xBB", b"\xBFdata: hello\n\n"], b"data: hello\n\n"),
        (&[b"\xEF", b"", b"\xBB", b"\xBF", b"data: hello\n\n"], b"data: hello\n\n"),
        (&[b"\xEF\xBB", b"data: hello\n\n"], b"\xEF\xBBdata: hello\n\n"),
        (&[b"data: hello\n\n", b"\xEF\xBB\xBF: a letter\n\n"], "data: hello\n\n\u{feff}: a letter\n\n".as_bytes()),
    ] {
        let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
        assert_eq!(stream.next().await, Seen::Data(KEEPALIVE));
        assert_eq!(passed(&feed, &mut stream, frames), rest, "{frames:?}");

        // A frame of nothing is not the head of the body.
        let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
        feed.data("");
        assert_eq!(stream.next().await, Seen::data(""));
        assert_eq!(stream.next().await, Seen::Data(KEEPALIVE));
        assert_eq!(passed(&feed, &mut stream, frames), rest, "{frames:?}");

        // Where nothing was written before it, the mark stays.
        let (feed, mut stream) = open(BearerAuthLayer::new(Oracle::with_revision()), reauth()).await;
        assert_eq!(passed(&feed, &mut stream, frames), frames.concat(), "{frames:?}");
    }
}

/// The bytes that are seen of these frames, each looked for before the next one comes.
fn passed(feed: &Feed, stream: &mut Reader<Script>, frames: &[&'static [u8]]) -> Vec<u8> {
    let mut seen = Vec::new();
    for frame in frames {
        feed.data(*frame);
        while let Some(frame) = stream.now() {
            let Seen::Data(data) = frame else { panic!("{frame:?}") };
            seen.extend_from_slice(&data);
        }
    }
    seen
}

/// Data in several pieces.
struct Pieces(VecDeque<Bytes>);

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self([bytes].into())
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut by: usize) {
        while let Some(first) = self.0.front_mut() {
            let here = by.min(first.len());
            first.advance(here);
            by -= here;
            if !first.is_empty() {
                break;
            }
            self.0.pop_front();
        }
        assert_eq!(by, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn data_in_pieces_of_a_type_of_ones_own_is_read_across_them() {
    for (pieces, is_between) in [
        (&["data: 1\n", "\n"][..], true),
        (&["data: 1\n", "\nda"], false),
        (&["data: 1", "\r\n", "\r\n"], true),
        (&["", "data: 1\n\n", ""], true),
        (&["data: 1\n\n", "data: 2"], false),
    ] {
        let data = Pieces(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect());
        let frames = stream::iter([Ok::<_, Infallible>(Frame::data(data))]).chain(stream::pending());
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(Oracle::with_revision()))
            .layer(reauth())
            .service(handler(event_stream(StreamBody::new(frames))));
        let Ok(response) = service.oneshot(request()).await;
        let mut body = response.into_body();
        let mut next = async || {
            let frame = tokio::time::timeout(Duration::from_secs(60), body.frame()).await.ok()??;
            let mut data = frame.expect("access holds").into_data().ok()?;
            Some(data.copy_to_bytes(data.remaining()))
        };
        assert_eq!(next().await, Some(pieces.concat().into()), "{pieces:?}");
        assert_eq!(next().await, is_between.then_some(KEEPALIVE), "{pieces:?}");
    }
}
