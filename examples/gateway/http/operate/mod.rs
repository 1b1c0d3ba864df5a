//! What operators see and do: who is in, who is shown out, what is taken back, and who did it.
//!
//! - `ids`: what an open stream is called, by its client and by an operator
//! - `open`: the open streams as JSON, and as events
//! - `ends`: why those ended that did lately
//! - `last_words`: what a stream that is ended from here says last
//! - `revoked`: revocations as JSON
//! - `kept`: the file in which revocations outlive the process
//! - `seats`: how many streams may be open, in all and of one client
//! - `audit`: the log of who came, went, was refused and was taken what from
//!
//! The library keeps the list of open streams ([`OpenStreams`](tower_reauth::reauth::OpenStreams)) and the revocations
//! ([`Revocations`](tower_reauth::revoke::Revocations)); what is here gives them a shape and a memory.

mod audit;
mod ends;
pub mod ids;
mod kept;
mod last_words;
mod open;
mod revoked;
mod seats;

#[cfg(feature = "upstream")]
pub use self::audit::is_anothers;
pub use self::{
    audit::{Audit, AuditLayer, Refused, client},
    ends::Ends,
    kept::{Kept, KeptError},
    last_words::{asks_for_reasons, ending},
    open::{list, watch},
    revoked::Order,
    seats::{Seat, Seats},
};
#[cfg(feature = "websocket")]
pub use self::{open::caller, seats::LATER};
