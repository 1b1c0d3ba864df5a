//! One transcript, followed for all the streams that show it alike.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex, broadcast},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    event::Event,
    feed_state::{FeedState, First, Update},
    history::LastHistory,
    resume::{Ids, Start},
};
use crate::{
    config::Settings,
    files::{Watched, Watcher},
    measure::{self, Counted},
    serve::PageBytes,
    sessions::{
        history::Query,
        lookup::Lookup,
        sqlite::{Followed, Row},
        store::{Proof, RequestedKey, Session},
        transcript::{LOOKS, PAUSE as LOOK_AGAIN, Place, Transcripts},
    },
};

/// How many looks a stream may be behind before it gets the whole history in place of what they found.
pub const BACKLOG: usize = 64;

/// How many messages, and how many bytes of events, one look may find before the streams get the whole history in
/// their place.
pub(super) const LOOK: usize = 1024;
pub(super) const LOOK_BYTES: usize = 256 * 1024;

/// When what could not be read is tried again: after the first time, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(16);

/// How long a feed does not look after it sent a whole history: at least, and at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_AT_MOST: Duration = Duration::from_secs(2);

/// How often at most a feed asks where its transcript is: a store is written all the time.
const LOOKUPS: Duration = Duration::from_millis(500);

/// What a feed shows. Streams with equal keys share one feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedKey {
    /// The key that was asked for. Two of one session may find different rows.
    pub asked: RequestedKey,
    /// The canonical key of the session.
    pub session: String,
    pub query: Query,
}

/// What feeds work with.
#[derive(Clone)]
pub struct Readers {
    pub sessions: Arc<Lookup>,
    pub transcripts: Arc<Transcripts>,
    pub watcher: Watcher,
    pub ids: Ids,
    /// Room for histories that are not yet sent.
    pub room: PageBytes,
}

/// Follows one transcript until it is dropped.
pub struct Feed {
    key: FeedKey,
    readers: Readers,
    // Both are waited for without a thread. Nothing long is done under this one.
    state: Arc<Mutex<FeedState>>,
    /// The last `history` that was written. Who wants one waits for who writes one, and takes the same.
    last: Arc<Mutex<LastHistory>>,
    sent: broadcast::Sender<Sent>,
    following: AbortHandle,
    _counted: Counted,
}

/// What is sent to all streams.
#[derive(Clone)]
pub enum Sent {
    /// What one look has found.
    Events(Arc<[Event]>),
    /// Whoever comes to this joins anew.
    Anew,
    /// The key that was asked for means another session now, or none.
    Over,
}

/// What a stream gets: the history so far or what it missed of it, and what comes after exactly that.
pub struct Subscription {
    pub first: Vec<Event>,
    pub sent: broadcast::Receiver<Sent>,
}

impl Feed {
    /// Starts to follow the session, which was just found. Reads nothing until a stream joins. Blocks a little,
    /// within a runtime.
    pub fn start(key: FeedKey, session: &Session, readers: Readers) -> Self {
        // Watched first and read after: a change in between then wakes.
        let watched = Places::watch(Paths::of(session), &readers.watcher);
        // Of pages only the last one counts.
        let backlog = if key.query == Query::default() { BACKLOG } else { 1 };
        let state = FeedState::new(key.clone(), readers.ids.clone(), session.candidates.clone());
        let state = Arc::new(Mutex::new(state));
        let sent = broadcast::Sender::new(backlog);
        let last = Arc::default();
        let follower = Follower {
            key: key.clone(),
            readers: readers.clone(),
            state: Arc::downgrade(&state),
            last: Arc::clone(&last),
            sent: sent.clone(),
        };
        let following = tokio::spawn(follower.follow(watched)).abort_handle();
        Self { key, readers, state, last, sent, following, _counted: Counted::transcript() }
    }

    /// Whether the feed is followed still: not if it was [over](Sent::Over).
    pub fn is_followed(&self) -> bool {
        !self.following.is_finished()
    }

    /// Joins a stream to the feed. If the transcript was written over while its history was read it is tried again, a few
    /// times, as whoever looks at one does. Nothing is forgotten for that, which would have all other streams begin anew.
    pub async fn join(&self, start: Start) -> io::Result<Subscription> {
        for _ in 1..LOOKS {
            match self.join_once(start.clone()).await {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => sleep(LOOK_AGAIN).await,
                joined => return joined,
            }
        }
        self.join_once(start).await
    }

