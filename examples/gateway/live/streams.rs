//! The open streams: made, by session, and ended.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::Hash,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body, Frame};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::spawn_blocking,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Feed, FeedKey, Readers, Renewable, ScopeUpdates, StreamId, StreamOptions,
    event::{Event, RETRY},
    feed::Subscription,
    resume::Start,
};
use crate::sessions::store::RowId;

/// The most bytes that are handed on at once. Access is asked for again in between, so that a long
/// history does not go on after the end of it. (Who gets half an event drops it.)
const PIECE: usize = 64 * 1024;

/// Every open stream of the gateway, and the feeds that they share.
pub struct Streams {
    readers: Readers,
    stop: CancellationToken,
    open: Mutex<Open>,
}

/// What is open. An entry whose last holder is gone is taken out when the next one is added.
#[derive(Default)]
struct Open {
    feeds: HashMap<FeedKey, Weak<Feed>>,
    /// By row, and not by key: one session has many keys.
    sessions: HashMap<RowId, Weak<OpenSession>>,
}

/// A session that is being streamed, for as long as it is.
struct OpenSession {
    killed: CancellationToken,
}

impl Streams {
    /// Streams of what `readers` read, until `stop` is cancelled.
    pub fn new(readers: Readers, stop: CancellationToken) -> Self {
        Self { readers, stop, open: Mutex::default() }
    }

    /// Opens a stream. It begins with what the feed knows now, or with what it knows more than the
    /// client.
    pub async fn open(self: &Arc<Self>, key: FeedKey, row: RowId, options: StreamOptions) -> io::Result<EventBody> {
        let session = self.session(row);
        let ended = Box::pin(session.killed.clone().cancelled_owned());
        let streams = Arc::clone(self);
        let feed = spawn_blocking(move || streams.feed(&key)).await?;
        let Subscription { first, events } = feed.join(options.start).await?;
        let reading = Reading { feed, _session: session, first: first.into_iter(), events };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        let bytes = if options.ids { Event::with_id } else { Event::without_id };
        let bytes = events.map(move |event| bytes(&event));
        let retry = stream::iter([RETRY]);
        let events = retry.chain(bytes).boxed();
        Ok(EventBody { events, piece_by_piece: Bytes::new(), ended, renewable: None, scope_updates: None })
    }

    /// Whether there are streams of the session.
    pub fn are_open(&self, row: &RowId) -> bool {
        self.entries().sessions.get(row).is_some_and(|session| session.strong_count() > 0)
    }

    /// Ends the streams of a session: whether there were any.
    pub fn kill(&self, row: &RowId) -> bool {
        let session = self.entries().sessions.remove(row).and_then(|session| session.upgrade());
        session.inspect(|session| session.killed.cancel()).is_some()
    }

    /// The feed with this key, if a stream still holds it, or a new one.
    fn feed(&self, key: &FeedKey) -> Arc<Feed> {
        if let Some(feed) = live_entry(&self.entries().feeds, key) {
            return feed;
        }
        // Not under the lock: to start one blocks.
        let started = Feed::start(key.clone(), self.readers.clone());
        entry_or_insert(&mut self.entries().feeds, key.clone(), started)
    }

    fn session(&self, row: RowId) -> Arc<OpenSession> {
        let session = Arc::new(OpenSession { killed: self.stop.child_token() });
        entry_or_insert(&mut self.entries().sessions, row, session)
    }

    fn entries(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn live_entry<K: Eq + Hash, V>(entries: &HashMap<K, Weak<V>>, key: &K) -> Option<Arc<V>> {
    entries.get(key).and_then(Weak::upgrade)
}

/// The entry with this key, if somebody still holds it, or else the new one.
fn entry_or_insert<K: Eq + Hash, V>(entries: &mut HashMap<K, Weak<V>>, key: K, new: Arc<V>) -> Arc<V> {
    if let Some(entry) = live_entry(entries, &key) {
        return entry;
    }
    entries.retain(|_, entry| entry.strong_count() > 0);
    entries.insert(key, Arc::downgrade(&new));
    new
}

/// What one stream reads.
struct Reading {
    feed: Arc<Feed>,
    /// Open for as long as it is read.
    _session: Arc<OpenSession>,
    first: vec::IntoIter<Event>,
    events: broadcast::Receiver<Event>,
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.first.next() {
                return Some(event);
            }
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => {
                    // Boxed: it is seldom, and each stream would keep room for it.
                    let caught_up = Box::pin(self.feed.join(Start::History)).await.ok()?;
                    self.first = caught_up.first.into_iter();
                    self.events = caught_up.events;
                }
            }
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
