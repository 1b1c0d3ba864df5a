//! One transcript, followed for all the streams that show it alike.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{
    sync::broadcast,
    task::{AbortHandle, JoinError, spawn_blocking},
};

use super::{
    event::Event,
    resume::{Ids, Start},
    shown::{Look, Shown},
};
use crate::gateway::{
    history::Query,
    transcript::Transcripts,
    watch::{Watched, Watcher},
};

/// How many events a stream may be behind before it gets the whole history in their place.
pub(super) const BACKLOG: usize = 64;

/// What a feed shows. Streams with equal keys share one feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedKey {
    /// The canonical key of the session.
    pub session: String,
    /// Where its transcript may be, the best place first.
    pub candidates: Vec<PathBuf>,
    pub query: Query,
    /// The longest text that is shown, in UTF-16 units.
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
    shown: Mutex<Shown>,
    events: broadcast::Sender<Event>,
    following: AbortHandle,
}

/// What a stream gets: the history so far or what it missed of it, and what comes after exactly that.
pub struct Subscription {
    pub first: Vec<Event>,
    pub events: broadcast::Receiver<Event>,
}

impl Feed {
    /// Starts to follow. Reads nothing until a stream joins.
    pub fn start(key: FeedKey, readers: Readers) -> Arc<Self> {
        // Watched first and read after: what happens in between is then seen.
        let watched = key.candidates.iter().map(|path| readers.watcher.watch(path)).collect();
        Arc::new_cyclic(|feed| Self {
            transcripts: readers.transcripts,
            shown: Mutex::new(Shown::new(key, readers.ids)),
            events: broadcast::Sender::new(BACKLOG),
            following: tokio::spawn(follow(Weak::clone(feed), watched)).abort_handle(),
        })
    }

    /// Joins a stream to the feed.
    pub async fn join(feed: &Arc<Self>, start: Start) -> Result<Subscription, JoinError> {
        let feed = Arc::clone(feed);
        spawn_blocking(move || {
            let mut shown = feed.shown();
            let first = feed.look(&mut shown, Some(&start));
            // Under the same lock: no event is between the two.
            Subscription { first, events: feed.events.subscribe() }
        })
        .await
    }

    /// Sends what has happened since the last look.
    fn look(&self, shown: &mut Shown, joining: Option<&Start>) -> Vec<Event> {
        let Look { events, first } = shown.look(&self.transcripts, joining);
        for event in events {
            // An error says that nobody listens, which is nobody's loss.
            let _ = self.events.send(event);
        }
        first
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Some(feed) = feed.upgrade() else { return };
        if let Err(error) = spawn_blocking(move || feed.look(&mut feed.shown(), None)).await {
            tracing::error!(%error, "a transcript could not be followed");
        }
    }
}

async fn any_changed(watched: &mut [Watched]) {
    let changes = watched.iter_mut().map(|file| Box::pin(file.changed()));
    futures_util::future::select_all(changes).await;
}
