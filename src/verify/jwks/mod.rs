//! The keys of an issuer, from where it publishes them: [`Jwks`].
//!
//! # The rules
//!
//! 1. Keys are fetched when [`Keys`](super::jwt::Keys) are made of a [`Jwks`], and from then on as often as the
//!    provider's `Cache-Control` says, within [bounds](Jwks::with_refresh): by a task that ends with the last
//!    handle on the keys.
//! 2. A token that names a key which is not known has the provider asked, once for all who wait, and no sooner
//!    than a [cooldown](Jwks::with_cooldown) after it was asked last. So strangers who make up ids cost it one
//!    request in that time, and a key that it has newly taken up is known by then at the latest.
//! 3. Only an answer of the provider's takes a key away: no error does, no time limit, and no unknown id. A set without
//!    a key that can be used is an answer, for the provider may have withdrawn each; one of keys that are broken is an
//!    error.
//! 4. While the provider cannot be reached its keys go on to be good, for [an outage](Jwks::with_outage) at most.
//!    After that, and before there were any, tokens are answered with
//!    [`VerifyError::unavailable`](super::VerifyError::unavailable), which is a 503. So are those whose key is
//!    not known while the provider does not answer: for all that can be said it may be a new one.
//! 5. A key that is withdrawn, or replaced under its id, moves the verifier's
//!    [`Revision`](crate::revoke::Revision): the streams of its tokens end at once.
//! 6. A service starts without its provider, and says so in the log. One that should not waits for
//!    [`Keys::ready`](super::jwt::Keys::ready).
//!
//! # In the log
//!
//! Under the feature `tracing`: `keys fetched` at INFO where they have changed, with their number; `keys not
//! fetched` at WARN with the error, and how long the known ones are still good. That there are none is an ERROR and,
//! without the feature, a line on standard error, once a minute at most.

mod cache_control;
mod error;
mod fetch;
mod log;
mod provider;
mod settings;

pub(super) use self::provider::Provider;
pub use self::{error::JwksError, settings::Jwks};
