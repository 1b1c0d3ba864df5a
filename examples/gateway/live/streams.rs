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
    sync::broadcast::{self, error::RecvError},
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Feed, FeedKey, Readers, Renewable, ScopeUpdates, StreamId, StreamOptions,
    event::{Event, RETRY},
    feed::{Sent, Subscription},
    resume::Start,
};
use crate::sessions::store::Session;

/// The most bytes that are handed on at once. Access is asked for again in between, so that a long
/// history does not go on after the end of it. (Who gets half an event drops it.)
const PIECE: usize = 64 * 1024;

/// How long a stream waits that could not be brought up to date.
const WAIT: Duration = Duration::from_secs(1);

/// Every open stream of the gateway, and the feeds that they share.
pub struct Streams {
    readers: Readers,
    stop: CancellationToken,
    feeds: Arc<Shared<FeedKey, Feed>>,
    /// By canonical key: whichever keys and rows the streams of a session were found by, it is one.
    sessions: Arc<Shared<String, OpenSession>>,
}

/// A session that is being streamed, for as long as it is.
struct OpenSession {
    killed: CancellationToken,
}

impl Streams {
    /// Streams of what `readers` read, until `stop` is cancelled.
    pub fn new(readers: Readers, stop: CancellationToken) -> Self {
        Self { readers, stop, feeds: Arc::default(), sessions: Arc::default() }
    }

    /// Opens a stream of this session. It begins with what the feed knows now, or with what it knows more than the
    /// client.
    pub async fn open(&self, key: FeedKey, found: Session, options: StreamOptions) -> io::Result<EventBody> {
        let killed = || OpenSession { killed: self.stop.child_token() };
        let session = self.sessions.get_or_insert(key.session.clone(), killed);
        let ended = Box::pin(session.killed.clone().cancelled_owned());
        let feed = match self.feeds.get(&key) {
            Some(feed) => feed,
            None => {
                let (feeds, readers) = (Arc::clone(&self.feeds), self.readers.clone());
                // Not under the lock: to start one blocks.
                let started = spawn_blocking(move || {
                    let feed = Feed::start(key.clone(), &found, readers);
                    feeds.get_or_insert(key, || feed)
                });
                started.await?
            }
        };
        let Subscription { first, sent } = feed.join(options.start).await?;
        let reading = Reading { feed, _session: session, first: first.into_iter(), sent };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        let bytes = if options.ids { Event::with_id } else { Event::without_id };
        let bytes = events.map(move |event| bytes(&event));
        let retry = stream::iter([RETRY]);
        let events = retry.chain(bytes).boxed();
        Ok(EventBody { events, piece_by_piece: Bytes::new(), ended, renewable: None, scope_updates: None })
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
struct Shared<K: Eq + Hash, V>(Mutex<HashMap<K, Weak<Held<K, V>>>>);

/// A value that is held. The last holder takes it out.
struct Held<K: Eq + Hash, V> {
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
    first: vec::IntoIter<Event>,
    sent: broadcast::Receiver<Sent>,
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.first.next() {
                return Some(event);
            }
            match self.sent.recv().await {
                Ok(Sent::Events(events)) => match &*events {
                    [event] => return Some(event.clone()),
                    events => self.first = Vec::from(events).into_iter(),
                },
                Ok(Sent::End) | Err(RecvError::Closed) => return None,
                // Boxed: it is seldom, and each stream would keep room for it.
                Ok(Sent::Anew) | Err(RecvError::Lagged(_)) => Box::pin(self.begin_anew()).await,
            }
        }
    }

    async fn begin_anew(&mut self) {
        loop {
            match self.feed.join(Start::History).await {
                Ok(Subscription { first, sent }) => {
                    self.first = first.into_iter();
                    self.sent = sent;
                    return;
                }
                // The feed says so when it finds it out.
                Err(error) => tracing::debug!(%error, "a stream waits for its history"),
            }
            sleep(WAIT).await;
        }
    }
}

/// The body of one stream.
pub struct EventBody {
    events: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// What is left of the event that is handed on.
    piece_by_piece: Bytes,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Known by its id for as long as it is open.
    renewable: Option<Renewable>,
    scope_updates: Option<ScopeUpdates>,
}

impl EventBody {
    /// Lets the client renew its credential.
    pub fn with_renewable(self, renewable: Option<Renewable>) -> Self {
        Self { renewable, ..self }
    }

    /// Tells the client of its scopes.
    pub fn with_scope_updates(self, scope_updates: Option<ScopeUpdates>) -> Self {
        Self { scope_updates, ..self }
    }

    /// What its credential is renewed by.
    pub fn id(&self) -> Option<StreamId> {
        self.renewable.as_ref().map(Renewable::id)
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if self.piece_by_piece.is_empty() {
            self.piece_by_piece = match self.scope_updates.as_mut().and_then(ScopeUpdates::next) {
                Some(update) => update,
                None => match ready!(self.events.poll_next_unpin(cx)) {
                    Some(event) => event,
                    None => return Poll::Ready(None),
                },
            };
        }
        let length = self.piece_by_piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece_by_piece.split_to(length)))))
    }
}
