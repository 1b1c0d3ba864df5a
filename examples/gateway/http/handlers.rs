//! The routes: a session's history, the end of its streams, and a fresh credential for one.

use std::{
    error::Error,
    io::{self, ErrorKind},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
};
use axum::{
    Extension,
    body::Body,
    extract::{self, Request},
    response::Response,
};
use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;
use tower_reauth::{Access, Denied, Scope, access::RenewError, proxy::PeerAddr};

use super::{State, reply};
use crate::{
    auth::{is_local_direct, respond},
    config::Settings,
    live::{EventBody, FeedKey, ScopeUpdates, StreamId, StreamOptions},
    serve::PageBytes,
    sessions::{
        history::{self, Query},
        now, pages,
        store::{RequestedKey, Session},
    },
};

pub const ADMIN: Scope = Scope::from_static("operator.admin");
pub const READ: Scope = Scope::from_static("operator.read");
pub const WRITE: Scope = Scope::from_static("operator.write");

/// Whether the process is up.
pub async fn live() -> Response {
    reply::json(StatusCode::OK, &json!({ "ok": true, "status": "live" }))
}

/// Whether the process can serve.
pub async fn ready() -> Response {
    reply::json(StatusCode::OK, &json!({ "ok": true, "status": "ready" }))
}

/// What no route serves.
pub async fn not_found() -> Response {
    reply::not_found()
}

pub async fn only_get() -> Response {
    reply::only("GET")
}

pub async fn only_get_or_head() -> Response {
    reply::only("GET, HEAD")
}

pub async fn only_post() -> Response {
    reply::only("POST")
}

/// What an open stream is renewed by.
const STREAM_ID: HeaderName = HeaderName::from_static("x-stream-id");

/// How long a session may take to be found and read, and the row alone.
const PATIENCE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(2);
/// How long the making of a page counts.
const LONG: Duration = Duration::from_secs(1);

const REQUESTER: HeaderName = HeaderName::from_static("x-openclaw-requester-session-key");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

// What is seldom or only once awaited is boxed, so that the future of a page is small.

/// `GET /sessions/{key}/history`: a page, or a stream that goes on from it.
///
/// Not `async` itself: its future would keep the whole request.
pub fn history(
    extract::State(state): extract::State<Arc<State>>,
    Extension(key): Extension<RequestedKey>,
    request: Request,
) -> impl Future<Output = Response> + Send {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let opening = wants_events(request.headers()).then(|| Box::new(Opening::of(&request)));
    let room = request.extensions().get::<PageBytes>().cloned();
    async move {
        let mut response = match opening {
            Some(opening) => Box::pin(stream(state, key, query, *opening, room)).await,
            None => page(state, key, query, room).await,
        };
        let headers = response.headers_mut();
        reply::vary_by_accept(headers);
        // No `Authorization` tells a shared cache that this is for one caller, where a proxy says who that is.
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// `room` is that of the connection.
async fn page(state: Arc<State>, key: RequestedKey, query: Query, room: Option<PageBytes>) -> Response {
    let settings = state.settings();
    let asked = (key, query);
    let body = match state.pages.find(&asked, &settings).await {
        Some(body) => body,
        None => match Box::pin(read(state, settings, asked)).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        },
    };
    let held = match room {
        Some(room) => room.hold(body),
        None => Some(body),
    };
    held.map_or_else(reply::busy, |body| reply::with_type(StatusCode::OK, reply::JSON, body))
}

/// Reads a page that is not remembered. That goes on though the client may not wait any more: what it takes is
/// given back when it is done, or hangs.
async fn read(
    state: Arc<State>,
    settings: Arc<Settings>,
    asked: (RequestedKey, Query),
) -> Result<Bytes, Box<Response>> {
    let key = asked.0.clone();
    let made = tokio::spawn(timeout(PATIENCE, make(state, settings, asked)));
    match made.await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err(Box::new(hangs(&key))),
        Err(error) => Err(Box::new(broken(&error))),
    }
}

