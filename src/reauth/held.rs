//! A response that lets go of its body when access ends, whether or not anybody polls it.
//!
//! A server does not poll a body while its client does not read, so a body that is wrapped learns of
//! the end of access too late to release what it holds: a subscription, a file, a database cursor. Here
//! a task looks out for the end as well. There is one guard, and both poll it: so both go by the same
//! questions, and come to the same end.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{StreamReauth, two_tasks::TwoTasks};

type BoxError = Box<dyn Error + Send + Sync>;

/// A [`StreamReauth`] whose inner body is dropped when access ends, whether or not anybody polls it:
/// made by [`StreamReauthLayer::hold`](super::StreamReauthLayer::hold).
pub struct HeldBody<B> {
    held: Arc<Held<B>>,
    // `None` for a response that is no stream.
    lookout: Option<Lookout>,
}

struct Held<B> {
    stream: Mutex<Pin<Box<StreamReauth<B>>>>,
    /// The server's task, and the one that looks out.
    tasks: Arc<TwoTasks>,
    /// Wakes both: what the guard is polled with.
    both: Waker,
}

/// The task that looks out, ended when it is dropped.
struct Lookout(AbortHandle);

impl<B: Send + 'static> HeldBody<B> {
    pub(super) fn new(stream: StreamReauth<B>) -> Self {
        let is_watched = stream.is_watched();
        let held = Arc::new(Held::new(stream));
        // Not held by its own task: what the client drops must be gone at once.
        let reach = Arc::downgrade(&held);
        let look_out = move |cx: &mut Context<'_>| match reach.upgrade() {
            Some(held) => held.poll_end(cx),
            None => Poll::Ready(()),
        };
        let lookout = is_watched.then(|| Lookout(tokio::spawn(poll_fn(look_out)).abort_handle()));
        Self { held, lookout }
    }
}

impl<B> Held<B> {
    fn new(stream: StreamReauth<B>) -> Self {
        let tasks = Arc::new(TwoTasks::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self { stream: Mutex::new(Box::pin(stream)), tasks, both }
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.tasks.other.waits(cx);
        let ended = self.stream().as_mut().poll_end(&mut Context::from_waker(&self.both));
        if ended.is_ready() {
            // With the guard went what would have woken the server.
            self.both.wake_by_ref();
        }
        ended
    }

    // A body that panics takes its connection with it, and is dropped.
    fn stream(&self) -> MutexGuard<'_, Pin<Box<StreamReauth<B>>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Body for HeldBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let held = &self.held;
        held.tasks.one.waits(cx);
        held.stream().as_mut().poll(cx, &mut Context::from_waker(&held.both))
    }

    fn is_end_stream(&self) -> bool {
        self.held.stream().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.held.stream().size_hint()
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that is at its end: what a refusal carries.
impl<B> Default for HeldBody<B> {
    fn default() -> Self {
        Self { held: Arc::new(Held::new(StreamReauth::default())), lookout: None }
    }
}

impl<B> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody").field("watched", &self.lookout.is_some()).finish_non_exhaustive()
    }
}
