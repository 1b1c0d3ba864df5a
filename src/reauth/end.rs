//! What a client sees when its access ends.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use crate::{ended::EndReason, grpc, media_type::essence};

/// What a client sees when its access ends.
///
/// An ending follows the format of the response, so that one layer serves them all and no cut looks like
/// a success:
///
/// | response | its end |
/// | --- | --- |
/// | `application/grpc` | trailers, whatever is chosen here |
/// | `application/grpc-web` | a last message with the trailers between two messages, else an abort |
/// | `application/grpc-web-text`, and gRPC-Web under a `Content-Encoding` | an abort |
/// | any other under a `Content-Encoding` | the bytes so far and no more, or an abort |
/// | `text/event-stream` | what is chosen here; between two events only, else the bytes so far and no more |
/// | any other | what is chosen here |
///
/// Chosen for all streams of a layer by [`with_ending`](super::StreamReauthLayer::with_ending), or for one by its
/// handler, which puts an `Ending` into the extensions of its response: for last words that depend on the request.
///
/// ```
/// use http::Response;
/// use tower_reauth::reauth::Ending;
///
/// # let (mut response, job) = (Response::new(()), 7);
/// response.extensions_mut().insert(Ending::last_bytes(move |cut| {
///     format!("event: cut\ndata: {{\"job\":{job},\"reason\":\"{}\"}}\n\n", cut.reason.as_str()).into()
/// }));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Ending {
    /// A clean end: the bytes so far, and no more.
    #[default]
    Clean,
    /// A last server-sent event named `reauth`, whose `data` is
    /// `{"reason":"expired","reconnect":false}`, with the
    /// [`retry`](super::StreamReauthLayer::with_retry) time where to reconnect is sensible. A response
    /// that is no event stream ends cleanly.
    LastEvent,
    /// Last bytes of your own, made by [`last_bytes`](Self::last_bytes).
    LastBytes(LastBytes),
    /// An abort: HTTP/1.1 without the last chunk, HTTP/2 `RST_STREAM`. For formats in which a clean
    /// end would make the part that arrived look like the whole. The body's error is an
    /// [`AccessEnded`](super::AccessEnded).
    Abort,
    /// Trailers as those of gRPC, `grpc-status` and `grpc-message`, for a response that does not say that it
    /// is gRPC.
    GrpcTrailers,
}

/// Writes the last bytes of a response: see [`Ending::last_bytes`].
#[derive(Clone)]
pub struct LastBytes(Arc<dyn Fn(&CutBody<'_>) -> Bytes + Send + Sync>);

/// A body that is cut short, for [`Ending::last_bytes`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CutBody<'a> {
    /// Why.
    pub reason: EndReason,
    /// The `Content-Type` of the response.
    pub content_type: Option<&'a HeaderValue>,
    /// Whether the bytes so far end in the middle of a line.
    pub is_line_open: bool,
}

impl CutBody<'_> {
    /// Whether the response is an event stream.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.content_type.is_some_and(|value| essence(value).eq_ignore_ascii_case(b"text/event-stream"))
    }
}

impl Ending {
    /// Last bytes of your own, where an end is otherwise clean. They are left out in the middle of an
    /// event of an event stream, under a `Content-Encoding`, and where gRPC says how it ends. If `write`
    /// panics the response is aborted.
    ///
    /// ```
    /// use tower_reauth::reauth::Ending;
    ///
    /// let json_lines = Ending::last_bytes(|cut| {
    ///     let before = if cut.is_line_open { "\n" } else { "" };
    ///     format!("{before}{{\"ended\":\"{}\"}}\n", cut.reason.as_str()).into()
    /// });
    /// # let _ = json_lines;
    /// ```
    #[must_use]
    pub fn last_bytes(write: impl Fn(&CutBody<'_>) -> Bytes + Send + Sync + 'static) -> Self {
        Self::LastBytes(LastBytes(Arc::new(write)))
    }
}

impl LastBytes {
    pub(super) fn write(&self, cut: &CutBody<'_>) -> Bytes {
        (self.0)(cut)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "Clean",
            Self::LastEvent => "LastEvent",
            Self::LastBytes(_) => "LastBytes",
            Self::Abort => "Abort",
            Self::GrpcTrailers => "GrpcTrailers",
        })
    }
}

impl fmt::Debug for LastBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastBytes")
    }
}

/// The last event. It always has `data`: an event without is dropped by every browser.
pub(super) fn last_event(reason: EndReason, retry: Duration) -> Bytes {
    let reconnect = reason.is_transient();
    let retry = if reconnect { format!("retry: {}\n", milliseconds(retry)) } else { String::new() };
    format!("event: reauth\n{retry}data: {{\"reason\":\"{}\",\"reconnect\":{reconnect}}}\n\n", reason.as_str()).into()
}

/// The `retry` of an event stream, rounded up: zero would be a client that comes back at once and for
/// ever. At most 24 days, for clients wait by a timer that takes a longer time for none at all.
fn milliseconds(retry: Duration) -> u128 {
    const MOST: u128 = i32::MAX as u128;
    retry.as_nanos().div_ceil(1_000_000).min(MOST)
}

/// The trailers that end a gRPC call.
pub(super) fn grpc_trailers(reason: EndReason) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(grpc::STATUS, HeaderValue::from(reason.grpc_status()));
    trailers.insert(grpc::MESSAGE, HeaderValue::from_static(reason.as_str()));
    trailers
}

/// The same as the last message of a gRPC-Web body.
pub(super) fn grpc_web_trailers(reason: EndReason) -> Bytes {
    const TRAILERS: u8 = 0x80;
    let text = format!("grpc-status:{}\r\ngrpc-message:{}\r\n", reason.grpc_status(), reason.as_str());
    let mut message = BytesMut::with_capacity(5 + text.len());
    message.put_u8(TRAILERS);
    message.put_u32(text.len() as u32);
    message.put_slice(text.as_bytes());
    message.freeze()
}
