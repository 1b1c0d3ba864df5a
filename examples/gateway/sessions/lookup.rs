//! [`Lookup`]: sessions by key, under the settings of the moment.

use std::{io, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::store::{Agent, AgentId, RequestedKey, Session, Sessions, StoreSettings};
use crate::config::{Config, SessionScope, Settings};

/// Finds sessions. Blocks, on files and on locks.
pub struct Lookup {
    state_dir: PathBuf,
    home: Option<PathBuf>,
    settings: watch::Receiver<Arc<Settings>>,
    sessions: Sessions,
}

impl Lookup {
    pub fn new(config: &Config, settings: watch::Receiver<Arc<Settings>>) -> Self {
        let (state_dir, home) = (config.state_dir.clone(), config.home.clone());
        Self { state_dir, home, settings, sessions: Sessions::default() }
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
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
