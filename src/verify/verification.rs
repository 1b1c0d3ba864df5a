//! The answer of a verifier, now or later.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::VerifyError;
use crate::Identity;

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
