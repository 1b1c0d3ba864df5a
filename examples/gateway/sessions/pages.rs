//! [`PageCache`]: pages that were sent before, to be sent again.
//!
//! 1. A page is remembered with all that it was made from: the settings, and a [`Proof`] of
//!    every file and row that had a say. Each time it is asked for, all of that is checked again, and only if
//!    nothing has changed it is the answer. What was changed a moment ago is not remembered yet.
//! 2. That takes a few calls to the file system and no reading, so it is done in place, where a page
//!    that has to be read goes to a thread of its own. Where the file system hangs, so does the worker that asks
//!    it: one worker never asks, and when no other is free, the page is read, on such a thread. That one worker is
//!    free does not tell it to look for events, which may have been the turn of the one that hangs: a [`Lookout`]
//!    wakes it.
//! 3. A check is shared by all requests that came before it *began*, and by no other: what changed before a
//!    request came counts for it. So that there can be several, a request yields to others before it checks.
//! 4. A page that says what time it is now is never remembered, nor one that could not be read.
//! 5. Memory is bounded: by the size of all pages together, and a large one is not remembered.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use lru::LruCache;
use tokio::{runtime::Handle, sync::Semaphore, task::yield_now, time::timeout};

use super::{
    history::Query,
    store::{Proof, RequestedKey},
};
use crate::config::Settings;

/// The size of all pages together, in bytes.
const ROOM: usize = 64 * 1024 * 1024;
/// The largest page that is remembered.
const LARGEST: usize = ROOM / 16;
/// How long a turn to ask in place is waited for: far longer than it takes where nothing hangs.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long after a check began the runtime is woken.
const LOOKS_AFTER: Duration = Duration::from_millis(100);
/// What an entry takes besides its page, roughly.
const OVERHEAD: usize = 1024;

/// The pages that were asked for last.
#[derive(Debug)]
pub struct PageCache {
    entries: Mutex<Entries>,
    in_place: InPlace,
}

/// What is asked in place: by how many workers, and what sees to the runtime meanwhile.
#[derive(Debug)]
struct InPlace {
    turns: Semaphore,
    lookout: Option<Lookout>,
}

/// Wakes the runtime from outside, a moment after a check began.
///
/// Of the workers of tokio that are idle one waits for events, and the others for it. When it gets a task to run,
/// it wakes one of them in its place, but not always; and if the task does not end, nothing else does.
/// A task that comes from outside wakes one that is idle, which then waits for events.
#[derive(Debug)]
struct Lookout(SyncSender<()>);

#[derive(Debug)]
struct Entries {
    pages: LruCache<(RequestedKey, Query), Arc<Entry>>,
    size: usize,
}

/// A page, and what it was made from.
#[derive(Debug)]
pub struct CachedPage {
    pub body: Bytes,
    pub settings: Arc<Settings>,
    pub proof: Proof,
}

/// A page that is remembered, and the checks of what it was made from, counted.
#[derive(Debug)]
struct Entry {
    page: CachedPage,
    checks_begun: AtomicU64,
    /// The last check that found it valid.
    last_valid: AtomicU64,
}

impl PageCache {
    /// The page for this key and query, if it is still right.
    pub async fn find(&self, asked: &(RequestedKey, Query), settings: &Arc<Settings>) -> Option<Bytes> {
        let kept = self.entries().pages.get(asked).cloned()?;
        if !Arc::ptr_eq(&kept.page.settings, settings) {
            return None;
        }
        kept.is_valid(&self.in_place).await.then(|| kept.page.body.clone())
    }

