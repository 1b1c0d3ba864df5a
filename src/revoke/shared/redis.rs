//! The log in Redis.
//!
//! | key | what it holds |
//! | --- | --- |
//! | `{prefix}:log` | a stream: the entries, numbered `1-0`, `2-0`, ... under the field `e`, and in which life under `l` |
//! | `{prefix}:state` | a hash: by topic, the entry that holds; by `~` and an entry that forgets, that it is there; and `~`, by which the hash is known to be there |
//! | `{prefix}:ends` | a sorted set: fields of the hash by the time from which on they need not be kept, in milliseconds |
//! | `{prefix}:life` | which log it is (a random text), the `run_id` of its server, and since when that is so, in milliseconds |
//!
//! All of them are in one slot of a cluster, and what is written is written by scripts, each of which is done or not.

use std::{
    fmt,
    future::Future,
    time::{Duration, UNIX_EPOCH},
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult, Script,
    aio::{ConnectionLike, MultiplexedConnection},
};

use super::{
    Entry, LogError, Origin, RevocationLog, Standing,
    connections::{Connections, Lost, Task},
};

const PREFIX: &str = "tower-reauth";

/// The oldest Redis that it is for.
const OLDEST: u32 = 7;

/// How many entries are read at once.
const MOST: usize = 1_000;

/// Opens connections to the server that is the primary at present: a [`Client`] does, and what asks sentinels or goes by
/// the slots of a cluster can.
pub trait Connect: Send + Sync + 'static {
    /// A connection, whose clones are the same one.
    type Connection: ConnectionLike + Clone + Send + Sync + 'static;

    /// Opens one. It should set no limit to how long an answer may take: a read that waits for an entry takes a second.
    fn connect(&self) -> impl Future<Output = RedisResult<Self::Connection>> + Send;
}

impl Connect for Client {
    type Connection = MultiplexedConnection;

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        self.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// A [`RevocationLog`] in Redis 7, or Valkey.
///
/// ```no_run
/// use tower_reauth::{BearerAuthLayer, Tokens, revoke::{Revocations, shared::RedisLog}, verify::Token};
///
/// # async fn layer() -> Result<BearerAuthLayer, Box<dyn std::error::Error + Send + Sync>> {
/// let node = Revocations::shared(RedisLog::open("redis://127.0.0.1:6379")?.with_prefix("clock"));
/// let revocations = node.revocations();
/// tokio::spawn(node.run());
///
/// let tokens = Tokens::new([Token::new("ci", "s3cret")])?.with_revocations(&revocations);
/// let auth = BearerAuthLayer::new(tokens).with_revocations(&revocations);
/// # Ok(auth)
/// # }
/// ```
///
/// It takes two connections of a node, and a third one when something is revoked. A node asks once a second (more often
/// with a [staleness](super::SharedRevocations::with_max_staleness) below five) where the log stands, which is a small
/// script, and waits for entries in between.
///
/// # What it promises
///
/// An entry is acknowledged when the server has it. Whether it survives the server is for the server's configuration to
/// say: `appendonly yes` with `appendfsync always`, or replicas and [`with_replicas`](Self::with_replicas). Neither keeps
/// a failover from losing what was acknowledged, so nodes notice one (another `run_id`), and write again what they know:
/// rule 3 of the [module](super). A primary that was cut off from its replicas and goes on as if it were the only one is
/// noticed if it takes no writes by then: set `min-replicas-to-write`.
///
/// # Room
///
/// The stream keeps about [`with_length`](Self::with_length) entries, the hash one for each topic, until a day after it has
/// ended by itself.
///
/// # ACL
///
/// `~{prefix}:* +evalsha +eval +script|load +info +time +get +set +exists +hget +hset +hexists +hdel +hscan +zadd +zrem
/// +zrangebyscore +xadd +xread +xrange +xinfo|stream +wait`
pub struct RedisLog<C: Connect = Client> {
    connect: C,
    keys: [String; 4],
    length: usize,
    replicas: usize,
    standing: Script,
    append: Script,
    connections: Connections<C::Connection>,
}

/// What both scripts begin with: `mark` writes which life this is, and since when, which is now if it is a new one, and
/// `last_number` is the number of the last entry, whether or not that is still there.
const MARK: &str = r"
local log, state, ends, life = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local server = redis.call('INFO', 'server')
local run = string.match(server, 'run_id:(%w+)') or '?'
local function mark(is_new)
  local text = redis.call('GET', life)
  local id, known, since = string.match(text or '', '^(%w+) (%S+) (%d+)$')
  if text and not id then
    error({err = 'STRANGER ' .. life .. ' is of something else'})
  end
  -- Whichever of its keys is gone, it is another log.
  if not id or redis.call('EXISTS', log) == 0 or redis.call('HEXISTS', state, '~') == 0 then
    id, known = ARGV[1], nil
    redis.call('HSET', state, '~', id)
    if redis.call('EXISTS', log) == 0 then
      -- A stream without entries.
      redis.call('XADD', log, 'MAXLEN', 0, '0-1', 'e', '')
    end
  end
  if is_new or known ~= run or tonumber(since) > tonumber(now) then
    since = now
  end
  redis.call('SET', life, id .. ' ' .. run .. ' ' .. since)
  return id .. ' ' .. run, since
end
local function last_number()
  local about = redis.call('XINFO', 'STREAM', log)
  for at = 1, #about, 2 do
    if about[at] == 'last-generated-id' then
      return tonumber(string.match(about[at + 1], '^%d+'))
    end
  end
end
";

/// Where the log stands. It writes, so that a server that takes nothing does not pass for one where nothing happens.
const STANDING: &str = r"
local name, since = mark(false)
local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
local version = string.match(server, 'redis_version:(%S+)') or ''
return {version, name, since, first and first[1] or '', string.format('%.0f-0', last_number()), now}
";

/// Appends what says more than what is there, and sweeps as much. What is meant for another life is not for this server.
const APPEND: &str = r"
local name = mark(false)
if ARGV[4] ~= '' and ARGV[4] ~= name then
  return 0
end
if ARGV[2] == 'lost' then
  mark(true)
end
local number, tag = last_number(), string.sub(name, 1, 8) .. string.sub(name, -8)
for at = 5, #ARGV, 4 do
  local topic, rank, kept_until, entry = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local is_known
  if rank == '~' then
    is_known = redis.call('HEXISTS', state, '~' .. entry) == 1
  else
    local known = redis.call('HGET', state, topic)
    is_known = known and tonumber(string.match(known, '%d+$')) >= tonumber(rank)
  end
  if not is_known then
    -- First, as it may fail: what the state has and the stream has not would be passed over from then on.
    number = number + 1
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[3], string.format('%.0f-0', number), 'e', entry, 'l', tag)
    if rank == '~' then
      redis.call('HDEL', state, topic)
      redis.call('HSET', state, '~' .. entry, '')
      redis.call('ZADD', ends, now + 86400000, '~' .. entry)
    else
      redis.call('HSET', state, topic, entry)
    end
    if kept_until == '' then
      redis.call('ZREM', ends, topic)
    else
      redis.call('ZADD', ends, kept_until, topic)
    end
  end
