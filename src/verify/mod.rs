//! Is this credential good, and whose is it?
//!
//! - `verify_token`: [`VerifyToken`], the trait.
//! - `verification`: [`Verification`], its answer, now or later.
//! - `closure`: [`verify_fn`] and [`verify_async`], which make verifiers of closures.
//! - `error`: [`VerifyError`], why there is no identity.
//! - `secret`: [`InvalidSecret`], a text that nobody could present.
//! - `static_token`: [`StaticToken`], one secret.
//! - `tokens`: [`Tokens`], many tokens, each with a name, a subject, scopes and an expiry.
//! - `token`: [`BearerToken`], what a request presents, and [`TokenDigest`], how tokens are kept.
//! - `key`: [`CredentialKey`], which tells credentials apart without keeping them.
//!
//! A new verifier is a file here, behind a feature of its own if it needs a crate, and its tests are a
//! file of `tests/library`. It implements [`VerifyToken`], and owns a
//! [`Revision`](crate::revoke::Revision) if it can tell when its answers change.

mod closure;
mod error;
mod key;
mod secret;
mod static_token;
mod token;
mod tokens;
mod verification;
mod verify_token;

pub(crate) use self::token::KeptToken;
pub use self::{
    closure::{VerifyAsync, VerifyFn, verify_async, verify_fn},
    error::VerifyError,
    key::CredentialKey,
    secret::InvalidSecret,
    static_token::StaticToken,
    token::{BearerToken, TokenDigest},
    tokens::{DuplicateToken, Token, Tokens},
    verification::Verification,
    verify_token::VerifyToken,
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
