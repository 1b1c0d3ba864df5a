//! [`Lanes`]: who may ask the file system, and how many at a time.
//!
//! To ask takes a thread, and where a file system hangs the thread does not come back. So that those who ask about
//! other sessions find one, each key has so many threads at most, and each agent, in whose folder its sessions
//! mostly lie. Who comes later waits without a thread.

use std::{
    collections::HashMap,
    hash::Hash,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, spawn_blocking},
};

use tracing::Span;

use super::store::{AgentId, RequestedKey};

const PER_KEY: usize = 2;
const PER_AGENT: usize = 64;
const LISTS: usize = 2;

#[derive(Default)]
pub struct Lanes {
    keys: Turns<RequestedKey, PER_KEY>,
    agents: Turns<AgentId, PER_AGENT>,
    /// For open streams. They are one for each session, and must not keep requests waiting.
    followers: Turns<AgentId, PER_AGENT>,
    /// For lists: of the agents, and of the sessions of each.
    lists: Turns<Option<AgentId>, LISTS>,
}

/// The right to a thread.
pub struct Turn {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Lanes {
    /// Waits for a turn to ask for a request about the session of this key.
    pub async fn turn(&self, key: RequestedKey, agent: AgentId) -> Turn {
        Turn { _permits: [self.keys.turn(key).await, self.agents.turn(agent).await] }
    }

    /// The same for an open stream of an agent's session.
    pub async fn followers_turn(&self, agent: AgentId) -> Turn {
        Turn { _permits: [self.followers.turn(agent).await, None] }
    }

    /// The same for a list of an agent's sessions, or of the agents.
    pub async fn list_turn(&self, agent: Option<AgentId>) -> Turn {
        Turn { _permits: [self.lists.turn(agent).await, None] }
    }
}

impl Turn {
    /// Runs what asks on a thread, which has the turn until it is done. It goes on if this is dropped.
    pub async fn ask<T: Send + 'static>(self, ask: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let span = Span::current();
        let asked = spawn_blocking(move || {
            let _turn = self;
            span.in_scope(ask)
        });
        asked.await.map_err(unfinished)
    }
}

/// Why there is no answer: a panic, or the gateway ends ([`ErrorKind::Interrupted`]).
pub fn unfinished(error: JoinError) -> io::Error {
    if error.is_cancelled() { io::Error::new(ErrorKind::Interrupted, "the gateway ends") } else { error.into() }
}

/// So many turns at a time for each key.
struct Turns<K, const TURNS: usize>(Mutex<HashMap<K, Weak<Semaphore>>>);

impl<K: Eq + Hash, const TURNS: usize> Turns<K, TURNS> {
    async fn turn(&self, key: K) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() == all.capacity() {
                // Before it grows: O(1) for each key that came.
                all.retain(|_, turns| turns.strong_count() > 0);
            }
            match all.get(&key).and_then(Weak::upgrade) {
                Some(turns) => turns,
                None => {
                    let turns = Arc::new(Semaphore::new(TURNS));
                    all.insert(key, Arc::downgrade(&turns));
                    turns
                }
            }
        };
        // It is never closed.
        turns.acquire_owned().await.ok()
    }
}

impl<K, const TURNS: usize> Default for Turns<K, TURNS> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn each_key_has_so_many_turns_and_none_is_remembered_for_ever() {
        let turns = Turns::<u32, 2>::default();
        let held = [turns.turn(0).await, turns.turn(0).await];
        assert!(turns.turn(0).now_or_never().is_none());
        for key in 1..10_000 {
            assert!(turns.turn(key).await.is_some());
        }
        assert!(turns.0.lock().unwrap().capacity() < 100);
        assert!(turns.turn(0).now_or_never().is_none());
        drop(held);
        assert!(turns.turn(0).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_gateway_that_ends_is_no_panic() {
        let cut_off = tokio::spawn(std::future::pending::<()>());
        cut_off.abort();
        assert_eq!(unfinished(cut_off.await.unwrap_err()).kind(), ErrorKind::Interrupted);
        let defect = spawn_blocking(|| panic!("a defect"));
        assert_ne!(unfinished(defect.await.unwrap_err()).kind(), ErrorKind::Interrupted);
    }
}
