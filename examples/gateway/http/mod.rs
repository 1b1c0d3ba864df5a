//! Requests and answers: what is around the layers of `gateway.rs`.
//!
//! A request passes `hosts`, which may ask whom it is for, and `target`, which makes its target a path that
//! the router knows and parses what the path names; then the layers of its route; then one of the `handlers`,
//! which find all that they need in [`State`] and answer with a [`reply`].
//!
//! - `hosts`: whom requests may be for where nobody has to say who they are
//! - `target`: OpenClaw's reading of URLs, as a layer in front of the router and one around a route
//! - `routes`: that of histories, and a router of all others
//! - `handlers`: what the routes do
//! - `listing`: which sessions there are
//! - `operators`: what those of operators do
//! - `operate`: what they do it with: the list, what is kept, and the log of it
//! - `openapi`: what the routes are, for who asks
//! - `reading`: how those of them that read a session take turns
//! - `state`: what all requests share
//! - `reply`: the answers that are not a history, in OpenClaw's words

pub mod accept;
pub mod cors;
pub mod handlers;
pub mod hosts;
pub mod listing;
pub mod openapi;
pub mod operate;
pub mod operators;
pub mod reading;
pub mod reply;
pub mod routes;
mod state;
pub mod target;

pub use self::state::State;
