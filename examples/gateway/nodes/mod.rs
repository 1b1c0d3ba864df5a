//! Other gateways: what is revoked on one is revoked on all, by a log in Redis, and so is a token that one's file drops;
//! who is locked out of one is locked out of all.
//!
//! - `redis`: with the feature `redis`
//! - `reach`: connections to it, also through sentinels or to a cluster
//! - `tokens`: whether all have the same tokens
//! - `absent`: without it

#[cfg(not(feature = "redis"))]
mod absent;
#[cfg(feature = "redis")]
mod reach;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod tokens;

#[cfg(not(feature = "redis"))]
pub use self::absent::{Node, check};
#[cfg(feature = "redis")]
pub use self::redis::{Node, check};
#[cfg(feature = "edge")]
pub use self::{
    reach::{Link, Reach},
    redis::{PREFIX, reach},
};
