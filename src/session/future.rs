//! What is learned from a response.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderName, Method, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    layer::Sessions,
    table::{Caller, Id},
};
use crate::verify::TokenDigest;

pin_project! {
    /// The inner service's future, whose response may begin a session or end one.
    #[must_use = "futures do nothing unless polled"]
    pub struct Learning<F> {
        #[pin]
        inner: F,
        header: HeaderName,
        sessions: Arc<Sessions>,
        caller: Caller,
        named: Option<Id>,
        method: Method,
    }
}

impl<F> Learning<F> {
    pub(super) fn new(
        inner: F,
        header: HeaderName,
        sessions: Arc<Sessions>,
        caller: Caller,
        named: Option<Id>,
        method: Method,
    ) -> Self {
        Self { inner, header, sessions, caller, named, method }
    }
}

impl<F, B, E> Future for Learning<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let status = response.status();
        let begun = response.headers().get_all(&*this.header).iter().map(TokenDigest::of);
        let ends = status == StatusCode::NOT_FOUND || (*this.method == Method::DELETE && status.is_success());
        match this.named {
            Some(id) if ends => this.sessions.table().release(*id, *this.caller),
            _ if status.is_success() => {
                for id in begun {
                    this.sessions.table().bind(id, *this.caller, Instant::now(), &this.sessions.limits);
                }
            }
            _ => {}
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for Learning<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learning").finish_non_exhaustive()
    }
}
