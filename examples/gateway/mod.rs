//! The rooms of the gateway.

pub mod config;
pub mod demo;
pub mod history;
pub mod js;
pub mod projection;
pub mod skim;
pub mod store;
pub mod transcript;
pub mod watch;
