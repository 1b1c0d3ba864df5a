//! The routes: a session's history, the end of its streams, and a fresh credential for one.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ::http::{
    HeaderName, HeaderValue, StatusCode, Version,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
};
use axum::{
    Extension,
    body::Body,
    extract::{self, Request},
    response::Response,
};
use bytes::Bytes;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tower_reauth::{
    Access, Denied, Scope, StreamReauthLayer,
    access::RenewError,
    reauth::{EndReason, StreamId, StreamLabel},
};

use super::{
    State,
    accept::wants_events,
    reading::{self, PATIENCE, Reading, Refused, Unread},
    reply,
};
use crate::{
    auth::{ClientAt, respond},
    config::Settings,
    http::operate::{self, Seat, ids},
    live::{FeedKey, ScopeUpdates, StreamOptions},
    measure::{self, PageFrom},
    serve::PageBytes,
    sessions::{
        history::{self, BadQuery, Query},
        now, pages,
        store::{RequestedKey, Session},
        transcript::{Place, Transcript},
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
pub async fn ready(extract::State(state): extract::State<Arc<State>>) -> Response {
    if state.kept.revocations().is_unsure() {
        return reply::unavailable("It is not known what was revoked on other gateways.");
    }
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

pub async fn only_delete() -> Response {
    reply::only("DELETE")
}

pub async fn only_get_or_post() -> Response {
    reply::only("GET, POST")
}

/// What an open stream is renewed and ended by.
const STREAM_ID: HeaderName = HeaderName::from_static("x-stream-id");

/// How long the row of a session may take to be found.
const SOON: Duration = Duration::from_secs(2);
/// How long a page that is remembered takes at most, unless its file system hangs.
const AT_ONCE: Duration = Duration::from_millis(10);

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
    let access = request.extensions().get::<Access>().cloned();
    let room = request.extensions().get::<PageBytes>().cloned();
    #[cfg(feature = "edge")]
    let known = request.headers().get(::http::header::IF_NONE_MATCH).cloned().map(Box::new);
    async move {
        let mut response = match (query, opening) {
            (Err(bad), _) => Box::pin(refuse(state, key, bad)).await,
            (Ok(query), Some(opening)) => Box::pin(stream(state, key, query, *opening, room)).await,
            (Ok(query), None) => page(state, key, query, access, room).await,
        };
        #[cfg(feature = "edge")]
        if let Some(known) = known {
            response = Box::pin(crate::edge::unless_known(response, *known)).await;
        }
        let headers = response.headers_mut();
        reply::vary_by_accept(headers);
        // No `Authorization` tells a shared cache that this is for one caller, where a proxy says who that is.
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// A query that cannot be read is an error of whoever asks for a session that there is.
async fn refuse(state: Arc<State>, key: RequestedKey, bad: BadQuery) -> Response {
    let settings = state.settings();
    match find(&state, &settings, &key).await {
        Ok(_) => reply::bad_query(bad),
        Err(response) => response,
    }
}

/// `room` is that of the connection.
async fn page(
    state: Arc<State>,
    key: RequestedKey,
    query: Query,
    access: Option<Access>,
    room: Option<PageBytes>,
) -> Response {
    let settings = state.settings();
    let asked = (key, query);
    let began = Instant::now();
    let found = |from| measure::page(from, began.elapsed());
    let body = match state.pages.find(&asked, &settings).await {
        Some(body) => {
            found(PageFrom::Memory);
            if let Some(access) = access.filter(|_| began.elapsed() >= AT_ONCE)
                && let Err(refusal) = Box::pin(async move { confirm(&access).await }).await
            {
                return *refusal;
            }
            body
        }
        None => match Box::pin(read_and_confirm(state, settings, asked, access)).await {
            Ok(body) => {
                found(PageFrom::Disk);
                body
            }
            Err(refusal) => {
                found(PageFrom::Nowhere);
                return *refusal;
            }
        },
    };
    let held = match room {
        Some(room) => room.hold(body),
        None => Some(body),
    };
    held.map_or_else(reply::busy, |body| reply::with_type(StatusCode::OK, reply::JSON, body))
}

/// Reads a page that is not remembered. It may take a while: what was read is for those only who may have it still.
async fn read_and_confirm(
    state: Arc<State>,
    settings: Arc<Settings>,
    asked: (RequestedKey, Query),
    access: Option<Access>,
) -> Result<Bytes, Box<Response>> {
    let body = read(state, settings, asked).await?;
    match access {
        Some(access) => confirm(&access).await.map(|()| body),
        None => Ok(body),
    }
}

/// Asks once more by the gate of streams, which waits for an answer that is on its way.
pub async fn confirm(access: &Access) -> Result<(), Box<Response>> {
    let gate = StreamReauthLayer::new().without_heartbeat();
    match gate.confirm(access).await {
        Ok(()) => Ok(()),
        Err(reason) => Err(Box::new(lost(reason, access))),
    }
}

/// The answer to a request whose access ended before it could be answered.
pub fn lost(reason: EndReason, access: &Access) -> Response {
    let denied = match reason {
        EndReason::Expired => Denied::Expired,
        EndReason::ScopeLost => access.require(access.required()).err().unwrap_or(Denied::Revoked),
        reason if reason.is_transient() => {
            return reply::unavailable("Access cannot be confirmed now. Please try again later.");
        }
        _ => Denied::Revoked,
    };
    let mut response = respond(&denied);
    // The layer that asked who is calling adds its challenge.
    response.extensions_mut().insert(denied);
    response
}

/// Reads a page that is not remembered.
async fn read(
    state: Arc<State>,
    settings: Arc<Settings>,
    asked: (RequestedKey, Query),
) -> Result<Bytes, Box<Response>> {
    let key = asked.0.clone();
    let made = reading::patiently(&key, make(state, settings, asked)).await;
    made.map_err(|unread| Box::new(unanswered(&key, unread)))
}

async fn make(state: Arc<State>, settings: Arc<Settings>, asked: (RequestedKey, Query)) -> Result<Bytes, Unread> {
    let key = asked.0.clone();
    let reading = Reading::begin(&state, &settings, &key).await?;
    // Others that waited for the same turn may have made it meanwhile.
    if let Some(body) = state.pages.find(&asked, &settings).await {
        return Ok(body);
    }
    let shared = Arc::clone(&state);
    let make = move |session: Session, transcript: Option<&Transcript>| {
        let now = now();
        let page = history::page(transcript, asked.1, now)?;
        let body = page.body(&session.key);
        if !shared.page_bytes.can_hold(body.len()) {
            return Err(Refused::TooLarge);
        }
        let body = shared.page_bytes.hold(body.into()).ok_or(Refused::NoRoom)?;
        if !page.tells(now) {
            shared.pages.keep(asked, pages::CachedPage { body: body.clone(), settings, proof: session.proof });
        }
        Ok(body)
    };
    reading.read(&state, &key, make).await
}

/// What a request for a stream says besides what it is of.
pub struct Opening {
    pub options: StreamOptions,
    pub access: Option<Access>,
    pub scope_updates: Option<ScopeUpdates>,
    pub asks_for_reasons: bool,
    pub client: Option<IpAddr>,
    pub address: Option<IpAddr>,
    pub version: Version,
}

impl Opening {
    pub fn of(request: &Request) -> Self {
        let asked = request.uri().query().unwrap_or_default();
        let access = request.extensions().get::<Access>().cloned();
        let scope_updates = access.as_ref().and_then(|access| ScopeUpdates::asked(asked, access));
        Self {
            options: StreamOptions::of(asked, request.headers()),
            access,
            scope_updates,
            asks_for_reasons: operate::asks_for_reasons(asked),
            client: operate::client(request),
            address: request.extensions().get::<ClientAt>().map(|ClientAt(address)| *address),
            version: request.version(),
        }
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
    let identity = opening.access.as_ref().map(Access::identity);
    let seat = match state.seats.take(identity.as_ref(), opening.address) {
        Ok(seat) => seat,
        Err(full) => return full.answer(),
    };
    let asked = key.clone();
    let opened = timeout(PATIENCE, open_stream(state, key, query, opening, seat, room)).await;
    opened.unwrap_or_else(|_| unanswered(&asked, Unread::hangs(&asked)))
}

async fn open_stream(
    state: Arc<State>,
    key: RequestedKey,
    query: Query,
    opening: Opening,
    seat: Seat,
    room: Option<PageBytes>,
) -> Response {
    let settings = state.settings();
    let session = match find(&state, &settings, &key).await {
        Ok(session) => session,
        Err(response) => return response,
    };
    let feed = FeedKey { asked: key, session: session.key.clone(), query };
    let (key, transcript) = (session.key.clone(), session.transcript.clone());
    match state.streams.open(feed, session, opening.options, room).await {
        Ok(events) => {
            let events = events.with_scope_updates(opening.scope_updates);
            let Opening { asks_for_reasons, client, version, .. } = opening;
            let opened = Opened { label: key.into(), asks_for_reasons, client, version };
            event_stream(&state, seat.held_by(Body::new(events)), opened, opening.access.as_ref())
        }
        Err(error) if error.kind() == ErrorKind::OutOfMemory => reply::busy(),
        Err(error) => unreadable(&key, transcript.as_ref(), &error),
    }
}

/// The session, or the answer in its place.
pub async fn find(state: &Arc<State>, settings: &Arc<Settings>, key: &RequestedKey) -> Result<Session, Response> {
    reading::find(state, settings, key).await.map_err(|unread| unanswered(key, unread))
}

/// What a stream is known by.
pub struct Opened {
    pub label: Arc<str>,
    pub asks_for_reasons: bool,
    pub client: Option<IpAddr>,
    pub version: Version,
}

/// A response of events: as the layer around the route has to list it, and as its client gets to know it.
pub fn event_stream(state: &State, events: Body, opened: Opened, access: Option<&Access>) -> Response {
    let mut response = Response::new(events);
    let id = ids::random();
    if let (Some(id), Some(access)) = (id, access) {
        state.audit.opened(id, &opened.label, &access.identity(), opened.client);
    }
    let extensions = response.extensions_mut();
    extensions.insert(StreamLabel::new(opened.label));
    if let Some(id) = id {
        extensions.insert(id);
    }
    if opened.asks_for_reasons {
        extensions.insert(operate::ending(true));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    // A proxy that compresses, or buffers, would hold events back.
    // In a line of its own: OpenClaw's line stays as it is.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-transform"));
    headers.append(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&ids::text(id)).ok()) {
        headers.insert(STREAM_ID, id);
    }
    if opened.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

/// `POST /sessions/{key}/kill`: ends the streams of a session.
pub async fn kill(
    extract::State(state): extract::State<Arc<State>>,
    Extension(key): Extension<RequestedKey>,
    Extension(by): Extension<Access>,
) -> Response {
    let session = match named(&state, &key).await {
        // What is streamed can be killed, whether its row is there still, and can be read, or not.
        Ok((session, is_stored)) if is_stored || state.streams.are_open(&session) => session,
        Ok(_) => return reply::session_not_found(key.as_str()),
        Err(error) => match state.sessions.canonical_unread(&key) {
            session if state.streams.are_open(&session) => session,
            _ => return unreadable(key.as_str(), None, &error),
        },
    };
    let streams = state.open.list().into_iter().filter(|stream| stream.label.as_deref() == Some(&*session));
    let streams: Vec<_> = streams.map(|stream| stream.id).collect();
    let killed = state.audit.ending(&state.open, &streams, &by.identity(), || state.streams.kill(&session));
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
    match state.open.renew(id, &fresh) {
        None | Some(Err(RenewError::Ended)) => reply::no_such_stream(),
        Some(Ok(())) => reply::json(StatusCode::OK, &json!({ "ok": true })),
        Some(Err(RenewError::Denied(denied))) => respond(&denied),
        Some(Err(RenewError::Older)) => {
            reply::error(StatusCode::CONFLICT, "conflict", "The stream has a newer credential.")
        }
        Some(Err(_)) => reply::forbidden("The stream belongs to another client."),
    }
}

/// The answer in the place of what was not read.
fn unanswered(key: &RequestedKey, unread: Unread) -> Response {
    match unread {
        Unread::NoSession => reply::session_not_found(key.as_str()),
        Unread::Unreadable { key, transcript, error } => unreadable(&key, transcript.as_ref(), &error),
        Unread::Broken(error) => broken(&error),
        Unread::Busy => reply::busy(),
        Unread::TooLarge => reply::too_large(),
    }
}

fn unreadable(key: &str, transcript: Option<&Place>, error: &io::Error) -> Response {
    reply::unavailable(&reading::unreadable(key, transcript, error))
}

/// A request that was not answered because the gateway ends; or for a panic in a reader, which is a defect of
/// ours, and one request's only.
pub fn broken(error: &io::Error) -> Response {
    if error.kind() == ErrorKind::Interrupted {
        return reply::unavailable("The gateway is ending.");
    }
    tracing::error!(%error, "a request could not be answered");
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal Server Error")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ::http::header::CONTENT_TYPE;
    use clap::Parser;
    use http::header::RETRY_AFTER;
    use http_body_util::BodyExt;
    use tokio::time::sleep;
    use tower::{Layer, ServiceExt, service_fn};
    use tower_reauth::{
        AuthMethod, Identity,
        access::AccessSource,
        revoke::Revocations,
        verify::{CredentialKey, TokenDigest, Verification},
    };

    use super::*;
    use crate::{
        config::{Config, Environment, Flags, LiveSettings},
        files::{Watcher, disk::fault},
        http::operate::{Audit, Kept},
    };

    fn state(folder: &std::path::Path) -> Arc<State> {
        let sessions = folder.join("agents/main/sessions");
        std::fs::create_dir_all(&sessions).unwrap();
        std::fs::write(sessions.join("sessions.json"), r#"{"agent:main:k":{"sessionId":"s"}}"#).unwrap();
        std::fs::write(sessions.join("s.jsonl"), "{\"message\":{\"role\":\"user\",\"content\":\"hi\"}}\n").unwrap();
        let flags = Flags::parse_from(["gateway", "--state-dir", folder.to_str().unwrap(), "--token", "secret"]);
        let config = Config::new(flags, Environment::default()).unwrap();
        let settings = LiveSettings::open(config.sources.clone()).unwrap().subscribe();
        Arc::new(State::new(
            &config,
            settings,
            Watcher::new().unwrap(),
            Kept::open(None, Revocations::new()).unwrap(),
            Audit::default(),
        ))
    }

    async fn asked(state: &Arc<State>, access: Access, query: &str) -> Response {
        let request =
            Request::get(format!("/sessions/k/history?{query}")).extension(access).body(Body::empty()).unwrap();
        history(extract::State(Arc::clone(state)), Extension(RequestedKey::parse("k").unwrap()), request).await
    }

    #[tokio::test]
    async fn a_page_is_not_sent_to_whom_lost_access_while_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(folder.path());
        let revocations = Revocations::new();
        let source = AccessSource::new().with_revocations(&revocations);
        let access = async || {
            let verify = || Verification::ready(Ok(Identity::new("alice", AuthMethod::Token)));
            source.verify(CredentialKey::new(TokenDigest::of("token")), verify).await.unwrap()
        };
        let response = asked(&state, access().await, "").await;
        assert_eq!((response.status(), response.headers()[CONTENT_TYPE].clone()), (StatusCode::OK, reply::JSON));

        // Nobody reads while all turns are taken, and no such page is remembered.
        let turns = Arc::clone(&state.making).acquire_many_owned(8).await.unwrap();
        let mut waiting = tokio_test::task::spawn(asked(&state, access().await, "limit=1"));
        for _ in 0..1000 {
            assert!(waiting.poll().is_pending());
            tokio::task::yield_now().await;
        }
        revocations.revoke_subject("alice");
        drop(turns);
        let response = waiting.await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.extensions().get(), Some(&Denied::Revoked));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
    }

    #[tokio::test]
    async fn a_page_for_which_there_is_never_room_is_not_to_be_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let access = || Access::new(Identity::new("alice", AuthMethod::Token));
        for (units, status) in [(1, StatusCode::BAD_REQUEST), (2, StatusCode::OK)] {
            let state = Arc::into_inner(state(folder.path())).unwrap();
            let state = Arc::new(State { page_bytes: PageBytes::shared(units), ..state });
            let response = asked(&state, access(), "").await;
            assert_eq!((response.status(), response.headers().get(RETRY_AFTER)), (status, None));
        }
        let state =
            Arc::new(State { page_bytes: PageBytes::shared(2), ..Arc::into_inner(state(folder.path())).unwrap() });
        let _others = state.page_bytes.take(1);
        assert_eq!(asked(&state, access(), "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_stream_that_is_being_ended_is_none_to_renew() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(folder.path());
        let access = || Access::new(Identity::new("alice", AuthMethod::Token));
        let request = Request::builder().extension(access()).body(Body::empty()).unwrap();
        let open = service_fn(async |_| {
            let body = Body::from_stream(futures_util::stream::pending::<io::Result<Bytes>>());
            Ok::<_, Infallible>(
                ::http::Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body).unwrap(),
            )
        });
        let _response = StreamReauthLayer::new().with_registry(&state.open).layer(open).oneshot(request).await.unwrap();
        let id = state.open.list()[0].id;
        let renew =
            async || renew(extract::State(Arc::clone(&state)), Extension(id), Extension(access())).await.status();
        assert_eq!(renew().await, StatusCode::OK);
        assert!(state.open.end(id, EndReason::Closed));
        assert_eq!((state.open.len(), renew().await), (1, StatusCode::NOT_FOUND));
    }

    #[tokio::test]
    async fn a_stream_opens_though_its_transcript_is_written_over_while_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for calls in 0.. {
            let state = state(folder.path());
            let key = RequestedKey::parse("k").unwrap();
            let session = state.sessions.find(&key, &state.settings()).unwrap().unwrap();
            let feed = FeedKey { asked: key, session: session.key.clone(), query: Query::default() };
            let transcript = folder.path().join("agents/main/sessions/s.jsonl");
            let fault = fault::Broken::after(calls, &transcript, || ErrorKind::UnexpectedEof.into());
            let options = StreamOptions::of("", &::http::HeaderMap::new());
            let opened = state.streams.open(feed, session, options, None).await;
            assert_eq!(opened.err().map(|error| error.to_string()), None, "after {calls} calls");
            if !fault.has_failed() {
                assert!(calls > 5, "there are more");
                return;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nor_is_one_that_is_remembered_to_whom_lost_it_while_the_disk_hung() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(folder.path());
        let revocations = Revocations::new();
        let source = AccessSource::new().with_revocations(&revocations);
        let access = async || {
            let verify = || Verification::ready(Ok(Identity::new("alice", AuthMethod::Token)));
            source.verify(CredentialKey::new(TokenDigest::of("token")), verify).await.unwrap()
        };
        let page = async || asked(&state, access().await, "").await.into_body().collect().await.unwrap().to_bytes();
        while page().await.as_ptr() != page().await.as_ptr() {
            sleep(Duration::from_millis(10)).await;
        }
        let hang = fault::Hang::after(0, folder.path());
        let (shared, access) = (Arc::clone(&state), access().await);
        let waiting = tokio::spawn(async move { asked(&shared, access, "").await });
        while hang.held() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(2 * AT_ONCE).await;
        revocations.revoke_subject("alice");
        drop(hang);
        assert_eq!(waiting.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}
