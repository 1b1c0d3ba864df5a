//! What all requests share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tower_reauth::reauth::OpenStreams;

use crate::{
    config::{Config, Settings},
    files::Watcher,
    http::operate::{Audit, Ends, Kept, Seats},
    live::{Ids, Readers, Streams},
    serve::PageBytes,
    sessions::{lookup::Lookup, pages::PageCache, transcript::Transcripts},
};

/// The gateway's memory: settings, sessions, transcripts, pages and open streams.
pub struct State {
    pub sessions: Arc<Lookup>,
    pub transcripts: Arc<Transcripts>,
    pub pages: PageCache,
    pub streams: Arc<Streams>,
    /// Who is in: those that the layers around the routes watch.
    pub open: OpenStreams,
    /// Who was in lately, and why no more.
    pub ends: Ends,
    /// Room for them.
    pub seats: Seats,
    pub kept: Kept,
    pub audit: Audit,
    /// Room for the pages and histories that are made and not yet sent, those that are remembered among them.
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
        kept: Kept,
        audit: Audit,
    ) -> Self {
        let sessions = Arc::new(Lookup::new(config, settings));
        let transcripts = Arc::new(Transcripts::default());
        let page_bytes = PageBytes::shared(PAGE_BYTES);
        let readers = Readers {
            sessions: Arc::clone(&sessions),
            transcripts: Arc::clone(&transcripts),
            watcher,
            ids: Ids::default(),
            room: page_bytes.clone(),
        };
        Self {
            sessions,
            transcripts,
            pages: PageCache::default(),
            streams: Arc::new(Streams::new(readers)),
            open: OpenStreams::new(),
            ends: Ends::default(),
            seats: Seats::new(config.streams),
            kept,
            audit,
            page_bytes,
            making: Arc::new(Semaphore::new(MAKING)),
        }
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.sessions.settings()
    }
}
