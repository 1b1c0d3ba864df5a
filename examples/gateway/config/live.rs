//! Settings that follow their files.
//!
//! 1. At the start every file must be good; the gateway does not start otherwise.
//! 2. When a file changes, that file is read again, and the settings that result are published.
//! 3. A file that cannot be read or understood, or whose settings cannot work together with the
//!    rest, changes nothing: what it said before goes on, and the log says so. The other
//!    files go on being followed: a broken openclaw.json does not hold up a token rotation.
//! 4. Such a file is tried again until it is good, soon and then less often: short of descriptors, say, a
//!    rotation must not be lost. That is said once for each change, and how often it was tried when it is over.
//! 5. Each file is read on a thread of its own, so that one on a file system that hangs holds up no other, and
//!    what else hangs holds up none.
//! 6. Every file is also read once in a while whether or not it is known to have changed, so that no revocation
//!    hangs on being told of changes.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::sources::{Contents, Source, Sources};
use super::{ConfigError, Settings};
use crate::files::{Watched, Watcher};

/// A file is often emptied and then written. Waiting this long spares a log line about the empty
/// one; a writer that takes longer causes another read.
const SETTLE: Duration = Duration::from_millis(5);
/// How long a file that may not be whole yet is left alone.
const UNFINISHED: Duration = Duration::from_millis(20);
/// How soon a file that is no good is tried again, at first and after some times.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(1);
/// How long a file may take to be read until that is said.
const LONG: Duration = Duration::from_secs(2);
/// How often a file is read that is not known to have changed.
const ONCE_IN_A_WHILE: Duration = Duration::from_secs(10);

/// Publishes the settings to its subscribers.
pub struct LiveSettings {
    sources: Sources,
    contents: Contents,
    settings: watch::Sender<Arc<Settings>>,
    /// What was said of the settings of now.
    advice: Vec<String>,
    /// What is done with new settings before anybody is told of them.
    apply: Option<Box<dyn Fn(&Settings) + Send>>,
    reload: Reload,
    asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
}

/// Has all files read now. Clones ask the same settings.
#[derive(Clone)]
pub struct Reload(mpsc::Sender<oneshot::Sender<Reloaded>>);

/// What came of that.
pub struct Reloaded {
    /// The names of the settings that are not as they were.
    pub changed: Vec<&'static str>,
    /// Why some are as they were.
    pub failed: Vec<String>,
}

/// Files that somebody waits for.
struct Awaited {
    answer: oneshot::Sender<Reloaded>,
    unread: Vec<Source>,
    before: Arc<Settings>,
    failed: Vec<String>,
}

/// A file that is followed, or files that go together.
struct Followed {
    source: Source,
    watch: Watch,
    /// When it is read though nothing was heard of it.
    due: Instant,
    /// What the file says, while it is read.
    reading: Option<Reading>,
    /// Whether it has changed since it was last read to its end.
    is_news: bool,
    /// How often it could not be used since it last could.
    failures: u32,
    /// What was said of that.
    said: String,
}

struct Reading {
    result: oneshot::Receiver<Result<Box<Contents>, ConfigError>>,
    /// When it is said that this takes long.
    hangs: Option<Instant>,
}

enum Watch {
    Begins(oneshot::Receiver<Vec<Watched>>),
    Is(Vec<Watched>),
    /// There was no thread for it.
    Not,
}

/// What has happened to a file.
enum Event {
    /// It may have changed.
    Heard,
    Due,
    Read(Result<Box<Contents>, ConfigError>),
}

impl LiveSettings {
    /// Reads every file once.
    pub fn open(sources: Sources) -> Result<Self, ConfigError> {
        let contents = Contents::read(&sources)?;
        let settings = Settings::new(&sources, &contents)?;
        let (reload, asked) = mpsc::channel(1);
        let (reload, advice) = (Reload(reload), Vec::new());
        let published = watch::Sender::new(Arc::new(settings.clone()));
        let mut live = Self { sources, contents, settings: published, advice, apply: None, reload, asked };
        live.advise(settings.advice);
        Ok(live)
    }

