//! A body that ends when access ends.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    AccessEnded, EndReason, Ending,
    end::{grpc_trailers, last_event},
    guard::{Guard, Verdict},
    layer::Settings,
    sse::Format,
};
use crate::Access;

type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A response body that ends when access ends.
    ///
    /// While access holds, the frames of the inner body pass unchanged, in order and once. The body
    /// of a response that is not a stream passes untouched.
    ///
    /// Its error is the inner body's, or an [`AccessEnded`].
    pub struct StreamReauth<B> {
        // `None` from the moment at which the stream ended.
        #[pin]
        inner: Option<B>,
        // Boxed, and only for a stream: a response that is none pays one word.
        watch: Option<Pin<Box<Watch>>>,
    }
}

pin_project! {
    #[project = WatchProj]
    struct Watch {
        #[pin]
        guard: Guard,
        settings: Arc<Settings>,
        // What may be written into the body, and where it stands.
        format: Format,
        // A frame that became ready before access was confirmed.
        waiting: Option<Waiting>,
        last: Last,
    }
}

/// A frame that waits. Trailers are boxed: they are large and rare, and each stream has room for one.
enum Waiting {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

/// What is still to be said once the stream is at its end.
enum Last {
    /// It is not at its end.
    NotYet,
    /// Boxed: a stream that has not ended should not keep room for it.
    Frame(Box<Frame<Bytes>>),
    /// An error in the same turn as earlier data takes that data with it, so one turn passes first.
    Abort {
        reason: EndReason,
        turn_passed: bool,
    },
    Nothing,
}

impl<B> StreamReauth<B> {
    pub(super) fn untouched(inner: B) -> Self {
        Self { inner: Some(inner), watch: None }
    }

    pub(super) fn watched(inner: B, access: Access, settings: Arc<Settings>, format: Format) -> Self {
        let watch = Watch {
            guard: Guard::new(access, Arc::clone(&settings.rules)),
            settings,
            format,
            waiting: None,
            last: Last::NotYet,
        };
        Self { inner: Some(inner), watch: Some(Box::pin(watch)) }
    }

    /// Completes when the stream has ended, and until then asks whatever has to be asked. Nothing of
    /// the inner body is looked at, but it is dropped when access ends.
    pub(super) fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(watch) = this.watch else { return Poll::Ready(()) };
        while this.inner.is_some() {
            let mut watch = watch.as_mut().project();
            match watch.guard.as_mut().poll_verdict(cx) {
                Verdict::Open => ready!(watch.guard.poll_wake(cx)),
                Verdict::Ended(reason) => {
                    this.inner.set(None);
                    watch.says_last(reason);
                }
            }
        }
        Poll::Ready(())
    }

    /// Whether its access is watched: a response that is no stream passes untouched.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }
}

impl WatchProj<'_> {
    /// Access ended: what waits does not leave, and what is to be said of the end is.
    fn says_last(&mut self, reason: EndReason) {
        *self.waiting = None;
        *self.last = Last::of(reason, self.guard.retry_after(), self.settings, *self.format);
    }
}

impl<B> Body for StreamReauth<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut same_task = Context::from_waker(cx.waker());
        self.poll(cx, &mut same_task)
    }

    fn is_end_stream(&self) -> bool {
        match (&self.watch, &self.inner) {
            (None, inner) => inner.as_ref().is_none_or(Body::is_end_stream),
            (Some(watch), None) => matches!(watch.last, Last::Nothing),
            (Some(watch), Some(inner)) => watch.waiting.is_none() && inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.watch, &self.inner) {
            (None, Some(inner)) => inner.size_hint(),
            // It may be cut short, and comments may be added: nothing is known.
            (Some(_), _) if !self.is_end_stream() => SizeHint::new(),
            _ => SizeHint::with_exact(0),
        }
    }
}

