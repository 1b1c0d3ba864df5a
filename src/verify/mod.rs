//! Is this credential good, and whose is it?
//!
//! - `verification`: [`VerifyToken`], the trait, and [`Verification`], its answer.
//! - `error`: [`VerifyError`], why there is no identity.
//! - `static_token`: [`StaticToken`], one secret.
//! - `tokens`: [`Tokens`], many tokens, each with a name, a subject, scopes and an expiry.
//! - `token`: [`BearerToken`], what a request presents, and [`TokenDigest`], how tokens are kept.
//! - `key`: [`CredentialKey`], which tells credentials apart without keeping them.
//!
//! A new verifier is a file here, behind a feature of its own if it needs a crate, and its tests are a
//! file of `tests/library`. It implements [`VerifyToken`], and owns a
//! [`Revision`](crate::revoke::Revision) if it can tell when its answers change.

mod error;
mod key;
mod static_token;
mod token;
mod tokens;
mod verification;

pub use self::{
    error::VerifyError,
    key::CredentialKey,
    static_token::StaticToken,
    token::{BearerToken, TokenDigest},
    tokens::{DuplicateToken, Token, Tokens},
    verification::{Verification, VerifyToken, verify_async},
};

use crate::Denied;

impl From<VerifyError> for Denied {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Rejected => Self::Rejected,
            VerifyError::Expired => Self::Expired,
            VerifyError::Revoked => Self::Revoked,
            VerifyError::LockedOut { retry_after } => Self::LockedOut { retry_after },
            VerifyError::Unavailable { retry_after } => Self::Unavailable { retry_after },
        }
    }
}