async fn make(
    state: Arc<State>,
    settings: Arc<Settings>,
    asked: (RequestedKey, Query),
) -> Result<Bytes, Box<Response>> {
    let key = asked.0.clone();
    let session = find(&state, &settings, &key).await.map_err(Box::new)?;
    let transcript = session.transcript.as_deref().map(|path| state.transcripts.at(path));
    let turn = match &transcript {
        Some(transcript) => transcript.turn().await,
        None => None,
    };
    // Others that waited for the same turn may have made it meanwhile.
    if let Some(body) = state.pages.find(&asked, &settings).await {
        return Ok(body);
    }
    let thread = state.sessions.turn(&key).await;
    let making = Arc::clone(&state.making).acquire_owned().await;
    let mut read = pin!(thread.ask(move || {
        // For as long as this reads, whether or not anybody still waits.
        let _turn = turn;
        let now = now();
        match history::read(transcript.as_deref(), asked.1, settings.chat_history_max_chars, now) {
            Ok(page) => {
                let body =
                    state.page_bytes.hold(page.body(&session.key).into()).ok_or_else(|| Box::new(reply::busy()))?;
                if !page.tells(now) {
                    state.pages.keep(asked, pages::CachedPage { body: body.clone(), settings, stamps: session.stamps });
                }
                Ok(body)
            }
            Err(error) => Err(Box::new(unreadable(&session.key, session.transcript.as_deref(), &error))),
        }
    }));
    let read = match timeout(LONG, &mut read).await {
        Ok(read) => read,
        Err(_) => {
            // It may hang, and others are to have their turns.
            drop(making);
            read.await
        }
    };
    read.unwrap_or_else(|error| Err(Box::new(broken(&error))))
}

/// What a request for a stream says besides what it is of.
struct Opening {
    options: StreamOptions,
    access: Option<Access>,
    scope_updates: Option<ScopeUpdates>,
    version: Version,
}

impl Opening {
    fn of(request: &Request) -> Self {
        let asked = request.uri().query().unwrap_or_default();
        let access = request.extensions().get::<Access>().cloned();
        let scope_updates = access.as_ref().and_then(|access| ScopeUpdates::asked(asked, access));
        Self { options: StreamOptions::of(asked, request.headers()), access, scope_updates, version: request.version() }
    }
}

/// `room` is that of the connection.
async fn stream(
    state: Arc<State>,
    key: RequestedKey,
    query: Query,
    opening: Opening,
    room: Option<PageBytes>,
) -> Response {
    let asked = key.clone();
    let opened = timeout(PATIENCE, open_stream(state, key, query, opening, room)).await;
    opened.unwrap_or_else(|_| hangs(&asked))
}

async fn open_stream(
    state: Arc<State>,
    key: RequestedKey,
    query: Query,
    opening: Opening,
    room: Option<PageBytes>,
) -> Response {
    let settings = state.settings();
    let session = match find(&state, &settings, &key).await {
        Ok(session) => session,
        Err(response) => return response,
    };
    let max_chars = settings.chat_history_max_chars;
    let feed = FeedKey { asked: key, session: session.key.clone(), query, max_chars };
    let (key, transcript) = (session.key.clone(), session.transcript.clone());
    match state.streams.open(feed, session, opening.options, room).await {
        Ok(events) => {
            let renewable = opening.access.and_then(|access| state.renewals.add(access));
            event_stream(events.with_scope_updates(opening.scope_updates).with_renewable(renewable), opening.version)
        }
        Err(error) if error.kind() == ErrorKind::OutOfMemory => reply::busy(),
        Err(error) => unreadable(&key, transcript.as_deref(), &error),
    }
}

/// The session, or the answer in its place.
async fn find(state: &Arc<State>, settings: &Arc<Settings>, key: &RequestedKey) -> Result<Session, Response> {
    let (sessions, settings, asked) = (Arc::clone(&state.sessions), Arc::clone(settings), key.clone());
    match state.sessions.ask(key, move || sessions.find(&asked, &settings)).await {
        Ok(Ok(Some(session))) => Ok(session),
        Ok(Ok(None)) => Err(reply::session_not_found(key.as_str())),
        Ok(Err(error)) => Err(unreadable(key.as_str(), None, &error)),
        Err(error) => Err(broken(&error)),
    }
}

fn event_stream(events: EventBody, version: Version) -> Response {
    let id = events.id();
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    // A proxy that compresses, or buffers, would hold events back.
    // In a line of its own: OpenClaw's line stays as it is.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-transform"));
    headers.append(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert(STREAM_ID, id);
    }
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

/// Whether a client asks for events: as OpenClaw does it, by the media type's name anywhere.
fn wants_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| {
        let accept = accept.as_bytes().to_ascii_lowercase();
        memchr::memmem::find(&accept, b"text/event-stream").is_some()
    })
}

