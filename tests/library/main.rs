//! The library's specification, through its public API: one file for each promise or subject, one
//! test, named by a sentence, for each thing that is promised.
//!
//! Time is tokio's paused clock, and the wall clock follows it; only `sockets` runs in real time.

mod axum;
mod bearer_syntax;
mod door;
mod refusals;
mod required_scopes;
mod resolved_scopes;
mod secrets;
mod support;
mod tokens;
