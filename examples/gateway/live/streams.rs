//! The open streams: made, by session, and ended.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::Hash,
    io,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body, Frame};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{self, error::RecvError},
    },
    time::sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

#[cfg(feature = "websocket")]
use super::following::Following;
use super::{
    Feed, FeedKey, Readers, ScopeUpdates, StreamOptions,
    event::{Event, Parts},
    feed::{Sent, Subscription},
    history::no_room,
    resume::Start,
};
use crate::{serve::PageBytes, sessions::store::Session};

/// The most bytes that are handed on at once. Access is asked for again in between, so that a long
/// history does not go on after the end of it. (Who gets half an event drops it.)
const PIECE: usize = 64 * 1024;

/// How long a stream waits that could not be brought up to date.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// Every open stream of the gateway, and the feeds that they share.
pub struct Streams {
    readers: Readers,
    feeds: Arc<Shared<FeedKey, Feed>>,
    /// By canonical key: whichever keys and rows the streams of a session were found by, it is one.
    sessions: Arc<Shared<String, OpenSession>>,
}

/// A session that is being streamed, for as long as it is.
pub(super) struct OpenSession {
    pub(super) killed: CancellationToken,
}

impl Streams {
    /// Streams of what `readers` read.
    pub fn new(readers: Readers) -> Self {
        Self { readers, feeds: Arc::default(), sessions: Arc::default() }
    }

    /// Opens a stream of this session. It begins with what the feed knows now, or with what it knows more than the
    /// client. What is on its way takes room on the connection.
    pub async fn open(
        &self,
        key: FeedKey,
        found: Session,
        options: StreamOptions,
        room: Option<PageBytes>,
    ) -> io::Result<EventBody> {
        let session = self.session(&key);
        let ended = Box::pin(session.killed.clone().cancelled_owned());
        let feed = self.feed(key, found).await?;
        let begun = Begun::of(feed.join(options.start).await?, room.as_ref())?;
        let reading = Reading { feed, _session: session, begun, room };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        let events = stream::iter([Event::retry()]).chain(events).boxed();
        let with_ids = options.ids;
        Ok(EventBody { events, with_ids, rest: None, piece: Bytes::new(), ended, scope_updates: None })
    }

    /// Follows this session from now on, for a client that knows its history otherwise.
    #[cfg(feature = "websocket")]
    pub async fn follow(&self, key: FeedKey, found: Session) -> io::Result<Following> {
        let session = self.session(&key);
        let feed = self.feed(key, found).await?;
        Following::begin(feed, session).await
    }

    fn session(&self, key: &FeedKey) -> Arc<Held<String, OpenSession>> {
        self.sessions.get_or_insert(key.session.clone(), || OpenSession { killed: CancellationToken::new() })
    }

    async fn feed(&self, key: FeedKey, found: Session) -> io::Result<Arc<Held<FeedKey, Feed>>> {
        match self.feeds.get(&key) {
            Some(feed) if feed.is_followed() => Ok(feed),
            over => {
                if over.is_some() {
                    self.feeds.remove(&key);
                }
                let (feeds, readers) = (Arc::clone(&self.feeds), self.readers.clone());
                // Not under the lock: to start one blocks.
                let asked = key.asked.clone();
                let start = move || {
                    let feed = Feed::start(key.clone(), &found, readers);
                    feeds.get_or_insert(key, || feed)
                };
                self.readers.sessions.ask(&asked, start).await
            }
        }
    }

    /// Whether there are streams of the session with this canonical key.
    pub fn are_open(&self, session: &str) -> bool {
        self.sessions.get(session).is_some()
    }

    /// Ends the streams of the session with this canonical key: whether there were any.
    pub fn kill(&self, session: &str) -> bool {
        let session = self.sessions.remove(session);
        session.inspect(|session| session.killed.cancel()).is_some()
    }
}

/// Values by key, each for as long as somebody holds it.
pub(super) struct Shared<K: Eq + Hash, V>(Mutex<HashMap<K, Weak<Held<K, V>>>>);

/// A value that is held. The last holder takes it out.
pub(super) struct Held<K: Eq + Hash, V> {
    value: V,
    key: K,
    shared: Arc<Shared<K, V>>,
}

