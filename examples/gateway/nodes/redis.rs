//! This gateway among those that share a Redis.

use std::convert::Infallible;

use redis::Client;
use tower_reauth::revoke::{
    Revocations,
    shared::{RedisLog, SharedRevocations},
};

use crate::config::{ConfigError, RedisUrl};

/// What the keys of gateways begin with.
pub const PREFIX: &str = "tower-reauth-gateway";

/// What opens connections to this Redis.
pub fn client(url: &RedisUrl) -> Result<Client, ConfigError> {
    // The crate's words may quote the URL, and in it the password.
    Client::open(url.text()).map_err(|_| ConfigError::Unusable(format!("--redis {}", RedisUrl::IS)))
}

/// This gateway.
pub struct Node(SharedRevocations<RedisLog>);

impl Node {
    /// Connects to nothing yet.
    pub fn new(url: &RedisUrl) -> Result<Self, ConfigError> {
        Ok(Self(Revocations::shared(RedisLog::new(client(url)?).with_prefix(PREFIX))))
    }

    pub fn revocations(&self) -> Revocations {
        self.0.revocations()
    }

    /// Takes part, for as long as it is polled.
    pub async fn run(self) -> Infallible {
        self.0.run().await
    }
}