    /// Remembers a page, if it can be known later whether it is still right.
    pub fn keep(&self, asked: (RequestedKey, Query), page: CachedPage) {
        if page.proof.is_conclusive() && page.body.len() <= LARGEST {
            self.entries().put(asked, page);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn put(&mut self, asked: (RequestedKey, Query), page: CachedPage) {
        self.size += page.size();
        let replaced = self.pages.put(asked, Arc::new(Entry::new(page)));
        self.size -= replaced.map_or(0, |kept| kept.page.size());
        while self.size > ROOM {
            let Some((_, oldest)) = self.pages.pop_lru() else { break };
            self.size -= oldest.page.size();
        }
    }
}

impl Entry {
    fn new(page: CachedPage) -> Self {
        Self { page, checks_begun: AtomicU64::new(0), last_valid: AtomicU64::new(0) }
    }

    /// Whether it was right at a moment after this was called, as far as can be told.
    async fn is_valid(&self, in_place: &InPlace) -> bool {
        let before = self.checks_begun.load(Ordering::SeqCst);
        yield_now().await;
        if self.last_valid.load(Ordering::SeqCst) > before {
            return true;
        }
        let turn = match in_place.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => match timeout(PATIENCE, in_place.turns.acquire()).await {
                Ok(Ok(turn)) => turn,
                _ => return false,
            },
        };
        in_place.lookout.as_ref().inspect(|lookout| lookout.begins());
        let check = self.checks_begun.fetch_add(1, Ordering::SeqCst) + 1;
        let is_valid = self.page.proof.is_unchanged();
        if is_valid {
            self.last_valid.fetch_max(check, Ordering::SeqCst);
        }
        drop(turn);
        is_valid
    }
}

impl InPlace {
    fn new(runtime: Option<&Handle>) -> Self {
        let workers = runtime.map_or(1, |runtime| runtime.metrics().num_workers());
        let lookout = runtime.filter(|_| workers > 1).and_then(Lookout::of);
        Self { turns: Semaphore::new((workers - 1).max(1)), lookout }
    }
}

impl Lookout {
    /// `None` where the system gives no thread.
    fn of(runtime: &Handle) -> Option<Self> {
        let (begun, begins) = sync_channel(1);
        let runtime = runtime.clone();
        let look = move || {
            while begins.recv().is_ok() {
                thread::sleep(LOOKS_AFTER);
                runtime.spawn(async {});
            }
        };
        thread::Builder::new().name("lookout".to_owned()).spawn(look).ok().map(|_| Self(begun))
    }

