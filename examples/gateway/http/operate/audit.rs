//! The audit log: who came, went, was refused and was taken what from, and who did it.
//!
//! Each line is a JSON object with `at` (RFC 3339) and `event`:
//!
//! | event | of | besides |
//! | --- | --- | --- |
//! | `opened` | a stream | `stream`, `label`, `caller`, `client` |
//! | `refused` | a request | `status`, `reason`, `request`, `client`, and `caller` if it is known |
//! | `ended` | a stream | `stream`, `label`, `caller`, `reason`, and `by` where an operator did it |
//! | `revoked` | whatever was asked for | `revocation`; `is_kept`, on the disk; `is_shared`, by Redis, if there is one; `by`, `client` |
//! | `lost` | the log itself | `lines`: how many before this could not be written |
//!
//! 1. A line is handed to a thread that only writes ([`Lines`]): nobody waits for a disk, and nothing fails with it.
//! 2. No secret is in it. Of a target it has the path only, and not before that is known to hold no capability.
//! 3. Each refusal is there once, told by whoever knows most of it.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::response::Response;
use futures_util::future::Either;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, Service};
use tower_reauth::{
    Access, Denied, Identity,
    proxy::PeerAddr,
    reauth::{EndReason, Ended, OpenStreams, StreamId},
};

use super::super::super::log::{Lines, json_line};
use super::{
    ids,
    open::{caller, date},
};

/// How long the old file is waited for when a new one is to be written.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The longest part of a path that is written.
const LONGEST: usize = 256;

/// Writes to the log, if there is one. Clones write to the same.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Log>>);

struct Log {
    path: PathBuf,
    lines: Lines,
    next: Arc<Mutex<Option<Next<File>>>>,
    /// Who is about to end which streams.
    by: Mutex<HashMap<StreamId, Value>>,
}

impl Audit {
    /// A log at the end of this file, which is made if it is not there, for its owner only.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else { return Ok(Self::default()) };
        let next = Arc::<Mutex<_>>::default();
        let mut file = append_to(path)?;
        // What cannot be looked at is taken to be whole. A disk that is full is not: it has room later.
        let is_torn = is_torn(path, &file).unwrap_or(false) && file.write_all(b"\n").is_err();
        let told = Told { file, next: Arc::clone(&next), is_failing: false, is_at_start: !is_torn };
        let lines = Lines::with_notice(
            told,
            |lost| json_line(&line("lost", [("lines", lost.into())])),
            |lost| tracing::warn!(lines = lost, "the audit log can be written again, and lacks some lines"),
        )?;
        Ok(Self(Some(Arc::new(Log { path: path.to_owned(), lines, next, by: Mutex::default() }))))
    }

    /// Goes on at the end of whatever file has the log's name now. Whether there is a log.
    pub fn reopen(&self) -> io::Result<bool> {
        let Some(log) = &self.0 else { return Ok(false) };
        let file = append_to(&log.path)?;
        let is_empty = file.metadata()?.len() == 0;
        *log.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Next { file, is_empty });
        // What was said before is written there, and the old file let go, by the time of the next line at the latest.
        log.lines.flush(AT_ONCE);
        Ok(true)
    }

    /// Waits until all is written, or for this long.
    pub fn flush(&self, at_most: Duration) {
        if let Some(log) = &self.0 {
            log.lines.flush(at_most);
        }
    }

    pub fn opened(&self, stream: StreamId, label: &str, identity: &Identity, client: Option<IpAddr>) {
        self.say("opened", || {
            [
                ("stream", ids::text(stream).into()),
                ("label", label.into()),
                ("caller", caller(identity)),
                ("client", address(client)),
            ]
        });
    }

    /// The end of a stream, as the layer around it tells it.
    pub fn ended(&self, ended: &Ended) {
        let Some(log) = &self.0 else { return };
        let by = ended.stream.and_then(|id| log.by().remove(&id));
        // A session that is killed comes to its own end.
        let reason = if by.is_some() && ended.reason == EndReason::Finished { EndReason::Closed } else { ended.reason };
        self.say("ended", || {
            [
                ("stream", ended.stream.map(ids::text).into()),
                ("label", ended.label.as_deref().into()),
                ("caller", caller(&ended.identity)),
                ("reason", reason.as_str().into()),
                ("by", by.into()),
            ]
        });
    }

    /// Ends streams by `end`, which says whether it did, and notes who wants it.
    pub fn ending(&self, open: &OpenStreams, streams: &[StreamId], by: &Identity, end: impl FnOnce() -> bool) -> bool {
        let Some(log) = &self.0 else { return end() };
        let by = caller(by);
        log.by().extend(streams.iter().map(|id| (*id, by.clone())));
        // What is open from here on finds it when it ends; what had ended by itself does not.
        let gone: Vec<_> = streams.iter().filter(|id| open.get(**id).is_none()).collect();
        let is_ended = end();
        let forgotten = if is_ended { gone } else { streams.iter().collect() };
        let mut by = log.by();
        forgotten.iter().for_each(|id| _ = by.remove(id));
        is_ended
    }

    pub fn revoked(&self, revocation: Value, is_kept: bool, is_shared: bool, by: &Identity, client: Option<IpAddr>) {
        self.say("revoked", || {
            [
                ("revocation", revocation),
                ("is_kept", is_kept.into()),
                ("is_shared", is_shared.into()),
                ("by", caller(by)),
                ("client", address(client)),
            ]
        });
    }

    /// `request` is a method and a path that may be shown.
    pub fn refused(
        &self,
        status: StatusCode,
        reason: &str,
        request: String,
        client: Option<IpAddr>,
        caller: Option<Value>,
    ) {
        self.say("refused", || {
            [
                ("status", status.as_u16().into()),
                ("reason", reason.into()),
                ("request", request.into()),
                ("client", address(client)),
                ("caller", caller.into()),
            ]
        });
    }

    fn say<const N: usize>(&self, event: &str, more: impl FnOnce() -> [(&'static str, Value); N]) {
        if let Some(log) = &self.0 {
            log.lines.say(json_line(&line(event, more())));
        }
    }
}

impl Log {
    fn by(&self) -> MutexGuard<'_, HashMap<StreamId, Value>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line<const N: usize>(event: &str, more: [(&'static str, Value); N]) -> Value {
    let mut line = json!({ "at": date(SystemTime::now()), "event": event });
    if let Value::Object(fields) = &mut line {
        fields.extend(
            more.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)),
        );
    }
    line
}

