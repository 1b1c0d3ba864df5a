//! A sink that takes nothing more when access ends.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures_core::Stream;
use futures_sink::Sink;
use pin_project_lite::pin_project;

use super::{
    AccessEnded, EndReason,
    gate::Rules,
    guard::{Guard, Verdict},
    stream::{Until, UntilProj},
    wakers::TwoWakers,
};
use crate::Access;

pin_project! {
    /// A sink into which the server sends, such as a WebSocket, until access ends: made by
    /// [`StreamReauthLayer::watch_sink`](super::StreamReauthLayer::watch_sink).
    ///
    /// An item is handed to the inner sink only if access was confirmed after it was sent here. When
    /// access is gone the inner sink is dropped there and then, whatever it was waiting for, and what
    /// is sent is refused with [`SendError::Ended`].
    ///
    /// It is a [`Stream`] too if the inner sink is: what the *client* sends passes unasked, until
    /// access ends. It may be split, and its halves used by two tasks.
    #[must_use = "it does nothing unless polled"]
    pub struct GuardedSink<S, T> {
        #[pin]
        inner: Until<S>,
        // Boxed, so that the sink can be moved if the inner one can.
        guard: Pin<Box<Guard>>,
        // An item that was sent and waits until access is confirmed.
        waiting: Option<T>,
        // One task may read and another write: whichever polled the guard last, both must hear of an end.
        tasks: Arc<TwoWakers>,
        // Wakes both: what the guard is polled with.
        both: Waker,
    }
}

/// Why an item was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<E> {
    /// Access has ended.
    Ended(AccessEnded),
    /// The inner sink failed.
    Inner(E),
}

impl<S, T> GuardedSink<S, T> {
    pub(super) fn new(inner: S, access: Access, rules: Arc<Rules>) -> Self {
        let tasks = Arc::new(TwoWakers::default());
        let both = Waker::from(Arc::clone(&tasks));
        let guard = Box::pin(Guard::new(access, rules));
        Self { inner: Until::Open { inner }, guard, waiting: None, tasks, both }
    }

    /// Why access ended, once it has.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.inner.end_reason()
    }

    /// Asks whatever has to be asked: the inner sink, for as long as access holds.
    fn poll_verdict(self: Pin<&mut Self>) -> Result<Pin<&mut S>, EndReason> {
        let mut this = self.project();
        if this.inner.end_reason().is_none() {
            if let Verdict::Ended(reason) = this.guard.as_mut().poll_verdict(&mut Context::from_waker(this.both)) {
                this.inner.set(Until::Ended { reason });
                *this.waiting = None;
                this.both.wake_by_ref();
            }
        }
        match this.inner.project() {
            UntilProj::Open { inner } => Ok(inner),
            UntilProj::Ended { reason } => Err(*reason),
        }
    }

    /// Arms what wakes both halves: whether it is time to look again.
    fn poll_wake(self: Pin<&mut Self>) -> Poll<()> {
        let this = self.project();
        this.guard.as_mut().poll_wake(&mut Context::from_waker(this.both))
    }
}

impl<S: Sink<T>, T> GuardedSink<S, T> {
    /// Polls the inner sink, once it was given what waits, for as long as access holds.
    fn poll_inner(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: fn(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<(), S::Error>>,
    ) -> Poll<Result<(), SendError<S::Error>>> {
        self.tasks.one.register(cx);
        loop {
            self.as_mut().poll_verdict().map_err(SendError::ended)?;
            if let Poll::Ready(done) = self.as_mut().pass_on(cx, poll) {
                return Poll::Ready(done.map_err(SendError::Inner));
            }
            ready!(self.as_mut().poll_wake());
        }
    }

    /// Gives the inner sink what waits, if it may pass, and polls it.
    fn pass_on(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: fn(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<(), S::Error>>,
    ) -> Poll<Result<(), S::Error>> {
        let this = self.project();
        let UntilProj::Open { mut inner } = this.inner.project() else { return Poll::Pending };
        if this.waiting.is_some() {
            // Room first, and then whether it may: it leaves in the same turn.
            ready!(inner.as_mut().poll_ready(cx))?;
            if !this.guard.as_mut().admit_waiting_frame() {
                return Poll::Pending;
            }
            if let Some(item) = this.waiting.take() {
                inner.as_mut().start_send(item)?;
            }
        }
        poll(inner, cx)
    }
}

impl<S: Sink<T>, T> Sink<T> for GuardedSink<S, T> {
    type Error = SendError<S::Error>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx, Sink::poll_ready)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), Self::Error> {
        let this = self.project();
        match this.inner.project() {
            UntilProj::Ended { reason } => Err(SendError::ended(*reason)),
            UntilProj::Open { inner } if this.guard.as_mut().admit_frame() => {
                inner.start_send(item).map_err(SendError::Inner)
            }
            UntilProj::Open { .. } => {
                *this.waiting = Some(item);
                Ok(())
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx, Sink::poll_flush)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.as_mut().poll_inner(cx, Sink::poll_close))?;
        self.project().guard.as_mut().ended(EndReason::Finished);
        Poll::Ready(Ok(()))
    }
}

/// What the client sends, until access ends.
impl<S: Stream, T> Stream for GuardedSink<S, T> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.tasks.other.register(cx);
        loop {
            let Ok(inner) = self.as_mut().poll_verdict() else { return Poll::Ready(None) };
            if let Poll::Ready(item) = inner.poll_next(cx) {
                return Poll::Ready(item);
            }
            ready!(self.as_mut().poll_wake());
        }
    }
}

impl<S, T> fmt::Debug for GuardedSink<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedSink").field("ended", &self.end_reason()).finish_non_exhaustive()
    }
}

impl<E> SendError<E> {
    fn ended(reason: EndReason) -> Self {
        Self::Ended(AccessEnded { reason })
    }
}

impl<E: fmt::Display> fmt::Display for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ended) => ended.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for SendError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // It shows what it wraps as its own, so its source is the source of that.
        match self {
            Self::Ended(_) => None,
            Self::Inner(error) => error.source(),
        }
    }
}
