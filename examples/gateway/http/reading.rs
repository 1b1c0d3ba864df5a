//! Reading a session in turn, whatever it is read for.
//!
//! To read takes a thread, and some times the memory of what is read: both are taken in turn. Where a file system
//! hangs, whoever waits is not kept longer than [`PATIENCE`], and others have their turns.

use std::{
    io::{self, ErrorKind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tracing::Instrument;

use super::State;
use crate::{
    config::Settings,
    sessions::{
        lanes::unfinished,
        sqlite::UnknownSchema,
        store::{RequestedKey, Session},
        transcript::{Place, Transcript},
    },
};

/// How long a session may take to be found and read.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long the making of a page counts.
const LONG: Duration = Duration::from_secs(1);

/// Why a session was not read.
#[derive(Debug)]
pub enum Unread {
    NoSession,
    /// It is there and cannot be read: for now, as far as anybody can tell.
    Unreadable {
        key: String,
        transcript: Option<Place>,
        error: io::Error,
    },
    /// The gateway ends, or has a defect.
    Broken(io::Error),
    /// There is no room for what was read.
    Busy,
    /// There never is.
    TooLarge,
}

impl Unread {
    pub fn hangs(key: &RequestedKey) -> Self {
        Self::Unreadable { key: key.as_str().to_owned(), transcript: None, error: ErrorKind::TimedOut.into() }
    }
}

/// A session that can be read now.
pub struct Reading {
    session: Session,
    transcript: Option<Arc<Transcript>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Reading {
    /// Finds the session, and waits until its transcript may be looked at.
    pub async fn begin(state: &Arc<State>, settings: &Arc<Settings>, key: &RequestedKey) -> Result<Self, Unread> {
        let session = find(state, settings, key).await?;
        let transcript = session.transcript.as_ref().map(|place| state.transcripts.at(place));
        let turn = match &transcript {
            Some(transcript) => transcript.turn().await,
            None => None,
        };
        Ok(Self { session, transcript, turn })
    }

    /// Reads it on a thread. What `read` says is broken off with an [`Unread`] is.
    pub async fn read<T: Send + 'static>(
        self,
        state: &State,
        key: &RequestedKey,
        read: impl FnOnce(Session, Option<&Transcript>) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Unread> {
        let Self { session, transcript, turn } = self;
        let thread = state.sessions.turn(key).await;
        let making = Arc::clone(&state.making).acquire_owned().await;
        let mut reading = pin!(thread.ask(move || {
            // For as long as this reads, whether or not anybody still waits.
            let _turn = turn;
            let (key, place) = (session.key.clone(), session.transcript.clone());
            read(session, transcript.as_deref()).map_err(|refused| match refused {
                Refused::Error(error) => Unread::Unreadable { key, transcript: place, error },
                Refused::NoRoom => Unread::Busy,
                Refused::TooLarge => Unread::TooLarge,
            })
        }));
        let read = match timeout(LONG, &mut reading).await {
            Ok(read) => read,
            Err(_) => {
                // It may hang, and others are to have their turns.
                drop(making);
                reading.await
            }
        };
        read.unwrap_or_else(|error| Err(Unread::Broken(error)))
    }
}

/// Why nothing came of reading.
pub enum Refused {
    Error(io::Error),
    NoRoom,
    TooLarge,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

/// Waits for what reads no longer than [`PATIENCE`]. The reading goes on though nobody may wait for it: what it takes is
/// given back when it is done, or hangs.
pub async fn patiently<T: Send + 'static>(
    key: &RequestedKey,
    read: impl Future<Output = Result<T, Unread>> + Send + 'static,
) -> Result<T, Unread> {
    match tokio::spawn(timeout(PATIENCE, read).in_current_span()).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(Unread::hangs(key)),
        Err(error) => Err(Unread::Broken(unfinished(error))),
    }
}

/// The session that goes by this key.
pub async fn find(state: &Arc<State>, settings: &Arc<Settings>, key: &RequestedKey) -> Result<Session, Unread> {
    let (sessions, settings, asked) = (Arc::clone(&state.sessions), Arc::clone(settings), key.clone());
    match state.sessions.ask(key, move || sessions.find(&asked, &settings)).await {
        Ok(Ok(Some(session))) => Ok(session),
        Ok(Ok(None)) => Err(Unread::NoSession),
        Ok(Err(error)) => Err(Unread::Unreadable { key: key.as_str().to_owned(), transcript: None, error }),
        Err(error) => Err(Unread::Broken(error)),
    }
}

/// A session that is there and cannot be read: says so in the log, and what a client is told.
pub fn unreadable(key: &str, transcript: Option<&Place>, error: &io::Error) -> String {
    if let Some(schema) = UnknownSchema::of(error) {
        // The database has said so in the log.
        return schema.to_string();
    }
    let transcript = transcript.map(|place| place.path().display().to_string());
    tracing::error!(key, transcript, %error, "a session cannot be read");
    "The session cannot be read at the moment.".to_owned()
}
