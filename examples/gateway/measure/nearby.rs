//! Who may scrape without saying who they are.

use std::task::{Context, Poll};

use ::http::Request;
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service};

use crate::auth::GatewayAuth;

/// Lets requests [from nearby](GatewayAuth::is_from_nearby) pass, and has all others pass the layers `others`.
#[derive(Clone, Debug)]
pub struct NearbyLayer<L> {
    /// `None`: everybody is one of the others.
    pub auth: Option<GatewayAuth>,
    pub others: L,
}

/// The middleware of [`NearbyLayer`].
#[derive(Clone, Debug)]
pub struct Nearby<S, O> {
    auth: Option<GatewayAuth>,
    nearby: S,
    others: O,
}

impl<S: Clone, L: Layer<S>> Layer<S> for NearbyLayer<L> {
    type Service = Nearby<S, L::Service>;

    fn layer(&self, inner: S) -> Nearby<S, L::Service> {
        Nearby { auth: self.auth.clone(), nearby: inner.clone(), others: self.others.layer(inner) }
    }
}

impl<S, O, B> Service<Request<B>> for Nearby<S, O>
where
    S: Service<Request<B>, Response = Response>,
    O: Service<Request<B>, Response = Response, Error = S::Error>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, O::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        std::task::ready!(self.nearby.poll_ready(cx))?;
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.auth.as_ref().is_some_and(|auth| auth.is_from_nearby((&request).into())) {
            Either::Left(self.nearby.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}
