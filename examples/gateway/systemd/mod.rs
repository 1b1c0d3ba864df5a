//! What a service manager hands over, and what it is told. Without one nothing here does anything.
//!
//! - `sockets`: those that it listens on for the gateway
//! - `manager`: what it is told of the gateway's state
//!
//! `gateway.service` and `gateway.socket` are units to begin with.

mod manager;
mod sockets;

pub use self::{manager::Manager, sockets::Sockets};
