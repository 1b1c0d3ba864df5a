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
//! - `projection`: from messages to those that a viewer sees
//! - `history`: pages, and how a query asks for one
//! - `pages`: pages that were sent before
//!
//! Another store of sessions implements what [`Sessions`](store::Sessions) has: `find`, from a
//! [`RequestedKey`](store::RequestedKey) to a [`Session`](store::Session) with the places of its transcript and
//! the [`Stamps`](crate::files::Stamps) that prove the answer right later, and `canonical`, to the key by which
//! the streams of a session are known. [`Lookup`](lookup::Lookup) holds it. What reads
//! the transcript from there on does not know which store named it.

#[cfg(test)]
mod faults;
pub mod history;
mod lanes;
pub mod lookup;
pub mod pages;
pub mod projection;
pub mod store;
pub mod transcript;

/// The wall clock as JavaScript has it: milliseconds since 1970.
pub fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}
