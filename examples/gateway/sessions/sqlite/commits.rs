//! [`Followed`]: a session of a database, and a wake for each commit that changes it.
//!
//! 1. A database is looked at once for each commit, however many follow its sessions: when its file or its `-wal`
//!    is written. (Not when its `-shm` is: readers write that.)
//! 2. A commit is seen by others a moment after its last write, so a write is followed by some more looks.
//! 3. A look that finds the database as it was (`PRAGMA data_version`) costs nothing more. Otherwise each session
//!    that is followed is asked for its state, and those whose state is another one are woken.
//! 4. A database that cannot be read wakes all, who find that out for themselves, and is looked at again.

use std::{
    collections::HashMap,
    future, io,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::select_all;
use tokio::{
    sync::watch,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::{
    database::{Database, Version, lock},
    lookup::{Moment, Row},
};
use crate::files::{Watched, Watcher};

/// How long after a write the database is looked at, each counted from the one before.
const LOOKS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(32),
    Duration::from_millis(64),
    Duration::from_millis(128),
    Duration::from_millis(256),
];

/// When a database that could not be read is looked at again.
const RETRY: Duration = Duration::from_secs(1);

/// Who follows the sessions of a database.
#[derive(Default)]
pub(super) struct Followers {
    sessions: HashMap<String, FollowedSession>,
    task: Option<AbortHandle>,
}

struct FollowedSession {
    /// With the time at which a change was noticed.
    woken: watch::Sender<Instant>,
    /// Its state when it was last looked at.
    state: State,
}

#[derive(PartialEq)]
enum State {
    Unknown,
    Known(Option<Moment>),
}

/// A session that is followed until this is dropped.
pub struct Followed {
    row: Row,
    woken: watch::Receiver<Instant>,
}

impl Row {
    /// Follows the session of this row. Blocks a little, within a runtime.
    pub fn follow(&self, watcher: &Watcher) -> Followed {
        let Self { database, key } = self;
        let mut followers = lock(&database.followers);
        if followers.task.is_none() {
            // Watched first and looked at after.
            let watched = vec![watcher.watch(database.wal()), watcher.watch(database.path())];
            let task = tokio::spawn(follow(Arc::downgrade(database), watched));
            followers.task = Some(task.abort_handle());
        }
        let new = || FollowedSession { woken: watch::Sender::new(Instant::now()), state: State::Unknown };
        let session = followers.sessions.entry(key.clone()).or_insert_with(new);
        // What happened before is to be found out by a look.
        session.state = State::Unknown;
        let woken = session.woken.subscribe();
        Followed { row: self.clone(), woken }
    }
}

impl Database {
    /// Wakes those whose sessions are not as they were at that version, for what was noticed at that time. Says at
    /// which version they were looked at.
    fn look(&self, seen: Option<Version>, noticed: Instant) -> io::Result<Version> {
        let version = self.version()?;
        let keys: Vec<String> = {
            let followers = lock(&self.followers);
            let is_due = |session: &FollowedSession| seen != Some(version) || session.state == State::Unknown;
            followers.sessions.iter().filter(|(_, session)| is_due(session)).map(|(key, _)| key.clone()).collect()
        };
        if keys.is_empty() {
            return Ok(version);
        }
        let moments = self.read(|snapshot| {
            let moment = |key: &String| Moment::read(snapshot.sqlite, key);
            keys.iter().map(moment).collect::<io::Result<Vec<_>>>()
        })?;
        let mut followers = lock(&self.followers);
        for (key, moment) in keys.iter().zip(moments) {
            let Some(session) = followers.sessions.get_mut(key) else { continue };
            let state = State::Known(moment);
            if session.state != state {
                session.state = state;
                session.woken.send_replace(noticed);
            }
        }
        Ok(version)
    }

    fn wake_all(&self) {
        for session in lock(&self.followers).sessions.values_mut() {
            session.state = State::Unknown;
            session.woken.send_replace(Instant::now());
        }
    }
}

impl Followed {
    /// Waits until the session may have changed since the last call returned, or since it was followed. Says when
    /// the last of that was noticed.
    pub async fn changed(&mut self) -> Instant {
        // The sender lives as long as somebody follows, so the error does not happen.
        if self.woken.changed().await.is_err() {
            future::pending().await
        }
        *self.woken.borrow()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut followers = lock(&self.row.database.followers);
        // This one is not yet gone.
        if followers.sessions.get(&self.row.key).is_some_and(|session| session.woken.receiver_count() <= 1) {
            followers.sessions.remove(&self.row.key);
        }
        if followers.sessions.is_empty()
            && let Some(task) = followers.task.take()
        {
            task.abort();
        }
    }
}

async fn follow(database: Weak<Database>, mut watched: Vec<Watched>) {
    let mut seen = None;
    let mut looks = LOOKS.iter();
    let mut wait = Some(Duration::ZERO);
    let mut noticed = Instant::now();
    loop {
        let changes = select_all(watched.iter_mut().map(|file| Box::pin(file.changed())));
        tokio::select! {
            (at, ..) = changes => {
                looks = LOOKS.iter();
                noticed = at;
            }
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        let Some(database) = database.upgrade() else { return };
        let looked = spawn_blocking({
            let database = Arc::clone(&database);
            move || database.look(seen, noticed)
        });
        let looked = looked.await.unwrap_or_else(|panicked| Err(panicked.into()));
        wait = match looked {
            Ok(version) => {
                seen = Some(version);
                looks.next().copied()
            }
            Err(error) => {
                tracing::debug!(path = %database.path().display(), %error, "a database cannot be looked at");
                if seen.take().is_some() {
                    database.wake_all();
                }
                Some(RETRY)
            }
        };
    }
}
