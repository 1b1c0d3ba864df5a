//! The route of histories, beside a router of all others.
//!
//! A router clones what it routes to for each request, with all layers, and boxes what they answer. Most requests are for
//! histories, so those are told by their path here, and answered by a service that is neither cloned nor boxed.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::Method;
use axum::{
    Extension, Router,
    extract::{self, Request},
    response::Response,
    routing::future::RouteFuture,
};
use futures_util::{FutureExt, future::Either};
use tower::Service;

use super::{State, handlers, reply, target::session_key};
#[cfg(feature = "edge")]
use crate::edge::{self, Edge};
use crate::{measure, sessions::store::RequestedKey};

/// Their template.
const HISTORY: &str = "/sessions/{key}/history";

/// All routes.
#[derive(Clone)]
pub struct Routes<H> {
    /// What answers `GET` of a history, of the key in the extensions of the request.
    pub history: H,
    /// What answers all else, such a path of another method, or with a key that cannot be read, among it.
    pub others: Router,
}

impl<H> Service<Request> for Routes<H>
where
    H: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<H::Future, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        self.history.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match key_of_history(&request) {
            Some(key) => {
                measure::note_route(&request, HISTORY);
                request.extensions_mut().insert(key);
                Either::Left(self.history.call(request))
            }
            None => Either::Right(self.others.call(request)),
        }
    }
}

fn key_of_history(request: &Request) -> Option<RequestedKey> {
    let path = request.uri().path();
    let segment = path.strip_prefix("/sessions/")?.strip_suffix("/history")?;
    let is_one = request.method() == Method::GET && !segment.contains('/');
    is_one.then(|| session_key(segment).ok()).flatten()
}

/// What answers `GET` of a history.
#[derive(Clone)]
pub enum Histories {
    /// Of the state folder.
    Here(Arc<State>),
    /// Of another gateway.
    #[cfg(feature = "edge")]
    There(Arc<Edge>),
}

impl Service<Request> for Histories {
    type Response = Response;
    type Error = Infallible;
    /// Boxed: it is large, and each layer around it would move it.
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(key) = request.extensions_mut().remove().map(Extension) else {
            return Box::pin(ready(Ok(reply::not_found())));
        };
        match self {
            Self::Here(state) => Box::pin(handlers::history(extract::State(Arc::clone(state)), key, request).map(Ok)),
            #[cfg(feature = "edge")]
            Self::There(edge) => Box::pin(edge::history(extract::State(Arc::clone(edge)), key, request).map(Ok)),
        }
    }
}
