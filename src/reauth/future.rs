//! The inner response, its body watched.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Method, Response};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{StreamReauth, layer::Settings};
use crate::{Access, access::Entered};

pin_project! {
    /// The response future of [`StreamReauthService`](super::StreamReauthService).
    ///
    /// Not to be polled again once it was ready: it may panic.
    pub struct ResponseFuture<F, B: Body> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B: Body> {
        Inner { #[pin] future: F, access: Option<Access>, method: Method, settings: Arc<Settings> },
        Refused { response: Option<Response<StreamReauth<B>>> },
    }
}

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn inner(future: F, access: Option<Access>, method: Method, settings: Arc<Settings>) -> Self {
        Self { state: State::Inner { future, access, method, settings } }
    }

    pub(super) fn refused(response: Response<StreamReauth<B>>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<StreamReauth<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Inner { future, access, method, settings } => {
                let response = ready!(future.poll(cx))?;
                // Of a door further in, if there is one.
                let innermost = Entered::innermost(response.extensions()).cloned();
                Ok(match innermost.as_ref().or(access.as_ref()) {
                    Some(access) => settings.watch(access, method, response),
                    None => response.map(StreamReauth::untouched),
                })
            }
            StateProj::Refused { response } => Ok(response.take().expect("a future is not polled after it was ready")),
        })
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Inner { .. } => "ResponseFuture::inner",
            State::Refused { .. } => "ResponseFuture::refused",
        })
    }
}
