//! Transcripts: from a file of lines to messages.
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
mod file;
mod index;
mod indexed;
mod lines;
mod messages;
mod packed;
mod position;
mod scan;

use std::io::{self, ErrorKind};

pub use self::{
    cache::Transcripts,
    file::{Transcript, View},
    messages::RawMessages,
    position::{Change, Position},
};

/// The file is not as it was indexed, or not as long: somebody writes it while it is read. [`Transcript::look`]
/// looks again.
fn written_over() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the transcript was written over while it was read")
}