end
-- More than came: so it does not grow for ever.
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 64 + #ARGV)
for _, field in ipairs(over) do
  redis.call('HDEL', state, field)
  redis.call('ZREM', ends, field)
end
return 1
";

impl RedisLog {
    /// The log of the server with this URL: `redis://`, or `rediss://` where the crate `redis` is built with TLS (by its
    /// feature `tokio-rustls-comp`, say). It is connected to when it is used first. Sentinels and clusters are for a
    /// [`Connect`] of your own.
    ///
    /// # Errors
    ///
    /// If it is no such URL.
    pub fn open(url: impl IntoConnectionInfo) -> RedisResult<Self> {
        Client::open(url).map(Self::new)
    }
}

impl<C: Connect> RedisLog<C> {
    /// The log of the server that this connects to.
    pub fn new(connect: C) -> Self {
        Self {
            connect,
            keys: keys(PREFIX),
            length: 100_000,
            replicas: 0,
            standing: Script::new(&format!("{MARK}{STANDING}")),
            append: Script::new(&format!("{MARK}{APPEND}")),
            connections: Connections::default(),
        }
    }

    /// What the names of its keys begin with, in braces. Default, for an empty one too: `tower-reauth`. A closing brace in
    /// it is written as `%7D`, as it would end what a cluster goes by.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.keys = keys(if prefix.is_empty() { PREFIX } else { prefix });
        self
    }

    /// How many entries can be read one by one: a node that has missed more reads all that is revoked. Default: 100,000.
    #[must_use]
    pub fn with_length(mut self, length: usize) -> Self {
        self.length = length.max(1);
        self
    }

    /// Takes an entry for written only when so many replicas have it too (`WAIT`), within a second. Default: 0.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// What `ask` makes of a connection.
    async fn with<T, F>(&self, task: Task, ask: impl FnOnce(C::Connection) -> F) -> Result<T, LogError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        // Out of its place: what is given up in the middle would be in the way of the next.
        let (number, connection) = self.connections.take(task);
        let lost = Lost(&self.connections);
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect.connect().await.map_err(LogError::unavailable)?,
        };
        let answer = ask(connection.clone()).await.map_err(LogError::unavailable)?;
        std::mem::forget(lost);
        self.connections.put(task, number, connection);
        Ok(answer)
    }
}

