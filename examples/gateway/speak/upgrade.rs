//! Handshakes, whatever path they come to: OpenClaw's clients use any.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{
    HeaderMap, Method, Request, Uri,
    header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use axum::{body::Body, extract::FromRequestParts, response::Response};
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_reauth::websocket::OpeningUpgrade;

use super::{
    Speak,
    socket::{self, BUFFERED, LONGEST},
};
use crate::auth::unattributed;

/// Takes handshakes out of the requests, and makes sockets of them.
#[derive(Clone)]
pub struct SpeakLayer(pub Arc<Speak>);

/// The middleware of [`SpeakLayer`].
#[derive(Clone)]
pub struct Speaking<S> {
    inner: S,
    speak: Arc<Speak>,
}

impl<S> Layer<S> for SpeakLayer {
    type Service = Speaking<S>;

    fn layer(&self, inner: S) -> Speaking<S> {
        Speaking { inner, speak: Arc::clone(&self.0) }
    }
}

impl<S> Service<Request<Body>> for Speaking<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET && asks_for_a_socket(request.headers()) {
            let speak = Arc::clone(&self.speak);
            let is_attributed = speak.doors.auth.can_attribute((&request).into());
            Either::Right(Box::pin(async move {
                Ok(if is_attributed { shake_hands(speak, request).await } else { unattributed() })
            }))
        } else {
            Either::Left(self.inner.call(request))
        }
    }
}

fn asks_for_a_socket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

async fn shake_hands(speak: Arc<Speak>, request: Request<Body>) -> Response {
    let (mut head, _) = request.into_parts();
    let upgrade = match OpeningUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal,
    };
    // All paths are one, and what stands in them is none of a log's business.
    head.uri = Uri::from_static("/");
    // The first that is offered, as with OpenClaw. A browser gives up where none is chosen.
    let offered = head.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.to_str().ok());
    let first = offered.and_then(|offered| offered.split(',').next()).map(|first| first.trim().to_owned());
    let upgrade = upgrade
        .with_protocols(first)
        .with_max_message_size(LONGEST)
        .map_upgrade(|upgrade| upgrade.read_buffer_size(BUFFERED).write_buffer_size(BUFFERED));
    let head = Box::new(head);
    upgrade.on_upgrade(move |opening| socket::speak(speak, head, opening))
}
