//! The service.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header::CONTENT_ENCODING};
use http_body::Body;
use tower_service::Service;

use super::ResponseFuture;
use crate::media_type;

/// The service of [`JsonRpcLayer`](super::JsonRpcLayer).
#[derive(Clone, Debug)]
pub struct JsonRpc<S> {
    pub(super) inner: S,
    pub(super) limit: usize,
}

impl<S> JsonRpc<S> {
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for JsonRpc<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body + From<Bytes>,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if !may_be_call(request.method(), request.headers()) {
            return ResponseFuture::calling(self.inner.call(request));
        }
        // The clone was not asked whether it is ready, so the service that was goes along.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::reading(request, self.limit, ready)
    }
}

fn may_be_call(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST
        && media_type::of(headers).eq_ignore_ascii_case(b"application/json")
        && !headers.contains_key(CONTENT_ENCODING)
}