impl<C: Connect> RevocationLog for RedisLog<C> {
    async fn standing(&self) -> Result<Standing, LogError> {
        let mut script = self.standing.prepare_invoke();
        self.keys.iter().for_each(|key| _ = script.key(key));
        script.arg(random());
        let answer = self.with(Task::Ask, async |mut connection| script.invoke_async(&mut connection).await).await?;
        let (version, life, since, first, last, now): (String, String, u64, String, String, u64) = answer;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            return Err(LogError::unavailable(format!(
                "its version is {version:?}, and {OLDEST} is the oldest that will do"
            )));
        }
        self.connections.belong_to(&life);
        let time = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let last = number(&last)?.unwrap_or_default();
        let first = number(&first)?.unwrap_or(last.saturating_add(1));
        Ok(Standing { life, since: time(since), first, last, now: time(now) })
    }

    async fn state(&self, take: &mut (dyn FnMut(Entry) + Send)) -> Result<(), LogError> {
        let mut cursor = String::from("0");
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&self.keys[1]).arg(&cursor).arg("COUNT").arg(MOST);
            let answer = self.with(Task::Ask, async |mut connection| scan.query_async(&mut connection).await);
            let (next, topics): (String, Vec<(String, String)>) = answer.await?;
            for (_, entry) in topics.into_iter().filter(|(topic, _)| !topic.starts_with('~')) {
                take(parsed(entry)?);
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn read(&self, after: u64, at_most: Duration) -> Result<Vec<(u64, Entry)>, LogError> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(MOST);
        let milliseconds = at_most.as_millis();
        // `BLOCK 0` is for ever.
        if milliseconds > 0 {
            read.arg("BLOCK").arg(u64::try_from(milliseconds).unwrap_or(u64::MAX));
        }
        read.arg("STREAMS").arg(&self.keys[0]).arg(format!("{after}-0"));
        let answer = self.with(Task::Read, async |mut connection| read.query_async(&mut connection).await);
        let streams: Option<Vec<(String, Vec<(String, Vec<String>)>)>> = answer.await?;
        let mut entries = Vec::new();
        for (id, mut fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let (entry, life) = match &mut *fields {
                [e, entry] if e == "e" => (std::mem::take(entry), None),
                [e, entry, l, life] if e == "e" && l == "l" => (std::mem::take(entry), Some(std::mem::take(life))),
                _ => (fields.join(" "), None),
            };
            if life.is_some_and(|life| !self.connections.are_of(&life)) {
                self.connections.drop_all();
                return Err(LogError::unavailable("it was another one when this was written"));
            }
            match (number(&id)?, parsed(entry)) {
                (Some(number), Ok(entry)) => entries.push((number, entry)),
                // First those that can be read.
                (_, Err(_)) if !entries.is_empty() => break,
                (_, Err(error)) => return Err(error),
                (None, _) => return Err(LogError::unavailable("an entry of its stream has no number")),
            }
        }
        Ok(entries)
    }

    async fn append(&self, entries: &[Entry], origin: Origin) -> Result<(), LogError> {
        let mut script = self.append.prepare_invoke();
        self.keys.iter().for_each(|key| _ = script.key(key));
        let origin = if origin == Origin::Lost { "lost" } else { "new" };
        script.arg(random()).arg(origin).arg(self.length).arg(self.connections.life());
        for entry in entries {
            let rank = entry.rank().map_or_else(|| "~".to_owned(), |rank| rank.to_string());
            let kept_until = entry.kept_until().and_then(|until| until.duration_since(UNIX_EPOCH).ok());
            let kept_until = kept_until.map(|until| until.as_millis().to_string()).unwrap_or_default();
            script.arg(entry.topic()).arg(rank).arg(kept_until).arg(entry.to_string());
        }
        let replicas = self.replicas;
        let written = self.with(Task::Write, async |mut connection| {
            let is_here: bool = script.invoke_async(&mut connection).await?;
            if !is_here || replicas == 0 {
                return Ok((is_here, replicas));
            }
            let reached: usize = redis::cmd("WAIT").arg(replicas).arg(1_000).query_async(&mut connection).await?;
            Ok((is_here, reached))
        });
        let (is_here, reached) = written.await?;
        if !is_here {
            self.connections.drop_all();
            return Err(LogError::unavailable("it is another one than when it was read"));
        }
        if reached < replicas {
            return Err(LogError::unavailable(format!("{reached} of {replicas} replicas have it")));
        }
        Ok(())
    }
}

impl<C: Connect> fmt::Debug for RedisLog<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the connections: how they are opened holds a password.
        f.debug_struct("RedisLog")
            .field("log", &self.keys[0])
            .field("length", &self.length)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

fn keys(prefix: &str) -> [String; 4] {
    let prefix = prefix.replace('}', "%7D");
    ["log", "state", "ends", "life"].map(|name| format!("{{{prefix}}}:{name}"))
}

/// The number of an entry, by its id; `None` for an empty one.
fn number(id: &str) -> Result<Option<u64>, LogError> {
    if id.is_empty() {
        return Ok(None);
    }
    let number = id.strip_suffix("-0").and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(|| LogError::unavailable(format!("its stream has the id {id:?}, which no node wrote")))
}

fn parsed(entry: String) -> Result<Entry, LogError> {
    entry.parse().map_err(|error| LogError::Unreadable { entry, error })
}

/// A text that no other log has.
fn random() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(std::process::id()))
}
