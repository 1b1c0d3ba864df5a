//! Completions: requests that are passed on to a server of OpenAI's API, and its answers on the way back.
//!
//! The caller shows this gateway's credential, and the upstream is shown the gateway's own key; neither gets to see
//! the other's. What passes is what that API is made of, and nothing that a proxy, a browser or another server added:
//!
//! 1. Of the request: the body, up to [`sent::MOST`] bytes, and the [headers](sent) that say something about it.
//! 2. Of an answer in JSON: the whole of it, once it is known to be whole, to be JSON, and for a caller who still has
//!    access.
//! 3. Of an answer in events: one [whole event](events) after another, as the caller takes them, for as long as access
//!    lasts. Whatever cuts it short, the last of it is an error that the clients of the API [raise](words).
//! 4. Of a refusal: what it says about the request. One that says something about the key is the gateway's own fault.
//!
//! Whoever goes takes the request to the upstream along: a client, access, or the gateway.
//!
//! - `client`: connections to the upstream
//! - `sent`: what it is asked
//! - `answer`: what is made of what it answers
//! - `events`: the events of such an answer
//! - `words`: what is said of a fault, and of an end

mod answer;
pub mod client;
mod events;
mod sent;
mod words;

use std::{error::Error, future::poll_fn, sync::Arc, time::Duration};

use ::http::{HeaderValue, StatusCode, header::CACHE_CONTROL, uri::PathAndQuery};
use axum::{
    body::Body,
    extract::{self, Request},
    response::Response,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower_reauth::{Access, StreamReauthLayer};

use self::{client::Client, sent::Sent, words::Fault};
use crate::{
    auth::ClientAt,
    config::UpstreamUrl,
    http::{State, handlers, reply},
    serve::{self, PageBytes},
};

/// The upstream, and how it is asked.
pub struct Upstream {
    gateway: Arc<State>,
    /// By whose rules its streams are watched.
    watched: StreamReauthLayer,
    url: UpstreamUrl,
    client: Client,
    /// How long it may send nothing.
    patience: Duration,
    /// Room for answers that are not known to be whole.
    room: PageBytes,
}

/// In units of 1 KiB.
const ROOM: u32 = 256 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Models,
    Chat,
    Responses,
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Models => "/v1/models",
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
        }
    }
}

impl Upstream {
    pub fn new(
        (url, patience): (UpstreamUrl, Duration),
        gateway: Arc<State>,
        watched: StreamReauthLayer,
    ) -> Result<Self, Box<dyn Error>> {
        let client = client::new(url.is_https()).map_err(|error| format!("--upstream: {error}"))?;
        Ok(Self { gateway, watched, url, client, patience, room: PageBytes::new(ROOM) })
    }
}

type Handle = extract::State<Arc<Upstream>>;

/// `GET /v1/models`: what can be asked.
pub async fn models(extract::State(upstream): Handle, request: Request) -> Response {
    pass(upstream, Api::Models, Api::Models.path(), request).await
}

/// `GET /v1/models/{id}`: one of them.
pub async fn model(extract::State(upstream): Handle, request: Request) -> Response {
    match model_path(request.uri().path()) {
        Some(path) => pass(upstream, Api::Models, &path, request).await,
        None => {
            words::error(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", "There is no such model.")
        }
    }
}

/// `POST /v1/chat/completions`
pub async fn chat(extract::State(upstream): Handle, request: Request) -> Response {
    pass(upstream, Api::Chat, Api::Chat.path(), request).await
}

/// `POST /v1/responses`
pub async fn responses(extract::State(upstream): Handle, request: Request) -> Response {
    pass(upstream, Api::Responses, Api::Responses.path(), request).await
}

/// What of a path's segment stays as it is (RFC 3986 section 3.3).
const SEGMENT: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@');

/// The path of one model. Its name may have slashes, and must not lead anywhere else: what one server takes for a
/// letter another one may take for a way up.
fn model_path(path: &str) -> Option<String> {
    let name = path.strip_prefix(Api::Models.path())?.strip_prefix('/')?;
    let name = percent_decode_str(name).decode_utf8().ok()?;
    let mut there = Api::Models.path().to_owned();
    for segment in name.split('/') {
        if matches!(segment, "" | "." | "..")
            || segment.contains(|char: char| char.is_control() || "\\%".contains(char))
        {
            return None;
        }
        there.push('/');
        there.extend(utf8_percent_encode(segment, &SEGMENT));
    }
    Some(there)
}

/// Asks the upstream, for as long as there is somebody to ask for.
async fn pass(upstream: Arc<Upstream>, api: Api, path: &str, request: Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = PathAndQuery::try_from(format!("{path}{query}")).ok().and_then(|target| upstream.url.at(&target));
    let (Some(url), Some(access)) = (url, request.extensions().get::<Access>().cloned()) else {
        return reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal Server Error");
    };
    let gone = gone(request.extensions().get::<serve::Client>().cloned());
    let address = request.extensions().get::<ClientAt>().map(|ClientAt(address)| *address);
    let seat = || upstream.gateway.seats.take(Some(&access.identity()), address);
    let seat = match (api != Api::Models).then(seat).transpose() {
        Ok(seat) => seat,
        Err(full) => return full.answer_by(|status, kind, message| words::error(status, kind, kind, message)),
    };
    let asking = answer::Asking::of(api, &request, access.clone(), seat);
    // A list is asked for by nothing but its address: a body that never comes would keep the upstream waiting.
    let request = if api == Api::Models { request.map(|_| Body::empty()) } else { request };
    let sent = Sent::of(request, url, upstream.gateway.settings().upstream_key.clone());
    let mut response = tokio::select! {
        biased;
        () = gone => Fault::Gone.response(),
        reason = access.ended() => handlers::lost(reason, &access),
        answer = Box::pin(answer::of(&upstream, asking, sent)) => answer,
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Completes when the client has closed its half of the connection. It may listen still, in theory; a model that
/// computes for nobody costs more.
async fn gone(client: Option<serve::Client>) {
    match client {
        // An error says so as well.
        Some(client) => drop(poll_fn(|cx| client.poll_half_closed(cx)).await),
        // Over HTTP/2 the request is dropped.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_leads_nowhere_else() {
        for (path, expected) in [
            ("/v1/models/gpt-4.1", Some("/v1/models/gpt-4.1")),
            ("/v1/models/llama3:8b", Some("/v1/models/llama3:8b")),
            ("/v1/models/meta/llama", Some("/v1/models/meta/llama")),
            ("/v1/models/meta%2Fllama", Some("/v1/models/meta/llama")),
            ("/v1/models/a%20b%3Fc", Some("/v1/models/a%20b%3Fc")),
            ("/v1/models/%2e%2e/files", None),
            ("/v1/models/..%2ffiles", None),
            ("/v1/models/a%2f..%2f..%2ffiles", None),
            ("/v1/models/%252e%252e", None),
            ("/v1/models/a%5c..%5cfiles", None),
            ("/v1/models/a//b", None),
            ("/v1/models/", None),
            ("/v1/models/a%0d%0ab", None),
            ("/v1/models/%ff", None),
        ] {
            assert_eq!(model_path(path).as_deref(), expected, "{path}");
        }
    }
}
