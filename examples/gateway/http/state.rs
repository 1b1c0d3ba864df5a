//! What all requests share.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, SessionScope, Settings},
    files::Watcher,
    live::{Ids, Readers, Renewals, Streams},
    serve::PageBytes,
    sessions::{
        pages::PageCache,
        store::{self, AgentId, Sessions},
        transcript::Transcripts,
    },
};

/// The gateway's memory: settings, sessions, transcripts, pages and open streams.
pub struct State {
    state_dir: PathBuf,
    home: Option<PathBuf>,
    settings: watch::Receiver<Arc<Settings>>,
    pub sessions: Sessions,
    pub transcripts: Arc<Transcripts>,
    pub pages: PageCache,
    pub streams: Arc<Streams>,
    pub renewals: Renewals,
    /// Room for the pages that are made and not yet sent, those that are remembered among them.
    pub page_bytes: PageBytes,
    /// Turns to make a page. Each takes a thread, and some times the memory of the page.
    pub making: Arc<Semaphore>,
}

/// In units of 1 KiB: four times what may be remembered.
const PAGE_BYTES: u32 = 256 * 1024;
const MAKING: usize = 8;

impl State {
    pub fn new(
        config: &Config,
        settings: watch::Receiver<Arc<Settings>>,
        watcher: Watcher,
        stop: CancellationToken,
    ) -> Self {
        let transcripts = Arc::new(Transcripts::default());
        let readers = Readers { transcripts: Arc::clone(&transcripts), watcher, ids: Ids::default() };
        Self {
            state_dir: config.state_dir.clone(),
            home: config.home.clone(),
            settings,
            sessions: Sessions::default(),
            transcripts,
            pages: PageCache::default(),
            streams: Arc::new(Streams::new(readers, stop)),
            renewals: Renewals::default(),
            page_bytes: PageBytes::new(PAGE_BYTES),
            making: Arc::new(Semaphore::new(MAKING)),
        }
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// What the store has to know of the settings.
    pub fn store_settings(&self, settings: &Settings) -> store::StoreSettings {
        let agents = settings.agents.iter();
        store::StoreSettings {
            state: self.state_dir.clone(),
            home: self.home.clone(),
            store: settings.session.store.clone(),
            global_scope: settings.session.scope == SessionScope::Global,
            agents: agents
                .map(|agent| store::Agent { id: AgentId::normalize(&agent.id), default: agent.default })
                .collect(),
        }
    }
}
