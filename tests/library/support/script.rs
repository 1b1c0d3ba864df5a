//! A body that says what it is told.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body, and what it is told.
pub fn script() -> (Feed, Script) {
    let shared = Arc::new(Mutex::new(State::default()));
    (Feed(Arc::clone(&shared)), Script(shared))
}

/// The body.
pub struct Script(Arc<Mutex<State>>);

/// What the body is told.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    is_last_known: bool,
    is_dropped: bool,
    reader: Option<Waker>,
}

enum Line {
    Frame(Frame<Bytes>),
    Failure,
    End,
    Aside(Box<dyn FnOnce() + Send>),
}

impl Feed {
    pub fn data(&self, data: impl Into<Bytes>) {
        self.add(Line::Frame(Frame::data(data.into())));
    }

    pub fn trailers(&self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().expect("a header value"));
        self.add(Line::Frame(Frame::trailers(trailers)));
    }

    pub fn failure(&self) {
        self.add(Line::Failure);
    }

    pub fn end(&self) {
        self.add(Line::End);
    }

    /// Does something in the middle of a poll, before the next line.
    pub fn aside(&self, act: impl FnOnce() + Send + 'static) {
        self.add(Line::Aside(Box::new(act)));
    }

    /// After the lines so far the body says that it is at its end, without being asked.
    pub fn knows_its_end(&self) {
        self.state().is_last_known = true;
    }

    pub fn is_dropped(&self) -> bool {
        self.state().is_dropped
    }

    fn add(&self, line: Line) {
        let mut state = self.state();
        state.lines.push_back(line);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with the lock held")
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let mut state = self.0.lock().expect("no test panics with the lock held");
            return Poll::Ready(match state.lines.pop_front() {
                Some(Line::Frame(frame)) => Some(Ok(frame)),
                Some(Line::Failure) => Some(Err(io::Error::other("the body failed"))),
                Some(Line::End) => None,
                Some(Line::Aside(act)) => {
                    drop(state);
                    act();
                    continue;
                }
                None => {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            });
        }
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock().expect("no test panics with the lock held");
        let data = |line: &Line| match line {
            Line::Frame(frame) => frame.data_ref().map_or(0, Bytes::len),
            Line::Failure | Line::End | Line::Aside(_) => 0,
        };
        let mut hint = SizeHint::new();
        hint.set_lower(state.lines.iter().map(data).sum::<usize>() as u64);
        hint
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock().expect("no test panics with the lock held");
        state.is_last_known && state.lines.is_empty()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let mut state = self.0.lock().expect("no test panics with the lock held");
        state.is_dropped = true;
        state.reader = None;
    }
}

/// A body that is at its end: what a refusal carries.
impl Default for Script {
    fn default() -> Self {
        let (feed, body) = script();
        feed.knows_its_end();
        body
    }
}

/// A body that always has something to say.
pub struct Torrent;

impl Torrent {
    pub const DROP: &str = "data: drop\n\n";
}

impl Body for Torrent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(Self::DROP.as_bytes())))))
    }
}
