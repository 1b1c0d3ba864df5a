//! The sessions whose messages a socket's client is told of.

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, AbortHandle, Abortable, SelectAll},
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    http::{
        State,
        reading::{self, PATIENCE, Unread},
    },
    json::Write as _,
    live::{FeedKey, Following, News},
    sessions::{history::Query, store::RequestedKey},
};

/// How many there are at most.
pub const MOST: usize = 64;

/// How long it is waited before a session that is not there is looked for again: at first, and at most.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_AT_MOST: Duration = Duration::from_secs(16);

/// An event: its name, and its payload as JSON.
pub struct Event {
    pub name: &'static str,
    pub payload: Vec<u8>,
}

/// What follows one session, whether or not there is one yet.
pub struct Subscription {
    /// The session's canonical key.
    key: String,
    events: Events,
}

type Events = Pin<Box<dyn Stream<Item = Said> + Send>>;

/// What is to be said of a session.
struct Said {
    events: Vec<Event>,
    /// The session, where this is the last of it.
    over: Option<String>,
}

impl Subscription {
    /// Follows the session from now on.
    pub async fn begin(state: Arc<State>, asked: RequestedKey, key: String) -> Result<Self, Unread> {
        let found = timeout(PATIENCE, followed(&state, &asked)).await;
        let found = found.unwrap_or_else(|_| Err(Unread::hangs(&asked)))?;
        let follower = Follower { state, asked, key: key.clone(), found, is_over: false };
        let events = stream::unfold(follower, async |mut follower| Some((follower.next().await?, follower)));
        Ok(Self { key, events: events.boxed() })
    }
}

struct Found {
    following: Following,
    agent: String,
}

struct Follower {
    state: Arc<State>,
    asked: RequestedKey,
    key: String,
    found: Option<Found>,
    is_over: bool,
}

impl Follower {
    /// What is to be said next. `None` once the streams of the session were ended.
    async fn next(&mut self) -> Option<Said> {
        if self.is_over {
            return None;
        }
        let Some(found) = &mut self.found else {
            self.found = Some(self.appears().await);
            return Some(Said { events: vec![changed(&self.key, "create")], over: None });
        };
        let events = match found.following.next().await {
            News::Messages(messages) => messages.iter().map(|message| appended(message, &found.agent)).collect(),
            News::Changed => vec![changed(&self.key, "transcript")],
            News::Over => {
                self.found = None;
                vec![changed(&self.key, "replace")]
            }
            News::Killed => {
                self.is_over = true;
                vec![changed(&self.key, "kill")]
            }
        };
        Some(Said { events, over: self.is_over.then(|| self.key.clone()) })
    }

    /// Waits until there is such a session.
    async fn appears(&self) -> Found {
        let mut wait = WAIT;
        loop {
            // At once too: what was over may be another session already.
            match followed(&self.state, &self.asked).await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(unread) => tracing::debug!(key = self.key, ?unread, "a session is waited for"),
            }
            sleep(wait).await;
            wait = (2 * wait).min(WAIT_AT_MOST);
        }
    }
}

/// Follows the session, if there is one.
async fn followed(state: &Arc<State>, asked: &RequestedKey) -> Result<Option<Found>, Unread> {
    let settings = state.settings();
    let session = match reading::find(state, &settings, asked).await {
        Ok(session) => session,
        Err(Unread::NoSession) => return Ok(None),
        Err(unread) => return Err(unread),
    };
    let (key, agent) = (session.key.clone(), session.agent.to_string());
    let feed = FeedKey { asked: asked.clone(), session: key.clone(), query: Query::default() };
    match state.streams.follow(feed, session).await {
        Ok(following) => Ok(Some(Found { following, agent })),
        Err(error) => Err(Unread::Unreadable { key, transcript: None, error }),
    }
}

/// A message, as the streams of the session have it, and whose session it is.
fn appended(message: &Bytes, agent: &str) -> Event {
    let mut payload = b"{\"agentId\":".to_vec();
    crate::json::write(&agent, &mut payload);
    payload.push(b',');
    payload.extend_from_slice(message.strip_prefix(b"{").unwrap_or(b"}"));
    Event { name: "session.message", payload }
}

/// The history has to be asked for anew.
fn changed(key: &str, reason: &str) -> Event {
    Event { name: "sessions.changed", payload: json!({ "sessionKey": key, "reason": reason }).to_json() }
}

/// All of one socket.
#[derive(Default)]
pub struct Subscriptions {
    events: SelectAll<Events>,
    by_key: HashMap<String, AbortHandle>,
}

impl Subscriptions {
    pub fn are_full(&self) -> bool {
        self.by_key.len() >= MOST
    }

    /// One that is there already goes on in its place.
    pub fn add(&mut self, Subscription { key, events }: Subscription) {
        if let Entry::Vacant(vacant) = self.by_key.entry(key) {
            let (handle, registration) = AbortHandle::new_pair();
            vacant.insert(handle);
            self.events.push(Abortable::new(events, registration).boxed());
        }
    }

    pub fn remove(&mut self, key: &str) {
        if let Some(handle) = self.by_key.remove(key) {
            handle.abort();
        }
    }

    /// Waits for what is to be said.
    pub async fn next(&mut self) -> Vec<Event> {
        let Some(Said { events, over }) = self.events.next().await else { return std::future::pending().await };
        if let Some(key) = over {
            self.by_key.remove(&key);
        }
        events
    }
}
