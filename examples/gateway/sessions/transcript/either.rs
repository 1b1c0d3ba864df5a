//! [`Transcript`]: a transcript, whichever store it is in, and [`View`]: what it shows at one moment.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    file::{FileTranscript, FileView},
    messages::RawMessages,
    place::Place,
    position::{Change, Position},
};
use crate::sessions::{record::History, sqlite};

/// A transcript in a file of lines or in a database.
#[derive(Debug)]
pub struct Transcript {
    place: Place,
    store: Store,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
enum Store {
    File(FileTranscript),
    Database(Box<sqlite::Transcript>),
}

/// The right to look at a transcript, to be kept for as long as that takes.
pub type Turn = OwnedSemaphorePermit;

/// How many may look at one transcript at a time.
const TURNS: usize = 8;

/// How often a transcript that is being written over is looked at again, and how long after.
pub const LOOKS: usize = 8;
pub const PAUSE: Duration = Duration::from_millis(10);

impl Transcript {
    /// The transcript at this place. Reads nothing.
    pub fn new(place: Place) -> Self {
        let store = match &place {
            Place::File(path) => Store::File(FileTranscript::new(path)),
            Place::Database(window) => Store::Database(Box::new(sqlite::Transcript::new(window.clone()))),
        };
        Self { place, store, turns: Arc::new(Semaphore::new(TURNS)) }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Waits until few enough look at this transcript. Whoever is on a thread of the shared pool needs
    /// that: while a long transcript is indexed, those who want it would take every thread there is
    /// and wait on it, and nobody could look at another one.
    pub async fn turn(&self) -> Option<Turn> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Looks at the transcript as it is now, and once more, a few times, if it was written over meanwhile: then
    /// what was known of it is known no more.
    pub fn look<T>(&self, mut look: impl FnMut(View) -> io::Result<T>) -> io::Result<T> {
        for again in 0..LOOKS {
            if again > 0 {
                thread::sleep(PAUSE);
            }
            let position = match self.view() {
                Ok(view) => {
                    let position = view.position();
                    match look(view) {
                        Err(error) if error.kind() == ErrorKind::UnexpectedEof => position,
                        result => return result,
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            };
            match &self.store {
                Store::File(file) => file.forget(position),
                Store::Database(transcript) => transcript.forget(position),
            }
        }
        Err(io::Error::new(ErrorKind::ResourceBusy, "the transcript is being written over"))
    }

    /// The transcript as it is now. Blocks.
    pub fn view(&self) -> io::Result<View> {
        match &self.store {
            Store::File(file) => file.view().map(View::File),
            Store::Database(transcript) => transcript.view().map(View::Database),
        }
    }
}

/// A transcript at one moment.
///
/// It is for one look: while it is held, the next one may have to copy what is known.
#[derive(Debug)]
pub enum View {
    File(FileView),
    Database(sqlite::View),
}

impl View {
    /// How far the history has got at this moment.
    pub fn position(&self) -> Position {
        match self {
            Self::File(view) => view.position(),
            Self::Database(view) => view.position(),
        }
    }

    /// How far it had got when it had so many messages.
    pub fn position_after(&self, length: usize) -> Position {
        Position { length, ..self.position() }
    }

    /// What has happened to the history since then.
    pub fn since(&self, then: Position) -> Change {
        self.position().since(then)
    }
}

impl History for View {
    fn len(&self) -> usize {
        match self {
            Self::File(view) => view.len(),
            Self::Database(view) => view.len(),
        }
    }

    fn sizes(&self, range: Range<usize>) -> io::Result<Vec<u64>> {
        match self {
            Self::File(view) => view.sizes(range),
            Self::Database(view) => view.sizes(range),
        }
    }

    fn read(&self, range: Range<usize>) -> io::Result<RawMessages> {
        match self {
            Self::File(view) => view.read(range),
            Self::Database(view) => view.read(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn so_many_look_at_one_transcript_and_others_have_turns_of_their_own() {
        let transcript = |path: &str| Transcript::new(Place::File(path.into()));
        let (one, other) = (transcript("/one"), transcript("/other"));
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.extend(one.turn().await);
        }
        assert_eq!(turns.len(), TURNS);
        assert!(one.turn().now_or_never().is_none());
        assert!(other.turn().now_or_never().is_some());
        turns.pop();
        assert!(one.turn().now_or_never().is_some());
    }
}
