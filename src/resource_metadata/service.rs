//! The service.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::ResourceMetadataLayer;
use crate::scope::ResponseFuture;

/// The service of [`ResourceMetadataLayer`].
#[derive(Clone, Debug)]
pub struct ResourceMetadataService<S> {
    pub(super) inner: S,
    pub(super) layer: ResourceMetadataLayer,
}

impl<S> ResourceMetadataService<S> {
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ResourceMetadataService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<Bytes>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.layer.answer(&request) {
            Some(response) => ResponseFuture::answered(response.map(Into::into)),
            None => ResponseFuture::inner(self.inner.call(request)),
        }
    }
}
