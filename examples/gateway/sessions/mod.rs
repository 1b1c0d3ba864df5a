//! Sessions.

pub mod history;
pub mod pages;
pub mod projection;
pub mod store;
pub mod transcript;

/// The wall clock as JavaScript has it: milliseconds since 1970.
pub fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64
}
