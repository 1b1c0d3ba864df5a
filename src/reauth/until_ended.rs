//! The end of an access, for work that streams nothing.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    EndReason, StreamReauthLayer,
    guard::{Guard, Verdict},
};
use crate::Access;

/// Completes when an access ends: the future of [`Access::ended`].
#[must_use = "futures do nothing unless polled"]
pub struct UntilEnded(Pin<Box<Guard>>);

impl Access {
    /// Completes when this access ends, by the rules of a [`StreamReauthLayer`] as it is made: for work in
    /// the background that must not outlive the caller's access.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tower_reauth::{Access, AuthMethod, Identity, reauth::EndReason};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let access = Access::new(Identity::new("alice", AuthMethod::Token).with_expires_at(SystemTime::now()));
    /// tokio::select! {
    ///     reason = access.ended() => assert_eq!(reason, EndReason::Expired),
    ///     () = std::future::pending() => unreachable!("the work, which is dropped with the access"),
    /// }
    /// # }
    /// ```
    pub fn ended(&self) -> UntilEnded {
        UntilEnded(Box::pin(Guard::uncounted(self.clone(), StreamReauthLayer::new().rules())))
    }
}

impl Future for UntilEnded {
    type Output = EndReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            if let Verdict::Ended(reason) = self.0.as_mut().poll_verdict(cx) {
                return Poll::Ready(reason);
            }
            ready!(self.0.as_mut().poll_wake(cx));
        }
    }
}

impl fmt::Debug for UntilEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilEnded").finish_non_exhaustive()
    }
}