    /// The settings of now and, marked as changed, of later.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Has this done with new settings: it has happened by the time that they are said to be new.
    pub fn apply_by(&mut self, apply: impl Fn(&Settings) + Send + 'static) {
        self.apply = Some(Box::new(apply));
    }

    /// What has the files read, for as long as they are followed.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Follows the files until it is dropped. The last settings remain readable after that.
    pub async fn follow(mut self, watcher: &Watcher) {
        let mut files: Vec<_> =
            self.sources.by_source().map(|(source, files)| Followed::new(source, &files, watcher)).collect();
        let mut awaited: Option<Awaited> = None;
        loop {
            let next = select_all(files.iter_mut().map(|followed| Box::pin(followed.next())));
            let next = tokio::select! {
                (event, n, _) = next => Ok((event, n)),
                Some(answer) = self.asked.recv() => Err(answer),
            };
            let (event, n) = match next {
                Ok(next) => next,
                Err(answer) => {
                    files.iter_mut().for_each(|followed| followed.begin_to_read(&self, true));
                    let unread = files.iter().map(|followed| followed.source).collect();
                    let before = Arc::clone(&self.settings.borrow());
                    awaited = Some(Awaited { answer, unread, before, failed: Vec::new() });
                    continue;
                }
            };
            let followed = &mut files[n];
            match event {
                Event::Heard => {
                    sleep(SETTLE).await;
                    followed.begin_to_read(&self, true);
                }
                Event::Due => followed.begin_to_read(&self, false),
                Event::Read(result) => {
                    let result = result.and_then(|contents| self.take_over(followed.source, *contents));
                    if let Some(waiting) = awaited.take() {
                        awaited = waiting.go_on(followed.source, &result, &self.settings.borrow());
                    }
                    followed.conclude(result);
                }
            }
        }
    }

    /// Publishes what one of the files says.
    fn take_over(&mut self, source: Source, contents: Contents) -> Result<(), ConfigError> {
        let contents = self.contents.clone().with_part(source, contents);
        let settings = Settings::new(&self.sources, &contents)?;
        self.contents = contents;
        self.publish(settings);
        Ok(())
    }

    /// First the deed, then the word.
    fn publish(&mut self, settings: Settings) {
        let changed = settings.changed_since(&self.settings.borrow());
        let advice = settings.advice.clone();
        if !changed.is_empty() {
            let settings = Arc::new(settings);
            self.settings.send_replace(Arc::clone(&settings));
            if let Some(apply) = &self.apply {
                apply(&settings);
            }
            tracing::info!(changed = changed.join(", "), "new settings");
        }
        self.advise(advice);
    }

    /// Says what was not said of the settings before these.
    fn advise(&mut self, advice: Vec<String>) {
        for line in advice.iter().filter(|line| !self.advice.contains(line)) {
            tracing::warn!("{line}");
        }
        self.advice = advice;
    }
}

impl Reload {
    /// Reads all files, and says what came of it when each is read. `None` if they are not followed any more.
    pub async fn all(&self) -> Option<Reloaded> {
        let (answer, reloaded) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        reloaded.await.ok()
    }
}

impl Awaited {
    /// One of the files was read. What is left to be waited for; nothing, once it was answered.
    fn go_on(mut self, source: Source, result: &Result<(), ConfigError>, now: &Settings) -> Option<Self> {
        match result {
            // It is read again in a moment.
            Err(ConfigError::Unfinished) => return Some(self),
            Err(error) if self.unread.contains(&source) => self.failed.push(error.to_string()),
            _ => {}
        }
        self.unread.retain(|unread| *unread != source);
        if !self.unread.is_empty() {
            return Some(self);
        }
        let changed = now.changed_since(&self.before);
        // Who asked may have stopped waiting.
        let _ = self.answer.send(Reloaded { changed, failed: self.failed });
        None
    }
}

