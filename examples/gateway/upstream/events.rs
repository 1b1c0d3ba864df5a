//! The events of an answer, whole ones only, and an error where there should be more of them.
//!
//! 1. What has come is passed on up to the end of its last whole event, so that whatever cuts the stream short does so
//!    between two events.
//! 2. Line ends are passed on as LF: of a CR LF that comes in two parts a client would make two lines.
//! 3. An event whose data are no JSON is none of this API's, and the last of them is known: `[DONE]`, or one that names
//!    the end of a response. A stream that ends without is one that was cut.
//! 4. Nor is an error that shows the gateway's key: a server may repeat what it was asked.
//! 5. The upstream is asked for more when the caller has taken what there was, and is left as soon as all is said.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use memchr::{memchr, memmem};
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::{
    Api,
    words::{Fault, Last},
};
use crate::config::Secret;

/// How long an event may be, in bytes: room for a picture.
const MOST: usize = 16 * 1024 * 1024;

pub struct Events {
    /// Until the last of it was read, or no more of it is wanted.
    upstream: Option<Incoming>,
    api: Api,
    patience: Duration,
    /// What the upstream was shown.
    key: Option<Secret>,
    /// For as long as nothing comes.
    pause: Option<Pin<Box<Sleep>>>,
    /// Lines of an event that is not whole.
    lines: Lines,
    /// Whether a completion has said that it is complete, or an event that there is an error.
    is_complete: bool,
    choices: Choices,
    /// What is to be said after what was passed on.
    fault: Option<Fault>,
    last: Last,
}

impl Events {
    pub fn new(upstream: Incoming, api: Api, patience: Duration, key: Option<Secret>, last: Last) -> Self {
        let (upstream, lines) = (Some(upstream), Lines::default());
        Self {
            upstream,
            api,
            patience,
            key,
            pause: None,
            lines,
            is_complete: false,
            choices: Choices::default(),
            fault: None,
            last,
        }
    }

    /// The events that are whole, up to the first that is none of this API's or the last that there is.
    fn take(&mut self) -> Option<Bytes> {
        let mut whole = self.lines.take_whole()?;
        let mut passed = 0;
        while passed < whole.len() {
            let end = memmem::find(&whole[passed..], b"\n\n").map_or(whole.len(), |at| passed + at + 2);
            match Event::of(&whole[passed..end], self.api, self.key.as_ref(), &self.last, &mut self.choices) {
                Event::Foreign => {
                    self.fault = Some(Fault::Invalid);
                    self.upstream = None;
                    break;
                }
                Event::Last => {
                    (self.is_complete, self.upstream) = (true, None);
                    passed = end;
                    break;
                }
                Event::Complete => self.is_complete = true,
                Event::Incomplete => self.is_complete = false,
                Event::Other => {}
            }
            passed = end;
        }
        whole.truncate(passed);
        (!whole.is_empty()).then_some(whole)
    }

    fn fails(&mut self, fault: Fault) {
        self.upstream = None;
        if !self.is_complete {
            self.fault = Some(fault);
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            let Some(upstream) = &mut this.upstream else {
                return Poll::Ready(this.fault.take().map(|fault| {
                    tracing::warn!(%fault, api = this.api.path(), "a stream from the upstream was cut short");
                    Ok(Frame::data(fault.last_words(this.api, &this.last)))
                }));
            };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(frame) => {
                    this.pause = None;
                    match frame {
                        None | Some(Err(_)) => this.fails(Fault::Cut),
                        Some(Ok(frame)) => {
                            let Some(data) = frame.data_ref() else { continue };
                            this.lines.push(data);
                            if let Some(whole) = this.take() {
                                return Poll::Ready(Some(Ok(Frame::data(whole))));
                            }
                            if this.lines.len() > MOST {
                                this.fails(Fault::TooLong);
                            }
                        }
                    }
                }
                Poll::Pending => {
                    let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(this.patience)));
                    ready!(pause.as_mut().poll(cx));
                    this.fails(Fault::Silent);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_none() && self.fault.is_none()
    }
}

/// Lines that end with LF, whatever they came with.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    /// How many of them are known to end no event.
    searched: usize,
    after_cr: bool,
}

impl Lines {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, mut more: &[u8]) {
        if std::mem::take(&mut self.after_cr) && more.first() == Some(&b'\n') {
            more = &more[1..];
        }
        while let Some(at) = memchr(b'\r', more) {
            self.bytes.extend_from_slice(&more[..at]);
            self.bytes.extend_from_slice(b"\n");
            more = &more[at + 1..];
            match more.first() {
                None => self.after_cr = true,
                Some(b'\n') => more = &more[1..],
                Some(_) => {}
            }
        }
        self.bytes.extend_from_slice(more);
    }

    /// All up to the end of the last whole event.
    fn take_whole(&mut self) -> Option<Bytes> {
        let from = self.searched.saturating_sub(1);
        let end = memmem::rfind(&self.bytes[from..], b"\n\n").map(|at| from + at + 2);
        self.searched = self.bytes.len() - end.unwrap_or(0);
        end.map(|end| self.bytes.split_to(end).freeze())
    }
}

