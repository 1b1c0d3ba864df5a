//! Calls into code that a user wrote, and that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::sync::Notify;

/// What `call` returns; `None` if it panics.
///
/// What the panic carried is forgotten rather than dropped, for its `Drop` may panic in turn.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(std::mem::forget).ok()
}

/// A future that a user wrote: `None` if it panics. Nor does a panic of its `Drop` go on.
pub(crate) struct Contained<F>(Option<Pin<Box<F>>>);

impl<F: Future> Contained<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Ready(None) };
        let output = match contained(|| future.as_mut().poll(cx)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(output)) => Some(output),
            None => None,
        };
        let done = self.0.take();
        contained(|| drop(done));
        Poll::Ready(output)
    }
}

impl<F> Drop for Contained<F> {
    fn drop(&mut self) {
        let given_up = self.0.take();
        contained(|| drop(given_up));
    }
}

/// Wakes all tasks that wait. A waker is an executor's own: one that panics keeps nobody else from being
/// told.
pub(crate) fn wake_all(notify: &Notify) {
    contained(|| notify.notify_waiters());
}
