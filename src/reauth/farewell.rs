//! A goodbye on a sink whose access has ended, which takes its time and no more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_sink::Sink;
use tokio::time::{Instant, Sleep};

use super::EndReason;
use crate::{timer::timer, unwind::contained};

/// How long a goodbye may take: for a client that does not read.
const LIMIT: Duration = Duration::from_secs(5);

/// One step of a goodbye.
pub(super) type Leave<S> = fn(Pin<&mut S>, &mut Context<'_>) -> Poll<()>;

pub(super) struct Farewell<S, T> {
    message: Box<dyn Fn(EndReason) -> T + Send + Sync>,
    say: fn(Pin<&mut S>, &mut Option<T>, &mut Context<'_>) -> Poll<()>,
    said: bool,
    item: Option<T>,
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S: Sink<T>, T> Farewell<S, T> {
    pub(super) fn new(message: impl Fn(EndReason) -> T + Send + Sync + 'static) -> Self {
        Self { message: Box::new(message), say: say::<S, T>, said: false, item: None, limit: None }
    }
}

impl<S, T> Farewell<S, T> {
    /// Access has ended. Returns whether there is something to be said, and a clock to say it by.
    pub(super) fn begin(&mut self, reason: EndReason) -> bool {
        let Some(limit) = timer(Instant::now() + LIMIT) else { return false };
        self.limit = Some(Box::pin(limit));
        self.item = contained(|| (self.message)(reason));
        self.item.is_some()
    }

    /// Says it, and then does what is to be done after it, within the limit.
    pub(super) fn poll(&mut self, mut inner: Pin<&mut S>, cx: &mut Context<'_>, after: Option<Leave<S>>) -> Poll<()> {
        let is_over = self.limit.as_mut().is_none_or(|limit| limit.as_mut().poll(cx).is_ready());
        if is_over {
            return Poll::Ready(());
        }
        if !self.said {
            ready!((self.say)(inner.as_mut(), &mut self.item, cx));
            self.said = true;
        }
        after.map_or(Poll::Ready(()), |after| after(inner, cx))
    }
}

/// Sends the message and closes the sink. A sink that fails has nothing more to say.
fn say<S: Sink<T>, T>(mut inner: Pin<&mut S>, item: &mut Option<T>, cx: &mut Context<'_>) -> Poll<()> {
    if item.is_some() {
        if ready!(inner.as_mut().poll_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        if let Some(item) = item.take() {
            if inner.as_mut().start_send(item).is_err() {
                return Poll::Ready(());
            }
        }
    }
    inner.poll_close(cx).map(|_| ())
}
