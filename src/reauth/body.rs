//! A body that ends when access ends.

use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE, response::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    AccessEnded, EndReason, Ending,
    end::{CutBody, grpc_trailers, grpc_web_trailers, last_event},
    format::Format,
    guard::{Guard, Verdict},
    layer::Settings,
    mark::Mark,
};
use crate::{Access, unwind::contained};

type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A response body that ends when access ends.
    ///
    /// While access holds, the frames of the inner body pass unchanged, in order and once. The body
    /// of a response that is not a stream passes untouched. What is written between them (a comment, a
    /// last event) is made of [`Bytes`], so the inner body's data must be able to be made of that.
    ///
    /// Its error is the inner body's, or an [`AccessEnded`].
    pub struct StreamReauth<B: Body> {
        // `None` from the moment at which the stream ended.
        #[pin]
        inner: Option<B>,
        // Boxed, and only for a stream: a response that is none pays one word.
        watched: Option<Pin<Box<Watched<B::Data>>>>,
    }
}

pin_project! {
    #[project = WatchedProj]
    struct Watched<D> {
        #[pin]
        guard: Guard,
        settings: Arc<Settings>,
        // What may be written into the body, and where it stands.
        format: Format,
        // Whether a byte order mark may still come.
        mark: Mark,
        // A frame that became ready before access was confirmed.
        waiting: Option<WaitingFrame<D>>,
        last: Last<D>,
    }
}

/// A frame that waits. Trailers are boxed: they are large and rare, and each stream has room for one.
enum WaitingFrame<D> {
    Data(D),
    Trailers(Box<HeaderMap>),
}

/// What is still to be said once the stream is at its end.
enum Last<D> {
    /// It is not at its end. Boxed, for few streams have an ending that is not the layer's alone.
    NotYet {
        own: Option<Box<OwnEnding>>,
    },
    /// Boxed: a stream that has not ended should not keep room for it.
    Frame(Box<Frame<D>>),
    /// An error in the same turn as earlier data takes that data with it, so one turn passes first.
    Abort {
        reason: EndReason,
        turn_passed: bool,
    },
    Nothing,
}

/// What an ending needs that belongs to one response.
struct OwnEnding {
    ending: Ending,
    /// Last bytes may depend on it.
    content_type: Option<HeaderValue>,
}

impl<B: Body> StreamReauth<B> {
    pub(super) fn untouched(inner: B) -> Self {
        Self { inner: Some(inner), watched: None }
    }

    pub(super) fn watched(inner: B, access: Access, settings: Arc<Settings>, response: &Parts) -> Self {
        let Parts { headers, extensions, .. } = response;
        // It stays there, for a watch further out ends the stream in the same way.
        let ending = match (extensions.get::<Ending>(), &settings.ending) {
            (None, last_bytes @ Ending::LastBytes(_)) => Some(last_bytes),
            (own, _) => own,
        };
        let content_type = || headers.get(CONTENT_TYPE).cloned();
        let own = ending.cloned().map(|ending| Box::new(OwnEnding { ending, content_type: content_type() }));
        let watched = Watched {
            guard: Guard::new(access, Arc::clone(&settings.rules), extensions.get().copied(), extensions.get()),
            settings,
            format: Format::of(headers),
            mark: Mark::default(),
            waiting: None,
            last: Last::NotYet { own },
        };
        Self { inner: Some(inner), watched: Some(Box::pin(watched)) }
    }

    /// Whether its access is watched: a response that is no stream passes untouched.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.is_some()
    }
}

/// A body of your own, which is not watched: what a refusal carries.
impl<B: Body> From<B> for StreamReauth<B> {
    fn from(body: B) -> Self {
        Self::untouched(body)
    }
}

impl<B> StreamReauth<B>
where
    B: Body<Data: From<Bytes>>,
{
    /// Completes when the stream has ended, and until then checks access where that is due. The inner
    /// body is not polled, but it is dropped when access ends.
    pub(super) fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(watched) = this.watched else { return Poll::Ready(()) };
        while this.inner.is_some() {
            let mut watched = watched.as_mut().project();
            match watched.guard.as_mut().poll_verdict(cx) {
                Verdict::Open => ready!(watched.guard.poll_wake(cx)),
                Verdict::Ended(reason) => watched.end(this.inner.as_mut(), reason),
            }
        }
        Poll::Ready(())
    }
}

