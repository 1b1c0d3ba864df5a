//! Why a stream ended, and how that is said.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::Denied;

/// Every way a stream can end. The first one wins, and it is what metrics and logs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The inner body came to its end.
    Finished,
    /// The inner body failed.
    Failed,
    /// The client went away, or the server dropped the response.
    Disconnected,
    /// The credential reached its expiry.
    Expired,
    /// The credential was revoked: its verifier rejects it now, or
    /// [`Revocations`](super::Revocations) does.
    Revoked,
    /// The caller no longer has the scopes that the route requires.
    ScopeLost,
    /// The caller is locked out.
    LockedOut,
    /// The verifier could not tell.
    Unavailable,
    /// The verifier did not answer in time.
    TimedOut,
    /// The verifier panicked.
    CheckPanicked,
}

impl EndReason {
    /// One word for a metric, a log or a last event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::ScopeLost => "scope_lost",
            Self::LockedOut => "locked_out",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::CheckPanicked => "check_panicked",
        }
    }

    /// Whether the same credential may be good again soon, so that a client should come back.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut | Self::CheckPanicked | Self::LockedOut)
    }

    /// The gRPC status code: 16 `UNAUTHENTICATED`, 7 `PERMISSION_DENIED`, 14 `UNAVAILABLE`.
    #[must_use]
    pub fn grpc_status(self) -> u32 {
        match self {
            Self::ScopeLost => 7,
            reason if reason.is_transient() => 14,
            _ => 16,
        }
    }

    /// The WebSocket close code (RFC 6455 section 7.4.1 and its registry): 1008 `Policy Violation`
    /// when access is gone, 1013 `Try Again Later` when the verifier could not tell, 1000 and 1011
    /// when the stream finished or failed by itself.
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Finished | Self::Disconnected => 1000,
            Self::Failed => 1011,
            reason if reason.is_transient() => 1013,
            _ => 1008,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the response is complete",
            Self::Failed => "the response failed",
            Self::Disconnected => "the client has gone",
            Self::Expired => "the credential has expired",
            Self::Revoked => "the credential is no longer good",
            Self::ScopeLost => "a required scope was lost",
            Self::LockedOut => "too many failed attempts",
            Self::Unavailable => "the credential cannot be verified now",
            Self::TimedOut => "the verifier did not answer in time",
            Self::CheckPanicked => "the verifier panicked",
        })
    }
}

impl From<&Denied> for EndReason {
    fn from(denied: &Denied) -> Self {
        match denied {
            Denied::Expired => Self::Expired,
            Denied::InsufficientScope { .. } => Self::ScopeLost,
            Denied::LockedOut { .. } => Self::LockedOut,
            Denied::Unavailable { .. } => Self::Unavailable,
            Denied::Missing | Denied::Malformed | Denied::Rejected | Denied::NoAccess { .. } | Denied::NoPeer => {
                Self::Revoked
            }
        }
    }
}

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
    /// [`AccessEnded`].
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
    let retry = if reconnect { format!("retry: {}\n", retry.as_millis()) } else { String::new() };
    format!("event: reauth\n{retry}data: {{\"reason\":\"{}\",\"reconnect\":{reconnect}}}\n\n", reason.as_str()).into()
}

/// The trailers that end a gRPC call.
pub(super) fn grpc_trailers(reason: EndReason) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(reason.grpc_status()));
    trailers.insert("grpc-message", HeaderValue::from_static(reason.as_str()));
    trailers
}

/// The error of a body whose ending is [`Ending::Abort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessEnded {
    /// Why.
    pub reason: EndReason,
}

impl fmt::Display for AccessEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access ended: {}", self.reason)
    }
}

impl Error for AccessEnded {}
