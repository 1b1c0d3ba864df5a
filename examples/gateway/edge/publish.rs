//! What an origin publishes of the sessions that edges follow, and the routes for that.
//!
//! 1. `GET /sessions/{key}/follow` is open for as long as an edge follows. Its first event, `feed`, names the session, the
//!    stream of Redis and its last entry: what comes after that is after all that `join` says from then on. Each five seconds
//!    comes a `last` with the last entry, and at the end an `end` with the reason.
//! 2. `GET /sessions/{key}/join` is what a stream of that moment begins with, with ids: the history, or what was missed after
//!    the `Last-Event-ID`, which may be nothing.
//! 3. Edges that follow the same share what publishes it ([`Publishers`]). It goes on behind the last entry that there is, so what is
//!    appended while nobody follows, or Redis is away, is published when it can be.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use ::http::{HeaderValue, header::CACHE_CONTROL};
use axum::{
    Extension,
    body::Body,
    extract::{self, Request},
    response::Response,
};
use futures_util::stream;
use serde_json::json;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::AbortHandle,
    time::{Instant, interval_at, sleep, timeout},
};
use tower_reauth::Access;

use super::{
    entry::Entry,
    redis::{Failed, KEPT, Streams},
};
use crate::{
    auth::ClientAt,
    config::{ConfigError, RedisUrl},
    http::{
        State, handlers,
        operate::{self, Seat},
        reading::{self, PATIENCE},
        reply,
    },
    live::{Event, FeedKey, Held, Sent, Shared, Shown, Start, StreamOptions},
    sessions::{history::Query, store::RequestedKey},
};

/// How often an edge is told that it follows still.
const EACH: Duration = Duration::from_secs(5);
/// How long the end of a stream may take to be published: edges are told by their requests, too.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// When publishing is tried again that failed: after the first time, and at most.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_AT_MOST: Duration = Duration::from_secs(5);

/// All that is published.
pub struct Publishers {
    gateway: Arc<State>,
    streams: Arc<Streams>,
    published: Arc<Shared<FeedKey, Published>>,
}

/// A session that is published until this is dropped.
struct Published {
    stream: String,
    standing: watch::Receiver<Standing>,
    publishing: AbortHandle,
}

#[derive(Clone, Debug)]
enum Standing {
    Beginning,
    /// All up to a moment is published, the last of it as this entry.
    At(String),
    Ended(Entry),
}

impl Publishers {
    pub fn new(url: &RedisUrl, gateway: Arc<State>) -> Result<Self, ConfigError> {
        Ok(Self { gateway, streams: Arc::new(Streams::new(url)?), published: Arc::default() })
    }

    /// What publishes this, begun if there is none. What has ended is not gone on with.
    fn published(&self, key: FeedKey, shown: Shown) -> Arc<Held<FeedKey, Published>> {
        if self.published.get(&key).is_some_and(|found| matches!(*found.standing.borrow(), Standing::Ended(_))) {
            self.published.remove(&key);
        }
        let streams = &self.streams;
        self.published.get_or_insert(key.clone(), || {
            let stream = streams.key(&key);
            let (standing, heard) = watch::channel(Standing::Beginning);
            let publisher = Publisher {
                session: key.session,
                shown,
                streams: Arc::clone(streams),
                stream: stream.clone(),
                standing,
            };
            Published { stream, standing: heard, publishing: tokio::spawn(publisher.run()).abort_handle() }
        })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.publishing.abort();
    }
}

struct Publisher {
    session: String,
    shown: Shown,
    streams: Arc<Streams>,
    stream: String,
    standing: watch::Sender<Standing>,
}

/// Why publishing has to begin again.
enum Interrupted {
    /// By what is in the stream.
    Moved,
    Unreadable(io::Error),
    Redis(redis::RedisError),
}

impl From<Failed> for Interrupted {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Moved => Self::Moved,
            Failed::Redis(error) => Self::Redis(error),
        }
    }
}

