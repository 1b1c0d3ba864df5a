//! A sink that takes nothing more when access ends.

use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures_core::Stream;
use futures_sink::Sink;
use pin_project_lite::pin_project;

use super::{
    AccessEnded, EndReason,
    farewell::{Farewell, Leave},
    guard::{Guard, Verdict},
    wakers::TwoWakers,
};
use crate::unwind::contained;

pin_project! {
    /// A sink into which the server sends, such as a WebSocket, until access ends: made by
    /// [`StreamReauthLayer::watch_sink`](super::StreamReauthLayer::watch_sink).
    ///
    /// An item is handed to the inner sink only if access was confirmed after it was sent here, or within
    /// [`max_age`](super::StreamReauthLayer::with_max_age) before. When
    /// access is gone, what is sent is refused with [`SendError::Ended`], and the inner sink is dropped the
    /// next time that either half is polled, whatever it was waiting for; or, with
    /// [`with_farewell`](Self::with_farewell), after it has said goodbye.
    ///
    /// It is a [`Stream`] too if the inner sink is: what the *client* sends passes until access ends. It
    /// may be split, and its halves used by two tasks. Closing it closes the direction in which the server
    /// sends, and no more: reading goes on, and so does the guard.
    #[must_use = "it does nothing unless polled"]
    pub struct GuardedSink<S, T> {
        // `None` once the sink was let go.
        #[pin]
        inner: Option<S>,
        reason: Option<EndReason>,
        is_closed: bool,
        // What the client sends came to its end.
        is_read: bool,
        leaves_later: bool,
        // Boxed, so that the sink can be moved if the inner one can.
        guard: Pin<Box<Guard>>,
        // An item that was sent and waits until access is confirmed.
        waiting: Option<T>,
        farewell: Option<Box<Farewell<S, T>>>,
        // One task may read and another write: whichever polled the guard last, both must learn of an end.
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
    pub(super) fn new(inner: S, guard: Guard) -> Self {
        let tasks = Arc::new(TwoWakers::default());
        Self {
            inner: Some(inner),
            reason: None,
            is_closed: false,
            is_read: false,
            leaves_later: false,
            guard: Box::pin(guard),
            waiting: None,
            farewell: None,
            both: Waker::from(Arc::clone(&tasks)),
            tasks,
        }
    }

    /// Says goodbye when access ends: sends what `message` makes of the reason, closes the inner sink, and
    /// only then lets it go. A [`Stream`] is then read to its end too, for the other side's answer, and
    /// what it sends is thrown away. All of this together takes 5 seconds at most.
    ///
    /// For a WebSocket: `with_farewell(|reason| Message::Close(…reason.close_code()…))`.
    pub fn with_farewell(mut self, message: impl Fn(EndReason) -> T + Send + Sync + 'static) -> Self
    where
        S: Sink<T>,
    {
        self.farewell = Some(Box::new(Farewell::new(message)));
        self
    }

    /// Why the sink ended, once it has: [`EndReason::Finished`] when both of its directions came to their
    /// end.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.reason
    }

    /// The inner sink, unwatched, unless it was dropped at the end.
    #[must_use]
    pub fn into_inner(self) -> Option<S> {
        self.inner
    }

    /// The inner sink, for as long as access holds; checks access where that is due.
    fn poll_access(mut self: Pin<&mut Self>) -> Result<Pin<&mut Option<S>>, EndReason> {
        let this = self.as_mut().project();
        if this.reason.is_none() {
            if let Verdict::Ended(reason) = this.guard.as_mut().poll_verdict(&mut Context::from_waker(this.both)) {
                self.as_mut().end(reason);
            }
        }
        let this = self.project();
        this.reason.map_or(Ok(this.inner), Err)
    }

    fn end(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        *this.reason = Some(reason);
        this.guard.as_mut().ended(reason);
        let waiting = this.waiting.take();
        let leaves = match this.farewell {
            Some(farewell) if reason.is_access() && !*this.is_closed => farewell.begin(reason),
            _ => false,
        };
        contained(|| drop(waiting));
        contained(|| this.both.wake_by_ref());
        // After a panic in a user's code no more of it is run in this poll: the next one lets the sink go.
        *this.leaves_later = !this.guard.as_mut().report();
        if !leaves {
            contained(|| *this.farewell = None);
        }
        if !leaves && !*this.leaves_later {
            contained(|| this.inner.set(None));
        }
    }

    /// After the end: says goodbye, and lets the inner sink go.
    fn poll_leave(self: Pin<&mut Self>, cx: &mut Context<'_>, read: Option<Leave<S>>) -> Poll<()> {
        let mut this = self.project();
        if std::mem::take(this.leaves_later) {
            return Poll::Ready(());
        }
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            if let Some(farewell) = this.farewell {
                // Whatever fails while saying goodbye, it is over.
                ready!(contained(|| farewell.poll(inner, cx, read)).unwrap_or(Poll::Ready(())));
            }
            contained(|| this.inner.set(None));
            contained(|| this.both.wake_by_ref());
        }
        Poll::Ready(())
    }

    /// Arms what wakes both halves. Ready if access is due to be checked again.
    fn poll_wake(self: Pin<&mut Self>) -> Poll<()> {
        let this = self.project();
        this.guard.as_mut().poll_wake(&mut Context::from_waker(this.both))
    }

    /// Polls the inner sink; if it panics, that is the end.
    fn poll_contained<R>(mut self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut Self>) -> R) -> R {
        match catch_unwind(AssertUnwindSafe(|| poll(self.as_mut()))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.end(EndReason::Failed);
                resume_unwind(panic);
            }
        }
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
            if let Err(reason) = self.as_mut().poll_access() {
                ready!(self.as_mut().poll_leave(cx, None));
                return Poll::Ready(Err(SendError::ended(reason)));
            }
            if let Poll::Ready(done) = self.as_mut().poll_contained(|this| this.pass_on(cx, poll)) {
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
        let Some(mut inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        if this.waiting.is_some() {
            // Room first, and then whether it may: it leaves in the same turn.
            ready!(inner.as_mut().poll_ready(cx))?;
            if !this.guard.as_mut().admit_waiting_frame() {
                return Poll::Pending;
            }
            if let Some(item) = this.waiting.take() {
                this.guard.as_mut().passed(0);
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
        self.poll_contained(|this| {
            let this = this.project();
            match (this.reason, this.inner.as_pin_mut()) {
                (Some(reason), _) => Err(SendError::ended(*reason)),
                (None, Some(inner)) if this.guard.as_mut().admit_frame() => {
                    this.guard.as_mut().passed(0);
                    inner.start_send(item).map_err(SendError::Inner)
                }
                (None, _) => {
                    *this.waiting = Some(item);
                    Ok(())
                }
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx, Sink::poll_flush)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        ready!(self.as_mut().poll_inner(cx, Sink::poll_close))?;
        let this = self.as_mut().project();
        *this.is_closed = true;
        this.guard.as_mut().finishes_when_dropped();
        if *this.is_read {
            self.end(EndReason::Finished);
        }
        Poll::Ready(Ok(()))
    }
}

/// What the client sends, until access ends.
impl<S: Stream, T> Stream for GuardedSink<S, T> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.tasks.other.register(cx);
        loop {
            if self.as_mut().poll_access().is_err() {
                let read = Some(read_to_the_end as Leave<S>).filter(|_| !self.is_read);
                ready!(self.as_mut().poll_leave(cx, read));
                return Poll::Ready(None);
            }
            if self.is_read {
                return Poll::Ready(None);
            }
            let item = self.as_mut().poll_contained(|this| match this.project().inner.as_pin_mut() {
                Some(inner) => inner.poll_next(cx),
                None => Poll::Ready(None),
            });
            if let Poll::Ready(item) = item {
                if item.is_none() {
                    *self.as_mut().project().is_read = true;
                    if self.is_closed {
                        self.end(EndReason::Finished);
                    }
                }
                return Poll::Ready(item);
            }
            ready!(self.as_mut().poll_wake());
        }
    }
}

fn read_to_the_end<S: Stream>(mut inner: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<()> {
    while ready!(inner.as_mut().poll_next(cx)).is_some() {}
    Poll::Ready(())
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