impl<D: From<Bytes>> WatchedProj<'_, D> {
    /// Access ended: the inner body goes, what waits does not leave, and what is to be said of the end is.
    fn end<B>(&mut self, mut inner: Pin<&mut Option<B>>, reason: EndReason) {
        let waiting = self.waiting.take();
        let last = std::mem::replace(self.last, Last::Abort { reason, turn_passed: false });
        let own = if let Last::NotYet { own } = last { own } else { None };
        contained(|| inner.set(None));
        contained(|| drop(waiting));
        if let Some(last) = contained(|| self.last_of(reason, own.as_deref())) {
            *self.last = last;
        }
        self.guard.as_mut().report();
    }

    /// The inner body came to its own end.
    fn finish<B>(&mut self, mut inner: Pin<&mut Option<B>>, reason: EndReason) {
        *self.last = Last::Nothing;
        self.guard.as_mut().ended(reason);
        contained(|| inner.set(None));
        self.guard.as_mut().report();
    }

    /// What is to be said of an end of access.
    fn last_of(&self, reason: EndReason, own: Option<&OwnEnding>) -> Last<D> {
        let Settings { ending, retry, .. } = &**self.settings;
        let ending = own.map_or(ending, |own| &own.ending);
        let content_type = own.and_then(|own| own.content_type.as_ref());
        let cut = |is_line_open| CutBody { reason, content_type, is_line_open };
        let abort = Last::Abort { reason, turn_passed: false };
        match (*self.format, ending) {
            (Format::Grpc, _) => Last::trailers(grpc_trailers(reason)),
            (Format::GrpcWeb(messages), _) if messages.is_between_messages() => Last::data(grpc_web_trailers(reason)),
            (Format::GrpcWeb(_) | Format::GrpcWebOpaque, _) | (_, Ending::Abort) => abort,
            (format, Ending::LastEvent | Ending::LastBytes(_)) if format.is_mid_event() => Last::Nothing,
            (Format::Events(_), Ending::LastEvent) => {
                let spread = self.settings.rules.spread(*retry);
                let retry =
                    self.guard.retry_after().map_or(spread, |after| after.saturating_add(spread - *retry).max(spread));
                Last::data(last_event(reason, retry))
            }
            (Format::Events(_), Ending::LastBytes(last)) => Last::data(last.write(&cut(false))),
            (Format::Other { is_line_open }, Ending::LastBytes(last)) => Last::data(last.write(&cut(is_line_open))),
            (Format::Events(_) | Format::Other { .. }, Ending::GrpcTrailers) => Last::trailers(grpc_trailers(reason)),
            (Format::Events(_) | Format::Other { .. } | Format::Encoded, _) => Last::Nothing,
        }
    }
}

impl<B> Body for StreamReauth<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut same_task = Context::from_waker(cx.waker());
        self.poll(cx, &mut same_task)
    }

    fn is_end_stream(&self) -> bool {
        match (&self.watched, &self.inner) {
            (None, inner) => inner.as_ref().is_none_or(Body::is_end_stream),
            (Some(watched), None) => matches!(watched.last, Last::Nothing),
            (Some(watched), Some(inner)) => {
                watched.waiting.is_none() && watched.mark.is_settled() && inner.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.watched, &self.inner) {
            (None, Some(inner)) => inner.size_hint(),
            // It may be cut short, and comments may be added: nothing is known.
            (Some(_), _) if !self.is_end_stream() => SizeHint::new(),
            _ => SizeHint::with_exact(0),
        }
    }
}

