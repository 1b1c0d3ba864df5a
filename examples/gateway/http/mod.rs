//! Requests and answers.

pub mod handlers;
pub mod reply;
mod state;
pub mod target;

pub use self::state::State;
