//! This gateway among those that share a Redis.

use std::{convert::Infallible, sync::Arc};

use redis::Client;
use tokio::sync::watch;
use tower_reauth::revoke::{
    Revocations,
    shared::{RedisLog, SharedRevocations},
};

use super::tokens::TokenFiles;
use crate::config::{ConfigError, RedisUrl, Settings};

/// What the keys of gateways begin with.
pub const PREFIX: &str = "tower-reauth-gateway";

/// What opens connections to this Redis.
pub fn client(url: &RedisUrl) -> Result<Client, ConfigError> {
    // The crate's words may quote the URL, and in it the password.
    Client::open(url.text()).map_err(|_| ConfigError::Unusable(format!("--redis {}", RedisUrl::IS)))
}

/// This gateway.
pub struct Node {
    revocations: SharedRevocations<RedisLog>,
    client: Client,
}

impl Node {
    /// Connects to nothing yet.
    pub fn new(url: &RedisUrl) -> Result<Self, ConfigError> {
        let client = client(url)?;
        let log = RedisLog::new(client.clone()).with_prefix(PREFIX);
        Ok(Self { revocations: Revocations::shared(log), client })
    }

    pub fn revocations(&self) -> Revocations {
        self.revocations.revocations()
    }

    /// Takes part, for as long as it is polled, with the tokens of these settings.
    pub async fn run(self, settings: watch::Receiver<Arc<Settings>>) -> Infallible {
        let revocations = self.revocations();
        let tokens = TokenFiles { client: self.client, prefix: PREFIX, settings, revocations };
        tokio::select! {
            never = self.revocations.run() => never,
            never = tokens.run() => never,
        }
    }
}
