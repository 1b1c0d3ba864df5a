//! Requests and answers: what is around the layers of `gateway.rs`.
//!
//! A request comes by `target`, which makes its target a path that the router knows and parses what the path
//! names; then through the layers of its route to one of the `handlers`, which find all that they need in
//! [`State`] and answer with a [`reply`].
//!
//! - `target`: OpenClaw's reading of URLs, as a layer in front of the router and one around a route
//! - `handlers`: what the routes do
//! - `state`: what all requests share
//! - `reply`: the answers that are not a history, in OpenClaw's words

pub mod handlers;
pub mod reply;
mod state;
pub mod target;

pub use self::state::State;