    /// A check begins. The channel may hold what is still to be received: that is after this too.
    fn begins(&self) {
        let _ = self.0.try_send(());
    }
}

impl CachedPage {
    fn size(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

impl Default for PageCache {
    fn default() -> Self {
        let entries = Mutex::new(Entries { pages: LruCache::unbounded(), size: 0 });
        Self { entries, in_place: InPlace::new(Handle::try_current().ok().as_ref()) }
    }
}

#[cfg(test)]
mod tests {
    use tower_reauth::revoke::Revocations;

    use std::{fs, path::PathBuf, sync::mpsc::channel, task::Poll, thread, time::Duration};

    use axum::{Extension, body::Body, extract};
    use clap::Parser;
    use http::Request;
    use http_body_util::BodyExt;
    use tokio::{runtime::Builder, time::sleep};

    use super::*;
    use crate::{
        config::{Config, Environment, Flags, LiveSettings},
        files::{Watcher, disk::fault},
        http::operate::{Audit, Kept},
        http::{State, handlers},
    };

    /// A gateway's state folder, and a gateway on it.
    struct Gateway {
        directory: tempfile::TempDir,
        state: Arc<State>,
    }

    impl Gateway {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let gateway = Self { state: open(directory.path()), directory };
            gateway.write("sessions.json", r#"{"agent:main:k":{"sessionId":"one","sessionFile":"at/one.jsonl"}}"#);
            gateway.write("at/one.jsonl", &message("first"));
            gateway
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join("agents/main/sessions").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        async fn page(&self) -> Bytes {
            page(&self.state).await
        }

        /// Whether a page is remembered now.
        async fn remembers(&self) -> bool {
            self.page().await.as_ptr() == self.page().await.as_ptr()
        }
    }

    fn open(state_dir: &std::path::Path) -> Arc<State> {
        let state_dir = state_dir.to_str().unwrap();
        let flags = Flags::parse_from(["gateway", "--state-dir", state_dir, "--token", "secret"]);
        let config = Config::new(flags, Environment::default()).unwrap();
        let settings = LiveSettings::open(config.sources.clone()).unwrap().subscribe();
        Arc::new(State::new(
            &config,
            settings,
            Watcher::new().unwrap(),
            Kept::open(None, Revocations::new()).unwrap(),
            Audit::default(),
        ))
    }

    async fn page(state: &Arc<State>) -> Bytes {
        let request = Request::get("/sessions/k/history?limit=5").body(Body::empty()).unwrap();
        let key = Extension(RequestedKey::parse("k").unwrap());
        let response = handlers::history(extract::State(Arc::clone(state)), key, request).await;
        response.into_body().collect().await.unwrap().to_bytes()
    }

    fn message(text: &str) -> String {
        format!("{{\"id\":\"{text}\",\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")
    }

    /// Until what was written is no news to the clock of the file system.
    fn wait() {
        thread::sleep(Duration::from_millis(100));
    }

    #[tokio::test]
    async fn whatever_changed_is_never_answered_as_it_was() {
        let gateway = Gateway::new();
        let at = |name: &str| gateway.path(name);
        let changes: [(&str, &dyn Fn()); 9] = [
            ("a message was appended", &|| {
                gateway.write("at/one.jsonl", &(message("first") + &message("second")));
            }),
            ("one of the same size was written over it, and its time put back", &|| {
                let file = fs::OpenOptions::new().append(true).open(at("at/one.jsonl")).unwrap();
                let modified = file.metadata().unwrap().modified().unwrap();
                gateway.write("at/one.jsonl", &(message("fresh") + &message("secant")));
                // One more nanosecond, or the index would take it for the same.
                file.set_modified(modified + Duration::from_nanos(1)).unwrap();
            }),
            ("another file took its place", &|| {
                gateway.write("other", &message("other"));
                fs::rename(at("other"), at("at/one.jsonl")).unwrap();
            }),
            ("a link on the way leads elsewhere", &|| {
                gateway.write("elsewhere/one.jsonl", &message("elsewhere"));
                fs::rename(at("at"), at("before")).unwrap();
                std::os::unix::fs::symlink("elsewhere", at("at")).unwrap();
            }),
            ("it is gone, and there is one by the session's id", &|| {
                gateway.write("one.jsonl", &message("by-id"));
                fs::remove_file(at("elsewhere/one.jsonl")).unwrap();
            }),
            ("a better one came", &|| gateway.write("elsewhere/one.jsonl", &message("better"))),
            ("the row names another session", &|| {
                gateway.write("two.jsonl", &message("two"));
                gateway.write("sessions.json", r#"{"agent:main:k":{"sessionId":"two"}}"#);
            }),
            ("it is gone", &|| fs::remove_file(at("two.jsonl")).unwrap()),
            ("the row is gone", &|| gateway.write("sessions.json", "{}")),
        ];
        for (what, change) in changes {
            wait();
            assert!(gateway.remembers().await, "before {what}");
            let before = gateway.page().await;
            change();
            let after = gateway.page().await;
            assert_ne!(after, before, "{what}");
            assert_eq!(after, page(&open(gateway.directory.path())).await, "{what}");
        }
    }

    #[tokio::test]
    async fn a_check_serves_those_who_asked_before_it_began_and_nobody_else() {
        let gateway = Gateway::new();
        wait();
        let mut proof = Proof::default();
        proof.stamps.take(&gateway.path("at/one.jsonl")).unwrap();
        let kept = Entry::new(CachedPage { body: Bytes::new(), settings: gateway.state.settings(), proof });
        let ask = || {
            let mut asking = tokio_test::task::spawn(kept.is_valid(&gateway.state.pages.in_place));
            assert!(asking.poll().is_pending());
            asking
        };
        let (mut first, mut second) = (ask(), ask());
        assert_eq!(first.poll(), Poll::Ready(true));
        let mut late = ask();
        gateway.write("at/one.jsonl", "");
        // When it asked it was right.
        assert_eq!(second.poll(), Poll::Ready(true));
        assert_eq!(kept.checks_begun.load(Ordering::SeqCst), 1);
        assert_eq!(late.poll(), Poll::Ready(false));
        // What was wrong once is checked each time.
        assert_eq!(ask().poll(), Poll::Ready(false));
        assert_eq!(kept.checks_begun.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_check_that_hangs_leaves_the_clock_and_the_sockets_of_all_others_to_somebody() {
        let gateway = Gateway::new();
        wait();
        let mut proof = Proof::default();
        proof.stamps.take(&gateway.path("at/one.jsonl")).unwrap();
        let kept = CachedPage { body: Bytes::new(), settings: gateway.state.settings(), proof };
        let kept = Arc::new(Entry::new(kept));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let in_place = Arc::new(InPlace::new(Some(runtime.handle())));
        for round in 0..200 {
            let hang = fault::Hang::after(0, gateway.directory.path());
            // Tasks of all lengths: which worker looks for events, and whether the other is told, is up to chance.
            for _ in 0..round % 5 {
                runtime.spawn(async move {
                    for _ in 0..round % 7 {
                        yield_now().await;
                    }
                });
            }
            let (kept, turns) = (Arc::clone(&kept), Arc::clone(&in_place));
            let asking = runtime.spawn(async move { kept.is_valid(&turns).await });
            while hang.held() == 0 {
                thread::yield_now();
            }
            let (woken, wakes) = channel();
            let clock = runtime.handle().clone();
            thread::spawn(move || {
                clock.block_on(async { sleep(Duration::from_millis(1)).await });
                woken.send(())
            });
            wakes.recv_timeout(Duration::from_secs(10)).unwrap();
            drop(hang);
            assert!(runtime.block_on(asking).unwrap());
        }
    }

    #[tokio::test]
    async fn what_was_written_a_moment_ago_is_not_remembered_yet() {
        let gateway = Gateway::new();
        gateway.page().await;
        assert!(gateway.state.pages.entries().pages.is_empty());
        wait();
        assert!(gateway.remembers().await);
    }

    #[tokio::test]
    async fn a_page_that_tells_the_time_is_not_remembered() {
        let gateway = Gateway::new();
        gateway.write("at/one.jsonl", "{\"type\":\"compaction\"}\n");
        wait();
        gateway.page().await;
        assert!(gateway.state.pages.entries().pages.is_empty());
        gateway.write("at/one.jsonl", "{\"type\":\"compaction\",\"timestamp\":\"2026-01-02T03:04:05Z\"}\n");
        wait();
        assert!(gateway.remembers().await);
    }

    #[tokio::test]
    async fn other_settings_make_other_pages() {
        let gateway = Gateway::new();
        wait();
        gateway.page().await;
        let asked = (RequestedKey::parse("k").unwrap(), Query::parse("limit=5").unwrap());
        assert!(gateway.state.pages.find(&asked, &gateway.state.settings()).await.is_some());
        let same_but_new = Arc::new(Settings::clone(&gateway.state.settings()));
        assert!(gateway.state.pages.find(&asked, &same_but_new).await.is_none());
    }

    #[tokio::test]
    async fn the_oldest_pages_make_room_for_new_ones() {
        let gateway = Gateway::new();
        let settings = gateway.state.settings();
        let asked = |n: usize| (RequestedKey::parse(&n.to_string()).unwrap(), Query::default());
        let page = |length| CachedPage {
            body: vec![0; length].into(),
            settings: Arc::clone(&settings),
            proof: Proof::default(),
        };
        let pages = PageCache::default();
        pages.keep(asked(0), page(LARGEST + 1));
        assert_eq!(pages.entries().size, 0, "too large");
        for n in 0..3 * ROOM / LARGEST {
            pages.keep(asked(n), page(LARGEST));
            pages.keep(asked(n), page(LARGEST));
            assert!(pages.entries().size <= ROOM);
        }
        assert!(pages.find(&asked(0), &settings).await.is_none());
        assert!(pages.find(&asked(3 * ROOM / LARGEST - 1), &settings).await.is_some());
    }
}
