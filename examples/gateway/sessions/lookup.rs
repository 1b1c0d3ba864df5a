//! [`Lookup`]: sessions by key, under the settings of the moment.

use std::{io, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::{
    lanes::{Lanes, Turn},
    store::{Agent, AgentId, Listed, Position, Proof, RequestedKey, Session, Sessions, StoreSettings},
};
use crate::config::{Config, SessionScope, Settings};

/// Finds sessions. Blocks, on files and on locks.
pub struct Lookup {
    state_dir: PathBuf,
    home: Option<PathBuf>,
    settings: watch::Receiver<Arc<Settings>>,
    sessions: Sessions,
    lanes: Lanes,
}

impl Lookup {
    pub fn new(config: &Config, settings: watch::Receiver<Arc<Settings>>) -> Self {
        let (state_dir, home) = (config.state_dir.clone(), config.home.clone());
        Self { state_dir, home, settings, sessions: Sessions::default(), lanes: Lanes::default() }
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// What `find` says of the settings of now.
    pub fn of_settings<T>(&self, find: impl FnOnce(&Settings) -> T) -> T {
        find(&self.settings.borrow())
    }

    /// The settings of now and, marked as changed, of later.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Settings>> {
        let mut settings = self.settings.clone();
        settings.mark_unchanged();
        settings
    }

    /// Whether a key finds the same session under both settings.
    pub fn are_alike(a: &Settings, b: &Settings) -> bool {
        a.session == b.session && a.agents == b.agents
    }

    /// The session that goes by this key.
    pub fn find(&self, key: &RequestedKey, settings: &Settings) -> io::Result<Option<Session>> {
        self.sessions.find(key, &self.store_settings(settings))
    }

    /// The session that goes by this key, or what proves that there is none.
    pub fn find_or_prove(&self, key: &RequestedKey, settings: &Settings) -> io::Result<Result<Session, Proof>> {
        self.sessions.find_or_prove(key, &self.store_settings(settings))
    }

    /// Waits for a turn to ask the file system about the session of this key.
    pub async fn turn(&self, key: &RequestedKey) -> Turn {
        self.lanes.turn(key.clone(), self.agent(key)).await
    }

    /// The same for an open stream of that session.
    pub async fn followers_turn(&self, key: &RequestedKey) -> Turn {
        self.lanes.followers_turn(self.agent(key)).await
    }

    /// Runs what asks the file system about the session of this key, on a thread, when it is its turn.
    pub async fn ask<T: Send + 'static>(
        &self,
        key: &RequestedKey,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.turn(key).await.ask(ask).await
    }

    /// The agents that may have sessions. On a thread, when it is its turn.
    pub async fn agents(self: &Arc<Self>, settings: &Arc<Settings>) -> io::Result<Vec<AgentId>> {
        let (this, settings) = (Arc::clone(self), Arc::clone(settings));
        let turn = self.lanes.list_turn(None).await;
        turn.ask(move || this.sessions.agents(&this.store_settings(&settings))).await?
    }

    /// As many sessions of an agent, the newest first, and one more if there are more. On a thread, when it is its
    /// turn.
    pub async fn list(
        self: &Arc<Self>,
        agent: AgentId,
        after: Option<Position>,
        count: usize,
        settings: &Arc<Settings>,
    ) -> io::Result<Vec<Listed>> {
        let (this, settings) = (Arc::clone(self), Arc::clone(settings));
        let turn = self.lanes.list_turn(Some(agent.clone())).await;
        turn.ask(move || this.sessions.list(&agent, after.as_ref(), count, &this.store_settings(&settings))).await?
    }

    fn agent(&self, key: &RequestedKey) -> AgentId {
        key.canonical(&self.store_settings(&self.settings())).agent
    }

    /// Whether this is an agent of the settings.
    #[cfg(feature = "websocket")]
    pub fn knows_agent(&self, agent: &str) -> bool {
        let (settings, agent) = (self.store_settings(&self.settings()), AgentId::normalize(agent));
        settings.default_agent() == agent || settings.agents.iter().any(|known| known.id == agent)
    }

    /// The canonical key by the settings alone: what it is unless an agent that is configured no more has a row.
    pub fn canonical_unread(&self, key: &RequestedKey) -> String {
        key.canonical(&self.store_settings(&self.settings())).key
    }

    /// The canonical key of the session that goes by this key, and whether a store has a row for it.
    pub fn canonical(&self, key: &RequestedKey) -> io::Result<(String, bool)> {
        self.sessions.canonical(key, &self.store_settings(&self.settings()))
    }

    /// What the store has to know of the settings.
    fn store_settings(&self, settings: &Settings) -> StoreSettings {
        let agents = settings.agents.iter();
        StoreSettings {
            state: self.state_dir.clone(),
            home: self.home.clone(),
            store: settings.session.store.clone(),
            global_scope: settings.session.scope == SessionScope::Global,
            agents: agents.map(|agent| Agent { id: AgentId::normalize(&agent.id), default: agent.default }).collect(),
        }
    }
}