fn address(client: Option<IpAddr>) -> Value {
    client.map(|client| client.to_canonical().to_string()).into()
}

/// The file that the next line goes to, where it is another one than the last went to.
struct Next<F> {
    file: F,
    is_empty: bool,
}

/// Says when its file cannot be written any more, and leaves no line empty.
struct Told<F> {
    file: F,
    next: Arc<Mutex<Option<Next<F>>>>,
    is_failing: bool,
    /// Whether what was written last was the end of a line.
    is_at_start: bool,
}

impl<F> Told<F> {
    /// To be called between two lines, so that none is torn.
    fn turn_over(&mut self) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Next { file, is_empty }) = next {
            self.file = file;
            self.is_failing = false;
            self.is_at_start |= is_empty;
        }
    }
}

impl<F: Write> Write for Told<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A break comes first where the line before could not be written to its end.
        if self.is_at_start || bytes.starts_with(b"\n") {
            self.turn_over();
        }
        let empty = usize::from(self.is_at_start && bytes.starts_with(b"\n"));
        let written = self.file.write(&bytes[empty..]).map(|written| written + empty);
        if let Ok(written) = written {
            self.is_at_start = bytes[..written].last().is_none_or(|byte| *byte == b'\n');
        }
        if let Err(error) = &written
            && !std::mem::replace(&mut self.is_failing, true)
        {
            tracing::warn!(%error, "the audit log cannot be written: what is missing in it is counted");
        }
        written
    }

    /// Comes after whole lines, and those that were given up.
    fn flush(&mut self) -> io::Result<()> {
        self.turn_over();
        self.is_failing = false;
        self.file.flush()
    }
}

/// Opens a file to write at its end, and makes it, for its owner only, where there is none.
fn append_to(path: &Path) -> io::Result<File> {
    // A pipe without a reader is an error, and not waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags.cast_signed()).open(path)?;
    let status = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, status - rustix::fs::OFlags::NONBLOCK)?;
    Ok(file)
}

