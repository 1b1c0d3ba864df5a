//! A stream whose items end when access ends.

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{
    EndReason,
    guard::{Guard, Verdict},
    rules::Rules,
};
use crate::{Access, unwind::contained};

pin_project! {
    /// A stream of what the server sends, which ends when access ends: made by
    /// [`StreamReauthLayer::watch_stream`](super::StreamReauthLayer::watch_stream).
    ///
    /// While access holds, the items of the inner stream pass unchanged, in order and once. When it
    /// is gone the inner stream is dropped there and then, and [`end_reason`](Self::end_reason) says
    /// why, for a close code or a last message.
    #[must_use = "it does nothing unless polled"]
    pub struct GuardedStream<S: Stream> {
        #[pin]
        inner: Option<S>,
        reason: Option<EndReason>,
        // Boxed, so that the stream can be moved if the inner one can.
        guard: Pin<Box<Guard>>,
        // An item that became ready before access was confirmed.
        waiting: Option<S::Item>,
    }
}

impl<S: Stream> GuardedStream<S> {
    pub(super) fn new(inner: S, guard: Guard) -> Self {
        Self { inner: Some(inner), reason: None, guard: Box::pin(guard), waiting: None }
    }

    /// Why the stream ended, once it has: [`EndReason::Finished`] when the inner one came to its end.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.reason
    }

    /// The inner stream, unwatched, unless it was dropped at the end.
    #[must_use]
    pub fn into_inner(self) -> Option<S> {
        self.inner
    }

    fn end(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        *this.reason = Some(reason);
        this.guard.as_mut().ended(reason);
        let waiting = this.waiting.take();
        contained(|| this.inner.set(None));
        contained(|| drop(waiting));
        this.guard.as_mut().report();
    }
}

/// Whether access holds, asked as for an item that is ready now.
pub(super) async fn confirm(access: Access, rules: Arc<Rules>) -> Result<(), EndReason> {
    struct Now;
    impl Stream for Now {
        type Item = ();

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
            Poll::Ready(Some(()))
        }
    }
    // No stream of its own, to be counted or reported.
    let mut asked = GuardedStream::new(Now, Guard::uncounted(access, rules));
    let item = poll_fn(|cx| Pin::new(&mut asked).poll_next(cx)).await;
    item.ok_or_else(|| asked.end_reason().unwrap_or(EndReason::Unavailable))
}

impl<S: Stream> Stream for GuardedStream<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        loop {
            let mut this = self.as_mut().project();
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };

            if let Verdict::Ended(reason) = this.guard.as_mut().poll_verdict(cx) {
                self.as_mut().end(reason);
                continue;
            }

            if this.waiting.is_some() {
                if this.guard.as_mut().admit_waiting_frame() {
                    this.guard.as_mut().passed(0);
                    return Poll::Ready(this.waiting.take());
                }
            } else {
                match catch_unwind(AssertUnwindSafe(|| inner.poll_next(cx))) {
                    Err(panic) => {
                        self.end(EndReason::Failed);
                        resume_unwind(panic);
                    }
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(Some(item))) if this.guard.as_mut().admit_frame() => {
                        this.guard.as_mut().passed(0);
                        return Poll::Ready(Some(item));
                    }
                    Ok(Poll::Ready(Some(item))) => {
                        *this.waiting = Some(item);
                        continue;
                    }
                    Ok(Poll::Ready(None)) => {
                        self.as_mut().end(EndReason::Finished);
                        continue;
                    }
                }
            }
            ready!(this.guard.as_mut().poll_wake(cx));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // It may be cut short, so the least is nothing.
        let Some(inner) = &self.inner else { return (0, Some(0)) };
        let waiting = usize::from(self.waiting.is_some());
        (0, inner.size_hint().1.and_then(|most| most.checked_add(waiting)))
    }
}

impl<S: Stream> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").field("ended", &self.end_reason()).finish_non_exhaustive()
    }
}
