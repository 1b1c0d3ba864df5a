//! Other gateways: what is revoked on one is revoked on all, by a log in Redis, and so is a token that one's file drops.
//!
//! - `redis`: with the feature `redis`
//! - `tokens`: whether all have the same tokens
//! - `absent`: without it

#[cfg(not(feature = "redis"))]
mod absent;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod tokens;

#[cfg(not(feature = "redis"))]
pub use self::absent::Node;
#[cfg(feature = "redis")]
pub use self::redis::Node;
#[cfg(feature = "edge")]
pub use self::redis::{PREFIX, client};
