//! The store in Redis.
//!
//! | key | what it holds |
//! | --- | --- |
//! | `{prefix}:limiter:failed:<client>` | a sorted set: the failures of one client by when they happened, in milliseconds |
//! | `{prefix}:limiter:failing` | a sorted set: the clients that have such a key, by their last failure |
//! | `{prefix}:limiter:locked` | a sorted set: the clients that are locked out, by the end of their lock |
//! | `{prefix}:limiter:news` | a stream: under the field `e` the id of the entry before, what happened, the client, and the end of its lock |
//!
//! All of them are in one slot of a cluster, and expire by themselves.

use std::{fmt, sync::PoisonError, time::Duration};

use redis::{Client as RedisClient, IntoConnectionInfo, Pipeline, RedisResult, Script};

use super::{FailureStore, News, Report, StoreError, What};
use crate::{limiter::FailureLimits, revoke::shared::Connect, sync::Mutex};

/// How many pieces of news, or clients, are read at once.
const MOST: usize = 1_000;

/// How many pieces of news are kept, about: a node that has missed more asks what holds.
const LENGTH: usize = 10_000;

const PREFIX: &str = "tower-reauth";

/// What comes before the first entry of a stream.
const START: &str = "0-0";

/// A [`FailureStore`] in Redis 7, or Valkey. Its prefix may be that of a [`RedisLog`](crate::revoke::shared::RedisLog).
///
/// ```no_run
/// use std::net::SocketAddr;
///
/// use axum::extract::ConnectInfo;
/// use tower_reauth::{
///     Tokens,
///     bearer::{AuthLayer, Authenticate, Bearer},
///     limiter::{FailureLimiter, FailureLimits, Limited, shared::RedisFailures},
///     revoke::Revocations,
/// };
///
/// # fn layer(
/// #     tokens: Tokens,
/// #     revocations: &Revocations,
/// # ) -> Result<AuthLayer<impl Authenticate>, Box<dyn std::error::Error + Send + Sync>> {
/// let store = RedisFailures::open("redis://127.0.0.1:6379")?.with_prefix("clock");
/// let node = FailureLimiter::shared(FailureLimits::new(), store);
/// let limiter = node.limiter();
/// tokio::spawn(node.run());
///
/// // The peer's address, of `Router::into_make_service_with_connect_info::<SocketAddr>`.
/// let limited = Limited::new(Bearer::new(tokens), limiter, |_headers, extensions| {
///     extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
/// });
/// let auth = AuthLayer::from_authenticator(limited).with_revocations(revocations);
/// # Ok(auth)
/// # }
/// ```
///
/// It takes two connections of a node. A batch of failures is one script, and every five seconds a node asks for news,
/// which come at once where there are some. Nothing has to survive the server: a Redis that is started anew has forgotten who failed, and
/// who is locked out stays so on the nodes that know.
///
/// # Room
///
/// At most [`capacity`](FailureLimits::capacity) clients that fail, with [`max_attempts`](FailureLimits::max_attempts)
/// times each, as many that are locked out, and about 10,000 pieces of news: 22 MB where 65,536 clients have failed once, of
/// whatever number that did. A failure takes the server some 30 µs. All of it is gone when a window and a lockout have passed.
///
/// # ACL
///
/// `~{prefix}:* +evalsha +eval +script|load +time +del +pexpire +xadd +xread +xrevrange +zadd +zcard +zpopmin +zrange
/// +zrangebyscore +zrem +zremrangebyscore +zscan +zscore`
pub struct RedisFailures<C: Connect = RedisClient> {
    connect: C,
    prefix: String,
    record: Script,
    telling: Slot<C::Connection>,
    hearing: Slot<C::Connection>,
}

/// A connection that is kept, unless a command on it failed or was given up.
struct Slot<T>(Mutex<Option<T>>);

/// Takes reports, and answers for how many milliseconds each client is locked out.
const RECORD: &str = r"
local failing, locked, news = KEYS[1], KEYS[2], KEYS[3]
local prefix, attempts, window, lockout = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local capacity, length = tonumber(ARGV[5]), ARGV[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number)
  return string.format('%.0f', number)
end
local function say(what)
  local last = redis.call('XREVRANGE', news, '+', '-', 'COUNT', 1)[1]
  local before = last and last[1] or '0-0'
  redis.call('XADD', news, 'MAXLEN', '~', length, '*', 'e', before .. ' ' .. what)
  redis.call('PEXPIRE', news, text(math.max(window, lockout, 1000)))
end
local function forget(client)
  redis.call('DEL', prefix .. client)
  return redis.call('ZREM', failing, client) == 1
end
local function last_score(key)
  return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
