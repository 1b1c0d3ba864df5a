//! This gateway among those that share a Redis.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime, sync::watch, time::timeout};
use tower_reauth::{
    limiter::{
        FailureLimiter, FailureLimits,
        shared::{RedisFailures, SharedLimiter},
    },
    revoke::{
        Revocations,
        shared::{Entry, LogError, Origin, RedisLog, RevocationLog, SharedRevocations},
    },
};

use super::{reach::Reach, tokens::TokenFiles};
use crate::config::{ConfigError, RedisUrl, Settings};

/// What the keys of gateways begin with.
pub const PREFIX: &str = "tower-reauth-gateway";

/// How long a check waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// This gateway.
pub struct Node {
    revocations: SharedRevocations<RedisLog<Reach>>,
    limiter: SharedLimiter<RedisFailures<Reach>>,
    reach: Reach,
}

impl Node {
    /// Connects to nothing yet.
    pub fn new(url: &RedisUrl) -> Result<Self, ConfigError> {
        let limiter = FailureLimiter::shared(FailureLimits::new(), RedisFailures::new(reach(url)?).with_prefix(PREFIX));
        Ok(Self { revocations: Revocations::shared(log(url)?), limiter, reach: reach(url)? })
    }

    pub fn limiter(&self) -> FailureLimiter {
        self.limiter.limiter()
    }

    pub fn revocations(&self) -> Revocations {
        self.revocations.revocations()
    }

    /// Takes part, for as long as it is polled, with the tokens of these settings.
    pub async fn run(self, settings: watch::Receiver<Arc<Settings>>) -> Infallible {
        let revocations = self.revocations();
        let tokens = TokenFiles { reach: self.reach, prefix: PREFIX, settings, revocations };
        tokio::select! {
            never = self.revocations.run() => never,
            never = self.limiter.run() => never,
            never = tokens.run() => never,
        }
    }
}

fn log(url: &RedisUrl) -> Result<RedisLog<Reach>, ConfigError> {
    Ok(RedisLog::new(reach(url)?).with_prefix(PREFIX))
}

/// What opens connections to this Redis.
pub fn reach(url: &RedisUrl) -> Result<Reach, ConfigError> {
    // The crate's words may quote the URL, and in it the password.
    Reach::new(url).map_err(|_| ConfigError::Unusable(format!("--redis {}", RedisUrl::IS)))
}

/// What keeps a gateway from sharing what is revoked there, if anything does. It asks for all that a gateway asks for, and
/// writes: that something is forgotten which was never revoked.
pub fn check(url: &RedisUrl) -> Result<(), String> {
    let log = log(url).map_err(|error| error.to_string())?;
    let asked = async {
        let last = log.standing().await?.last;
        log.state(&mut |_| ()).await?;
        log.read(last, Duration::from_millis(1)).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let probe: Entry =
            format!("1 credential gateway%20check ~{}", now.as_millis()).parse().map_err(LogError::unavailable)?;
        log.append(&[probe], Origin::New).await
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    match runtime.block_on(async { timeout(PATIENCE, asked).await }) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("--redis: {error}")),
        Err(_) => Err(format!("--redis: it does not answer within {} s", PATIENCE.as_secs())),
    }
}