/// What an event says of the stream that it is in.
enum Event {
    Other,
    /// The answer is complete, though there may be more to say.
    Complete,
    /// A part of it is not.
    Incomplete,
    /// There is nothing more to say.
    Last,
    /// It is no event of this API.
    Foreign,
}

impl Event {
    /// `last` is told what there is to know of it later.
    fn of(event: &[u8], api: Api, key: Option<&Secret>, last: &Last, choices: &mut Choices) -> Self {
        let Some(data) = data(event) else { return Self::Other };
        if data.trim_ascii() == b"[DONE]" {
            return Self::Last;
        }
        let Ok(mut data) = serde_json::from_slice::<Value>(&data) else { return Self::Foreign };
        // What is said of what went wrong may be what was asked, and the key with it.
        let is_error = !data["error"].is_null() || matches!(data["type"].as_str(), Some("error" | "response.failed"));
        if is_error && key.is_some_and(|key| key.is_in(event)) {
            return Self::Foreign;
        }
        let event = match (api, data["type"].as_str()) {
            _ if !data["error"].is_null() && api == Api::Chat => Self::Complete,
            (Api::Responses, Some("response.completed" | "response.failed" | "response.incomplete")) => Self::Last,
            (Api::Responses, Some("error")) => Self::Complete,
            (Api::Chat, _) => match data["choices"].as_array() {
                Some(said) if !said.is_empty() => {
                    said.iter().for_each(|choice| choices.note(choice));
                    if choices.are_finished() { Self::Complete } else { Self::Incomplete }
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        };
        last.was(&mut data);
        event
    }
}

/// The choices of a completion that have begun, and whether each is finished.
#[derive(Default)]
struct Choices(BTreeMap<u64, bool>);

impl Choices {
    /// More are not told apart.
    const MOST: usize = 1024;

    fn note(&mut self, choice: &Value) {
        let index = choice["index"].as_u64().unwrap_or(0);
        if self.0.len() < Self::MOST || self.0.contains_key(&index) {
            *self.0.entry(index).or_default() |= !choice["finish_reason"].is_null();
        }
    }

    fn are_finished(&self) -> bool {
        self.0.values().all(|is_finished| *is_finished)
    }
}

/// The data of an event (WHATWG HTML section 9.2.6). `None` if it has none.
fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let value = |line: &[u8]| {
        let value = line.strip_prefix(b"data")?;
        let value = if value.is_empty() { value } else { value.strip_prefix(b":")? };
        Some(value.strip_prefix(b" ").unwrap_or(value).len())
    };
    let event = event.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(event);
    let mut lines =
        event.split(|byte| *byte == b'\n').filter_map(|line| value(line).map(|length| &line[line.len() - length..]));
    let first = lines.next()?;
    match lines.next() {
        None => Some(Cow::Borrowed(first)),
        Some(second) => {
            let rest = [first, second].into_iter().chain(lines).collect::<Vec<_>>();
            Some(Cow::Owned(rest.join(&b'\n')))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_come() {
        let text = b"data: 1\r\n\r\n: x\r\rdata: 2\n\nevent: a\r\ndata: 3\r\n\r\ndata: 4";
        let expected = "data: 1\n\n: x\n\ndata: 2\n\nevent: a\ndata: 3\n\n";
        for size in 1..text.len() {
            let (mut lines, mut whole) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece);
                if let Some(events) = lines.take_whole() {
                    assert!(events.ends_with(b"\n\n"));
                    whole.extend_from_slice(&events);
                }
            }
            // Of a CR that ends a piece it is not known whether it was half of a line's end, and it need not be.
            assert_eq!(String::from_utf8(whole).unwrap(), expected, "in pieces of {size}");
            assert_eq!(&lines.bytes[..], b"data: 4");
        }
    }

    #[test]
    fn the_data_of_an_event_are_its_lines() {
        for (event, expected) in [
            ("data: a\n\n", Some("a")),
            ("data:a\n\n", Some("a")),
            ("data:  a\n\n", Some(" a")),
            ("event: x\ndata: a\ndata: b\ndata\n\n", Some("a\nb\n")),
            (": data: a\n\n", None),
            ("database: a\n\n", None),
            ("\u{feff}data: a\n\n", Some("a")),
            ("\n\n", None),
        ] {
            let expected = expected.map(|text| Cow::Borrowed(text.as_bytes()));
            assert_eq!(data(event.as_bytes()), expected, "{event:?}");
        }
    }
}
