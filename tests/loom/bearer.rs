//! What the sources take from `src/bearer`.

#[expect(dead_code, reason = "a model says what is answered, and has no verifier")]
#[path = "../../src/bearer/verify.rs"]
mod verify;

pub(crate) use tower_reauth::bearer::{BearerToken, TokenDigest};

pub(crate) use self::verify::{Verification, VerifyError};
