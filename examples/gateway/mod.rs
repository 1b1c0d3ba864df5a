//! The rooms of the gateway.

pub mod config;
pub mod demo;
pub mod watch;
pub mod js;
pub mod projection;
