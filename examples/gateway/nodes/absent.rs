//! A gateway that is built without Redis: there are no others.

use std::{convert::Infallible, sync::Arc};

use tokio::sync::watch;
use tower_reauth::{limiter::FailureLimiter, revoke::Revocations};

use crate::config::{ConfigError, RedisUrl, Settings, needs_feature};

/// Nothing is asked for that is not built.
pub fn check(_: &RedisUrl) -> Result<(), String> {
    Ok(())
}

/// There is none.
pub enum Node {}

impl Node {
    pub fn new(_: &RedisUrl) -> Result<Self, ConfigError> {
        Err(needs_feature("--redis", "redis"))
    }

    pub fn revocations(&self) -> Revocations {
        match *self {}
    }

    pub fn limiter(&self) -> FailureLimiter {
        match *self {}
    }

    pub async fn run(self, _: watch::Receiver<Arc<Settings>>) -> Infallible {
        match self {}
    }
}