impl Followed {
    fn new(source: Source, files: &[&Path], watcher: &Watcher) -> Self {
        let (watcher, files) = (watcher.clone(), files.iter().map(|file| file.to_path_buf()).collect::<Vec<_>>());
        let watch = Watch::Begins(on_a_thread(move || files.into_iter().map(|file| watcher.watch(file)).collect()));
        Self { source, watch, due: Instant::now(), reading: None, is_news: false, failures: 0, said: String::new() }
    }

    /// Waits until something happens. May be dropped and called again.
    async fn next(&mut self) -> Event {
        while let Some(Reading { result, hangs }) = &mut self.reading {
            let result = tokio::select! {
                result = result => result,
                () = sleep_until(hangs.unwrap_or_else(Instant::now)), if hangs.is_some() => {
                    tracing::warn!(source = ?self.source, "a file of settings is not read to its end: what it said goes on");
                    *hangs = None;
                    continue;
                }
            };
            self.reading = None;
            let is_lost = |_| Err(ConfigError::Unusable("the file could not be read to its end".to_owned()));
            return Event::Read(result.unwrap_or_else(is_lost));
        }
        match &mut self.watch {
            Watch::Begins(watch) => tokio::select! {
                watched = watch => {
                    // What changed before was not heard.
                    self.watch = watched.map_or(Watch::Not, Watch::Is);
                    Event::Due
                }
                () = sleep_until(self.due) => Event::Due,
            },
            Watch::Is(files) => tokio::select! {
                _ = select_all(files.iter_mut().map(|file| Box::pin(file.changed()))) => Event::Heard,
                () = sleep_until(self.due) => Event::Due,
            },
            Watch::Not => {
                sleep_until(self.due).await;
                Event::Due
            }
        }
    }

    fn begin_to_read(&mut self, live: &LiveSettings, is_news: bool) {
        if let Watch::Is(files) = &mut self.watch {
            files.iter_mut().for_each(Watched::mark_seen);
        }
        self.is_news |= is_news;
        let (source, sources, contents) = (self.source, live.sources.clone(), live.contents.clone());
        let result = on_a_thread(move || contents.with(source, &sources).map(Box::new));
        self.reading = Some(Reading { result, hangs: Some(Instant::now() + LONG) });
    }

    fn conclude(&mut self, result: Result<(), ConfigError>) {
        if let Err(ConfigError::Unfinished) = result {
            self.due = Instant::now() + UNFINISHED;
            return;
        }
        let is_news = std::mem::take(&mut self.is_news);
        let wait = match result {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!(source = ?self.source, failures = self.failures, "a file of settings is good again");
                }
                (self.failures, self.said) = (0, String::new());
                ONCE_IN_A_WHILE
            }
            Err(error) => {
                let said = error.to_string();
                if is_news || said != self.said {
                    tracing::warn!(%error, "the settings stay as they were");
                }
                self.said = said;
                self.failures = self.failures.saturating_add(1);
                LATEST.min(SOONEST * (1 << self.failures.clamp(1, 5)) / 2)
            }
        };
        self.due = Instant::now() + wait;
    }
}

