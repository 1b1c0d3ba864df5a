//! The open streams: made, told apart by session, and ended.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body, Frame};
use tokio::{sync::broadcast::error::RecvError, task::JoinError};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Feed, FeedKey, Readers, event::RETRY, feed::Subscription};

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

    /// Opens a stream. It begins with what the feed knows now.
    pub async fn open(&self, key: FeedKey) -> Result<EventBody, JoinError> {
        let (feed, session) = {
            let mut open = self.entries();
            (open.feed(&key, &self.readers), open.session(&key.session, &self.stop))
        };
        let Subscription { history, events } = Feed::join(&feed).await?;

        let ended = Box::pin(session.killed.clone().cancelled_owned());
        let later = stream::unfold((feed, session, events), async |(feed, session, mut events)| {
            let bytes = match events.recv().await {
                Ok(bytes) => bytes,
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => {
                    let caught_up = Feed::join(&feed).await.ok()?;
                    events = caught_up.events;
                    caught_up.history
                }
            };
            Some((bytes, (feed, session, events)))
        });
        let first = stream::iter([RETRY, history]);
        Ok(EventBody { events: first.chain(later).boxed(), ended })
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
