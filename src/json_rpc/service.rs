//! The service.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
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
        let (method, headers, body) = (request.method(), request.headers(), request.body());
        if *method == Method::CONNECT || body.is_end_stream() || body.size_hint().exact() == Some(0) {
            return ResponseFuture::calling(self.inner.call(request));
        }
        // Whether there is a body shows when it is read: a layer in between may hide it.
        let (limit, beyond) = match is_plain_json(headers) {
            true => (self.limit, StatusCode::PAYLOAD_TOO_LARGE),
            false => (0, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        };
        // The clone was not asked whether it is ready, so the service that was goes along.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::reading(request, (limit, beyond), ready)
    }
}

/// Whether the bytes of the body are JSON, whichever of several headers a service further in goes by.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let is_json = |value| media_type::essence(value).eq_ignore_ascii_case(b"application/json");
    let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.contains_key(CONTENT_TYPE)
        && headers.get_all(CONTENT_TYPE).iter().all(is_json)
        && headers.get_all(CONTENT_ENCODING).iter().all(is_identity)
}
