//! A session that is followed at the origin, for all streams of this edge that show it alike.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem;
use serde_json::Value;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
        watch,
    },
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    entry::{Entry, Step, Told},
    origin::{self, Away, Origin, Saying},
    tail::{EntryId, Published, Subscribed, Tail},
};
use crate::{
    http::{reading::PATIENCE, reply},
    live::{BACKLOG, Event, EventBody, Held, KeptEvent, Shared, Start, StreamOptions, WAIT},
    serve::PageBytes,
    sessions::{history::Query, store::RequestedKey},
};

/// How many sessions are followed at once, each with a query of its own.
const FEEDS: usize = 2048;
/// What is kept of each for clients that come back: so many entries and bytes.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 128 * 1024;
/// The longest history that is kept for the next stream that begins; a longer one is kept for as long as it is sent.
const LARGEST: usize = 64 * 1024;

/// How long the origin may say nothing of what is followed. It says something each five seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// The longest thing that it says there.
const LONGEST: usize = 16 * 1024;
/// When it is followed again: after the first time, and at most.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_AT_MOST: Duration = Duration::from_secs(2);

/// What streams show alike.
pub type Key = (RequestedKey, Query);

/// All that is followed.
pub struct Feeds {
    pub origin: Arc<Origin>,
    pub tail: Arc<Tail>,
    feeds: Arc<Shared<Key, Feed>>,
    turns: Arc<Semaphore>,
}

/// A session that is followed until this is dropped.
pub struct Feed {
    inner: Arc<Inner>,
    following: AbortHandle,
    _turn: OwnedSemaphorePermit,
}

/// What is known of it.
pub struct Inner {
    key: Key,
    status: watch::Sender<Status>,
    window: Mutex<Window>,
    sent: broadcast::Sender<Arc<[Sent]>>,
    ended: CancellationToken,
    /// The last history that was asked for, and how many entries had come before that. Who wants one waits for who asks.
    last: tokio::sync::Mutex<Option<(u64, KeptEvent)>>,
}

/// What streams are told.
#[derive(Clone, Debug)]
enum Sent {
    Entry(Entry),
    /// Something was lost.
    Gap,
}

#[derive(Clone, Debug)]
enum Status {
    Beginning,
    /// By this canonical key.
    Followed(Arc<str>),
    Away(Away),
    Refused(StatusCode, Bytes),
}

/// What was published last.
#[derive(Default)]
struct Window {
    /// The canonical key.
    session: Option<Arc<str>>,
    stream: String,
    /// Streams are told of what comes after this.
    begun: EntryId,
    /// What was read last, if anything was.
    last: Option<EntryId>,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many entries have come.
    count: u64,
}

impl Feeds {
    pub fn new(origin: Arc<Origin>, tail: Arc<Tail>) -> Self {
        Self { origin, tail, feeds: Arc::default(), turns: Arc::new(Semaphore::new(FEEDS)) }
    }

    /// A stream of this session, and its canonical key.
    pub async fn open(
        &self,
        key: Key,
        options: StreamOptions,
        room: Option<PageBytes>,
    ) -> Result<(EventBody, Arc<str>), Response> {
        let feed = self.feed(key).ok_or_else(reply::busy)?;
        let session = feed.inner.session(&options.start).await?;
        let reading = Reading { feed: Arc::clone(&feed), origin: Arc::clone(&self.origin), room, begun: None };
        let begun = reading.begin(options.start).await.map_err(Away::response)?;
        let reading = Reading { begun: Some(begun), ..reading };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        Ok((EventBody::new(events, options.ids, feed.inner.ended.clone()), session))
    }

