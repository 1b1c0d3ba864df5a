//! Every reason to refuse, and what the field's standards answer to it.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;

use crate::scope::Requirement;

/// Why a request was refused.
///
/// | reason | status | `error` of the challenge (RFC 6750 section 3.1) | gRPC |
/// | --- | --- | --- | --- |
/// | [`Missing`](Self::Missing) | 401 | none: the challenge says how to authenticate, and no more | 16 `UNAUTHENTICATED` |
/// | [`Malformed`](Self::Malformed) | 400 | `invalid_request` | 16 `UNAUTHENTICATED` |
/// | [`Rejected`](Self::Rejected), [`Expired`](Self::Expired), [`Revoked`](Self::Revoked) | 401 | `invalid_token` | 16 `UNAUTHENTICATED` |
/// | [`InsufficientScope`](Self::InsufficientScope) | 403 | `insufficient_scope`, and scopes that are enough | 7 `PERMISSION_DENIED` |
/// | [`LockedOut`](Self::LockedOut) | 429 | no challenge; `Retry-After` | 14 `UNAVAILABLE` |
/// | [`Unavailable`](Self::Unavailable) | 503 | no challenge; `Retry-After` | 14 `UNAVAILABLE` |
/// | [`NoHost`](Self::NoHost) | 400 | no challenge | 3 `INVALID_ARGUMENT` |
/// | [`Misdirected`](Self::Misdirected) | 421 | no challenge | 7 `PERMISSION_DENIED` |
/// | [`UnknownSession`](Self::UnknownSession), [`ForeignSession`](Self::ForeignSession) | 404 | no challenge | 5 `NOT_FOUND` |
/// | [`CheckPanicked`](Self::CheckPanicked), [`NoAccess`](Self::NoAccess), [`NoPeer`](Self::NoPeer) | 500 | no challenge | 13 `INTERNAL` |
///
/// It is also in the extensions of each refusal's response, so that a layer further out sees why; and a
/// handler refuses with one: see [`respond`](crate::respond).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The request presents no credential.
    Missing,
    /// The request presents something that is not one credential.
    Malformed,
    /// The credential is not good.
    Rejected,
    /// The credential was good once, and its time is over.
    Expired,
    /// The credential was good once, and was taken back.
    Revoked,
    /// The caller failed too often.
    #[non_exhaustive]
    LockedOut {
        /// How long the lock still holds.
        retry_after: Duration,
    },
    /// The credential is good, but not for this.
    #[non_exhaustive]
    InsufficientScope {
        /// All that is required, whatever part of it the caller has.
        required: Requirement,
    },
    /// The verifier cannot tell.
    #[non_exhaustive]
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The request does not name the one host that it is for (RFC 9112 section 3.2).
    NoHost,
    /// The request is for a host that is not served here, or from a page of such a one (RFC 9110 section
    /// 15.5.20).
    Misdirected,
    /// The request names a session that nobody began, or that is forgotten.
    UnknownSession,
    /// The request names a session that another caller began. For logs and metrics alone: it is answered as
    /// [`UnknownSession`](Self::UnknownSession), for nobody learns which sessions there are.
    ForeignSession,
    /// The verifier, or other code of the application that decides who is let in, panicked.
    CheckPanicked,
    /// A layer found no [`Access`](crate::Access) in the request: the stack is put together wrongly.
    #[non_exhaustive]
    NoAccess {
        /// The layer that needed it.
        layer: &'static str,
    },
    /// The request does not say which peer sent it: the server is put together wrongly.
    NoPeer,
}

impl Denied {
    /// No [`Access`](crate::Access) was found by `layer`, a layer or handler of your own.
    #[must_use]
    pub const fn no_access(layer: &'static str) -> Self {
        Self::NoAccess { layer }
    }

    /// The status that goes with the reason (RFC 6750 section 3.1, RFC 9110 section 15, RFC 6585
    /// section 4).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Rejected | Self::Expired | Self::Revoked => StatusCode::UNAUTHORIZED,
            Self::Malformed | Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownSession | Self::ForeignSession => StatusCode::NOT_FOUND,
            Self::LockedOut { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::CheckPanicked | Self::NoAccess { .. } | Self::NoPeer => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How long to wait before asking again: the `Retry-After` of RFC 9110 section 10.2.3.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LockedOut { retry_after } | Self::Unavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The gRPC status code that goes with the reason, by the table above.
    #[must_use]
    pub fn grpc_status(&self) -> u32 {
        match self {
            Self::Missing | Self::Malformed | Self::Rejected | Self::Expired | Self::Revoked => 16,
            Self::InsufficientScope { .. } | Self::Misdirected => 7,
            Self::NoHost => 3,
            Self::UnknownSession | Self::ForeignSession => 5,
            Self::LockedOut { .. } | Self::Unavailable { .. } => 14,
            Self::CheckPanicked | Self::NoAccess { .. } | Self::NoPeer => 13,
        }
    }

    /// What the client and the layers further out are told.
    pub(crate) fn told(&self) -> &Self {
        if let Self::ForeignSession = self { &Self::UnknownSession } else { self }
    }

    /// One word for a metric, a log or a `grpc-message`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::LockedOut { .. } => "locked_out",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::Unavailable { .. } => "unavailable",
            Self::NoHost => "no_host",
            Self::Misdirected => "misdirected",
            Self::UnknownSession => "unknown_session",
            Self::ForeignSession => "foreign_session",
            Self::CheckPanicked => "check_panicked",
            Self::NoAccess { .. } => "no_access",
            Self::NoPeer => "no_peer",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no credential was presented"),
            Self::Malformed => f.write_str("the credential is malformed"),
            Self::Rejected => f.write_str("the credential is not good"),
            Self::Expired => f.write_str("the credential has expired"),
            Self::Revoked => f.write_str("the credential was revoked"),
            Self::LockedOut { .. } => f.write_str("too many failed attempts"),
            Self::InsufficientScope { required } => match required.sufficient() {
                none if none.is_empty() => f.write_str("no scope is enough"),
                scopes => write!(f, "the scopes that are needed: {scopes}"),
            },
            Self::Unavailable { .. } => f.write_str("the credential cannot be verified now"),
            Self::NoHost => f.write_str("the request does not name one host"),
            Self::Misdirected => f.write_str("the host is not served here"),
            Self::UnknownSession | Self::ForeignSession => f.write_str("there is no such session"),
            Self::CheckPanicked => f.write_str("the check of the credential panicked"),
            Self::NoAccess { layer } => {
                write!(f, "{layer} found no Access in the request: put BearerAuthLayer, or your own source, outside it")
            }
            Self::NoPeer => f.write_str("the request carries no PeerAddr: insert one for each accepted connection"),
        }
    }
}

impl Error for Denied {}
