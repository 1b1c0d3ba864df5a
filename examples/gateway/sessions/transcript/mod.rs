//! Transcripts: from a file of lines to messages. One that is in a database is read in
//! [`sqlite`](super::sqlite); whoever looks at a [`Transcript`] does not know which it is ([`either`]).
//!
//! A transcript is a file of JSON, one record a line, that another program appends to. Which of the
//! records are its history, and in which order, only the whole file tells ([`index`]); so each file
//! is scanned once ([`scan`]), some bytes are kept for each line, and after that only what was added
//! is scanned ([`indexed`]). Messages are read by their places in the history, and nothing else is
//! read for them ([`messages`]).
//!
//! Everything here blocks, on files and on locks.

mod budget;
mod cache;
mod either;
mod file;
mod index;
mod indexed;
mod lines;
mod messages;
mod packed;
mod place;
mod position;
mod scan;

use std::io::{self, ErrorKind};

pub(super) use self::budget::Share;
pub use self::{
    cache::Transcripts,
    either::{LOOKS, PAUSE, Transcript, View},
    messages::RawMessages,
    place::Place,
    position::{Change, Generation, Position},
};

/// The file is not as it was indexed, or not as long: somebody writes it while it is read. [`Transcript::look`]
/// looks again.
pub(super) fn written_over() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the transcript was written over while it was read")
}
