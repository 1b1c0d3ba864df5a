//! Every reason for which a stream ends.

use std::{error::Error, fmt, sync::Arc};

use crate::{Denied, Identity};

/// Every way a stream can end. The first one wins, and it is what metrics and logs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The inner body came to its end.
    Finished,
    /// The inner body failed, or panicked.
    Failed,
    /// The client went away, or the server dropped the response.
    Disconnected,
    /// The credential reached its expiry, or is about to: see
    /// [`with_early_close`](crate::StreamReauthLayer::with_early_close).
    Expired,
    /// The credential was revoked: its verifier rejects it now, or says that it is another caller's, or
    /// [`Revocations`](crate::revoke::Revocations) has it.
    Revoked,
    /// The caller no longer has the scopes that the route requires.
    ScopeLost,
    /// The caller is locked out.
    LockedOut,
    /// The verifier could not tell.
    Unavailable,
    /// The verifier did not answer in time.
    TimedOut,
    /// The verifier panicked, or other code of the application that decides about access.
    CheckPanicked,
    /// It was ended by hand, through [`OpenStreams`](crate::reauth::OpenStreams).
    Closed,
    /// The server ends, or takes its streams down for a while, through
    /// [`OpenStreams`](crate::reauth::OpenStreams).
    ShuttingDown,
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
            Self::Closed => "closed",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Whether the same credential may be good again soon, so that a client should come back.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut | Self::CheckPanicked | Self::LockedOut | Self::ShuttingDown)
    }

    /// Whether it is access that ended, and not what was streamed.
    pub(crate) fn is_access(self) -> bool {
        !matches!(self, Self::Finished | Self::Failed | Self::Disconnected)
    }

    /// The gRPC status code: 16 `UNAUTHENTICATED` and 7 `PERMISSION_DENIED` when access is gone, 14
    /// `UNAVAILABLE` when the same credential may be good again soon; 0 `OK`, 13 `INTERNAL` and 1
    /// `CANCELLED` when the stream finished, failed or was left by itself.
    #[must_use]
    pub fn grpc_status(self) -> u32 {
        match self {
            Self::Finished => 0,
            Self::Disconnected => 1,
            Self::ScopeLost | Self::Closed => 7,
            Self::Failed => 13,
            Self::LockedOut | Self::Unavailable | Self::TimedOut | Self::CheckPanicked | Self::ShuttingDown => 14,
            Self::Expired | Self::Revoked => 16,
        }
    }

    /// The WebSocket close code (RFC 6455 section 7.4.1 and its registry): 1008 `Policy Violation`
    /// when access is gone, 1013 `Try Again Later` when the same credential may be good again soon, 1001 `Going
    /// Away` when the server shuts down, 1000
    /// and 1011 when the stream finished or failed by itself.
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Finished | Self::Disconnected => 1000,
            Self::Failed => 1011,
            Self::ShuttingDown => 1001,
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
            Self::Closed => "it was ended by hand",
            Self::ShuttingDown => "the server is shutting down",
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
            Denied::CheckPanicked => Self::CheckPanicked,
            Denied::Missing
            | Denied::Malformed
            | Denied::Rejected
            | Denied::Revoked
            | Denied::NoHost
            | Denied::Misdirected
            | Denied::UnknownSession
            | Denied::ForeignSession
            | Denied::NoAccess { .. }
            | Denied::NoPeer => Self::Revoked,
        }
    }
}

/// A stream that has ended: why, and whose it was. For an audit log, a metric, a hook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// The first reason for which it ended.
    pub reason: EndReason,
    /// Who was calling, as of the last answer that the stream got. Its
    /// [`subject`](Identity::subject) and [`credential_id`](Identity::credential_id) are no secrets.
    pub identity: Identity,
    /// Its number in the registry, if its layer has [one](crate::StreamReauthLayer::with_registry).
    pub stream: Option<StreamId>,
    /// What its handler called it there.
    pub label: Option<Arc<str>>,
}

/// The number of a stream in its registry. None comes twice: a layer gives them from one upwards.
///
/// A handler whose client is to know the number, or whose numbers are not to be guessed, chooses it: it puts one
/// into the extensions of its response. One that another open stream has is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for StreamId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Access has ended: the error of a body that ends in an abort ([`Ending`](crate::reauth::Ending) says when
/// one does), of an upload, and of what is sent into a sink.
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
