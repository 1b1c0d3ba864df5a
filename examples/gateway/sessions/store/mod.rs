//! The session store: from a requested key to a transcript.
//!
//! [`Sessions::find`] is the entry, in `select`; `files` reads each store once, `settings` says where stores lie,
//! `agent` is whose they are. The steps:
//!
//! 1. A request names a key; [`RequestedKey`] is that name, trimmed and not blank.
//! 2. The settings turn it into a [`CanonicalKey`](key::CanonicalKey), which says whose store to
//!    look in ([`key`]).
//! 3. That store's `sessions.json` holds rows under keys of its own spelling; the freshest row that
//!    goes by this key wins ([`select`], [`rows`]).
//! 4. The row names a transcript in one of up to four places; the first that exists is the one
//!    ([`candidates`]).
//!
//! [`Sessions::list`] is the other way round: from an agent to the keys that find something ([`list`]).
//!
//! Where the agent has a database, its row takes the place of steps 3 and 4 ([`sqlite`](super::sqlite)).
//!
//! Nothing here writes. A store that is missing is an empty one, and so is one that is no JSON; one that cannot
//! be read is an error.

mod agent;
mod candidates;
mod databases;
mod files;
mod key;
mod list;
mod names;
mod proof;
mod rows;
mod select;
mod settings;

pub use self::{
    agent::AgentId,
    key::RequestedKey,
    list::{Listed, Place, Position},
    names::Names,
    proof::Proof,
    rows::SessionId,
    select::{Session, Sessions},
    settings::{Agent, StoreSettings},
};