/// `POST /sessions/{key}/kill`: ends the streams of a session.
///
/// A caller on this machine must be an admin. One from elsewhere must name the session that it acts
/// for, may write, and ends the streams of that session only.
pub async fn kill(
    extract::State(state): extract::State<Arc<State>>,
    Extension(key): Extension<RequestedKey>,
    request: Request,
) -> Response {
    let peer = request.extensions().get::<PeerAddr>();
    let is_local = peer.is_some_and(|peer| is_local_direct(peer.ip(), request.headers()));
    let requester = request.headers().get(REQUESTER).and_then(|key| RequestedKey::parse(key.to_str().ok()?));
    if !is_local && requester.is_none() {
        let message = "Session kills require a local admin request or requester session ownership.";
        return reply::forbidden(message);
    }
    let required = if is_local { ADMIN } else { WRITE };
    let access = request.extensions().get::<Access>().ok_or(Denied::no_access("kill"));
    if let Err(denied) = access.and_then(|access| access.require(required)) {
        return respond(&denied);
    }
    let session = match named(&state, &key).await {
        // What is streamed can be killed, whether its row is there still, and can be read, or not.
        Ok((session, is_stored)) if is_stored || state.streams.are_open(&session) => session,
        Ok(_) => return reply::session_not_found(key.as_str()),
        Err(error) => match state.sessions.canonical_unread(&key) {
            session if state.streams.are_open(&session) => session,
            _ => return unreadable(key.as_str(), None, &error),
        },
    };
    if !is_local {
        let own = match &requester {
            Some(requester) => named(&state, requester).await.map(|(own, _)| Some(own)),
            None => Ok(None),
        };
        match own {
            Err(error) => return unreadable(key.as_str(), None, &error),
            Ok(own) if own.as_ref() != Some(&session) && state.streams.are_open(&session) => {
                return reply::forbidden("The session is not the requester's own.");
            }
            Ok(_) => {}
        }
    }
    let killed = state.streams.kill(&session);
    reply::json(StatusCode::OK, &json!({ "ok": true, "killed": killed }))
}

/// The canonical key of a session, and whether there is a row for it.
async fn named(state: &Arc<State>, key: &RequestedKey) -> io::Result<(String, bool)> {
    let (sessions, asked) = (Arc::clone(&state.sessions), key.clone());
    timeout(SOON, state.sessions.ask(key, move || sessions.canonical(&asked))).await??
}

/// `POST /streams/{id}/renew`: the stream goes by the credential of this request from now on.
pub async fn renew(
    extract::State(state): extract::State<Arc<State>>,
    Extension(id): Extension<StreamId>,
    Extension(fresh): Extension<Access>,
) -> Response {
    match state.renewals.renew(id, &fresh) {
        None => reply::error(StatusCode::NOT_FOUND, "not_found", "No such stream is open."),
        Some(Ok(())) => reply::json(StatusCode::OK, &json!({ "ok": true })),
        Some(Err(RenewError::Denied(denied))) => respond(&denied),
        Some(Err(RenewError::Older)) => {
            reply::error(StatusCode::CONFLICT, "conflict", "The stream has a newer credential.")
        }
        Some(Err(_)) => reply::forbidden("The stream belongs to another client."),
    }
}

/// A session that is there and cannot be read: for now, as far as anybody can tell.
fn unreadable(key: &str, transcript: Option<&Path>, error: &io::Error) -> Response {
    let transcript = transcript.map(|path| path.display().to_string());
    tracing::error!(key, transcript, %error, "a session cannot be read");
    match (error.kind(), transcript) {
        // To a folder in its place OpenClaw answers so.
        (ErrorKind::IsADirectory, Some(_)) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        _ => reply::unavailable("The session cannot be read at the moment."),
    }
}

/// A session that is not read in time.
fn hangs(key: &RequestedKey) -> Response {
    unreadable(key.as_str(), None, &ErrorKind::TimedOut.into())
}

/// A panic in a reader: a defect of ours, and one request's only.
fn broken(error: &dyn Error) -> Response {
    tracing::error!(%error, "a request could not be answered");
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal Server Error")
}
