//! The service of the third question.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{ResponseFuture, StreamReauth, StreamReauthLayer, layer::Settings};
use crate::{
    access::{self, Watched},
    challenge::{Challenge, OfRequest},
    respond::{EmptyBody, Refusal, Respond, refuse},
};

/// The service of [`StreamReauthLayer`].
#[derive(Clone)]
pub struct StreamReauthService<S, R = EmptyBody> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
    pub(super) respond: R,
}

impl<S> StreamReauthService<S> {
    /// Watches the responses of `inner`. For more than the defaults, see [`StreamReauthLayer`].
    #[must_use]
    pub fn new(inner: S) -> Self {
        StreamReauthLayer::new().layer(inner)
    }
}

impl StreamReauthService<()> {
    /// The layer that makes such services: [`StreamReauthLayer::new`].
    #[must_use]
    pub fn layer() -> StreamReauthLayer {
        StreamReauthLayer::new()
    }
}

impl<S, R> StreamReauthService<S, R> {
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

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for StreamReauthService<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: Respond<StreamReauth<ResBody>>,
    ResBody: Body,
{
    type Response = Response<StreamReauth<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // Shared with the layers further in: what a route requires is added to this very value.
        let access = match access::of(&request, "StreamReauthLayer") {
            Ok(access) => {
                access.is_watched();
                Some(access.clone())
            }
            Err(_) if self.settings.missing_access_allowed => {
                request.extensions_mut().insert(Watched);
                None
            }
            Err(denied) => {
                let refusal = Refusal::new(&request, &denied, None);
                return ResponseFuture::refused(refuse(
                    &refusal,
                    &Challenge::new(),
                    &OfRequest::default(),
                    &self.respond,
                ));
            }
        };
        let method = request.method().clone();
        ResponseFuture::inner(self.inner.call(request), access, method, Arc::clone(&self.settings))
    }
}

impl<S: fmt::Debug, R> fmt::Debug for StreamReauthService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReauthService")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
