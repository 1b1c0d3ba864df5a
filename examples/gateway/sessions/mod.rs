//! What is on disk of a session, and what is shown of it.
//!
//! From a key to a page: [`Sessions::find`](store::Sessions::find) finds the session's transcript;
//! [`Transcripts::at`](transcript::Transcripts::at) has its index, and a
//! [`View`](transcript::View) is the transcript at one moment; [`history::read`] cuts a page out of it, by
//! way of [`projection::page`]; [`PageCache`](pages::PageCache) keeps it for the next request.
//!
//! - `lookup`: the store's sessions under the settings of the moment
//! - `lanes`: how many may ask the file system at a time
//! - `store`: from a requested key to a row of `sessions.json` and the place of the transcript
//! - `transcript`: from a file of lines to messages, by an index that grows with the file
//! - `sqlite`: from a row of an agent's database to the records of a session
//! - `record`: from a record, whichever store it is in, to its message
//! - `projection`: from messages to those that a viewer sees
//! - `history`: pages, and how a query asks for one
//! - `pages`: pages that were sent before
//!
//! # The stores
//!
//! Sessions are in files or in a database, as each agent has it at the moment. What reads a transcript does not
//! know which. Another store would have
//!
//! 1. an arm in [`Sessions::find`](store::Sessions::find): from a [`RequestedKey`](store::RequestedKey) to a
//!    [`Session`](store::Session), with the [`Place`](transcript::Place) of its transcript, the files to watch for a
//!    move, and the [`Proof`](store::Proof) by which a page that is remembered is known to be right still;
//! 2. a variant of [`Place`](transcript::Place), and of [`Transcript`](transcript::Transcript) and
//!    [`View`](transcript::View) with what they do: the records of one moment ([`History`](record::History)), and
//!    what has changed [`since`](transcript::View::since) a [`Position`](transcript::Position).

#[cfg(test)]
mod faults;
pub mod history;
pub mod lanes;
pub mod lookup;
pub mod pages;
pub mod projection;
pub mod record;
pub mod sqlite;
pub mod store;
pub mod transcript;

/// The wall clock as JavaScript has it: milliseconds since 1970.
pub fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}
