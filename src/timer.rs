//! Timers, where there are any.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep},
};

use crate::unwind::contained;

/// A timer that elapses at `deadline`. `None` outside of a runtime, and in one whose timer is not enabled:
/// that cannot be asked about, and panics.
pub(crate) fn timer(deadline: Instant) -> Option<Sleep> {
    Handle::try_current().ok()?;
    contained(|| tokio::time::sleep_until(deadline))
}

/// What `future` comes to, unless it takes longer than until `end`: then it is dropped.
pub(crate) async fn within<T>(end: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut timer) = (pin!(future), pin!(end.and_then(timer)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(None),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}