/// What `work` returns; nothing if there is no thread for it.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, result) = oneshot::channel();
    // The error is that nobody waits any more.
    let work = move || drop(done.send(work()));
    if let Err(error) = thread::Builder::new().name("settings".to_owned()).spawn(work) {
        tracing::warn!(%error, "no thread for a file of settings");
    }
    result
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::sync::Mutex;

    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;
    use tracing::subscriber::DefaultGuard;

    use super::super::auth::Given;
    use super::super::environment::Environment;
    use super::super::{Auth, Secret};
    use super::*;
    use crate::files::disk::fault;

    const SOON: Duration = Duration::from_secs(10);
    const QUIET: Duration = Duration::from_millis(150);

    /// A folder with the three files, and what follows them.
    struct House {
        folder: TempDir,
        watcher: Watcher,
        settings: watch::Receiver<Arc<Settings>>,
        following: JoinHandle<()>,
    }

    impl House {
        async fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let at = |name: &str| folder.path().join(name);
            fs::write(at("token"), "one\n").unwrap();
            fs::write(at("tokens.toml"), client("a", "operator.read")).unwrap();
            let live = LiveSettings::open(Sources {
                config: at("openclaw.json"),
                token_file: Some(at("token")),
                tokens: Some(at("tokens.toml")),
                upstream_key: None,
                edge_token: None,
                flags: Given::default(),
                in_file: Given::default(),
                environment: Environment::default(),
                exposed: None,
                tls: None,
                cors_origins: Vec::new(),
            })
            .unwrap();
            let settings = live.subscribe();
            let watcher = Watcher::new().unwrap();
            let following = tokio::spawn({
                let watcher = watcher.clone();
                async move { live.follow(&watcher).await }
            });
            // Until it watches.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Self { folder, watcher, settings, following }
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.folder.path().join(name), content).unwrap();
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.folder.path().join(name)).unwrap();
        }

        async fn new_settings(&mut self) -> Arc<Settings> {
            timeout(SOON, self.settings.changed()).await.expect("new settings").unwrap();
            self.settings.borrow_and_update().clone()
        }

        async fn comes_to(&mut self, is_right: impl Fn(&Settings) -> bool) {
            let right = self.settings.wait_for(|settings| is_right(settings));
            timeout(SOON, right).await.expect("other settings").unwrap();
        }

        async fn nothing_new(&mut self) {
            assert!(timeout(QUIET, self.settings.changed()).await.is_err());
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            self.following.abort();
        }
    }

    fn client(id: &str, scope: &str) -> String {
        format!("[[token]]\nid = '{id}'\nsecret = 'secret-of-{id}'\nscopes = ['{scope}']\n")
    }

    fn token(text: &str) -> Auth {
        Auth::Token(Secret::new(text).ok())
    }

    /// Collects what this thread logs from now on.
    fn log() -> (DefaultGuard, Arc<Mutex<Vec<u8>>>) {
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt().with_writer(move || Lines(Arc::clone(&writer))).finish();
        (tracing::subscriber::set_default(subscriber), lines)
    }

    fn shown(lines: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    /// Waits until the log holds `text`.
    async fn says(lines: &Mutex<Vec<u8>>, text: &str) {
        let said = async {
            while !shown(lines).contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let result = timeout(SOON, said).await;
        assert!(result.is_ok(), "no `{text}` in the log:\n{}", shown(lines));
    }

    #[tokio::test]
    async fn a_new_token_is_published() {
        let mut house = House::new().await;
        assert_eq!(house.settings.borrow().auth, token("one"));
        house.write("token", "two\n");
        assert_eq!(house.new_settings().await.auth, token("two"));
    }

    #[tokio::test]
    async fn an_empty_or_missing_token_file_keeps_the_old_token_and_says_so() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        house.write("token", "\n");
        says(&lines, "token: the whole of it: is empty").await;
        house.remove("token");
        says(&lines, "No such file").await;
        house.nothing_new().await;
        assert_eq!(house.settings.borrow().auth, token("one"));
        house.write("token", "two");
        assert_eq!(house.new_settings().await.auth, token("two"));
        assert!(!shown(&lines).contains("two"), "{}", shown(&lines));
    }

    #[tokio::test]
    async fn narrowing_and_removing_a_client_token_is_published_and_a_broken_file_is_not() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        house.write("tokens.toml", &client("a", "operator.none"));
        let settings = house.new_settings().await;
        let scopes = &settings.client_tokens.as_ref().unwrap()[0].scopes;
        assert_eq!(scopes.to_string(), "operator.none");
        house.write("tokens.toml", &client("a", "operator.none").repeat(2));
        says(&lines, "tokens.toml: token[1]: has the id of token[0]").await;
        house.nothing_new().await;
        assert!(!shown(&lines).contains("secret-of"), "{}", shown(&lines));
        house.write("tokens.toml", "");
        says(&lines, "tokens.toml: token: is needed").await;
        house.remove("tokens.toml");
        says(&lines, "No such file").await;
        house.nothing_new().await;
        house.write("tokens.toml", "token = []");
        let settings = house.new_settings().await;
        assert!(settings.client_tokens.as_ref().unwrap().is_empty());
    }

    #[tokio::test]
    async fn openclaw_json_is_followed_from_missing_to_there_to_broken_and_what_it_said_outlives_it() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        house.write("openclaw.json", "{ gateway: { allowRealIpFallback: true } }");
        assert!(house.new_settings().await.allow_real_ip_fallback);
        house.write("openclaw.json", "{ gateway: ");
        says(&lines, "openclaw.json: line 1, ").await;
        house.nothing_new().await;
        house.remove("openclaw.json");
        says(&lines, "No such file").await;
        house.nothing_new().await;
        assert!(house.settings.borrow().allow_real_ip_fallback);
        house.write("openclaw.json", "{}");
        assert!(!house.new_settings().await.allow_real_ip_fallback);
        says(&lines, "good again").await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_tried_again_and_said_once() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        // Nobody tells of what happens behind the link, and the file is as it was.
        let at = |name: &str| house.folder.path().join(name);
        fs::rename(at("token"), at("hidden")).unwrap();
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        fs::rename(at("loop"), at("token")).unwrap();
        says(&lines, "the settings stay as they were").await;
        tokio::time::sleep(4 * SOONEST).await;
        let said = shown(&lines).matches("the settings stay as they were").count();
        assert!(said <= 2, "{}", shown(&lines));
        house.write("hidden", "two");
        fs::rename(house.folder.path().join("hidden"), house.folder.path().join("token")).unwrap();
        assert_eq!(house.new_settings().await.auth, token("two"));
        says(&lines, "good again").await;
    }

    #[tokio::test]
    async fn a_file_of_tokens_that_is_cut_is_refused_and_one_that_lost_whole_tokens_is_waited_for() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        let expired = format!("{}expires_at = 2020-01-01T00:00:00Z\n", client("b", "operator.read"));
        house.write("tokens.toml", &(client("a", "operator.read") + &expired));
        assert_eq!(house.new_settings().await.client_tokens.as_ref().unwrap().len(), 2);
        house.write("tokens.toml", &(client("a", "operator.read") + &client("b", "operator.read")));
        says(&lines, "looks cut short").await;
        house.nothing_new().await;
        house.write("tokens.toml", &client("a", "operator.read"));
        house.nothing_new().await;
        assert_eq!(house.new_settings().await.client_tokens.as_ref().unwrap().len(), 1);

        // Another file in its place is whole.
        house.write("new.toml", &(client("a", "operator.read") + &client("b", "operator.read")));
        let at = |name: &str| house.folder.path().join(name);
        fs::rename(at("new.toml"), at("tokens.toml")).unwrap();
        assert_eq!(house.new_settings().await.client_tokens.as_ref().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_should_be_done_is_said_once() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        house.write("tokens.toml", &client("a", "operator.raed"));
        house.new_settings().await;
        says(&lines, "operator.raed, which opens nothing").await;
        house.write("openclaw.json", "{ gateway: { allowRealIpFallback: true } }");
        house.new_settings().await;
        assert_eq!(shown(&lines).matches("operator.raed").count(), 1);
    }

    #[tokio::test]
    async fn settings_that_cannot_work_do_not_hold_up_a_rotation() {
        let (_guard, lines) = log();
        let mut house = House::new().await;
        house.write("openclaw.json", "{ gateway: { auth: { mode: 'none' } } }");
        says(&lines, "--tokens needs auth mode").await;
        house.write("token", "two");
        assert_eq!(house.new_settings().await.auth, token("two"));
    }

    #[tokio::test]
    async fn a_file_that_hangs_holds_up_no_rotation() {
        for calls in 0..6 {
            let mut house = House::new().await;
            let hang = fault::Hang::after(calls, &house.folder.path().join("openclaw.json"));
            house.write("openclaw.json", "{ gateway: { allowRealIpFallback: true } }");
            let hung = async {
                while hang.held() == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(SOON, hung).await.expect("it hangs");
            house.write("token", "two");
            house.comes_to(|settings| settings.auth == token("two")).await;
            house.write("tokens.toml", "token = []");
            house.comes_to(|settings| settings.client_tokens.as_ref().is_some_and(|tokens| tokens.is_empty())).await;
            drop(hang);
            house.comes_to(|settings| settings.allow_real_ip_fallback).await;
            assert_eq!(house.settings.borrow().auth, token("two"));
        }
    }

    #[tokio::test]
    async fn a_file_that_hangs_is_said() {
        let (_guard, lines) = log();
        let house = House::new().await;
        let file = house.folder.path().join("token");
        let (token_file, config) = (Some(file.clone()), house.folder.path().join("openclaw.json"));
        let (flags, environment) = (Given::default(), Environment::default());
        let sources = Sources {
            config,
            token_file,
            tokens: None,
            tls: None,
            upstream_key: None,
            edge_token: None,
            flags,
            in_file: Given::default(),
            environment,
            exposed: None,
            cors_origins: Vec::new(),
        };
        let live = LiveSettings::open(sources).unwrap();
        let _hang = fault::Hang::after(0, &file);
        tokio::select! {
            () = live.follow(&house.watcher) => unreachable!("it follows for ever"),
            () = says(&lines, "is not read to its end") => {}
        }
    }

    #[tokio::test]
    async fn whichever_call_of_a_rotation_fails_it_is_applied_in_the_end() {
        for error in fault::ERRORS {
            let mut failed = 0;
            for calls in 0..10 {
                let mut house = House::new().await;
                let fault = fault::Broken::after(calls, &house.folder.path().join("token"), error);
                house.write("token", "two");
                assert_eq!(house.new_settings().await.auth, token("two"), "after {calls} calls {}", error());
                failed += u32::from(fault.has_failed());
            }
            assert!(failed > 0, "{}", error());
        }
    }

    #[tokio::test]
    async fn what_is_the_same_as_before_is_not_published() {
        let mut house = House::new().await;
        house.write("token", "one");
        house.write("openclaw.json", "{ unknown: 1 }");
        house.nothing_new().await;
    }

    #[tokio::test]
    async fn what_changed_before_the_watch_began_is_not_lost() {
        let house = House::new().await;
        let at = |name: &str| house.folder.path().join(name);
        let live = LiveSettings::open(Sources {
            config: at("openclaw.json"),
            token_file: Some(at("token")),
            tokens: None,
            upstream_key: None,
            edge_token: None,
            flags: Given::default(),
            in_file: Given::default(),
            environment: Environment::default(),
            exposed: None,
            tls: None,
            cors_origins: Vec::new(),
        })
        .unwrap();
        let mut settings = live.subscribe();
        house.write("token", "two");
        tokio::select! {
            () = live.follow(&house.watcher) => unreachable!("it follows for ever"),
            changed = timeout(SOON, settings.changed()) => changed.unwrap().unwrap(),
        }
        assert_eq!(settings.borrow().auth, token("two"));
    }

    #[test]
    fn at_the_start_every_file_must_be_good() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let open = || {
            LiveSettings::open(Sources {
                config: at("openclaw.json"),
                token_file: Some(at("token")),
                tokens: Some(at("tokens.toml")),
                upstream_key: None,
                edge_token: None,
                flags: Given::default(),
                in_file: Given::default(),
                environment: Environment::default(),
                exposed: None,
                tls: None,
                cors_origins: Vec::new(),
            })
            .err()
            .map(|error| error.to_string())
        };
        assert!(open().unwrap().contains("token: No such file"));
        fs::write(at("token"), "one").unwrap();
        assert!(open().unwrap().contains("tokens.toml: No such file"));
        fs::write(at("tokens.toml"), "token = []").unwrap();
        assert_eq!(open(), None);
        fs::write(at("openclaw.json"), "{").unwrap();
        assert!(open().unwrap().contains("openclaw.json: line 1, "));
    }
}
