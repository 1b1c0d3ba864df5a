//! The rooms of the gateway.

pub mod watch;
