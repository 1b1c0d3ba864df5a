//! A body that is dropped when access ends, whether or not anybody polls it.
//!
//! A server does not poll a body while its client does not read, so what wraps a body learns of the
//! end of access too late to release what the body holds: a subscription, a file, a database cursor.
//! Here a task of its own looks out for the end. Both share what the other streams of the credential
//! share, so it asks no question of its own.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use futures_util::StreamExt;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{AccessEnded, EndReason, GuardedStream, gate::Rules};
use crate::Access;

type BoxError = Box<dyn Error + Send + Sync>;

/// A body that is dropped when access ends, whether or not anybody polls it: made by
/// [`StreamReauthLayer::hold`](super::StreamReauthLayer::hold).
///
/// While access holds it is the inner body. Polled after that, it fails with [`AccessEnded`].
pub struct HeldBody<B> {
    berth: Arc<Berth<B>>,
    // `None` for a body that is no stream: its length was announced, so it may not be cut short.
    lookout: Option<Lookout>,
}

/// Where the body lies: within reach of the one that polls it and of the one that drops it.
struct Berth<B>(Mutex<Lying<B>>);

enum Lying<B> {
    Open {
        body: Pin<Box<B>>,
        /// Who waits for a frame.
        waiting: Option<Waker>,
    },
    Dropped(EndReason),
    /// At its end, and that was said.
    Over,
}

/// The task that looks out, ended when it is dropped.
struct Lookout(AbortHandle);

impl<B: Body + Send + 'static> HeldBody<B> {
    pub(super) fn new(body: B, access: Access, rules: &Rules) -> Self {
        let is_stream = !body.is_end_stream() && body.size_hint().exact().is_none();
        let berth = Arc::new(Berth(Mutex::new(Lying::Open { body: Box::pin(body), waiting: None })));
        let lookout = is_stream.then(|| {
            let mut access_holds = GuardedStream::lookout(access, rules);
            // Not held by the task: what the client drops must be gone at once.
            let berth = Arc::downgrade(&berth);
            let task = tokio::spawn(async move {
                access_holds.next().await;
                if let (Some(berth), Some(reason)) = (berth.upgrade(), access_holds.end_reason()) {
                    berth.empty(Lying::Dropped(reason));
                }
            });
            Lookout(task.abort_handle())
        });
        Self { berth, lookout }
    }
}

impl<B> Berth<B> {
    /// Drops the body, if it is still there.
    fn empty(&self, after: Lying<B>) {
        let mut lying = self.lying();
        if let Lying::Open { .. } = *lying {
            let before = mem::replace(&mut *lying, after);
            // To drop a body is somebody else's code.
            drop(lying);
            if let Lying::Open { waiting: Some(waiting), .. } = before {
                waiting.wake();
            }
        }
    }

    // A body that panics is not polled again: it is dropped with its connection.
    fn lying(&self) -> MutexGuard<'_, Lying<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Body for HeldBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut lying = self.berth.lying();
        match &mut *lying {
            Lying::Over => Poll::Ready(None),
            Lying::Dropped(reason) => {
                let reason = *reason;
                *lying = Lying::Over;
                Poll::Ready(Some(Err(AccessEnded { reason }.into())))
            }
            Lying::Open { body, waiting } => {
                if waiting.as_ref().is_none_or(|waiting| !waiting.will_wake(cx.waker())) {
                    *waiting = Some(cx.waker().clone());
                }
                let frame = ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
                if !matches!(frame, Some(Ok(_))) {
                    drop(lying);
                    self.berth.empty(Lying::Over);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.berth.lying() {
            Lying::Open { body, .. } => body.is_end_stream(),
            Lying::Dropped(_) => false,
            Lying::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.berth.lying() {
            Lying::Open { body, .. } if self.lookout.is_none() => body.size_hint(),
            // It may be cut short.
            Lying::Open { .. } | Lying::Dropped(_) => SizeHint::new(),
            Lying::Over => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_open = matches!(*self.berth.lying(), Lying::Open { .. });
        f.debug_struct("HeldBody").field("open", &is_open).finish_non_exhaustive()
    }
}