impl Publisher {
    async fn run(self) {
        let mut wait = None;
        let end = loop {
            let interrupted = tokio::select! {
                biased;
                () = self.shown.killed() => break Entry::Killed,
                interrupted = self.publish(&mut wait) => match interrupted {
                    Ok(()) => break Entry::Over,
                    Err(interrupted) => interrupted,
                },
            };
            let is_first = wait.is_none();
            let longer = wait.map_or(RETRY, |wait: Duration| (2 * wait).min(RETRY_AT_MOST));
            wait = Some(longer);
            match interrupted {
                Interrupted::Moved => {
                    tracing::debug!(session = self.session, "a stream of events was changed by another")
                }
                Interrupted::Unreadable(error) if is_first => {
                    tracing::warn!(session = self.session, %error, "a session cannot be read, nothing is published of it");
                }
                Interrupted::Redis(error) if is_first => {
                    // Not the words of the crate, which may quote an address.
                    tracing::warn!(session = self.session, kind = ?error.kind(), "events cannot be published");
                }
                Interrupted::Unreadable(_) | Interrupted::Redis(_) => {}
            }
            tokio::select! {
                () = self.shown.killed() => break Entry::Killed,
                () = sleep(longer) => {}
            }
        };
        let said = timeout(LAST_WORDS, self.streams.append(&self.stream, "*", std::slice::from_ref(&end)));
        if !matches!(said.await, Ok(Ok(_))) {
            tracing::debug!(session = self.session, "the end of a stream was not published");
        }
        self.standing.send_replace(Standing::Ended(end));
    }

    /// Goes on behind the last entry, until the key means something else.
    async fn publish(&self, wait: &mut Option<Duration>) -> Result<(), Interrupted> {
        let (mut at, last) = self.streams.last(&self.stream).await.map_err(Interrupted::Redis)?;
        let mut start = match last.as_ref().and_then(Entry::id) {
            Some(id) => Start::After(id.to_owned()),
            None => Start::History,
        };
        let mut refresh = interval_at(Instant::now() + KEPT / 4, KEPT / 4);
        loop {
            let joined = self.shown.join(start).await.map_err(Interrupted::Unreadable)?;
            at = self.append(at, &joined.first).await?;
            if wait.take().is_some() {
                tracing::info!(session = self.session, "events are published again");
            }
            let mut sent = joined.sent;
            loop {
                let sent = tokio::select! {
                    sent = sent.recv() => sent,
                    _ = refresh.tick() => {
                        if !self.streams.refresh(&self.stream).await.map_err(Interrupted::Redis)? {
                            return Err(Interrupted::Moved);
                        }
                        continue;
                    }
                };
                match sent {
                    Ok(Sent::Events(events)) => at = self.append(at, &events).await?,
                    Ok(Sent::Anew) | Err(RecvError::Lagged(_)) => break,
                    Ok(Sent::Over) | Err(RecvError::Closed) => return Ok(()),
                }
            }
            start = Start::History;
        }
    }

    async fn append(&self, at: String, events: &[Event]) -> Result<String, Interrupted> {
        let entries: Vec<_> = events.iter().filter_map(Entry::of).collect();
        let at = match entries[..] {
            [] => at,
            _ => self.streams.append(&self.stream, &at, &entries).await?,
        };
        self.standing.send_replace(Standing::At(at.clone()));
        Ok(at)
    }
}

type Handle = extract::State<Arc<Publishers>>;

/// `GET /sessions/{key}/follow`
pub async fn follow(
    extract::State(publishers): Handle,
    Extension(key): Extension<RequestedKey>,
    Extension(access): Extension<Access>,
    request: Request,
) -> Response {
    let address = request.extensions().get::<ClientAt>().map(|ClientAt(address)| *address);
    let seat = match publishers.gateway.seats.take(Some(&access.identity()), address) {
        Ok(seat) => seat,
        Err(full) => return full.answer(),
    };
    let (client, version) = (operate::client(&request), request.version());
    let query = request.uri().query().unwrap_or_default().to_owned();
    drop(request);
    let (key, shown) = match shown(&publishers, key, &query).await {
        Ok(shown) => shown,
        Err(refusal) => return *refusal,
    };
    let session = key.session.clone();
    let published = publishers.published(key, shown);
    let mut standing = published.standing.clone();
    match timeout(PATIENCE, standing.wait_for(|standing| !matches!(standing, Standing::Beginning))).await {
        Ok(Ok(_)) => {}
        _ => return reply::unavailable("Events cannot be published at the moment."),
    }
    let opened =
        handlers::Opened { label: format!("{session} (edge)").into(), asks_for_reasons: false, client, version };
    let events = Followed { session, published, standing, is_named: false, is_over: false };
    let events = stream::unfold(events, async |mut events| Some((Ok::<_, Infallible>(events.next().await?), events)));
    event_stream(&publishers, seat, Body::from_stream(events), opened, &access)
}