impl<B> StreamReauth<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    /// The next frame. A frame wakes the first context's task, and the end of access the second one's.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        guards: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if self.watched.is_none() {
            let Some(inner) = self.project().inner.as_pin_mut() else { return Poll::Ready(None) };
            return inner.poll_frame(cx).map_err(Into::into);
        }
        // The body is a user's own, and so are its data.
        let mut polled = Poll::Pending;
        let poll = || polled = self.as_mut().poll_watched(cx, guards);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(poll)) {
            let mut this = self.project();
            if let (Some(watched), true) = (this.watched, this.inner.is_some()) {
                watched.as_mut().project().finish(this.inner.as_mut(), EndReason::Failed);
            }
            resume_unwind(panic);
        }
        polled
    }

    /// The same for a body that is watched, but for what becomes of a panic.
    fn poll_watched(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        guards: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(watched) = this.watched else { return Poll::Ready(None) };
        loop {
            let mut watched = watched.as_mut().project();
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return watched.last.poll(cx) };

            if let Verdict::Ended(reason) = watched.guard.as_mut().poll_verdict(guards) {
                watched.end(this.inner.as_mut(), reason);
                continue;
            }

            // A frame is large, and is moved as seldom as can be.
            let polled = if watched.waiting.is_some() {
                let is_admitted = watched.guard.as_mut().admit_waiting_frame();
                let waiting = if is_admitted { watched.waiting.take() } else { None };
                waiting.map_or(Poll::Pending, |waiting| Poll::Ready(Some(Ok(waiting.into()))))
            } else if watched.guard.comment_is_due() && !watched.format.is_mid_event() {
                watched.guard.as_mut().comment_written();
                if let Format::Events(_) = watched.format {
                    watched.mark.is_written_before();
                    return Poll::Ready(Some(Ok(Frame::data(watched.settings.comment.clone().into()))));
                }
                continue;
            } else {
                let polled = match inner.poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) if watched.mark.is_behind() || !is_contiguous(&frame) => {
                        let Some(frame) = watched.mark.pass(contiguous(frame)) else { continue };
                        Poll::Ready(Some(Ok(frame)))
                    }
                    polled => polled.map_err(Into::into),
                };
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    if !watched.mark.is_behind() {
                        watched.mark.is_past(frame);
                    }
                    if !watched.guard.as_mut().admit_frame() {
                        *watched.waiting = into_frame(polled).and_then(WaitingFrame::of);
                        continue;
                    }
                }
                polled
            };

            match &polled {
                Poll::Pending => {
                    ready!(watched.guard.poll_wake(guards));
                    continue;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.data_ref();
                    if let Some(data) = data {
                        watched.format.advance(data.chunk());
                    }
                    watched.guard.as_mut().passed(data.map_or(0, Buf::remaining));
                    // The consumer of a body that says it is at its end need not poll again.
                    let is_last = frame.is_trailers() || {
                        let inner = this.inner.as_ref();
                        contained(|| inner.as_pin_ref().is_none_or(|inner| inner.is_end_stream())).unwrap_or(false)
                    };
                    if is_last {
                        watched.finish(this.inner.as_mut(), EndReason::Finished);
                    }
                }
                Poll::Ready(Some(Err(_))) => watched.finish(this.inner.as_mut(), EndReason::Failed),
                Poll::Ready(None) => watched.finish(this.inner.as_mut(), EndReason::Finished),
            }
            return polled;
        }
    }
}

fn into_frame<D, E>(polled: Poll<Option<Result<Frame<D>, E>>>) -> Option<Frame<D>> {
    if let Poll::Ready(Some(Ok(frame))) = polled { Some(frame) } else { None }
}

/// Whether its data are in one piece, for their last bytes to be looked at. [`Bytes`] always are.
fn is_contiguous<D: Buf>(frame: &Frame<D>) -> bool {
    frame.data_ref().is_none_or(|data| data.chunk().len() == data.remaining())
}

/// The frame with its data in one piece.
fn contiguous<D: Buf + From<Bytes>>(frame: Frame<D>) -> Frame<D> {
    if is_contiguous(&frame) {
        return frame;
    }
    frame.map_data(|mut data| {
        let length = data.remaining();
        data.copy_to_bytes(length).into()
    })
}

impl<D> WaitingFrame<D> {
    /// `None` for a frame of a kind that is not known yet, which a stream cannot pass on unseen.
    fn of(frame: Frame<D>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) => Some(Self::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(|trailers| Self::Trailers(Box::new(trailers))),
        }
    }
}

impl<D> From<WaitingFrame<D>> for Frame<D> {
    fn from(waiting: WaitingFrame<D>) -> Self {
        match waiting {
            WaitingFrame::Data(data) => Self::data(data),
            WaitingFrame::Trailers(trailers) => Self::trailers(*trailers),
        }
    }
}

impl<D> Last<D> {
    fn data(data: Bytes) -> Self
    where
        D: From<Bytes>,
    {
        Self::Frame(Box::new(Frame::data(data.into())))
    }

    fn trailers(trailers: HeaderMap) -> Self {
        Self::Frame(Box::new(Frame::trailers(trailers)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<D>, BoxError>>> {
        if let Self::Abort { turn_passed: turn_passed @ false, .. } = self {
            *turn_passed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(self, Self::Nothing) {
            Self::Frame(frame) => Some(Ok(*frame)),
            Self::Abort { reason, .. } => Some(Err(AccessEnded { reason }.into())),
            Self::NotYet { .. } | Self::Nothing => None,
        })
    }
}

/// A body that is at its end: what a refusal carries.
impl<B: Body> Default for StreamReauth<B> {
    fn default() -> Self {
        Self { inner: None, watched: None }
    }
}

impl<B: Body> fmt::Debug for StreamReauth<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReauth")
            .field("watched", &self.watched.is_some())
            .field("ended", &self.inner.is_none())
            .finish_non_exhaustive()
    }
}
