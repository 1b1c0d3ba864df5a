//! The open streams: made, by session, and ended.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
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
#[cfg(feature = "edge")]
use super::shown::Shown;
use super::{
    Feed, FeedKey, Readers, ScopeUpdates, StreamOptions,
    event::{Event, Parts},
    feed::{Sent, Subscription},
    held::{Held, Shared},
    history::no_room,
    resume::Start,
};
use crate::{serve::PageBytes, sessions::store::Session};

/// The most bytes that are handed on at once. Access is asked for again in between, so that a long
/// history does not go on after the end of it. (Who gets half an event drops it.)
const PIECE: usize = 64 * 1024;

/// How long a stream waits that could not be brought up to date.
pub const WAIT: Duration = Duration::from_secs(1);

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
        let killed = session.killed.clone();
        let feed = self.feed(key, found).await?;
        let begun = Begun::of(feed.join(options.start).await?, room.as_ref())?;
        let reading = Reading { feed, _session: session, begun, room };
        let events = stream::unfold(reading, async |mut reading| Some((reading.next().await?, reading)));
        Ok(EventBody::new(events, options.ids, killed))
    }

    /// This session as its streams show it, for one who sends it on.
    #[cfg(feature = "edge")]
    pub async fn shown(&self, key: FeedKey, found: Session) -> io::Result<Shown> {
        let session = self.session(&key);
        Ok(Shown { feed: self.feed(key, found).await?, session })
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
    /// These events, with their ids or without, until `ended` is cancelled.
    pub fn new(events: impl Stream<Item = Event> + Send + 'static, with_ids: bool, ended: CancellationToken) -> Self {
        let events = stream::iter([Event::retry()]).chain(events).boxed();
        let ended = Box::pin(ended.cancelled_owned());
        Self { events, with_ids, rest: None, piece: Bytes::new(), ended, scope_updates: None }
    }

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
