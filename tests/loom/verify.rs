//! What the sources take from `src/verify`.

#[expect(dead_code, reason = "a model needs few of them")]
#[path = "../../src/verify/error.rs"]
mod error;
#[path = "../../src/verify/verification.rs"]
mod verification;

pub(crate) use tower_reauth::verify::{Rejection, TokenDigest};

pub(crate) use self::{error::VerifyError, verification::Verification};