    fn feed(&self, key: Key) -> Option<Arc<Held<Key, Feed>>> {
        match self.feeds.get(&key) {
            Some(feed) if !feed.inner.ended.is_cancelled() => return Some(feed),
            Some(_) => drop(self.feeds.remove(&key)),
            None => {}
        }
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some(self.feeds.get_or_insert(key.clone(), || {
            let inner = Arc::new(Inner::new(key));
            let follower =
                Follower { inner: Arc::clone(&inner), origin: Arc::clone(&self.origin), tail: Arc::clone(&self.tail) };
            Feed { inner, following: tokio::spawn(follower.run()).abort_handle(), _turn: turn }
        }))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Inner {
    fn new(key: Key) -> Self {
        Self {
            key,
            status: watch::Sender::new(Status::Beginning),
            window: Mutex::default(),
            sent: broadcast::Sender::new(BACKLOG),
            ended: CancellationToken::new(),
            last: tokio::sync::Mutex::default(),
        }
    }

    /// The canonical key, when the session is followed. Without the origin it is what it was for one who comes back.
    async fn session(&self, start: &Start) -> Result<Arc<str>, Response> {
        let mut status = self.status.subscribe();
        let status = timeout(PATIENCE, status.wait_for(|status| !matches!(status, Status::Beginning))).await;
        let status = status.ok().and_then(Result::ok).map(|status| status.clone());
        match status.unwrap_or(Status::Away(Away::Unreachable)) {
            Status::Followed(session) => Ok(session),
            Status::Refused(status, body) => Err(reply::with_type(status, reply::JSON, body)),
            Status::Beginning => Err(Away::Unreachable.response()),
            Status::Away(away) => {
                let window = self.window();
                let knows = matches!(start, Start::After(id) if window.at(id).is_some());
                window.session.clone().filter(|_| knows).ok_or_else(|| away.response())
            }
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes from now on, and how much came before.
    fn subscribe(&self) -> (broadcast::Receiver<Arc<[Sent]>>, u64) {
        let window = self.window();
        (self.sent.subscribe(), window.count)
    }

    /// What came after this id, if it is known, and what comes from now on.
    fn resume(&self, id: &str) -> Option<Begun> {
        let window = self.window();
        let at = window.at(id)?;
        let mut told = Told::up_to(id)?;
        let mut first = VecDeque::new();
        for entry in window.entries.range(at + 1..) {
            match told.take(entry) {
                Step::Show(event) => first.push_back(event.clone()),
                Step::Skip if entry.id().is_some() => {}
                Step::Skip | Step::Anew => return None,
            }
        }
        Some(Begun { first, told, sent: self.sent.subscribe(), taken: None })
    }

    /// Goes by this stream of Redis: what comes after that entry is news. Whether it is another one.
    fn goes_by(&self, session: &str, stream: &str, begun: EntryId) -> bool {
        let mut window = self.window();
        let is_other = window.stream != stream;
        if is_other {
            let had_one = !window.stream.is_empty();
            let (session, stream, count) = (Some(session.into()), stream.to_owned(), window.count + 1);
            *window = Window { session, stream, begun, count, ..Window::default() };
            if had_one {
                let _ = self.sent.send([Sent::Gap].into());
            }
        }
        is_other
    }

    /// Takes what was read.
    pub(super) fn take(&self, published: Vec<Published>) {
        let mut window = self.window();
        let mut news = Vec::new();
        for Published { id, before, entry } in published {
            let follows = window.last.is_none_or(|last| before == Some(last));
            let entry = entry.filter(|_| follows);
            let is_new = id > window.begun;
            window.last = Some(id);
            window.count += 1;
            match entry {
                Some(entry) => {
                    if is_new && matches!(entry, Entry::Over | Entry::Killed) {
                        self.ended.cancel();
                    }
                    if is_new {
                        news.push(Sent::Entry(entry.clone()));
                    }
                    window.keep(entry);
                }
                None => {
                    window.entries.clear();
                    window.bytes = 0;
                    news.push(Sent::Gap);
                }
            }
        }
        if !news.is_empty() {
            // An error says that nobody listens.
            let _ = self.sent.send(news.into());
        }
    }

    /// Begins again with a stream of Redis that is not what it was: what comes after that entry is news.
    fn loses(&self, last: EntryId) {
        let mut window = self.window();
        let Window { session, stream, count, .. } = std::mem::take(&mut *window);
        *window = Window { session, stream, begun: last, count: count + 1, ..Window::default() };
        let _ = self.sent.send([Sent::Gap].into());
    }
}

impl Window {
    /// Where the event with this id is.
    fn at(&self, id: &str) -> Option<usize> {
        self.entries.iter().rposition(|entry| matches!(entry, Entry::Event(event, _) if event.id() == id))
    }

    fn keep(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(gone) = self.entries.pop_front() else { break };
            self.bytes -= size(&gone);
        }
    }
}

fn size(entry: &Entry) -> usize {
    match entry {
        Entry::Event(event, _) => event.len(),
        Entry::Anew(id, _) => id.len(),
        Entry::Over | Entry::Killed => 0,
    }
}

/// What a stream begins with, and what comes after.
struct Begun {
    first: VecDeque<Event>,
    told: Told,
    sent: broadcast::Receiver<Arc<[Sent]>>,
    /// Until the first is sent.
    taken: Option<OwnedSemaphorePermit>,
}

/// What one stream reads.
struct Reading {
    feed: Arc<Held<Key, Feed>>,
    origin: Arc<Origin>,
    /// That of the connection.
    room: Option<PageBytes>,
    begun: Option<Begun>,
}

impl Reading {
    async fn begin(&self, start: Start) -> Result<Begun, Away> {
        let inner = &self.feed.inner;
        let begun = match &start {
            Start::After(id) => match inner.resume(id) {
                Some(begun) => begun,
                None => {
                    let (sent, _) = inner.subscribe();
                    let first = self.ask(Some(id)).await?;
                    let last = first.back().map_or(id.as_str(), Event::id);
                    Begun { told: Told::up_to(last).ok_or(Away::Foreign)?, first, sent, taken: None }
                }
            },
            _ => {
                let (sent, count) = inner.subscribe();
                let history = self.history(count).await?;
                let told = Told::up_to(history.id()).ok_or(Away::Foreign)?;
                Begun { first: [history].into(), told, sent, taken: None }
            }
        };
        let size = begun.first.iter().map(Event::len).sum();
        let taken = self.room.as_ref().map(|room| room.take(size).ok_or(Away::Busy)).transpose()?;
        Ok(Begun { taken, ..begun })
    }

    /// The history, as of a moment when so many entries had come, or later.
    async fn history(&self, count: u64) -> Result<Event, Away> {
        let inner = &self.feed.inner;
        let mut last = inner.last.lock().await;
        let known = last.as_ref().filter(|(before, _)| *before >= count);
        if let Some(history) = known.and_then(|(_, kept)| kept.event()) {
            return Ok(history);
        }
        let before = inner.window().count;
        let history = self.ask(None).await?.pop_back().ok_or(Away::Foreign)?.in_parts();
        *last = Some((before, KeptEvent::of(&history, LARGEST)));
        Ok(history)
    }

    async fn ask(&self, after: Option<&str>) -> Result<VecDeque<Event>, Away> {
        let (key, query) = &self.feed.inner.key;
        let answered =
            self.origin.ask(Method::GET, &origin::path_of_feed(key, "join", *query), after.map(Saying::After)).await?;
        if answered.status != StatusCode::OK {
            return Err(Away::Unavailable);
        }
        events(answered.body).ok_or(Away::Foreign)
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            let begun = self.begun.as_mut()?;
            if let Some(event) = begun.first.pop_front() {
                return Some(event);
            }
            begun.taken = None;
            let is_anew = match begun.sent.recv().await {
                Ok(news) => begun.take(&news),
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return None,
            };
            if is_anew {
                // Boxed: it is seldom, and each stream would keep room for it.
                Box::pin(self.begin_anew()).await;
            }
        }
    }

    async fn begin_anew(&mut self) {
        let mut status = self.feed.inner.status.subscribe();
        loop {
            // An error says that the feed is gone, and so is this then.
            let _ = status.wait_for(|status| matches!(status, Status::Followed(_))).await;
            match self.begin(Start::History).await {
                Ok(begun) => return self.begun = Some(begun),
                Err(away) => tracing::debug!(why = away.words(), "a stream waits for its history"),
            }
            sleep(WAIT).await;
        }
    }
}

impl Begun {
    /// Whether the stream begins anew.
    fn take(&mut self, news: &[Sent]) -> bool {
        for sent in news {
            let Sent::Entry(entry) = sent else { return true };
            match self.told.take(entry) {
                Step::Skip => {}
                Step::Show(event) => self.first.push_back(event.clone()),
                Step::Anew => return true,
            }
        }
        false
    }
}

/// Events as they were written, whole.
fn events(bytes: Bytes) -> Option<VecDeque<Event>> {
    let mut start = 0;
    let ends = memmem::find_iter(&bytes, b"\n\n").map(|at| at + 2);
    let events: Option<VecDeque<_>> = ends
        .map(|end| {
            let event = Event::written(bytes.slice(start..end));
            start = end;
            event
        })
        .collect();
    events.filter(|_| start == bytes.len())
}

/// Follows a session at the origin.
struct Follower {
    inner: Arc<Inner>,
    origin: Arc<Origin>,
    tail: Arc<Tail>,
}

/// Why a session is followed no more.
enum Left {
    /// For now.
    Away(Away),
    Refused(StatusCode, Bytes),
    /// The origin says that its streams end.
    Ended,
}

impl Follower {
    async fn run(self) {
        let mut subscribed = None;
        let mut wait = None;
        loop {
            let away = match self.follow(&mut subscribed, &mut wait).await {
                Left::Ended => return self.inner.ended.cancel(),
                Left::Refused(status, body) => {
                    self.inner.status.send_replace(Status::Refused(status, body));
                    return self.inner.ended.cancel();
                }
                Left::Away(away) => away,
            };
            tracing::debug!(key = self.inner.key.0.as_str(), why = away.words(), "a session cannot be followed");
            self.inner.status.send_replace(Status::Away(away));
            let longer = wait.map_or(RETRY, |wait: Duration| (2 * wait).min(RETRY_AT_MOST));
            wait = Some(longer);
            sleep(longer).await;
        }
    }

    async fn follow(&self, subscribed: &mut Option<Subscribed>, wait: &mut Option<Duration>) -> Left {
        let (key, query) = &self.inner.key;
        let response = match self.origin.follow(&origin::path_of_feed(key, "follow", *query)).await {
            Ok(response) => response,
            Err(away) => return Left::Away(away),
        };
        let (head, body) = response.into_parts();
        let mut said = Said { body, read: Vec::new() };
        if head.status != StatusCode::OK {
            return match said.whole().await {
                // What is no JSON comes from a gateway that has no such route, or no gateway.
                Some(body) if serde_json::from_slice::<Value>(&body).is_ok() => Left::Refused(head.status, body),
                Some(_) => Left::Away(Away::Foreign),
                None => Left::Away(Away::Unreachable),
            };
        }
        // At the last time: what was published, what was read of it, and how many reads there had been.
        let mut before: Option<(EntryId, Option<EntryId>, u64)> = None;
        loop {
            let (name, data) = match said.next().await {
                Ok(said) => said,
                Err(away) => return Left::Away(away),
            };
            let text = |name: &str| data[name].as_str();
            match (&*name, text("last").and_then(EntryId::parse)) {
                ("feed", Some(last)) => {
                    let (Some(stream), Some(session)) = (text("stream"), text("session")) else {
                        return Left::Away(Away::Foreign);
                    };
                    if self.inner.goes_by(session, stream, last) {
                        *subscribed = Some(self.tail.subscribe(stream.to_owned(), &self.inner));
                    }
                    *wait = None;
                    self.inner.status.send_replace(Status::Followed(session.into()));
                }
                ("last", Some(last)) => {
                    let (read, reads) = (self.inner.window().last, self.tail.reads());
                    // What was read then is published no more; or nothing was read since, though there was something and
                    // Redis answers. Who is only behind gets on.
                    let is_other = before.is_some_and(|(published, was_read, were_reads)| {
                        let stands_still = read == was_read && reads >= were_reads + 3;
                        was_read > Some(last) || read < Some(published) && stands_still
                    });
                    before = Some((last, read, reads)).filter(|_| !is_other);
                    if is_other {
                        tracing::warn!(key = key.as_str(), "what the origin publishes is not what it was");
                        self.inner.loses(last);
                        subscribed.iter().for_each(Subscribed::again);
                    }
                }
                ("end", _) => return Left::Ended,
                _ => {}
            }
        }
    }
}

/// What the origin says, event by event.
struct Said {
    body: Incoming,
    read: Vec<u8>,
}

impl Said {
    async fn next(&mut self) -> Result<(String, Value), Away> {
        loop {
            if let Some(end) = memmem::find(&self.read, b"\n\n") {
                let event: Vec<_> = self.read.drain(..end + 2).collect();
                if let Some(event) = event_of(&event) {
                    return Ok(event);
                }
                continue;
            }
            self.more().await?.ok_or(Away::Unreachable)?;
        }
    }

    async fn whole(mut self) -> Option<Bytes> {
        while self.more().await.ok()?.is_some() {}
        Some(self.read.into())
    }

    async fn more(&mut self) -> Result<Option<()>, Away> {
        let frame = match timeout(SILENCE, self.body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) | Err(_) => return Err(Away::Unreachable),
        };
        if let Ok(data) = frame.into_data() {
            if self.read.len() + data.len() > LONGEST {
                return Err(Away::Foreign);
            }
            self.read.extend_from_slice(&data);
        }
        Ok(Some(()))
    }
}

/// The name and the data of an event; `None` for a comment.
fn event_of(text: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(text).ok()?;
    let line = |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some((line("event")?.to_owned(), serde_json::from_str(line("data")?).ok()?))
}