/// Whether the last line of this file has no end. The disk was full, say, and whoever wrote it ended.
fn is_torn(path: &Path, file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    let Some(last) = found.len().checked_sub(1).filter(|_| found.is_file()) else { return Ok(false) };
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// Notes refusals, each but once: the layer that is furthest in knows most.
#[derive(Clone)]
pub struct AuditLayer {
    pub audit: Audit,
    /// Whether the path is one that may be shown.
    pub shows_path: bool,
}

/// The middleware of [`AuditLayer`].
#[derive(Clone)]
pub struct Audited<S> {
    inner: S,
    layer: AuditLayer,
}

/// Why a request was refused, in the extensions of its response, where no credential was the reason.
#[derive(Clone, Copy)]
pub struct Refused(pub &'static str);

/// That a refusal is in the log, or has no place in it: in the extensions of its response.
#[derive(Clone, Copy)]
struct Noted;

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner, layer: self.clone() }
    }
}

impl<S, B> Service<Request<B>> for Audited<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let audit = self.layer.audit.clone();
        if audit.0.is_none() {
            return Either::Left(self.inner.call(request));
        }
        let asked = match self.layer.shows_path {
            true => format!("{} {}", request.method(), start(request.uri().path())),
            false => request.method().to_string(),
        };
        let client = client(&request);
        let caller = request.extensions().get::<Access>().map(|access| caller(&access.identity()));
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let mut response = answer.await?;
            if let Some(reason) = refusal(&response) {
                audit.refused(response.status(), reason, asked, client, caller);
                response.extensions_mut().insert(Noted);
            }
            Ok(response)
        }))
    }
}

/// Says of a refusal that it is not this gateway's, which notes its own.
#[cfg(feature = "upstream")]
pub fn is_anothers(response: &mut Response) {
    response.extensions_mut().insert(Noted);
}

/// The address that a request came from: a proxy's, where one passed it on.
pub fn client<B>(request: &Request<B>) -> Option<IpAddr> {
    request.extensions().get::<PeerAddr>().map(|peer| peer.ip())
}

/// Why a request was refused, if it was and nobody has said so.
fn refusal(response: &Response) -> Option<&'static str> {
    if response.extensions().get::<Noted>().is_some() {
        return None;
    }
    let is_refusal = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_MANY_REQUESTS
    );
    match response.extensions().get::<Denied>() {
        Some(denied) => Some(denied.as_str()),
        None => match response.extensions().get::<Refused>() {
            Some(Refused(reason)) => Some(reason),
            None => is_refusal.then_some("forbidden"),
        },
    }
}

/// The first characters of a text that a stranger wrote.
fn start(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What was written, and for how much more there is room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn of(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*room);
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend(&bytes[..fits]);
            *room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_new_file_is_gone_to_though_the_old_one_is_full_in_the_middle_of_a_line() {
        for is_flushed in [false, true] {
            let (old, new) = (Disk::of(7), Disk::of(1000));
            let next = Arc::<Mutex<_>>::default();
            let told = Told { file: old.clone(), next: Arc::clone(&next), is_failing: false, is_at_start: true };
            let lines = Lines::to(told).unwrap();
            lines.say("one\n");
            lines.say("torn line\n");
            lines.flush(Duration::from_secs(10));
            assert_eq!(old.text(), "one\ntor");
            *next.lock().unwrap() = Some(Next { file: new.clone(), is_empty: true });
            if is_flushed {
                lines.flush(Duration::from_secs(10));
                assert!(next.lock().unwrap().is_none(), "the old file is let go");
            }
            lines.say("two\n");
            lines.flush(Duration::from_secs(10));
            assert_eq!(
                (&*old.text(), &*new.text()),
                ("one\ntor", "1 lines before this one could not be written\ntwo\n")
            );
        }
    }

    #[test]
    fn a_line_that_a_process_before_could_not_end_is_glued_to_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        for (before, expected) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"at\":", "{}\n{\"at\":\n")] {
            fs::write(&path, before).unwrap();
            let audit = Audit::open(Some(&path)).unwrap();
            audit.refused(StatusCode::FORBIDDEN, "forbidden", "GET /".to_owned(), None, None);
            audit.flush(Duration::from_secs(10));
            let text = fs::read_to_string(&path).unwrap();
            let line = text.strip_prefix(expected).unwrap();
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["event"], "refused", "{text}");
        }
    }
}
