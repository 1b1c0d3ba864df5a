//! OpenClaw's protocol, version 4, over a WebSocket on the gateway's port: another way to what the routes serve.
//!
//! A client is sent a challenge, says in `connect` who it is, and is answered `hello-ok`. Then it may ask for pages of a
//! session's history, and be told of what is appended to it. The pages are those of the route, and what is appended
//! comes from the feeds of its streams.
//!
//! - `upgrade`: handshakes, taken out of the requests
//! - `socket`: one socket, from the challenge to the last word
//! - `connect`: what a client says of itself
//! - `door`: whether it may come in, by the layers of requests
//! - `methods`: what it may ask for
//! - `subscriptions`: what it is told of
//! - `frame`: requests, answers and events as JSON
//! - `shape`: what is wrong with JSON, in OpenClaw's words
//!
//! 1. A socket is a stream like any other: it is listed, checked again, and ends when access does, with 1008.
//! 2. Before a client is known it has 15 seconds, a second where others wait for its place, and one message. It never has more than [`socket::LONGEST`] bytes in one,
//!    16 requests that wait, and 64 sessions; what waits for it when it does not read is one message.
//! 3. A shared secret is granted what `connect` declares, and no more: see `door`.

pub mod connect;
mod door;
pub mod frame;
pub mod methods;
mod shape;
mod socket;
mod subscriptions;
mod upgrade;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tower_reauth::StreamReauthLayer;

pub use self::{
    door::{Declaring, Doors},
    upgrade::SpeakLayer,
};
use crate::http::State;

/// What all sockets share.
pub struct Speak {
    pub state: Arc<State>,
    pub doors: Doors,
    /// By whose rules they are watched.
    pub watched: StreamReauthLayer,
    /// Cancelled when the gateway stops.
    pub stop: CancellationToken,
}
