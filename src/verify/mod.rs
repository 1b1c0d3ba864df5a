//! Is this credential good, and whose is it?
//!
//! A verifier implements [`VerifyToken`]: [`StaticToken`] is one secret, [`Tokens`] many, [`verify_fn`] and
//! [`verify_async`] make one of a closure. Under features of their names, `jwt` is the module of signed tokens and `jwks`
//! that of the keys of who signs them, `Introspection` asks an authorization server about each token, and `Cached` goes
//! around a verifier that must be waited for.

// - `verify_token`: the trait; `verification`: its answer, now or later; `error`: why there is no identity, and `rejection`: in
//   a word for logs.
// - `closure`: verifiers of closures; `cached`: a cache around any.
// - `introspection`: one that asks an authorization server.
// - `static_token`, `tokens`: one secret; many tokens, each with a name, a subject, scopes and an expiry.
// - `jwt`: signed tokens, and the keys to check them with; `jwks`: keys that are fetched.
// - `secret`: what makes a text one that nobody could present.
// - `token`: what a request presents, and how tokens are kept; `key`: what tells credentials apart.
//
// # A new verifier
//
// It is a file here, behind a feature of its own if it needs a crate, and its tests are a file of
// `tests/library`. It implements `VerifyToken::verify`, and owns a `Revision` if it can tell when its answers
// change. Of the `Identity` it gives what the credential says: `expires_at`, `issuer`, `issued_at` and
// `credential_id`. The door judges the expiry (`access/policy.rs`); revocation goes by the other three.

#[cfg(feature = "cached")]
mod cached;
mod closure;
mod error;
#[cfg(feature = "introspection")]
mod introspection;
#[cfg(feature = "jwks")]
pub mod jwks;
#[cfg(feature = "_jwt")]
pub mod jwt;
mod key;
mod rejection;
mod secret;
mod static_token;
mod token;
mod tokens;
mod verification;
mod verify_token;

#[cfg(feature = "cached")]
pub use self::cached::Cached;
#[cfg(feature = "introspection")]
pub use self::introspection::{ClientAuth, Introspection, InvalidEndpoint};
pub(crate) use self::token::KeptToken;
pub use self::{
    closure::{VerifyAsync, VerifyFn, verify_async, verify_fn},
    error::VerifyError,
    key::CredentialKey,
    rejection::Rejection,
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
            VerifyError::Rejected | VerifyError::RejectedFor { .. } => Self::Rejected,
            VerifyError::Expired => Self::Expired,
            VerifyError::Revoked => Self::Revoked,
            VerifyError::LockedOut { retry_after } => Self::LockedOut { retry_after },
            VerifyError::Unavailable { retry_after } => Self::Unavailable { retry_after },
        }
    }
}
