//! Other gateways: what is revoked on one is revoked on all, by a log in Redis.
//!
//! - `redis`: with the feature `redis`
//! - `reach`: connections to it, also through sentinels or to a cluster
//! - `absent`: without it

#[cfg(not(feature = "redis"))]
mod absent;
#[cfg(feature = "redis")]
mod reach;
#[cfg(feature = "redis")]
mod redis;

#[cfg(not(feature = "redis"))]
pub use self::absent::{Node, check};
#[cfg(feature = "redis")]
pub use self::redis::{Node, check};
