//! The routes of operators: the open streams, and what is revoked.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH},
};
use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{self, Request},
    response::Response,
};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};
use tower_reauth::{
    Access,
    reauth::{EndReason, StreamId},
};
use tracing::{Instrument, Span};

use super::{State, accept::wants_events, handlers, reply};
use crate::auth::ClientAt;
use crate::http::operate::{self, KeptError, Order, asks_for_reasons};

/// How long, and how many bytes, the body of a request may be.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST: usize = 64 * 1024;

/// What the list is called in itself. No session's key has a slash.
const LIST: &str = "/streams";

/// `GET /streams`: who is in, once or for as long as somebody looks.
pub async fn streams(extract::State(state): extract::State<Arc<State>>, request: Request) -> Response {
    let mut response = if wants_events(request.headers()) {
        let access = request.extensions().get::<Access>();
        let address = request.extensions().get::<ClientAt>().map(|ClientAt(address)| *address);
        let seat = match state.seats.take(access.map(Access::identity).as_ref(), address) {
            Ok(seat) => seat,
            Err(full) => return full.answer(),
        };
        let body = seat.held_by(Body::from_stream(operate::watch(state.open.clone(), state.ends.clone())));
        let asks = asks_for_reasons(request.uri().query().unwrap_or_default());
        let (client, version) = (operate::client(&request), request.version());
        let opened = handlers::Opened { label: LIST.into(), asks_for_reasons: asks, client, version };
        handlers::event_stream(&state, body, opened, access)
    } else {
        reply::json(StatusCode::OK, &operate::list(&state.open, &state.ends))
    };
    let headers = response.headers_mut();
    reply::vary_by_accept(headers);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// `DELETE /streams/{id}`: the stream ends.
pub async fn end(
    extract::State(state): extract::State<Arc<State>>,
    Extension(id): Extension<StreamId>,
    Extension(by): Extension<Access>,
) -> Response {
    if state.audit.ending(&state.open, &[id], &by.identity(), || state.open.end(id, EndReason::Closed)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        reply::no_such_stream()
    }
}

/// `GET /revocations`: what is revoked.
pub async fn revocations(extract::State(state): extract::State<Arc<State>>) -> Response {
    let mut response = reply::json(StatusCode::OK, &state.kept.list());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `POST /revocations`: what the body names is revoked, and kept so.
pub async fn revoke(
    extract::State(state): extract::State<Arc<State>>,
    Extension(by): Extension<Access>,
    request: Request,
) -> Response {
    let client = operate::client(&request);
    let order = match order(request).await {
        Ok(order) => order,
        Err(refusal) => return *refusal,
    };
    let shown = order.shown();
    // On a thread of its own, and to its end whether or not anybody waits for the answer.
    let revoking = {
        let (state, told) = (Arc::clone(&state), order.told());
        let revoking = async move {
            let revocations = state.kept.revocations().clone();
            let kept = {
                let (state, span) = (Arc::clone(&state), Span::current());
                spawn_blocking(move || span.in_scope(|| state.kept.revoke(&order))).await
            };
            let is_shared = timeout(PATIENCE, revocations.written()).await.is_ok();
            state.audit.revoked(told, matches!(kept, Ok(Ok(()))), is_shared, &by.identity(), client);
            (kept, is_shared)
        };
        tokio::spawn(revoking.in_current_span())
    };
    match revoking.await {
        Ok((kept, is_shared)) => answered(kept, is_shared, shown),
        Err(error) => handlers::broken(&io::Error::other(error)),
    }
}

/// Reads what a request orders.
async fn order(request: Request) -> Result<Order, Box<Response>> {
    let error = |status, kind, message: &str| Err(Box::new(reply::error(status, kind, message)));
    let too_large = || error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is larger than 64 KiB.");
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MOST) {
        return too_large();
    }
    let body = match timeout(PATIENCE, to_bytes(request.into_body(), MOST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return too_large(),
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "timeout", "The body did not come in time."),
    };
    let order = Order::parse(&body, SystemTime::now());
    order.or_else(|reason| error(StatusCode::BAD_REQUEST, "invalid_request_error", &reason))
}

fn answered(kept: Result<Result<(), KeptError>, tokio::task::JoinError>, is_shared: bool, shown: Value) -> Response {
    if !is_shared {
        tracing::error!("a revocation holds here, and other gateways have not heard of it");
    }
    match kept {
        Ok(Ok(())) if is_shared => reply::json(StatusCode::OK, &json!({ "ok": true, "revocation": shown })),
        Ok(Ok(())) => reply::unavailable(
            "It is revoked and kept here, and other gateways will hear of it when Redis is there again.",
        ),
        Ok(Err(error)) => {
            tracing::error!(%error, "a revocation holds, and is lost at the next restart");
            reply::unavailable(match is_shared {
                true => "It is revoked, and could not be kept on the disk of this gateway: the log says why.",
                false => {
                    "It is revoked here, and could be kept neither on the disk of this gateway nor in Redis, of which other \
                     gateways would hear of it: the log says why."
                }
            })
        }
        Err(error) => handlers::broken(&io::Error::other(error)),
    }
}
