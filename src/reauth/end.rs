//! What a client sees when its access ends.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::{ended::EndReason, grpc};

/// What a client sees when its access ends.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Ending {
    /// A clean end: the bytes so far, and no more.
    #[default]
    Clean,
    /// A last server-sent event named `reauth`, whose `data` is
    /// `{"reason":"expired","reconnect":false}`, with the
    /// [`retry`](super::StreamReauthLayer::with_retry) time where to reconnect is sensible. It is left out in the middle of another event and in a response that is not an event stream.
    LastEvent,
    /// Last bytes of your own, by reason, where an end is otherwise clean. They are left out in the
    /// middle of an event of an event stream, and under a `Content-Encoding`.
    LastBytes(Arc<dyn Fn(EndReason) -> Bytes + Send + Sync>),
    /// An abort: HTTP/1.1 without the last chunk, HTTP/2 `RST_STREAM`. For formats in which a clean
    /// end would make the part that arrived look like the whole. The body's error is an
    /// [`AccessEnded`](super::AccessEnded).
    Abort,
    /// gRPC trailers: `grpc-status` and `grpc-message`.
    GrpcTrailers,
}

impl Ending {
    /// Last bytes of your own, by reason.
    #[must_use]
    pub fn last_bytes(write: impl Fn(EndReason) -> Bytes + Send + Sync + 'static) -> Self {
        Self::LastBytes(Arc::new(write))
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
