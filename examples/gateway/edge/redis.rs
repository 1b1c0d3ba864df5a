//! Streams in Redis: one for each session that is followed, of each run of an origin.
//!
//! `{prefix}:feed:<run>:<digest>` is a stream of Redis with a field `p` in each entry, the id of the entry before it, and
//! one more, which is [the entry](Entry). It is trimmed to about [`ENTRIES`] and [`BYTES`], and gone [`KEPT`] after the last
//! was written, or its origin said that it is followed still.
//!
//! What is appended goes behind the entry that the writer believes to be the last: where it is not, because what
//! failed was done all the same, or somebody emptied the stream, nothing is appended.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::PoisonError,
    time::Duration,
};

use redis::{RedisResult, Script};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tower_reauth::revoke::shared::Connect;

use super::entry::Entry;
use crate::{
    config::{ConfigError, RedisUrl},
    live::FeedKey,
    nodes::{self, Link, Reach},
};

/// How much a stream keeps.
const ENTRIES: usize = 1_000;
const BYTES: usize = 2 * 1024 * 1024;
/// How long it is kept.
pub const KEPT: Duration = Duration::from_secs(600);

/// How long an answer may take, and a connection.
const PATIENCE: Duration = Duration::from_secs(2);

const APPEND: &str = r"
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
last = last and last[1] or ''
if ARGV[1] ~= '*' and ARGV[1] ~= last then
  return false
end
for at = 5, #ARGV, 2 do
  last = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'p', last, ARGV[at], ARGV[at + 1])
end
-- First, as what follows may fail.
redis.call('EXPIRE', KEYS[1], ARGV[4])
while redis.call('XLEN', KEYS[1]) > 1 and redis.call('MEMORY', 'USAGE', KEYS[1]) > tonumber(ARGV[3]) do
  redis.call('XTRIM', KEYS[1], 'MAXLEN', math.floor(redis.call('XLEN', KEYS[1]) / 2))
end
return last
";

/// The streams of one run of an origin.
pub struct Streams {
    reach: Reach,
    connection: std::sync::Mutex<Option<Link>>,
    append: Script,
    run: String,
}

/// Why nothing was appended.
#[derive(Debug)]
pub enum Failed {
    /// The last entry is another one, or gone.
    Moved,
    Redis(redis::RedisError),
}

impl From<redis::RedisError> for Failed {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Streams {
    /// Connects to nothing yet.
    pub fn new(url: &RedisUrl) -> Result<Self, ConfigError> {
        let random = || RandomState::new().hash_one(0);
        Ok(Self {
            reach: nodes::reach(url)?,
            connection: std::sync::Mutex::default(),
            append: Script::new(APPEND),
            run: format!("{:016x}{:016x}", random(), random()),
        })
    }

    /// The key of the stream of what this feed shows.
    pub fn key(&self, feed: &FeedKey) -> String {
        let FeedKey { asked, session, query } = feed;
        let mut digest = Sha256::new();
        for part in [asked.as_str(), session, &format!("{:?}", (query.limit, query.cursor))] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        format!("{{{}}}:feed:{}:{:x}", nodes::PREFIX, self.run, digest.finalize())
    }

    /// The last entry of a stream, and its id: empty where there is none.
    pub async fn last(&self, key: &str) -> RedisResult<(String, Option<Entry>)> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let found: Vec<super::tail::Raw> = self.with(async |connection| range.query_async(connection).await).await?;
        let last = found.into_iter().next();
        Ok(last.map(|(id, fields)| (id, super::tail::parsed(fields).and_then(|(_, entry)| entry))).unwrap_or_default())
    }

    /// Appends behind this entry, and says the id of the last.
    pub async fn append(&self, key: &str, after: &str, entries: &[Entry]) -> Result<String, Failed> {
        let mut script = self.append.prepare_invoke();
        script.key(key).arg(after).arg(ENTRIES).arg(BYTES).arg(KEPT.as_secs());
        for entry in entries {
            let (name, value) = entry.field();
            script.arg(name).arg(&value[..]);
        }
        let last: Option<String> = self.with(async |connection| script.invoke_async(connection).await).await?;
        last.ok_or(Failed::Moved)
    }

    /// Keeps a stream for longer. Whether it is there.
    pub async fn refresh(&self, key: &str) -> RedisResult<bool> {
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(key).arg(KEPT.as_secs());
        self.with(async |connection| expire.query_async(connection).await).await
    }

    async fn with<T>(&self, ask: impl AsyncFnOnce(&mut Link) -> RedisResult<T>) -> RedisResult<T> {
        let kept = self.kept().clone();
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = within(PATIENCE, self.reach.connect()).await?;
                self.kept().insert(connection).clone()
            }
        };
        let answer = within(PATIENCE, ask(&mut connection)).await;
        if answer.is_err() {
            *self.kept() = None;
        }
        answer
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Link>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer, if it comes in time.
pub async fn within<T>(time: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(time, answer).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}
