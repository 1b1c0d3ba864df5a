//! What is made of an answer of the upstream.

use std::{net::IpAddr, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tower_reauth::Access;

use super::{
    Api, Upstream, client,
    events::Events,
    sent::Sent,
    words::{self, Fault, Last},
};
use crate::{
    config::Secret,
    http::{
        handlers,
        operate::{self, Seat},
        reply,
    },
    serve::PageBytes,
};

/// How long an answer that is no stream may be, in bytes; and one that is a refusal.
const MOST: usize = 32 * 1024 * 1024;
const MOST_OF_REFUSAL: usize = 64 * 1024;
/// How many characters a refusal may say.
const LONGEST: usize = 2000;

/// The headers of an answer that are passed on, besides those about how much may be asked.
const PASSED: [HeaderName; 5] = [
    RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("openai-version"),
];
const OF_LIMITS: &str = "x-ratelimit-";

/// Who asks for what.
pub struct Asking {
    api: Api,
    access: Access,
    client: Option<IpAddr>,
    version: Version,
    room: Option<PageBytes>,
    /// Its place among the streams, which a completion has from its beginning. The list of models needs none.
    seat: Option<Seat>,
}

impl Asking {
    pub fn of(api: Api, request: &Request, access: Access, seat: Option<Seat>) -> Self {
        let room = request.extensions().get::<PageBytes>().cloned();
        Self { api, access, client: operate::client(request), version: request.version(), room, seat }
    }
}

/// Asks, and waits for what can be answered with.
pub async fn of(upstream: &Upstream, asking: Asking, sent: Sent) -> Response {
    let api = asking.api;
    answer(upstream, asking, sent).await.unwrap_or_else(|(fault, cause)| {
        if fault.is_of_upstream() {
            tracing::warn!(%fault, cause, api = api.path(), "the upstream did not answer");
        }
        fault.response()
    })
}

/// A fault, and what is known of its cause.
type Failed = (Fault, Option<String>);

async fn answer(upstream: &Upstream, asking: Asking, sent: Sent) -> Result<Response, Failed> {
    let Sent { request, key, progress } = sent;
    if let Some(fault) = progress.fault() {
        return Err((fault, None));
    }
    let response = tokio::select! {
        response = upstream.client.request(request) => response,
        () = progress.rests_for(upstream.patience) => return Err((Fault::Silent, None)),
    };
    let response =
        response.map_err(|error| (progress.fault().unwrap_or(Fault::Unreachable), Some(client::causes(&error))))?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return refused(upstream.patience, key.as_ref(), head.status, &head.headers, body).await;
    }
    let content_type = head.headers.get(CONTENT_TYPE).filter(|value| !shows(key.as_ref(), value)).cloned();
    let essence = content_type.as_ref().and_then(|kind| kind.to_str().ok()?.split(';').next()).map(str::trim);
    let (Some(content_type), Some(essence)) = (content_type.clone(), essence) else {
        return Err((Fault::Invalid, Some("without a Content-Type".to_owned())));
    };
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err((Fault::Invalid, Some("encoded though nobody asked for it".to_owned())));
    }
    if essence.eq_ignore_ascii_case("text/event-stream") && asking.api != Api::Models {
        return Ok(stream(upstream, asking, key, &head.headers, content_type, body));
    }
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err((Fault::Invalid, Some(format!("neither JSON nor events, but {essence:?}"))));
    }
    let (body, held) = read(body, upstream.patience, MOST, Some(&upstream.room)).await?;
    serde_json::from_slice::<IgnoredAny>(&body).map_err(|error| (Fault::Invalid, Some(error.to_string())))?;
    if key.as_ref().is_some_and(|key| key.is_in(&body)) && error_in(&body) {
        return Err((Fault::Invalid, Some("an error that shows the key".to_owned())));
    }
    // It may have taken a while.
    if let Err(refusal) = handlers::confirm(&asking.access).await {
        return Ok(*refusal);
    }
    let body = PageBytes::held(body, held);
    let body = match asking.room {
        Some(room) => room.hold(body).ok_or((Fault::Busy, None))?,
        None => body,
    };
    let mut response = reply::with_type(head.status, content_type, body);
    pass_headers(&head.headers, key.as_ref(), response.headers_mut());
    Ok(response)
}

