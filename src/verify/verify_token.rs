//! What a verifier is.

use std::sync::Arc;

use super::{BearerToken, Verification};
use crate::revoke::Revision;

/// Is this token good, and whose is it?
///
/// Asked at the door, and again for as long as a response streams. Implemented by
/// [`StaticToken`](super::StaticToken) for one secret, by [`Tokens`](super::Tokens) for many, and by
/// whatever [`verify_fn`](super::verify_fn) and [`verify_async`](super::verify_async) make of a closure.
/// References, boxes and [`Arc`]s of verifiers are verifiers, `Box<dyn VerifyToken>` and
/// `Arc<dyn VerifyToken>` among them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not verify tokens",
    label = "not a `VerifyToken`",
    note = "for one secret, write `StaticToken::new(\"the secret\")`",
    note = "for a closure, write `verify_fn(|token| ..)`",
    note = "for an asynchronous closure, write `verify_async(async move |token| ..)`"
)]
pub trait VerifyToken: Send + Sync + 'static {
    /// Verifies `token`. Called often: a verifier that knows answers at once, without allocating.
    fn verify(&self, token: &BearerToken) -> Verification;

    /// Verifies a `token` that was let in before, for a stream that is still open. The same question, unless
    /// a verifier goes by more, or less, than at the door: past its cache, say.
    fn verify_again(&self, token: &BearerToken) -> Verification {
        self.verify(token)
    }

    /// Whether equal questions that are asked together are one question already, as those to
    /// [`Cached`](super::Cached) are. The door then asks for each request, and does not hold up what is
    /// known for what is not.
    fn coalesces(&self) -> bool {
        false
    }

    /// What moves whenever an earlier answer may have changed, if the verifier can tell.
    ///
    /// With it a frame of a stream costs a few atomic loads instead of a verification, and a revocation
    /// reaches idle streams at once.
    ///
    /// A verifier that asks another one may show that one's revision, as long as it hands on the token
    /// as it was presented: a move can concern one token, by its digest. If it hands on another token,
    /// it shows a revision of its own. One that learns of some changes only shows a
    /// [partial](Revision::partial) one.
    fn revision(&self) -> Option<&Revision> {
        None
    }
}

macro_rules! through_a_pointer {
    ($($pointer:ty),+) => {$(
        impl<V: VerifyToken + ?Sized> VerifyToken for $pointer {
            fn verify(&self, token: &BearerToken) -> Verification {
                (**self).verify(token)
            }

            fn verify_again(&self, token: &BearerToken) -> Verification {
                (**self).verify_again(token)
            }

            fn coalesces(&self) -> bool {
                (**self).coalesces()
            }

            fn revision(&self) -> Option<&Revision> {
                (**self).revision()
            }
        }
    )+};
}

through_a_pointer!(&'static V, Box<V>, Arc<V>);
