//! Sessions in a database, as OpenClaw keeps them since 2026.9: one SQLite file for each agent.
//!
//! From a key to records: [`Lookup::find`] finds the session's row, which names its window; [`Transcript::view`] has
//! what is shown of that window at one moment, and [`View::read`] its records. [`Row::follow`] wakes whoever
//! shows it when another process has committed a change to it. Nothing here writes.
//!
//! - `database`: the file, and how it is read without its writers feeling it
//! - `lookup`: rows of sessions, and the proof that they are as they were
//! - `transcript`: the records of a window
//! - `layout`: which of them are shown, by numbers
//! - `branch`: the same worked out of the records, where the database has not done it
//! - `choices`: what of that records chose that say which one is the last
//! - `cold`: records that were put away
//! - `facts`: what of a record that takes
//! - `event`: the JSON of a record, compressed or not
//! - `commits`: one look for each commit

mod branch;
mod choices;
mod cold;
mod commits;
mod database;
mod event;
mod facts;
mod layout;
mod lookup;
mod transcript;

pub use self::{
    commits::Followed,
    database::{Database, UnknownSchema, is_blank},
    lookup::{Lookup, Node, Row},
    transcript::{Transcript, View, Window},
};

/// The version of SQLite. Before 3.51.3 it could lose commits where a checkpoint raced with a writer.
pub fn version() -> &'static str {
    rusqlite::version()
}
