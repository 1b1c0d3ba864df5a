//! Is this token good, and whose is it?

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{BearerToken, VerifyError};
use crate::{Identity, revoke::Revision};

/// Is this token good, and whose is it?
///
/// CheckStart at the door, and again for as long as a response streams. Implemented by
/// [`StaticToken`](super::StaticToken), [`Tokens`](super::Tokens) and every closure from a
/// [`&BearerToken`](BearerToken) to a `Result<Identity, VerifyError>` or a [`Verification`]; for an
/// asynchronous closure see [`verify_async`].
pub trait VerifyToken: Send + Sync + 'static {
    /// Verifies `token`. Called often: a verifier that knows answers at once, without allocating.
    fn verify(&self, token: &BearerToken) -> Verification;

    /// What moves whenever an earlier answer may have changed, if the verifier can tell.
    ///
    /// With it a frame of a stream costs a few atomic loads instead of a verification, and a revocation
    /// reaches idle streams at once.
    ///
    /// A verifier that asks another one may show that one's revision, as long as it hands on the token
    /// as it was presented: a move can concern one token, by its digest. If it hands on another token,
    /// it shows a revision of its own.
    fn revision(&self) -> Option<&Revision> {
        None
    }
}

/// The answer of a verifier, now or later.
///
/// Ready at once without an allocation for a verifier that knows; boxed for one that must ask.
/// Polling it again after it was ready answers [`VerifyError::unavailable`].
#[must_use = "an answer does nothing unless it is awaited"]
pub struct Verification(Inner);

enum Inner {
    Ready(Option<Result<Identity, VerifyError>>),
    Pending(Pin<Box<dyn Future<Output = Result<Identity, VerifyError>> + Send>>),
}

impl<F, A> VerifyToken for F
where
    F: Fn(&BearerToken) -> A + Send + Sync + 'static,
    A: Into<Verification>,
{
    fn verify(&self, token: &BearerToken) -> Verification {
        self(token).into()
    }
}

impl<V: VerifyToken + ?Sized> VerifyToken for Arc<V> {
    fn verify(&self, token: &BearerToken) -> Verification {
        (**self).verify(token)
    }

    fn revision(&self) -> Option<&Revision> {
        (**self).revision()
    }
}

/// Makes a verifier of an asynchronous closure.
///
/// ```
/// use tower_reauth::{AuthMethod, BearerAuthLayer, Identity, verify::{VerifyError, verify_async}};
///
/// let layer = BearerAuthLayer::new(verify_async(async |token| match token.to_str() {
///     Some("opaque-123") => Ok(Identity::new("alice", AuthMethod::Token)),
///     _ => Err(VerifyError::Rejected),
/// }));
/// # let _ = layer;
/// ```
pub fn verify_async<F, A>(verify: F) -> impl VerifyToken
where
    F: Fn(BearerToken) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Identity, VerifyError>> + Send + 'static,
{
    move |token: &BearerToken| Verification::pending(verify(token.clone()))
}

impl Verification {
    /// An answer that is known now.
    pub fn ready(answer: Result<Identity, VerifyError>) -> Self {
        Self(Inner::Ready(Some(answer)))
    }

    /// An answer that must be waited for.
    pub fn pending(answer: impl Future<Output = Result<Identity, VerifyError>> + Send + 'static) -> Self {
        Self(Inner::Pending(Box::pin(answer)))
    }

    /// The answer, if it is known already.
    pub(crate) fn into_ready(self) -> Result<Result<Identity, VerifyError>, Self> {
        match self.0 {
            Inner::Ready(Some(answer)) => Ok(answer),
            unknown => Err(Self(unknown)),
        }
    }
}

impl Future for Verification {
    type Output = Result<Identity, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ready(answer) => Poll::Ready(answer.take().unwrap_or(Err(VerifyError::unavailable()))),
            Inner::Pending(answer) => {
                let answer = std::task::ready!(answer.as_mut().poll(cx));
                self.0 = Inner::Ready(None);
                Poll::Ready(answer)
            }
        }
    }
}

impl From<Result<Identity, VerifyError>> for Verification {
    fn from(answer: Result<Identity, VerifyError>) -> Self {
        Self::ready(answer)
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Ready(_) => "Verification::ready",
            Inner::Pending(_) => "Verification::pending",
        })
    }
}