    async fn join_once(&self, start: Start) -> io::Result<Subscription> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let (key, readers, sent) = (self.key.clone(), self.readers.clone(), self.sent.clone());
        let joined = self.readers.sessions.ask(&self.key.asked, move || {
            let first = update(&mut state, &readers, &sent, Some(&start))?.first;
            // Under the same lock: no event is between the two.
            let sent = sent.subscribe();
            drop(state);
            let first = match first {
                First::Nothing => Vec::new(),
                First::Events(events) => events,
                First::History(view) => vec![last.history(view.as_ref(), &key, &readers.ids, &readers.room)?],
            };
            Ok(Subscription { first, sent })
        });
        joined.await?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Sends what has happened since the last update.
fn update(
    state: &mut FeedState,
    readers: &Readers,
    sent: &broadcast::Sender<Sent>,
    joining: Option<&Start>,
) -> io::Result<Update> {
    let mut update = state.update(&readers.transcripts, joining)?;
    let events = std::mem::take(&mut update.events);
    let news = match update.anew {
        true => Some(Sent::Anew),
        false => (!events.is_empty()).then(|| Sent::Events(events.into())),
    };
    // An error says that nobody listens, which is nobody's loss.
    news.map(|news| sent.send(news));
    Ok(update)
}

/// What is watched for a feed.
struct Places {
    paths: Paths,
    transcripts: Vec<Watched>,
    stores: Vec<Watched>,
    rows: Vec<Followed>,
    /// The settings have changed, and by those of now there is no such session. It may come.
    is_lost: bool,
}

/// Where the transcript may be, and what says so.
#[derive(Clone, PartialEq)]
struct Paths {
    candidates: Vec<Place>,
    stores: Vec<PathBuf>,
    /// In databases: where the session is, or may be soon.
    rows: Vec<Row>,
}

impl Paths {
    fn of(session: &Session) -> Self {
        let rows = session.proof.lookups.iter().map(|lookup| lookup.row().clone()).collect();
        Self { candidates: session.candidates.clone(), stores: session.stores.clone(), rows }
    }

    /// Whether they are in a database, and that was asked for this proof.
    fn has_database_in(&self, proof: &Proof) -> bool {
        match &self.candidates[..] {
            [Place::Database(window)] => proof.lookups.iter().any(|lookup| lookup.row().path() == window.path()),
            _ => false,
        }
    }
}

impl Places {
    fn watch(paths: Paths, watcher: &Watcher) -> Self {
        let files = paths.candidates.iter().filter(|place| matches!(place, Place::File(_)));
        let transcripts = files.map(|place| watcher.watch(place.path())).collect();
        let stores = paths.stores.iter().map(|path| watcher.watch(path)).collect();
        let rows = paths.rows.iter().map(|row| row.follow(watcher)).collect();
        Self { transcripts, stores, rows, paths, is_lost: false }
    }