/// Events, one after another, under watch. The upstream is let go when access ends, whether or not the client reads.
fn stream(
    upstream: &Upstream,
    asking: Asking,
    key: Option<Secret>,
    headers: &HeaderMap,
    content_type: HeaderValue,
    body: Incoming,
) -> Response {
    let Asking { api, access, client, version, seat, .. } = asking;
    let last = Last::default();
    let events = Body::new(Events::new(body, api, upstream.patience, key.clone(), last.clone()));
    let events = match seat {
        Some(seat) => seat.held_by(events),
        None => events,
    };
    let opened = handlers::Opened { label: api.path().into(), asks_for_reasons: false, client, version };
    let mut response = handlers::event_stream(&upstream.gateway, events, opened, Some(&access));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    pass_headers(headers, key.as_ref(), response.headers_mut());
    response.extensions_mut().insert(last.ending(api));
    upstream.watched.supervise(&access, &Method::POST, response).map(Body::new)
}

/// What the upstream refused: for the caller's fault in its words, for the gateway's own in ours.
async fn refused(
    patience: Duration,
    key: Option<&Secret>,
    status: StatusCode,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response, Failed> {
    let said = match read(body, patience, MOST_OF_REFUSAL, None).await {
        Ok((body, _)) => serde_json::from_slice(&body).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    let cause = || Some(format!("it answered {}", status.as_u16()));
    let answered = match status.as_u16() {
        // Of the gateway's key, and of what is owed for it.
        401 | 402 | 403 | 407 => return Err((Fault::Locked, cause())),
        408 | 504 => StatusCode::GATEWAY_TIMEOUT,
        503 => StatusCode::SERVICE_UNAVAILABLE,
        400 | 404 | 409 | 413 | 415 | 422 | 429 => status,
        400..=499 => StatusCode::BAD_REQUEST,
        500..=599 => StatusCode::BAD_GATEWAY,
        // No redirect is followed: it could lead the key anywhere.
        _ => return Err((Fault::Invalid, cause())),
    };
    if answered.is_server_error() {
        tracing::warn!(status = status.as_u16(), "the upstream could not answer");
    }
    let error = Refusal { said: &said, key };
    let kind = error.text("type").unwrap_or_else(|| "upstream_error".to_owned());
    let code = error.text("code").unwrap_or_else(|| "upstream_refused".to_owned());
    let message = error.text("message").unwrap_or_else(|| format!("The upstream answered {}.", status.as_u16()));
    let mut response = words::refusal(answered, &kind, &code, error.text("param").as_deref(), &message);
    operate::is_anothers(&mut response);
    pass_headers(headers, key, response.headers_mut());
    Ok(response)
}

fn shows(key: Option<&Secret>, value: &HeaderValue) -> bool {
    key.is_some_and(|key| key.is_in(value.as_bytes()))
}

/// Whether an answer has an error, though its status says that it is none.
fn error_in(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| !body["error"].is_null())
}

/// An error as servers write it: an object `error`, or a text.
struct Refusal<'a> {
    said: &'a Value,
    key: Option<&'a Secret>,
}

impl Refusal<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let error = &self.said["error"];
        let text = match &error[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => error.as_str().filter(|_| name == "message")?.to_owned(),
        };
        // A server that repeats what it was asked must not give the key away.
        let text = self.key.map_or(text.clone(), |key| key.left_out_of(&text));
        Some(text.chars().take(LONGEST).collect())
    }
}

/// Passes on what the caller may know. A server that repeats what it was asked may do so in a header.
fn pass_headers(from: &HeaderMap, key: Option<&Secret>, to: &mut HeaderMap) {
    for (name, value) in from {
        if (PASSED.contains(name) || name.as_str().starts_with(OF_LIMITS)) && !shows(key, value) {
            to.append(name, value.clone());
        }
    }
}

/// Reads a body to its end, into the room that there is.
async fn read(
    mut body: Incoming,
    patience: Duration,
    most: usize,
    room: Option<&PageBytes>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failed> {
    let (mut bytes, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
    loop {
        let frame = match timeout(patience, body.frame()).await {
            Err(_) => return Err((Fault::Silent, None)),
            Ok(None) => return Ok((bytes.freeze(), held)),
            Ok(Some(Err(error))) => return Err((Fault::Cut, Some(client::causes(&error)))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err((Fault::TooLong, None));
        }
        if let Some(room) = room {
            let more = room.take(data.len()).ok_or((Fault::Busy, None))?;
            match &mut held {
                None => held = Some(more),
                Some(held) => held.merge(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
}