impl<B> StreamReauth<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// The next frame. Whoever waits for one is woken by the first context, and whoever waits for
    /// access to end by the second.
    pub(super) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        guards: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(watch) = this.watch else {
            let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
            return inner.poll_frame(cx).map_err(Into::into);
        };

        loop {
            let mut watch = watch.as_mut().project();
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return watch.last.poll(cx) };

            if let Verdict::Ended(reason) = watch.guard.as_mut().poll_verdict(guards) {
                this.inner.set(None);
                watch.says_last(reason);
                continue;
            }

            let frame = if watch.waiting.is_some() {
                if watch.guard.as_mut().admit_waiting_frame() { watch.waiting.take().map(Frame::from) } else { None }
            } else if watch.guard.comment_is_due() && !watch.format.is_mid_event() {
                watch.guard.as_mut().comment_written();
                if let Format::Events(_) = watch.format {
                    return Poll::Ready(Some(Ok(Frame::data(watch.settings.comment.clone()))));
                }
                continue;
            } else {
                match inner.poll_frame(cx) {
                    Poll::Pending => None,
                    Poll::Ready(Some(Ok(frame))) => {
                        if !watch.guard.as_mut().admit_frame() {
                            *watch.waiting = Waiting::of(frame);
                            continue;
                        }
                        Some(frame)
                    }
                    Poll::Ready(failed_or_finished) => {
                        let reason = if failed_or_finished.is_some() { EndReason::Failed } else { EndReason::Finished };
                        watch.guard.ended(reason);
                        this.inner.set(None);
                        *watch.last = Last::Nothing;
                        return Poll::Ready(failed_or_finished.map(|frame| frame.map_err(Into::into)));
                    }
                }
            };

            let Some(frame) = frame else {
                ready!(watch.guard.poll_wake(guards));
                continue;
            };
            if let Some(data) = frame.data_ref() {
                watch.format.advance(data);
            }
            // The consumer of a body that says it is at its end need not poll again.
            if frame.is_trailers() || this.inner.as_ref().as_pin_ref().is_none_or(|inner| inner.is_end_stream()) {
                watch.guard.ended(EndReason::Finished);
                this.inner.set(None);
                *watch.last = Last::Nothing;
            }
            return Poll::Ready(Some(Ok(frame)));
        }
    }
}

impl Waiting {
    /// `None` for a frame of a kind that is not known yet, which a stream cannot pass on unseen.
    fn of(frame: Frame<Bytes>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) => Some(Self::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(|trailers| Self::Trailers(Box::new(trailers))),
        }
    }
}

impl From<Waiting> for Frame<Bytes> {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Data(data) => Self::data(data),
            Waiting::Trailers(trailers) => Self::trailers(*trailers),
        }
    }
}

impl Last {
    fn of(reason: EndReason, retry_after: Option<Duration>, settings: &Settings, format: Format) -> Self {
        match (&settings.ending, format) {
            (Ending::LastEvent | Ending::LastBytes(_), _) if format.is_mid_event() => Self::Nothing,
            (Ending::LastEvent, Format::Events(_)) => {
                let retry = retry_after.map_or(settings.retry, |after| after.max(settings.retry));
                Self::frame(Frame::data(last_event(reason, retry)))
            }
            (Ending::LastBytes(write), Format::Events(_) | Format::Other) => Self::frame(Frame::data(write(reason))),
            (Ending::Clean | Ending::LastEvent | Ending::LastBytes(_), _) => Self::Nothing,
            (Ending::Abort, _) => Self::Abort { reason, turn_passed: false },
            (Ending::GrpcTrailers, _) => Self::frame(Frame::trailers(grpc_trailers(reason))),
        }
    }

    fn frame(frame: Frame<Bytes>) -> Self {
        Self::Frame(Box::new(frame))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Self::Abort { turn_passed: turn_passed @ false, .. } = self {
            *turn_passed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(self, Self::Nothing) {
            Self::Frame(frame) => Some(Ok(*frame)),
            Self::Abort { reason, .. } => Some(Err(AccessEnded { reason }.into())),
            Self::NotYet | Self::Nothing => None,
        })
    }
}

/// A body that is no watched stream, and passes untouched: what a refusal says.
impl<B> From<B> for StreamReauth<B> {
    fn from(body: B) -> Self {
        Self::untouched(body)
    }
}

/// A body that is at its end: what a refusal carries.
impl<B> Default for StreamReauth<B> {
    fn default() -> Self {
        Self { inner: None, watch: None }
    }
}

impl<B> fmt::Debug for StreamReauth<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReauth")
            .field("watched", &self.watch.is_some())
            .field("ended", &self.inner.is_none())
            .finish_non_exhaustive()
    }
}
