//! One transcript, followed for all the streams that show it alike.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, broadcast},
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::{
    event::Event,
    feed_state::{FeedState, Update},
    resume::{Ids, Start},
};
use crate::{
    files::{Watched, Watcher},
    sessions::history::Query,
    sessions::transcript::Transcripts,
};

/// How many messages a stream may be behind before it gets the whole history in their place.
pub(super) const BACKLOG: usize = 64;

/// When a transcript that could not be read is updated at again.
const RETRY: Duration = Duration::from_secs(1);

/// What a feed shows. Streams with equal keys share one feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedKey {
    /// The canonical key of the session.
    pub session: String,
    /// Where its transcript may be, the best place first.
    pub candidates: Vec<PathBuf>,
    pub query: Query,
    /// The longest text that is state, in UTF-16 units.
    pub max_chars: usize,
}

/// What feeds work with.
#[derive(Clone)]
pub struct Readers {
    pub transcripts: Arc<Transcripts>,
    pub watcher: Watcher,
    pub ids: Ids,
}

/// Follows one transcript until it is dropped.
pub struct Feed {
    transcripts: Arc<Transcripts>,
    // Waited for without a thread: many streams may join while a long transcript is read.
    state: Arc<Mutex<FeedState>>,
    events: broadcast::Sender<Event>,
    following: AbortHandle,
}

/// What a stream gets: the history so far or what it missed of it, and what comes after exactly that.
pub struct Subscription {
    pub first: Vec<Event>,
    pub events: broadcast::Receiver<Event>,
}

impl Feed {
    /// Starts to follow. Reads nothing until a stream joins. Blocks a little, within a runtime.
    pub fn start(key: FeedKey, readers: Readers) -> Arc<Self> {
        // Watched first and read after: a change in between then wakes.
        let watched = key.candidates.iter().map(|path| readers.watcher.watch(path)).collect();
        // Of pages only the last one counts.
        let backlog = if key.query == Query::default() { BACKLOG } else { 1 };
        Arc::new_cyclic(|feed| Self {
            transcripts: readers.transcripts,
            state: Arc::new(Mutex::new(FeedState::new(key, readers.ids))),
            events: broadcast::Sender::new(backlog),
            following: tokio::spawn(follow(Weak::clone(feed), watched)).abort_handle(),
        })
    }

    /// Joins a stream to the feed.
    pub async fn join(self: &Arc<Self>, start: Start) -> io::Result<Subscription> {
        let state = Arc::clone(&self.state).lock_owned().await;
        let feed = Arc::clone(self);
        let joined = spawn_blocking(move || {
            let mut state = state;
            let first = feed.update(&mut state, Some(&start))?;
            // Under the same lock: no event is between the two.
            Ok(Subscription { first, events: feed.events.subscribe() })
        });
        joined.await?
    }

    /// Sends what has happened since the last update.
    fn update(&self, state: &mut OwnedMutexGuard<FeedState>, joining: Option<&Start>) -> io::Result<Vec<Event>> {
        let Update { events, first } = state.update(&self.transcripts, joining)?;
        for event in events {
            // An error says that nobody listens, which is nobody's loss.
            let _ = self.events.send(event);
        }
        Ok(first)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(feed: Weak<Feed>, mut watched: Vec<Watched>) {
    loop {
        any_changed(&mut watched).await;
        while let Some(Err(error)) = update_open(&feed).await {
            tracing::warn!(%error, "a transcript cannot be read, its streams wait");
            sleep(RETRY).await;
        }
        if feed.strong_count() == 0 {
            return;
        }
    }
}

/// Brings the streams that are open up to date. `None` when there are none any more.
async fn update_open(feed: &Weak<Feed>) -> Option<io::Result<()>> {
    let feed = feed.upgrade()?;
    let mut state = Arc::clone(&feed.state).lock_owned().await;
    let updated = spawn_blocking(move || feed.update(&mut state, None)).await;
    Some(updated.unwrap_or_else(|panicked| Err(panicked.into())).map(drop))
}

async fn any_changed(watched: &mut [Watched]) {
    if watched.is_empty() {
        // A session whose transcript can be nowhere has nothing to follow.
        return std::future::pending().await;
    }
    let changes = watched.iter_mut().map(|file| Box::pin(file.changed()));
    futures_util::future::select_all(changes).await;
}