    fn lost() -> Self {
        let paths = Paths { candidates: Vec::new(), stores: Vec::new(), rows: Vec::new() };
        Self { paths, transcripts: Vec::new(), stores: Vec::new(), rows: Vec::new(), is_lost: true }
    }
}

/// Brings the streams of a feed up to date when something changes.
struct Follower {
    key: FeedKey,
    readers: Readers,
    state: Weak<Mutex<FeedState>>,
    last: Arc<Mutex<LastHistory>>,
    sent: broadcast::Sender<Sent>,
}

/// What has to be looked at, and when.
#[derive(Clone, Copy)]
struct Due {
    row: Option<Instant>,
    transcript: Option<Instant>,
}

impl Follower {
    async fn follow(self, mut places: Places) {
        // The row may have changed before it was watched.
        let mut due = Due { row: Some(Instant::now()), transcript: None };
        let mut looked_up = Instant::now();
        let mut wait = None;
        // When the first change was noticed that the streams do not show yet.
        let mut noticed: Option<std::time::Instant> = None;
        let mut settings = self.readers.sessions.subscribe();
        let mut known = self.readers.sessions.settings();
        loop {
            let next = due.row.into_iter().chain(due.transcript).min();
            tokio::select! {
                at = any_changed(&mut places.transcripts) => {
                    noticed.get_or_insert(at);
                    due.transcript = Some(Instant::now());
                }
                at = any_row_changed(&mut places.rows) => {
                    noticed.get_or_insert(at);
                    due = Due { row: Some(Instant::now()), transcript: Some(Instant::now()) };
                }
                _ = any_changed(&mut places.stores) => {
                    due.row.get_or_insert(looked_up + LOOKUPS);
                    continue;
                }
                Ok(()) = settings.changed() => {
                    due.row = Some(Instant::now());
                    continue;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let (row, transcript) = (is_due(due.row), is_due(due.transcript));
            let of_now = self.readers.sessions.settings();
            let lookup = row.then(|| RowLookup {
                watched: places.paths.clone(),
                is_lost: places.is_lost || !Lookup::are_alike(&known, &of_now),
                settings: Arc::clone(&of_now),
            });
            let again = match self.catch_up(lookup, transcript).await {
                None => return,
                Some(Ok(CaughtUp { is_over: true, .. })) => return,
                Some(Ok(CaughtUp { moved, anew, .. })) => {
                    if wait.take().is_some() {
                        tracing::info!(key = self.key.session, "a session can be read again");
                    }
                    if row {
                        known = of_now;
                    }
                    places = moved.unwrap_or(places);
                    if let Some(noticed) = noticed.take_if(|_| transcript) {
                        measure::caught_up(noticed.elapsed());
                    }
                    if anew {
                        self.pause().await;
                    }
                    places.is_lost.then(|| Instant::now() + RETRY)
                }
                Some(Err(error)) => {
                    if wait.is_none() {
                        tracing::warn!(key = self.key.session, %error, "a session cannot be read, its streams wait");
                    }
                    let longer = wait.map_or(RETRY, |wait: Duration| (2 * wait).min(RETRY_AT_MOST));
                    wait = Some(longer);
                    Some(now + longer)
                }
            };
            if row {
                looked_up = now;
                due.row = again;
            }
            if transcript {
                due.transcript = again;
            }
        }
    }

    /// Lets a burst go on, so that the next look is for more of it: a history costs the history, and a stream
    /// that is sent one after the other cannot keep up.
    async fn pause(&self) {
        sleep(PAUSE).await;
        let took = self.last.lock().await.took();
        sleep((4 * took).min(PAUSE_AT_MOST)).await;
    }

    /// `None` when there are no streams any more.
    async fn catch_up(&self, lookup: Option<RowLookup>, transcript: bool) -> Option<io::Result<CaughtUp>> {
        // First the turn: who joins must not wait for it.
        let turn = self.readers.sessions.followers_turn(&self.key.asked).await;
        let mut state = self.state.upgrade()?.lock_owned().await;
        let (key, readers, sent) = (self.key.clone(), self.readers.clone(), self.sent.clone());
        let caught_up = turn.ask(move || {
            let moved = match lookup {
                None => None,
                Some(lookup) => match lookup.find(&key, &readers)? {
                    Found::Same => None,
                    Found::Elsewhere(places) => Some(places),
                    Found::Another => {
                        // An error says that nobody listens.
                        let _ = sent.send(Sent::Over);
                        return Ok(CaughtUp { moved: None, anew: false, is_over: true });
                    }
                },
            };
            if let Some(places) = &moved {
                state.move_to(places.paths.candidates.clone());
            }
            let anew = (transcript || moved.is_some()) && update(&mut state, &readers, &sent, None)?.anew;
            Ok(CaughtUp { moved, anew, is_over: false })
        });
        Some(caught_up.await.and_then(|caught_up| caught_up))
    }
}

struct CaughtUp {
    /// The session has another transcript.
    moved: Option<Places>,
    /// All of the history was sent.
    anew: bool,
    /// The streams were ended.
    is_over: bool,
}

/// A row to be looked up again.
struct RowLookup {
    watched: Paths,
    /// What was shown is not to go on if there is no row.
    is_lost: bool,
    settings: Arc<Settings>,
}

enum Found {
    /// The session where it was. A row that is gone from a file is no other session: what was shown goes on.
    Same,
    Elsewhere(Places),
    /// Another session, or none.
    Another,
}

impl RowLookup {
    fn find(self, key: &FeedKey, readers: &Readers) -> io::Result<Found> {
        Ok(match readers.sessions.find_or_prove(&key.asked, &self.settings)? {
            Ok(session) if session.key != key.session => Found::Another,
            Ok(session) if Paths::of(&session) != self.watched => {
                Found::Elsewhere(Places::watch(Paths::of(&session), &readers.watcher))
            }
            // A commit that takes a row away is meant so. A database that is away says nothing, and may be back already.
            Err(proof) if self.watched.has_database_in(&proof) => Found::Another,
            Err(_) if self.is_lost => Found::Elsewhere(Places::lost()),
            Ok(_) | Err(_) => Found::Same,
        })
    }
}

async fn any_row_changed(rows: &mut [Followed]) -> std::time::Instant {
    if rows.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(rows.iter_mut().map(|row| Box::pin(row.changed()))).await.0
}

async fn any_changed(watched: &mut [Watched]) -> std::time::Instant {
    if watched.is_empty() {
        // A session whose transcript can be nowhere has nothing to follow.
        return std::future::pending().await;
    }
    let changes = watched.iter_mut().map(|file| Box::pin(file.changed()));
    futures_util::future::select_all(changes).await.0
}
