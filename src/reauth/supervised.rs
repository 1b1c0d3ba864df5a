//! A response whose body is dropped when access ends, whether or not anybody polls it.
//!
//! A server does not poll a body while its client does not read, so a body that is wrapped learns of
//! the end of access too late to release what it holds: a subscription, a file, a database cursor. Here
//! a task of its own, the supervisor, waits for the end as well. There is one guard, and both poll it, so
//! both go by the same checks and come to the same end.

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

use super::{StreamReauth, wakers::TwoWakers};

type BoxError = Box<dyn Error + Send + Sync>;

/// A [`StreamReauth`] whose inner body is dropped when access ends, whether or not anybody polls it:
/// made by [`StreamReauthLayer::supervise`](super::StreamReauthLayer::supervise).
pub struct SupervisedBody<B> {
    supervised: Arc<Supervised<B>>,
    // `None` for a response that is no stream.
    supervisor: Option<Supervisor>,
}

struct Supervised<B> {
    stream: Mutex<Pin<Box<StreamReauth<B>>>>,
    /// The server's task, and the one that looks out.
    tasks: Arc<TwoWakers>,
    /// Wakes both: what the guard is polled with.
    both: Waker,
}

/// The task that looks out, ended when it is dropped.
struct Supervisor(AbortHandle);

impl<B: Send + 'static> SupervisedBody<B> {
    pub(super) fn new(stream: StreamReauth<B>) -> Self {
        let is_watched = stream.is_watched();
        let supervised = Arc::new(Supervised::new(stream));
        // Not supervised by its own task: what the client drops must be gone at once.
        let reach = Arc::downgrade(&supervised);
        let supervise = move |cx: &mut Context<'_>| match reach.upgrade() {
            Some(supervised) => supervised.poll_end(cx),
            None => Poll::Ready(()),
        };
        let supervisor = is_watched.then(|| Supervisor(tokio::spawn(poll_fn(supervise)).abort_handle()));
        Self { supervised, supervisor }
    }
}

impl<B> Supervised<B> {
    fn new(stream: StreamReauth<B>) -> Self {
        let tasks = Arc::new(TwoWakers::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self { stream: Mutex::new(Box::pin(stream)), tasks, both }
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.tasks.other.register(cx);
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

impl<B> Body for SupervisedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let supervised = &self.supervised;
        supervised.tasks.one.register(cx);
        supervised.stream().as_mut().poll(cx, &mut Context::from_waker(&supervised.both))
    }

    fn is_end_stream(&self) -> bool {
        self.supervised.stream().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.supervised.stream().size_hint()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that is at its end: what a refusal carries.
impl<B> Default for SupervisedBody<B> {
    fn default() -> Self {
        Self { supervised: Arc::new(Supervised::new(StreamReauth::default())), supervisor: None }
    }
}

impl<B> fmt::Debug for SupervisedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedBody").field("watched", &self.supervisor.is_some()).finish_non_exhaustive()
    }
}
