//! A body is read, then the inner service called, then its response told how to end.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::call::{Call, Unclear};
use crate::reauth::Ending;

pin_project! {
    /// The response future of [`JsonRpc`](super::JsonRpc).
    ///
    /// Not to be polled again once it was ready: it may panic.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        Reading { #[pin] body: B, reading: Option<Reading<S>> },
        Calling { #[pin] future: F, ending: Option<Ending> },
    }
}

/// What waits for the end of a request's body.
struct Reading<S> {
    parts: Parts,
    bytes: BytesMut,
    limit: usize,
    beyond: StatusCode,
    inner: S,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn calling(future: S::Future) -> Self {
        Self { state: State::Calling { future, ending: None } }
    }

    /// Reads up to `limit` bytes, and refuses a longer body with the status `beyond`.
    pub(super) fn reading(request: Request<B>, (limit, beyond): (usize, StatusCode), inner: S) -> Self {
        let (parts, body) = request.into_parts();
        let reading = Reading { parts, bytes: BytesMut::new(), limit, beyond, inner };
        Self { state: State::Reading { body, reading: Some(reading) } }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: Body + From<bytes::Bytes>,
    ResBody: Default,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Reading { body, reading } => {
                    let read = ready!(poll_read(body, reading, cx));
                    let Reading { mut parts, bytes, mut inner, .. } =
                        reading.take().expect("a future is not polled after it was ready");
                    let bytes = bytes.freeze();
                    match read.and_then(|()| Call::of(&bytes).map_err(|Unclear| StatusCode::BAD_REQUEST)) {
                        Ok(call) => {
                            let ending = call.as_ref().and_then(Call::ending);
                            if let Some(call) = call {
                                parts.extensions.insert(call);
                            }
                            State::Calling { future: inner.call(Request::from_parts(parts, bytes.into())), ending }
                        }
                        Err(status) => {
                            let mut response = Response::new(ResBody::default());
                            *response.status_mut() = status;
                            return Poll::Ready(Ok(response));
                        }
                    }
                }
                StateProj::Calling { future, ending } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(ending) = ending.take() {
                        response.extensions_mut().insert(ending);
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

/// Reads the body to its end, or says with which status it is refused.
fn poll_read<S, B: Body>(
    mut body: Pin<&mut B>,
    reading: &mut Option<Reading<S>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), StatusCode>> {
    let Some(Reading { bytes, limit, beyond, .. }) = reading else { return Poll::Ready(Ok(())) };
    while let Some(frame) = ready!(body.as_mut().poll_frame(cx)) {
        let Ok(frame) = frame else { return Poll::Ready(Err(StatusCode::BAD_REQUEST)) };
        let Ok(data) = frame.into_data() else { continue };
        if data.remaining() > *limit - bytes.len() {
            return Poll::Ready(Err(*beyond));
        }
        bytes.put(data);
    }
    Poll::Ready(Ok(()))
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Reading { .. } => "ResponseFuture::reading",
            State::Calling { .. } => "ResponseFuture::calling",
        })
    }
}