fn event_stream(
    publishers: &Publishers,
    seat: Seat,
    events: Body,
    opened: handlers::Opened,
    access: &Access,
) -> Response {
    handlers::event_stream(&publishers.gateway, seat.held_by(events), opened, Some(access))
}

/// What an edge is told.
struct Followed {
    session: String,
    published: Arc<Held<FeedKey, Published>>,
    standing: watch::Receiver<Standing>,
    is_named: bool,
    is_over: bool,
}

impl Followed {
    async fn next(&mut self) -> Option<bytes::Bytes> {
        if self.is_over {
            return None;
        }
        if self.is_named {
            let is_over = self.standing.wait_for(|standing| matches!(standing, Standing::Ended(_)));
            let waited = timeout(EACH, is_over).await;
            // Without a word where what publishes it broke off: it is followed anew.
            if let Ok(Err(_)) = waited {
                return None;
            }
        }
        let said = match (&*self.standing.borrow(), self.is_named) {
            (Standing::Ended(end), _) => {
                self.is_over = true;
                said("end", &json!({ "because": end.field().0 }))
            }
            (Standing::Beginning, _) => return None,
            (Standing::At(last), true) => said("last", &json!({ "last": last })),
            (Standing::At(last), false) => {
                said("feed", &json!({ "session": self.session, "stream": self.published.stream, "last": last }))
            }
        };
        self.is_named = true;
        Some(said)
    }
}

fn said(name: &str, data: &serde_json::Value) -> bytes::Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// `GET /sessions/{key}/join`
pub async fn join(
    extract::State(publishers): Handle,
    Extension(key): Extension<RequestedKey>,
    Extension(access): Extension<Access>,
    request: Request,
) -> Response {
    let start = StreamOptions::of("", request.headers()).start;
    let query = request.uri().query().unwrap_or_default().to_owned();
    drop(request);
    let joined = timeout(PATIENCE, async {
        let (key, shown) = shown(&publishers, key, &query).await?;
        shown.join(start).await.map_err(|error| Box::new(unreadable(&key.session, &error)))
    });
    let first = match joined.await {
        Ok(Ok(joined)) => joined.first,
        Ok(Err(refusal)) => return *refusal,
        Err(_) => return reply::unavailable("The session cannot be read at the moment."),
    };
    if let Err(refusal) = handlers::confirm(&access).await {
        return *refusal;
    }
    let parts = first.into_iter().flat_map(|event| event.parts(true)).map(Ok::<_, Infallible>);
    let mut response = reply::with_type(
        ::http::StatusCode::OK,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
        Body::from_stream(stream::iter(parts)),
    );
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The session that is asked for, followed.
async fn shown(publishers: &Publishers, key: RequestedKey, query: &str) -> Result<(FeedKey, Shown), Box<Response>> {
    let query = Query::parse(query).map_err(|bad| Box::new(reply::bad_query(bad)))?;
    let gateway = &publishers.gateway;
    let session = handlers::find(gateway, &gateway.settings(), &key).await.map_err(Box::new)?;
    let key = FeedKey { asked: key, session: session.key.clone(), query };
    let shown = gateway.streams.shown(key.clone(), session).await;
    shown.map(|shown| (key.clone(), shown)).map_err(|error| Box::new(unreadable(&key.session, &error)))
}

fn unreadable(session: &str, error: &io::Error) -> Response {
    match error.kind() {
        io::ErrorKind::OutOfMemory => reply::busy(),
        _ => reply::unavailable(&reading::unreadable(session, None, error)),
    }
}
