//! The rooms of the gateway.

pub mod answer;
pub mod auth;
pub mod config;
pub mod demo;
pub mod history;
pub mod js;
pub mod live;
pub mod pages;
pub mod projection;
pub mod reply;
pub mod serve;
pub mod skim;
pub mod stamp;
pub mod state;
pub mod store;
pub mod target;
pub mod transcript;
pub mod watch;

/// The wall clock as JavaScript has it: milliseconds since 1970.
pub fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}
