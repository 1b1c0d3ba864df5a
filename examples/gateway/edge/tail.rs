//! [`Tail`]: one connection that waits for what is published of all sessions that this edge follows.
//!
//! `XREAD` blocks, for a second at most, and it is told at its beginning which streams to wait for. When there are others, another
//! connection ends that (`CLIENT UNBLOCK`), and it begins anew. After a time without Redis it goes on behind the last entries that were read.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use redis::RedisResult;
use tokio::{sync::Notify, time::sleep};
use tower_reauth::revoke::shared::Connect;

use super::{entry::Entry, feed::Inner, redis::within};
use crate::nodes::{Link, Reach};

/// How many entries are read at once: of one stream, and of all of them if each has some. An entry is 64 KiB at most, and an
/// answer that does not come in time would be asked for again.
const MOST: usize = 16;
const MOST_OF_ALL: usize = 1024;
/// How long a read waits, and how much longer it may take.
const BLOCK: Duration = Duration::from_secs(1);
const BLOCK_IN_CLUSTER: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(3);
/// How long until it is tried again to end a read that had not begun to wait.
const SOON: Duration = Duration::from_millis(5);
/// When Redis is asked again that failed: after the first time, and at most.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_AT_MOST: Duration = Duration::from_secs(1);

/// An entry as Redis has it: its id, and names and values.
pub type Raw = (String, Vec<Vec<u8>>);

/// The id of an entry as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(u64, u64);

impl EntryId {
    pub fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.split_once('-')?;
        Some(Self(time.parse().ok()?, number.parse().ok()?))
    }

    fn text(self) -> String {
        format!("{}-{}", self.0, self.1)
    }
}

/// What was published: its id, that of what was published before it, and the entry if it is one.
pub struct Published {
    pub id: EntryId,
    pub before: Option<EntryId>,
    pub entry: Option<Entry>,
}

/// What is written in an entry: the id of the one before, and what it is.
pub fn parsed(fields: Vec<Vec<u8>>) -> Option<(Option<EntryId>, Option<Entry>)> {
    let [p, before, name, value] = <[_; 4]>::try_from(fields).ok()?;
    let before = EntryId::parse(std::str::from_utf8(&before).ok()?);
    (p == b"p").then(|| (before, std::str::from_utf8(&name).ok().and_then(|name| Entry::read(name, value))))
}

/// What is waited for.
#[derive(Default)]
pub struct Tail {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    followed: HashMap<u64, Followed>,
    next: u64,
    /// How many reads came to an end.
    reads: u64,
    /// This may be no more the server where the origin writes.
    is_elsewhere: bool,
}

struct Followed {
    stream: String,
    after: EntryId,
    to: Weak<Inner>,
}

/// Has what is published in a stream told to a feed, until this is dropped.
pub struct Subscribed {
    tail: Arc<Tail>,
    number: u64,
}

impl Tail {
    /// All that is in the stream, and comes.
    pub fn subscribe(self: &Arc<Self>, stream: String, to: &Arc<Inner>) -> Subscribed {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.followed.insert(number, Followed { stream, after: EntryId::default(), to: Arc::downgrade(to) });
        drop(state);
        self.changed.notify_one();
        Subscribed { tail: Arc::clone(self), number }
    }

    /// How many reads came to an end: for as long as Redis answers there is one more each second.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for as long as it is polled.
    pub async fn run(self: Arc<Self>, reach: Reach) -> Infallible {
        let mut wait = None;
        loop {
            let error = match self.read(&reach, &mut wait).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if wait.is_none() {
                // Not the words of the crate, which may quote an address.
                tracing::warn!(kind = ?error.kind(), "what the origin publishes cannot be read of Redis");
            }
            let longer = wait.map_or(RETRY, |wait: Duration| (2 * wait).min(RETRY_AT_MOST));
            wait = Some(longer);
            sleep(longer).await;
        }
    }

