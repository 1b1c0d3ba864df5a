//! Why a credential is not good: for logs and metrics.

use std::fmt;

/// Why a credential is not good, in one word for a log and a metric. It is in no response: who probes a
/// verifier does not learn how close they came.
///
/// The word is written in a program's text and never made of what a client sent, so that there are no more
/// series of a metric than such words. A verifier of your own may have its own.
///
/// ```
/// use tower_reauth::verify::{Rejection, VerifyError};
///
/// const WRONG_TENANT: Rejection = Rejection::new("wrong_tenant");
/// let error = VerifyError::rejected(WRONG_TENANT);
/// assert_eq!(error.rejection(), Some(WRONG_TENANT));
/// assert_eq!(error.to_string(), VerifyError::Rejected.to_string());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rejection(&'static str);

impl Rejection {
    /// It is not what the verifier can read.
    pub const MALFORMED: Self = Self("malformed");
    /// It names a key that the verifier has not, or not any longer.
    pub const UNKNOWN_KEY: Self = Self("unknown_key");
    /// It is signed by another algorithm than its key is for.
    pub const WRONG_ALGORITHM: Self = Self("wrong_algorithm");
    /// Its signature is not its issuer's.
    pub const BAD_SIGNATURE: Self = Self("bad_signature");
    /// It is a token of another kind.
    pub const WRONG_TYPE: Self = Self("wrong_type");
    /// It has an extension that must be understood and is not.
    pub const CRITICAL_EXTENSION: Self = Self("critical_extension");
    /// It comes from somebody else.
    pub const WRONG_ISSUER: Self = Self("wrong_issuer");
    /// It is meant for somebody else.
    pub const WRONG_AUDIENCE: Self = Self("wrong_audience");
    /// It lacks a claim that it must have.
    pub const MISSING_CLAIM: Self = Self("missing_claim");
    /// One of its claims is not what that claim must be.
    pub const INVALID_CLAIM: Self = Self("invalid_claim");
    /// It is not good yet.
    pub const NOT_YET_VALID: Self = Self("not_yet_valid");
    /// It is good only with the proof of a key, which did not come with it.
    pub const BOUND_TO_KEY: Self = Self("bound_to_key");
    /// Its issuer says that it is not in use.
    pub const INACTIVE: Self = Self("inactive");

    /// A reason of your own: one word, in the style of those above.
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self(word)
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejection({})", self.0)
    }
}
