//! A request body whose reading ends when access ends.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    AccessEnded, EndReason,
    guard::{Guard, Verdict},
    layer::Settings,
    rules::Rules,
};
use crate::{Access, unwind::contained};

type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// A request body, of which nothing more can be read when access ends: its error is the inner body's,
    /// or an [`AccessEnded`]. Made by a layer with
    /// [`with_uploads`](super::StreamReauthLayer::with_uploads).
    ///
    /// What was read before passes at once, without a check of its own: to keep a client's bytes from a
    /// handler that asked for them protects nobody.
    pub struct UploadReauth<B> {
        // `None` once it was let go.
        #[pin]
        inner: Option<B>,
        guard: Option<Pin<Box<Guard>>>,
        ended: Option<AccessEnded>,
    }
}

/// The service between [`StreamReauthService`](super::StreamReauthService) and the handler that has the
/// request's body watched.
#[derive(Clone, Debug)]
pub struct WithUploads<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

impl<S> WithUploads<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for WithUploads<S>
where
    S: Service<Request<UploadReauth<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let (parts, body) = request.into_parts();
        let access = parts.extensions.get::<Access>().filter(|_| self.settings.is_enabled).cloned();
        let body = UploadReauth::new(body, access, &self.settings.rules);
        self.inner.call(Request::from_parts(parts, body))
    }
}

impl<B: Body> UploadReauth<B> {
    fn new(inner: B, access: Option<Access>, rules: &Arc<Rules>) -> Self {
        let guard = match access {
            Some(access) if !inner.is_end_stream() => {
                // The response's stream is what is counted.
                Some(Box::pin(Guard::uncounted(access, Arc::clone(rules))))
            }
            _ => None,
        };
        Self { inner: Some(inner), guard, ended: None }
    }
}

impl<B> Body for UploadReauth<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        loop {
            if let Some(ended) = this.ended.take() {
                return Poll::Ready(Some(Err(ended.into())));
            }
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            if let Some(guard) = this.guard {
                if let Verdict::Ended(reason) = guard.as_mut().poll_verdict(cx) {
                    *this.ended = Some(AccessEnded { reason });
                    *this.guard = None;
                    contained(|| this.inner.set(None));
                    continue;
                }
            }
            if let Poll::Ready(frame) = inner.poll_frame(cx) {
                if !matches!(frame, Some(Ok(_))) {
                    if let Some(guard) = this.guard.as_mut() {
                        guard.as_mut().ended(EndReason::Finished);
                    }
                    *this.guard = None;
                    contained(|| this.inner.set(None));
                }
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            match this.guard {
                Some(guard) => ready!(guard.as_mut().poll_wake(cx)),
                None => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            // Of a body that can fail in the middle the length is still what was announced.
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B> fmt::Debug for UploadReauth<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadReauth").field("watched", &self.guard.is_some()).finish_non_exhaustive()
    }
}
