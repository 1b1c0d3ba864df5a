//! The open streams: made, told apart by session, and ended.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body, Frame};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinError,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Feed, FeedKey, Readers, Wish,
    event::{Event, RETRY},
    feed::Subscription,
    resume::Start,
};

/// Every open stream of the gateway, and the feeds that they share.
pub struct Streams {
    readers: Readers,
    stop: CancellationToken,
    open: Mutex<Open>,
}

/// What is open. Whoever finds the last holder of an entry gone takes the entry out.
#[derive(Default)]
struct Open {
    feeds: HashMap<FeedKey, Weak<Feed>>,
    /// By canonical key.
    sessions: HashMap<String, Weak<Session>>,
}

/// A session that is being streamed, for as long as it is.
struct Session {
    killed: CancellationToken,
}

impl Streams {
    /// Streams of what `readers` read, until `stop` is cancelled.
    pub fn new(readers: Readers, stop: CancellationToken) -> Self {
        Self { readers, stop, open: Mutex::default() }
    }

    /// Opens a stream. It begins with what the feed knows now, or with what it knows more than the
    /// client.
    pub async fn open(&self, key: FeedKey, wish: Wish) -> Result<EventBody, JoinError> {
        let (feed, session) = {
            let mut open = self.entries();
            (open.feed(&key, &self.readers), open.session(&key.session, &self.stop))
        };
        let ended = Box::pin(session.killed.clone().cancelled_owned());
        let Subscription { first, events } = Feed::join(&feed, wish.start).await?;
        let reading = Reading { feed, _session: session, first: first.into_iter(), events };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        let bytes = if wish.ids { Event::with_id } else { Event::without_id };
        let bytes = events.map(move |event| bytes(&event));
        let retry = stream::iter([RETRY]);
        Ok(EventBody { events: retry.chain(bytes).boxed(), ended })
    }

    /// Ends the streams of a session: whether there were any.
    pub fn kill(&self, session: &str) -> bool {
        let session = self.entries().sessions.remove(session).and_then(|session| session.upgrade());
        session.inspect(|session| session.killed.cancel()).is_some()
    }

    fn entries(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn feed(&mut self, key: &FeedKey, readers: &Readers) -> Arc<Feed> {
        shared(&mut self.feeds, key, || Feed::start(key.clone(), readers.clone()))
    }

    fn session(&mut self, key: &str, stop: &CancellationToken) -> Arc<Session> {
        shared(&mut self.sessions, &key.to_owned(), || Arc::new(Session { killed: stop.child_token() }))
    }
}

/// The entry with this key, if somebody still holds it, or a new one.
fn shared<K: Clone + Eq + std::hash::Hash, V>(
    entries: &mut HashMap<K, Weak<V>>,
    key: &K,
    new: impl FnOnce() -> Arc<V>,
) -> Arc<V> {
    if let Some(entry) = entries.get(key).and_then(Weak::upgrade) {
        return entry;
    }
    entries.retain(|_, entry| entry.strong_count() > 0);
    let entry = new();
    entries.insert(key.clone(), Arc::downgrade(&entry));
    entry
}

/// What one stream reads.
struct Reading {
    feed: Arc<Feed>,
    /// Open for as long as it is read.
    _session: Arc<Session>,
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
                    let caught_up = Feed::join(&self.feed, Start::History).await.ok()?;
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
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.events.poll_next_unpin(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