end
local answers = {}
for at = 7, #ARGV, 4 do
  local what, client, ago, id = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local key = prefix .. client
  local ends = tonumber(redis.call('ZSCORE', locked, client) or 0)
  if ends > now + lockout then
    -- The clock was set back, or this is none of ours.
    ends = now + lockout
    redis.call('ZADD', locked, text(ends), client)
  end
  if ends <= now and what == 'succeeded' then
    if forget(client) then
      say('cleared ' .. client)
    end
  elseif ends <= now then
    local failed = now - ago
    redis.call('ZREMRANGEBYSCORE', key, '(' .. text(now), '+inf')
    redis.call('ZADD', key, text(failed), id)
    local last = last_score(key)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', text(last - window))
    if what == 'locked-out' or redis.call('ZCARD', key) >= attempts then
      ends = (what == 'locked-out' and failed or last) + lockout
      forget(client)
      if ends > now then
        redis.call('ZADD', locked, text(ends), client)
        say('locked-out ' .. client .. ' ' .. text(ends))
      end
    elseif last + window > now then
      redis.call('PEXPIRE', key, text(last + window - now))
      if redis.call('ZADD', failing, text(last), client) == 1 then
        say('failing ' .. client)
      end
    else
      forget(client)
    end
  end
  answers[#answers + 1] = math.max(ends - now, 0)
end
-- What is over, and then what is too much: the oldest failure, and the lock that would end soonest.
local count = 64 + #ARGV
for _, client in ipairs(redis.call('ZRANGEBYSCORE', locked, '-inf', text(now), 'LIMIT', 0, count)) do
  redis.call('ZREM', locked, client)
end
for _, client in ipairs(redis.call('ZRANGEBYSCORE', failing, '-inf', text(now - window), 'LIMIT', 0, count)) do
  forget(client)
end
local more = math.min(redis.call('ZCARD', failing) - capacity, count)
for _ = 1, more do
  redis.call('DEL', prefix .. redis.call('ZPOPMIN', failing)[1])
end
more = math.min(redis.call('ZCARD', locked) - capacity, count)
if more > 0 then
  redis.call('ZPOPMIN', locked, more)
end
if redis.call('ZCARD', failing) > 0 then
  redis.call('PEXPIRE', failing, text(window))
end
local longest = last_score(locked)
if longest then
  redis.call('PEXPIRE', locked, text(math.min(math.max(longest - now, 1), 2 ^ 52)))
end
return answers
";

impl RedisFailures {
    /// The store of the server with this URL: `redis://`, or `rediss://` where the crate `redis` is built with TLS (by its
    /// feature `tokio-rustls-comp`, say). It is connected to when it is used first.
    ///
    /// # Errors
    ///
    /// If it is no such URL.
    pub fn open(url: impl IntoConnectionInfo) -> RedisResult<Self> {
        RedisClient::open(url).map(Self::new)
    }
}

impl<C: Connect> RedisFailures<C> {
    /// The store of the server that this connects to.
    pub fn new(connect: C) -> Self {
        Self {
            connect,
            prefix: prefix(PREFIX),
            record: Script::new(RECORD),
            telling: Slot::default(),
            hearing: Slot::default(),
        }
    }

    /// What the names of its keys begin with, in braces. Default, for an empty one too: `tower-reauth`. A closing brace in
    /// it is written as `%7D`, as it would end what a cluster goes by.
    #[must_use]
    pub fn with_prefix(mut self, name: &str) -> Self {
        self.prefix = prefix(if name.is_empty() { PREFIX } else { name });
        self
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What `ask` makes of a connection.
    async fn with<T, F>(
        &self,
        slot: &Slot<C::Connection>,
        ask: impl FnOnce(C::Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        // Out of the slot: what is given up in the middle would be in the way of the next.
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.connect.connect().await.map_err(StoreError::unavailable)?,
        };
        let answer = ask(connection.clone()).await.map_err(StoreError::unavailable)?;
        slot.put(connection);
        Ok(answer)
    }

    /// Hands over one of the sorted sets, with the time by the server's clock.
    async fn scan(&self, key: &str, take: &mut (dyn FnMut(&str, u64, u64) + Send)) -> Result<(), StoreError> {
        let mut cursor = String::from("0");
        loop {
            let mut page = Pipeline::new();
            page.cmd("ZSCAN").arg(key).arg(&cursor).arg("COUNT").arg(MOST).cmd("TIME");
            let answer = self.with(&self.hearing, async |mut connection| page.query_async(&mut connection).await);
            let ((next, clients), time): ((String, Vec<(String, f64)>), (u64, u64)) = answer.await?;
            for (client, score) in clients {
                take(&client, score as u64, milliseconds(time));
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }
}

impl<C: Connect> FailureStore for RedisFailures<C> {
    async fn record(&self, reports: &[Report], limits: &FailureLimits) -> Result<Vec<Option<Duration>>, StoreError> {
        let mut script = self.record.prepare_invoke();
        ["failing", "locked", "news"].iter().for_each(|name| _ = script.key(self.key(name)));
        // A number of floating point has no more digits.
        script.arg(self.key("failed:")).arg(limits.max_attempts().min(1 << 53));
        script.arg(whole(limits.window()).max(1)).arg(whole(limits.lockout()));
        script.arg(limits.capacity().min(1 << 53)).arg(LENGTH);
        for report in reports {
            let what = match report.what {
                What::Failed => "failed",
                What::LockedOut => "locked-out",
                What::Succeeded => "succeeded",
            };
            script.arg(what).arg(report.client.to_string()).arg(whole(report.ago)).arg(&report.id);
        }
        let answer = self.with(&self.telling, async |mut connection| script.invoke_async(&mut connection).await);
        let locks: Vec<u64> = answer.await?;
        Ok(locks.into_iter().map(|left| (left > 0).then(|| Duration::from_millis(left))).collect())
    }

    async fn snapshot(&self, take: &mut (dyn FnMut(News) + Send)) -> Result<String, StoreError> {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(self.key("news")).arg("+").arg("-").arg("COUNT").arg(1);
        let answer = self.with(&self.hearing, async |mut connection| last.query_async(&mut connection).await);
        let last: Vec<(String, Vec<String>)> = answer.await?;
        self.scan(&self.key("locked"), &mut |client, ends, now| {
            if let Ok(client) = client.parse() {
                take(News::LockedOut { client, left: Duration::from_millis(ends.saturating_sub(now)) });
            }
        })
        .await?;
        self.scan(&self.key("failing"), &mut |client, _, _| {
            if let Ok(client) = client.parse() {
                take(News::Failing(client));
            }
        })
        .await?;
        Ok(last.into_iter().next().map_or_else(|| START.to_owned(), |(id, _)| id))
    }

    async fn read(&self, place: &str, at_most: Duration) -> Result<Option<(String, Vec<News>)>, StoreError> {
        let key = self.key("news");
        let mut ask = Pipeline::new();
        // `BLOCK 0` is for ever.
        ask.cmd("XREAD")
            .arg("COUNT")
            .arg(MOST)
            .arg("BLOCK")
            .arg(whole(at_most).max(1))
            .arg("STREAMS")
            .arg(&key)
            .arg(place);
        ask.cmd("XREVRANGE").arg(&key).arg("+").arg("-").arg("COUNT").arg(1).cmd("TIME");
        let answer = self.with(&self.hearing, async |mut connection| ask.query_async(&mut connection).await);
        type Entries = Vec<(String, Vec<String>)>;
        let (streams, last, time): (Option<Vec<(String, Entries)>>, Entries, (u64, u64)) = answer.await?;
        let entries: Entries = streams.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
        if entries.is_empty() {
            // All that was read is still there, or has expired, or this is another stream that is behind.
            let last = last.into_iter().next().map_or_else(|| START.to_owned(), |(id, _)| id);
            return Ok((last == place || last == START).then(|| (last, Vec::new())));
        }
        let (mut place, mut news) = (place.to_owned(), Vec::new());
        for (id, fields) in entries {
            let mut words = fields.get(1).map(String::as_str).unwrap_or_default().split(' ');
            if words.next() != Some(&place) {
                return Ok(None);
            }
            place = id;
            news.extend(said(words, milliseconds(time)));
        }
        Ok(Some((place, news)))
    }
}

/// What an entry says; nothing if it is of a release that says more.
fn said<'a>(mut words: impl Iterator<Item = &'a str>, now: u64) -> Option<News> {
    let what = words.next()?;
    let client = words.next()?.parse().ok()?;
    match what {
        "failing" => Some(News::Failing(client)),
        "cleared" => Some(News::Cleared(client)),
        "locked-out" => {
            let ends: u64 = words.next()?.parse().ok()?;
            Some(News::LockedOut { client, left: Duration::from_millis(ends.saturating_sub(now)) })
        }
        _ => None,
    }
}

impl<T> Slot<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, connection: T) {
        let replaced = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(connection);
        drop(replaced);
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<C: Connect> fmt::Debug for RedisFailures<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the connections: how they are opened holds a password.
        f.debug_struct("RedisFailures").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn prefix(name: &str) -> String {
    format!("{{{}}}:limiter:", name.replace('}', "%7D"))
}

/// In whole milliseconds.
fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
}

/// The time that a server tells in seconds and microseconds.
fn milliseconds((seconds, microseconds): (u64, u64)) -> u64 {
    seconds.saturating_mul(1_000).saturating_add(microseconds / 1_000)
}
