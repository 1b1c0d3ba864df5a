//! A response whose body is dropped when access ends, whether or not anybody polls it.
//!
//! A server does not poll a body while its client does not read, so a body that is wrapped learns of
//! the end of access too late to release what it holds: a subscription, a file, a database cursor. Here
//! a task of its own, the supervisor, waits for the end as well. There is one guard, and both poll it, so
//! both go by the same checks and come to the same end.
//!
//! Whichever of the two polls takes the stream out of its slot for as long: the inner body is a user's
//! own, and no lock is held while it is polled.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    mem::replace,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{StreamReauth, wakers::TwoWakers};

type BoxError = Box<dyn Error + Send + Sync>;

/// A [`StreamReauth`] whose inner body is dropped when access ends, whether or not anybody polls it:
/// made by [`StreamReauthLayer::supervise`](super::StreamReauthLayer::supervise).
pub struct SupervisedBody<B: Body> {
    supervised: Arc<Supervised<B>>,
    // `None` for a response that is no stream.
    supervisor: Option<Supervisor>,
}

struct Supervised<B: Body> {
    slot: Mutex<Slot<B>>,
    /// The server's task, and the supervisor.
    tasks: Arc<TwoWakers>,
    /// Wakes both: what the guard is polled with.
    both: Waker,
}

enum Slot<B: Body> {
    Here(Pin<Box<StreamReauth<B>>>),
    /// One of the two polls it; the other may want to.
    Taken {
        is_wanted: bool,
    },
}

/// The stream, for as long as one of the two polls it.
struct Lease<'a, B: Body> {
    supervised: &'a Supervised<B>,
    stream: Option<Pin<Box<StreamReauth<B>>>>,
}

/// The task that supervises, ended when it is dropped.
struct Supervisor(AbortHandle);

impl<B> SupervisedBody<B>
where
    B: Body<Data: From<Bytes> + Send> + Send + 'static,
{
    pub(super) fn new(stream: StreamReauth<B>) -> Self {
        let is_watched = stream.is_watched();
        let supervised = Arc::new(Supervised::new(stream));
        // Not owned by its own task: what the client drops must be gone at once.
        let reach = Arc::downgrade(&supervised);
        let supervise = move |cx: &mut Context<'_>| match reach.upgrade() {
            Some(supervised) => supervised.poll_end(cx),
            None => Poll::Ready(()),
        };
        let supervisor = is_watched.then(|| Supervisor(tokio::spawn(poll_fn(supervise)).abort_handle()));
        Self { supervised, supervisor }
    }
}

impl<B: Body> Supervised<B> {
    fn new(stream: StreamReauth<B>) -> Self {
        let tasks = Arc::new(TwoWakers::default());
        let both = Waker::from(Arc::clone(&tasks));
        Self { slot: Mutex::new(Slot::Here(Box::pin(stream))), tasks, both }
    }

    /// Takes the stream out of its slot. Pending while the other task has it, which wakes this one when it
    /// puts it back.
    fn take(&self) -> Poll<Lease<'_, B>> {
        let mut slot = self.slot();
        match replace(&mut *slot, Slot::Taken { is_wanted: true }) {
            Slot::Taken { .. } => Poll::Pending,
            Slot::Here(stream) => {
                *slot = Slot::Taken { is_wanted: false };
                Poll::Ready(Lease { supervised: self, stream: Some(stream) })
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<B>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Supervised<B>
where
    B: Body<Data: From<Bytes>>,
{
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.tasks.other.register(cx);
        let mut lease = ready!(self.take());
        let ended = lease
            .stream()
            .map_or(Poll::Ready(()), |stream| stream.as_mut().poll_end(&mut Context::from_waker(&self.both)));
        drop(lease);
        if ended.is_ready() {
            // With the guard went what would have woken the server.
            self.both.wake_by_ref();
        }
        ended
    }
}

impl<B: Body> Lease<'_, B> {
    fn stream(&mut self) -> Option<&mut Pin<Box<StreamReauth<B>>>> {
        self.stream.as_mut()
    }
}

impl<B: Body> Drop for Lease<'_, B> {
    fn drop(&mut self) {
        // After a panic too: by then the stream has come to its end.
        let Some(stream) = self.stream.take() else { return };
        let was = replace(&mut *self.supervised.slot(), Slot::Here(stream));
        if matches!(was, Slot::Taken { is_wanted: true }) {
            self.supervised.both.wake_by_ref();
        }
    }
}

impl<B> Body for SupervisedBody<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let supervised = &self.supervised;
        supervised.tasks.one.register(cx);
        let mut lease = ready!(supervised.take());
        let Some(stream) = lease.stream() else { return Poll::Ready(None) };
        stream.as_mut().poll(cx, &mut Context::from_waker(&supervised.both))
    }

    fn is_end_stream(&self) -> bool {
        match self.supervised.take() {
            Poll::Ready(mut lease) => lease.stream().is_none_or(|stream| stream.is_end_stream()),
            // The supervisor has it: whether it is at its end, the next poll says.
            Poll::Pending => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.supervised.take() {
            Poll::Ready(mut lease) => lease.stream().map(|stream| stream.size_hint()).unwrap_or_default(),
            Poll::Pending => SizeHint::default(),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that is at its end: what a refusal carries.
impl<B: Body> Default for SupervisedBody<B> {
    fn default() -> Self {
        Self { supervised: Arc::new(Supervised::new(StreamReauth::default())), supervisor: None }
    }
}

impl<B: Body> fmt::Debug for SupervisedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedBody").field("watched", &self.supervisor.is_some()).finish_non_exhaustive()
    }
}
