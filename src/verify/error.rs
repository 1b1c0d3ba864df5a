//! Why a verifier did not answer with an identity.

use std::{error::Error, fmt, time::Duration};

use super::Rejection;

/// Why a verifier did not answer with an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is not good: unknown, or malformed to the verifier. Answered with 401.
    Rejected,
    /// As [`Rejected`](Self::Rejected), by a verifier that says why: made by [`rejected`](Self::rejected). The
    /// two differ in what is logged and counted, and in nothing else.
    #[non_exhaustive]
    RejectedFor {
        /// For a log and a metric, and for no response.
        reason: Rejection,
    },
    /// The token was good once, and its time is over. Answered with 401.
    Expired,
    /// The token was good once, and was taken back. Answered with 401. For a verifier that remembers
    /// what it revoked; like an expired token, and unlike an unknown one, it is no guess at a secret.
    Revoked,
    /// The caller failed too often and is locked out for a while. Answered with 429.
    #[non_exhaustive]
    LockedOut {
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// The verifier cannot tell: its key set or database cannot be reached. Answered with 503, so
    /// that nobody throws a good token away.
    #[non_exhaustive]
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
}

impl VerifyError {
    /// The token is not good, for this reason.
    #[must_use]
    pub const fn rejected(reason: Rejection) -> Self {
        Self::RejectedFor { reason }
    }

    /// Whether the token is not good, and no more is known of it: said with a reason or without.
    #[must_use]
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected | Self::RejectedFor { .. })
    }

    /// Why the token is not good, where its verifier says so.
    #[must_use]
    pub const fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::RejectedFor { reason } => Some(*reason),
            _ => None,
        }
    }

    /// The verifier cannot tell; ask again in a second.
    #[must_use]
    pub const fn unavailable() -> Self {
        Self::unavailable_for(Duration::from_secs(1))
    }

    /// The verifier cannot tell; ask again after `retry_after`.
    #[must_use]
    pub const fn unavailable_for(retry_after: Duration) -> Self {
        Self::Unavailable { retry_after }
    }

    /// The caller is locked out for another `retry_after`.
    #[must_use]
    pub const fn locked_out_for(retry_after: Duration) -> Self {
        Self::LockedOut { retry_after }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected | Self::RejectedFor { .. } => "the token is not good",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
            Self::LockedOut { .. } => "too many failed attempts",
            Self::Unavailable { .. } => "the verifier cannot tell",
        })
    }
}

impl Error for VerifyError {}
