//! What all requests share.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Settings},
    files::Watcher,
    live::{Ids, Readers, Renewals, Streams},
    sessions::{lookup::Lookup, pages::PageCache, transcript::Transcripts},
};

/// The gateway's memory: settings, sessions, transcripts, pages and open streams.
pub struct State {
    pub sessions: Arc<Lookup>,
    pub transcripts: Arc<Transcripts>,
    pub pages: PageCache,
    pub streams: Arc<Streams>,
    pub renewals: Renewals,
}

impl State {
    pub fn new(
        config: &Config,
        settings: watch::Receiver<Arc<Settings>>,
        watcher: Watcher,
        stop: CancellationToken,
    ) -> Self {
        let sessions = Arc::new(Lookup::new(config, settings));
        let transcripts = Arc::new(Transcripts::default());
        let readers = Readers {
            sessions: Arc::clone(&sessions),
            transcripts: Arc::clone(&transcripts),
            watcher,
            ids: Ids::default(),
        };
        Self {
            sessions,
            transcripts,
            pages: PageCache::default(),
            streams: Arc::new(Streams::new(readers, stop)),
            renewals: Renewals::default(),
        }
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.sessions.settings()
    }
}