    async fn read(&self, reach: &Reach, wait: &mut Option<Duration>) -> RedisResult<Infallible> {
        let open = async || within(PATIENCE, reach.connect()).await;
        let (mut reading, mut unblocking) = (open().await?, open().await?);
        // In a cluster it cannot be said whom that concerns: there a read is short.
        let (who, block) = match &reading {
            Link::Server(_) => {
                let asked = redis::cmd("CLIENT").arg("ID").to_owned();
                (Some(within(PATIENCE, asked.query_async::<u64>(&mut reading)).await?), BLOCK)
            }
            Link::Cluster(_) => (None, BLOCK_IN_CLUSTER),
        };
        loop {
            let changed = self.changed.notified();
            let streams = self.wanted();
            if streams.is_empty() {
                changed.await;
                continue;
            }
            let mut read = redis::cmd("XREAD");
            let most = (MOST_OF_ALL / streams.len()).clamp(1, MOST);
            read.arg("COUNT").arg(most).arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
            streams.keys().for_each(|stream| _ = read.arg(stream));
            streams.values().for_each(|after| _ = read.arg(after.text()));
            let answer = {
                let mut answer = pin!(within(block + PATIENCE, read.query_async(&mut reading)));
                tokio::select! {
                    answer = &mut answer => answer?,
                    () = changed => loop {
                        if let Some(who) = who {
                            within(PATIENCE, unblock(&mut unblocking, who)).await?;
                        }
                        tokio::select! {
                            answer = &mut answer => break answer?,
                            () = sleep(SOON) => {}
                        }
                    },
                }
            };
            if std::mem::take(&mut self.state().is_elsewhere) {
                return Err(io::Error::other("another server has what is published").into());
            }
            if wait.take().is_some() {
                tracing::info!("what the origin publishes is read again");
            }
            self.take(answer);
        }
    }

    /// The streams, each with the entry that was read last of it.
    fn wanted(&self) -> BTreeMap<String, EntryId> {
        let mut wanted = BTreeMap::new();
        for Followed { stream, after, .. } in self.state().followed.values() {
            let least = wanted.entry(stream.clone()).or_insert(*after);
            *least = (*least).min(*after);
        }
        wanted
    }

    fn take(&self, answer: Option<Vec<(String, Vec<Raw>)>>) {
        let mut told = Vec::new();
        let mut state = self.state();
        state.reads += 1;
        for (stream, entries) in answer.into_iter().flatten() {
            let entries = entries.into_iter().filter_map(|(id, fields)| Some((EntryId::parse(&id)?, fields)));
            let entries: Vec<_> = entries.collect();
            for followed in state.followed.values_mut().filter(|followed| followed.stream == stream) {
                let new = entries.iter().filter(|(id, _)| *id > followed.after).cloned();
                let new: Vec<_> = new.map(|(id, fields)| published(id, fields)).collect();
                if let Some(last) = new.last() {
                    followed.after = last.id;
                    told.push((followed.to.clone(), new));
                }
            }
        }
        drop(state);
        for (to, new) in told {
            if let Some(to) = to.upgrade() {
                to.take(new);
            }
        }
    }
}

impl Subscribed {
    /// Reads the stream again from its beginning, over a new connection.
    pub fn again(&self) {
        let mut state = self.tail.state();
        if let Some(followed) = state.followed.get_mut(&self.number) {
            followed.after = EntryId::default();
        }
        state.is_elsewhere = true;
        drop(state);
        self.tail.changed.notify_one();
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.tail.state().followed.remove(&self.number);
    }
}

fn published(id: EntryId, fields: Vec<Vec<u8>>) -> Published {
    let (before, entry) = parsed(fields).unwrap_or_default();
    Published { id, before, entry }
}

/// Ends a read that waits, if it does.
async fn unblock(connection: &mut Link, who: u64) -> RedisResult<()> {
    redis::cmd("CLIENT").arg("UNBLOCK").arg(who).query_async::<i64>(connection).await.map(drop)
}
