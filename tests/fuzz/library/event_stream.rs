//! An event stream comes out of `StreamReauth` with the bytes that went in, in any split, and with comments between its
//! events: to a parser of the WHATWG's it is the same stream. When access ends not a byte follows but the last event, where
//! there is room for one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame};
use tower_reauth::{
    Access, AuthMethod, Identity, StreamReauth, StreamReauthLayer,
    reauth::Ending,
    verify::{Verification, VerifyError},
};

use crate::support;

const HEARTBEAT: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b": \xf0\x9f\x92\x93\n\n";
const MARK: &[u8] = b"\xef\xbb\xbf";
const STALE: &[u8] = b"data: stale\n\n";

/// A body that has what was put there.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<VecDeque<Bytes>>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.lock().expect("no panic").pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

/// What a client has read.
#[derive(Default)]
struct Client {
    /// All of it.
    text: Vec<u8>,
    /// How much of it is not the stream's own.
    added: usize,
    ended: bool,
}

impl Client {
    /// Reads all that there is.
    fn read(&mut self, body: &mut StreamReauth<Pieces>) {
        while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            let Some(frame) = frame else {
                self.ended = true;
                return;
            };
            let data = frame.expect("it does not fail").into_data().expect("there are no trailers");
            if data == COMMENT {
                assert!(is_between_events(&self.text), "a comment within an event");
                self.added += data.len();
            }
            self.text.extend_from_slice(&data);
        }
    }
}

/// Pieces of a stream, each up to a byte that says what happens behind it: 0 nothing, 1 a heartbeat is due, 2 access ends.
pub(crate) fn run(input: &[u8]) {
    let is_good = Arc::new(AtomicBool::new(true));
    let access = {
        let is_good = Arc::clone(&is_good);
        Access::with_recheck(Identity::new("alice", AuthMethod::Token), move || {
            let identity = Identity::new("alice", AuthMethod::Token);
            Verification::ready(is_good.load(Ordering::Relaxed).then_some(identity).ok_or(VerifyError::Rejected))
        })
    };
    let pieces = Pieces::default();
    let put = |piece: &[u8]| pieces.0.lock().expect("no panic").push_back(Bytes::copy_from_slice(piece));
    let response =
        Response::builder().header("content-type", "text/event-stream").body(pieces.clone()).expect("a response");
    let layer = StreamReauthLayer::new()
        .with_heartbeat(HEARTBEAT)
        .with_jitter(0.0)
        .with_comment("\u{1f493}")
        .with_ending(Ending::LastEvent);

    support::ready(async {
        let mut body = layer.watch(&access, &Method::GET, response).into_body();
        let (mut client, mut sent) = (Client::default(), Vec::new());
        let mut rest = input;
        client.read(&mut body);
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte <= 2).unwrap_or(rest.len());
            let (piece, what) = (&rest[..end], rest.get(end).copied().unwrap_or(0));
            rest = rest.get(end + 1..).unwrap_or_default();
            if piece.ends_with(COMMENT) {
                // It could not be told from one that is added, where it stands behind a byte order mark.
                return;
            }
            put(piece);
            sent.extend_from_slice(piece);
            client.read(&mut body);
            match what {
                1 => {
                    tokio::time::advance(HEARTBEAT).await;
                    client.read(&mut body);
                }
                2 => {
                    is_good.store(false, Ordering::Relaxed);
                    put(STALE);
                    client.read(&mut body);
                    assert!(client.ended, "a frame is ready, and so access is checked");
                    break;
                }
                _ => {}
            }
        }
        // Behind a comment the beginning of a byte order mark is held back, until it is known to be one.
        if client.added > 0 && MARK.starts_with(&sent) {
            sent.clear();
        }
        // And left out, when it is.
        let is_kept = client.text.starts_with(MARK);
        let passed = if is_kept { &sent[..] } else { sent.strip_prefix(MARK).unwrap_or(&sent) };
        let is_over = client.ended;
        assert_eq!(is_over, !is_good.load(Ordering::Relaxed));

        let (mut expected, read) = (Events::of(&sent), Events::of(&client.text));
        if is_over && is_between_events(passed) {
            expected.all.push(Event {
                kind: "reauth".into(),
                data: "{\"reason\":\"revoked\",\"reconnect\":false}".into(),
                id: expected.last_id.clone(),
            });
        }
        assert_eq!(read, expected);
        if !is_over {
            assert_eq!(client.text.len() - client.added, passed.len());
        }
    });
}

/// Whether a stream stands between two events after these bytes. A byte order mark counts as text: nothing is written
/// between it and the end of what it begins.
fn is_between_events(text: &[u8]) -> bool {
    let lines = lines(text);
    lines.last().is_some_and(|last| last.is_empty()) && lines.iter().rev().nth(1).is_none_or(|line| line.is_empty())
}

/// The lines of a text, the last one being what is not ended.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let length = match &text[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => {
                at += 1;
                continue;
            }
        };
        lines.push(&text[start..at]);
        at += length;
        start = at;
    }
    lines.push(&text[start..]);
    lines
}

/// What a page is told of a stream: the parser of WHATWG HTML section 9.2.6.
#[derive(Debug, Default, PartialEq)]
struct Events {
    all: Vec<Event>,
    /// The id that a page goes on from.
    last_id: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    kind: String,
    data: String,
    id: String,
}

impl Events {
    fn of(text: &[u8]) -> Self {
        let text = text.strip_prefix(MARK).unwrap_or(text);
        let lines = lines(text);
        let mut events = Self::default();
        let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
        // The last one is not ended, and means nothing.
        for line in &lines[..lines.len() - 1] {
            let line = String::from_utf8_lossy(line);
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    let kind = if kind.is_empty() { "message".into() } else { kind.clone() };
                    events.all.push(Event { kind, data: data.into(), id: id.clone() });
                }
                kind.clear();
                data.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => kind = value.into(),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => id = value.into(),
                _ => {}
            }
        }
        events.last_id = id;
        events
    }
}