impl<K: Clone + Eq + Hash, V> Shared<K, V> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<Held<K, V>>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries().get(key).and_then(Weak::upgrade)
    }

    /// The value that somebody holds, or else a new one. `new` does next to nothing.
    fn get_or_insert(self: &Arc<Self>, key: K, new: impl FnOnce() -> V) -> Arc<Held<K, V>> {
        let mut entries = self.entries();
        if let Some(held) = entries.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        let held = Arc::new(Held { value: new(), key: key.clone(), shared: Arc::clone(self) });
        entries.insert(key, Arc::downgrade(&held));
        held
    }

    /// Takes the value out, so that the next to ask for it gets another one.
    fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<Held<K, V>>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries().remove(key).and_then(|held| held.upgrade())
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, Weak<Held<K, V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Deref for Held<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K: Eq + Hash, V> Drop for Held<K, V> {
    fn drop(&mut self) {
        let mut entries = self.shared.entries();
        // It may have another one in its place by now.
        if entries.get(&self.key).is_some_and(|held| held.strong_count() == 0) {
            entries.remove(&self.key);
        }
    }
}

/// What one stream reads.
struct Reading {
    feed: Arc<Held<FeedKey, Feed>>,
    /// Open for as long as it is read.
    _session: Arc<Held<String, OpenSession>>,
    begun: Begun,
    /// That of the connection.
    room: Option<PageBytes>,
}

/// What a stream begins with, and what comes after.
struct Begun {
    first: vec::IntoIter<Event>,
    /// Until the first is sent.
    taken: Option<OwnedSemaphorePermit>,
    sent: broadcast::Receiver<Sent>,
}

impl Begun {
    fn of(Subscription { first, sent }: Subscription, room: Option<&PageBytes>) -> io::Result<Self> {
        let taken = match room {
            Some(room) => Some(room.take(first.iter().map(Event::len).sum()).ok_or_else(no_room)?),
            None => None,
        };
        Ok(Self { first: first.into_iter(), taken, sent })
    }
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.begun.first.next() {
                return Some(event);
            }
            self.begun.taken = None;
            match self.begun.sent.recv().await {
                Ok(Sent::Events(events)) => match &*events {
                    [event] => return Some(event.clone()),
                    events => self.begun.first = Vec::from(events).into_iter(),
                },
                Ok(Sent::Over) | Err(RecvError::Closed) => return None,
                // Boxed: it is seldom, and each stream would keep room for it.
                Ok(Sent::Anew) | Err(RecvError::Lagged(_)) => Box::pin(self.begin_anew()).await,
            }
        }
    }

    async fn begin_anew(&mut self) {
        loop {
            let joined = self.feed.join(Start::History).await;
            match joined.and_then(|joined| Begun::of(joined, self.room.as_ref())) {
                Ok(begun) => return self.begun = begun,
                // The feed says so when it finds it out.
                Err(error) => tracing::debug!(%error, "a stream waits for its history"),
            }
            sleep(WAIT).await;
        }
    }
}

/// The body of one stream.
pub struct EventBody {
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    with_ids: bool,
    /// What is left of the event that is handed on: its parts, and a part of that.
    rest: Option<Parts>,
    piece: Bytes,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    scope_updates: Option<ScopeUpdates>,
}

impl EventBody {
    /// Tells the client of its scopes.
    pub fn with_scope_updates(self, scope_updates: Option<ScopeUpdates>) -> Self {
        Self { scope_updates, ..self }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        while self.piece.is_empty() {
            if let Some(part) = self.rest.as_mut().and_then(Parts::next) {
                self.piece = part;
                continue;
            }
            self.rest = None;
            let (event, with_id) = match self.scope_updates.as_mut().and_then(ScopeUpdates::next) {
                Some(update) => (update, false),
                None => match ready!(self.events.poll_next_unpin(cx)) {
                    Some(event) => (event, self.with_ids),
                    None => return Poll::Ready(None),
                },
            };
            self.rest = Some(event.parts(with_id));
        }
        let length = self.piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }
}
