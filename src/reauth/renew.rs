//! Why an open stream did not take over a fresh credential.

use std::{error::Error, fmt};

use crate::Denied;

/// Why [`Access::renew`](crate::Access::renew) left an access as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenewError {
    /// The fresh credential belongs to another subject.
    OtherSubject,
    /// The fresh credential is older than the one that is in use: it expires earlier or, where both
    /// expire at the same time, was issued earlier.
    Older,
    /// The fresh credential is no longer good, or its scopes are not enough for what was required.
    Denied(Denied),
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSubject => f.write_str("the fresh credential belongs to another subject"),
            Self::Older => f.write_str("the fresh credential is older than the one in use"),
            Self::Denied(denied) => write!(f, "the fresh credential does not do: {denied}"),
        }
    }
}

impl Error for RenewError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::OtherSubject | Self::Older => None,
        }
    }
}
