//! A stream whose items end when access ends.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{
    EndReason,
    gate::Rules,
    guard::{Guard, Verdict},
};
use crate::Access;

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
        inner: Until<S>,
        // Boxed, so that the stream can be moved if the inner one can.
        guard: Pin<Box<Guard>>,
        // An item that became ready before access was confirmed.
        waiting: Option<S::Item>,
    }
}

pin_project! {
    /// What is there until the end, and dropped with it.
    #[project = UntilProj]
    pub(super) enum Until<S> {
        Open { #[pin] inner: S },
        Ended { reason: EndReason },
    }
}

impl<S: Stream> GuardedStream<S> {
    pub(super) fn new(inner: S, access: Access, rules: Arc<Rules>) -> Self {
        Self { inner: Until::Open { inner }, guard: Box::pin(Guard::new(access, rules)), waiting: None }
    }

    /// Why the stream ended, once it has: [`EndReason::Finished`] when the inner one came to its end.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.inner.end_reason()
    }
}

impl<S: Stream> Stream for GuardedStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        loop {
            let UntilProj::Open { inner } = this.inner.as_mut().project() else { return Poll::Ready(None) };

            if let Verdict::Ended(reason) = this.guard.as_mut().poll_verdict(cx) {
                this.inner.set(Until::Ended { reason });
                *this.waiting = None;
                continue;
            }

            if this.waiting.is_some() {
                if this.guard.as_mut().admit_waiting_frame() {
                    return Poll::Ready(this.waiting.take());
                }
            } else {
                match inner.poll_next(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Some(item)) if this.guard.as_mut().admit_frame() => return Poll::Ready(Some(item)),
                    Poll::Ready(Some(item)) => {
                        *this.waiting = Some(item);
                        continue;
                    }
                    Poll::Ready(None) => {
                        this.guard.as_mut().ended(EndReason::Finished);
                        this.inner.set(Until::Ended { reason: EndReason::Finished });
                        continue;
                    }
                }
            }
            ready!(this.guard.as_mut().poll_wake(cx));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // It may be cut short, so the least is nothing.
        match &self.inner {
            Until::Ended { .. } => (0, Some(0)),
            Until::Open { inner } => {
                let waiting = usize::from(self.waiting.is_some());
                (0, inner.size_hint().1.and_then(|most| most.checked_add(waiting)))
            }
        }
    }
}

impl<S: Stream> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").field("ended", &self.end_reason()).finish_non_exhaustive()
    }
}

impl<S> Until<S> {
    pub(super) fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Open { .. } => None,
            Self::Ended { reason } => Some(*reason),
        }
    }
}
