//! The log, and what is printed: lines that neither block nor panic, whatever becomes of the file they go to.
//!
//! 1. A line is handed to a thread that does nothing but write. Who logs never waits for a full disk, a full
//!    pipe or a terminal that was stopped.
//! 2. What cannot be written, and what finds [`ROOM`] used up, is dropped and counted. The count is written
//!    before the next line that can be.
//! 3. A panic is a line of the log like any other.
//! 4. An event is one line, whatever stands in its values, and nothing in it steers a terminal: nobody writes a line of
//!    their own by a value with a break, nor over one that is there.

use std::{
    env,
    error::Error,
    fmt::{self, Debug, Display},
    io::{self, IsTerminal, Write},
    panic,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{
    Dispatch, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer as Out},
    },
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use super::{
    config::LogFormat,
    plain::{Escapes, plain},
};

/// How many bytes may wait to be written.
const ROOM: usize = 4 * 1024 * 1024;

/// How loud these crates may be, whatever `RUST_LOG` asks for.
const CAPS: [(&str, Level); 5] = [
    // Crates that watch files say something of each event, and that line, in a log in a watched folder, is the
    // next event.
    ("notify", Level::WARN),
    ("notify_types", Level::WARN),
    ("inotify", Level::WARN),
    ("mio", Level::WARN),
    // It writes whole messages out: a client's secret is in the first one of a socket.
    ("tungstenite", Level::INFO),
];

/// The log of this process.
pub struct Log {
    lines: Lines,
    format: LogFormat,
}

/// Logs to stderr from now on what `RUST_LOG` says, or else what an operator wants to know: in JSON, by which lines
/// are joined, that is to which request a line belongs. Text is in colour on a terminal, unless `NO_COLOR` says
/// otherwise (no-color.org).
pub fn start(format: LogFormat) -> io::Result<Log> {
    let lines = Lines::to(io::stderr())?;
    let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let usual = match format {
        LogFormat::Text => "info",
        LogFormat::Json => "info,gateway::request=debug",
    };
    let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let is_coloured = io::stderr().is_terminal() && !is_plain;
    let escapes = match format {
        LogFormat::Text if is_coloured => Escapes::Coloured,
        LogFormat::Text => Escapes::Text,
        LogFormat::Json => Escapes::Json,
    };
    let writer = OneLine { lines: lines.clone(), escapes };
    subscriber(format, asked, writer).init();
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(Log { lines, format })
}

fn subscriber(format: LogFormat, filter: EnvFilter, writer: OneLine) -> Dispatch {
    let is_coloured = writer.escapes == Escapes::Coloured;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_ansi(is_coloured).fmt_fields(PlainFields).finish().with(Caps).into(),
        LogFormat::Json => log.json().with_span_list(false).finish().with(Caps).into(),
    }
}

/// The layer that keeps [`CAPS`]. No directive is as strong: of those of a filter the most specific one wins.
struct Caps;

impl Caps {
    fn allow(metadata: &Metadata<'_>) -> bool {
        let name = metadata.target().split("::").next();
        CAPS.iter().find(|(capped, _)| Some(*capped) == name).is_none_or(|(_, cap)| metadata.level() <= cap)
    }
}

impl<S: Subscriber> Layer<S> for Caps {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::allow(metadata) { Interest::always() } else { Interest::never() }
    }

    /// Asked of each event of the crate `log`, whose events share a callsite.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::allow(metadata)
    }
}

/// Fields as they are written by default, but for what a terminal would obey: in a line with colours it could not be told
/// from them.
struct PlainFields;

struct PlainVisitor<'out>(DefaultVisitor<'out>);

impl<'out> FormatFields<'out> for PlainFields {
    fn format_fields<R: RecordFields>(&self, out: Out<'out>, fields: R) -> fmt::Result {
        let mut visitor = PlainVisitor(DefaultVisitor::new(out, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

impl Visit for PlainVisitor<'_> {
    /// With its sources; what a terminal would obey is escaped there already.
    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        self.0.record_error(field, error);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        self.0.record_debug(field, &format_args!("{}", plain(&value, Escapes::Text)));
    }
}

impl Log {
    /// Says why the process ends, whatever `RUST_LOG` wants to hear.
    pub fn fatal(&self, error: &dyn Display) {
        self.lines.say(match self.format {
            LogFormat::Text => one_line(&format!("gateway: {error}"), Escapes::Text),
            LogFormat::Json => {
                let fields = json!({ "message": error.to_string() });
                let at = Timestamp::now().to_string();
                let line = json!({ "timestamp": at, "level": "ERROR", "fields": fields, "target": "gateway" });
                json_line(&line)
            }
        });
    }

    /// Waits until all that was said is written, or for this long.
    pub fn flush(&self, at_most: Duration) {
        self.lines.flush(at_most);
    }
}

/// Writes from a thread of its own. Clones write to the same file, in order.
#[derive(Clone)]
pub struct Lines {
    queue: Sender<Entry>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// Lines that were dropped since the last time that could be said.
    lost: AtomicU64,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(Sender<()>),
}

impl Lines {
    pub fn to(file: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_notice(file, |lost| format!("{lost} lines before this one could not be written\n"), |_| ())
    }

    /// The same, with the line that says how many are missing, and what is done once it is written.
    pub fn with_notice(
        file: impl Write + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
        noticed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, entries) = channel();
        let counts = Arc::new(Counts::default());
        let writer = Writer { file, counts: Arc::clone(&counts), notice, noticed };
        thread::Builder::new().name("lines".to_owned()).spawn(move || writer.run(&entries))?;
        Ok(Self { queue, counts })
    }

    /// Hands over a line, with the break at its end.
    pub fn say(&self, line: impl Into<Vec<u8>>) {
        let line = line.into();
        let length = line.len();
        let fits = self.counts.waiting.fetch_add(length, Relaxed) + length <= ROOM;
        if !fits || self.queue.send(Entry::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(length, Relaxed);
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all that was said is written, or for this long.
    pub fn flush(&self, at_most: Duration) {
        let (done, written) = channel();
        if self.queue.send(Entry::Flush(done)).is_ok() {
            // Else it cannot be written, and nobody could be told.
            let _ = written.recv_timeout(at_most);
        }
    }
}

/// The line of a log that is JSON, with the break at its end.
pub fn json_line(value: &Value) -> String {
    one_line(&value.to_string(), Escapes::Json)
}

/// Events, as the subscriber writes them: one call for each.
#[derive(Clone)]
struct OneLine {
    lines: Lines,
    escapes: Escapes,
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.lines.say(one_line(&String::from_utf8_lossy(event), self.escapes));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The event with a break at its end and none before.
fn one_line(event: &str, escapes: Escapes) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    line.push_str(&plain(event, escapes));
    line.push('\n');
    line
}

struct Writer<W, N, D> {
    file: W,
    counts: Arc<Counts>,
    notice: N,
    noticed: D,
}

impl<W: Write, N: Fn(u64) -> String, D: Fn(u64)> Writer<W, N, D> {
    fn run(mut self, entries: &Receiver<Entry>) {
        for entry in entries {
            match entry {
                Entry::Line(line) => {
                    self.write(&line);
                    self.counts.waiting.fetch_sub(line.len(), Relaxed);
                }
                Entry::Flush(done) => {
                    // What cannot be written was counted.
                    let _ = self.file.flush();
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        let lost = self.counts.lost.swap(0, Relaxed);
        // A line may have been written in part.
        let is_said = lost == 0 || self.file.write_all(format!("\n{}", (self.notice)(lost)).as_bytes()).is_ok();
        if is_said && self.file.write_all(line).and_then(|()| self.file.flush()).is_ok() {
            if lost > 0 {
                (self.noticed)(lost);
            }
        } else {
            let unsaid = if is_said { 0 } else { lost };
            self.counts.lost.fetch_add(unsaid + 1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        mpsc::{SyncSender, sync_channel},
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A file that is told, write by write, whether it is full.
    struct File {
        written: Arc<Mutex<Vec<u8>>>,
        is_full: Receiver<bool>,
    }

    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.is_full.recv() {
                Ok(true) => Err(io::ErrorKind::StorageFull.into()),
                _ => self.written.lock().unwrap().write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Given {
        lines: Lines,
        written: Arc<Mutex<Vec<u8>>>,
        is_full: SyncSender<bool>,
    }

    fn given() -> Given {
        let (is_full, told) = sync_channel(0);
        let written = Arc::default();
        let file = File { written: Arc::clone(&written), is_full: told };
        Given { lines: Lines::to(file).unwrap(), written, is_full }
    }

    impl Given {
        fn shown(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        for (event, line) in [("a b\n", "a b\n"), ("a\nb\r\n\n", "a\\nb\\r\\n\n"), ("", "\n"), ("a", "a\n")] {
            assert_eq!(one_line(event, Escapes::Text), line);
        }
    }

    #[test]
    fn nothing_in_a_value_steers_a_terminal_that_shows_colours() {
        let Given { lines, written, is_full } = given();
        drop(is_full);
        let writer = OneLine { lines: lines.clone(), escapes: Escapes::Coloured };
        let log = subscriber(LogFormat::Text, EnvFilter::new("trace"), writer);
        let hostile = "\x1b[2K\x1b[1A\x1b[31m\u{9b}2J\n";
        tracing::dispatcher::with_default(&log, || {
            let span = tracing::info_span!("of", name = %hostile);
            span.in_scope(|| tracing::error!(path = %hostile, other = hostile, "{hostile}"));
        });
        lines.flush(SOON);
        let shown = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("\x1b[31mERROR\x1b[0m"), "{shown:?}");
        assert_eq!(shown.matches(r"\u{1b}[2K\u{1b}[1A\u{1b}[31m\u{9b}2J\n").count(), 4, "{shown:?}");
        let colours = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[31m"];
        let rest = colours.into_iter().fold(shown, |shown, colour| shown.replace(colour, ""));
        assert!(!rest.contains('\x1b') && rest.matches('\n').count() == 1, "{rest:?}");
    }

    #[test]
    fn an_error_is_shown_with_its_sources_and_steers_no_terminal_either() {
        #[derive(Debug)]
        struct Failed(io::Error);

        impl Display for Failed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("failed \x1b[2K\n")
            }
        }

        impl Error for Failed {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }

        let Given { lines, written, is_full } = given();
        drop(is_full);
        let writer = OneLine { lines: lines.clone(), escapes: Escapes::Coloured };
        let log = subscriber(LogFormat::Text, EnvFilter::new("trace"), writer);
        let failed = Failed(io::Error::other("for this cause \x1b[1A\n"));
        tracing::dispatcher::with_default(&log, || tracing::error!(error = &failed as &(dyn Error + 'static), "it"));
        lines.flush(SOON);
        let shown = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("failed ") && shown.contains("for this cause "), "{shown:?}");
        assert!(!shown.contains("\x1b[2K") && !shown.contains("\x1b[1A"), "{shown:?}");
        assert_eq!(shown.matches('\n').count(), 1, "{shown:?}");
    }

    #[test]
    fn no_directive_makes_a_crate_louder_than_it_may_be() {
        for asked in ["trace", "tungstenite::protocol=trace", "tungstenite::protocol[{message}]=trace", "[of]=trace"] {
            let Given { lines, written, is_full } = given();
            drop(is_full);
            let writer = OneLine { lines: lines.clone(), escapes: Escapes::Text };
            let log = subscriber(LogFormat::Text, EnvFilter::new(format!("info,{asked}")), writer);
            tracing::dispatcher::with_default(&log, || {
                tracing::info_span!("of").in_scope(|| {
                    tracing::trace!(target: "tungstenite::protocol", "a secret");
                    tracing::debug!(target: "notify::inotify", "an event");
                    tracing::info!(target: "tungstenite::protocol", "no message");
                    tracing::info!(target: "mio_like", "of another crate");
                });
            });
            lines.flush(SOON);
            let shown = String::from_utf8(written.lock().unwrap().clone()).unwrap();
            let said = ["a secret", "an event", "no message", "of another crate"].map(|said| shown.contains(said));
            assert_eq!(said, [false, false, true, true], "{asked}: {shown}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_count_is_written_later() {
        let given = given();
        // The second fails by the notice before it, the third after its own, and the fourth is written after one.
        let lines =
            [("one\n", &[true][..]), ("two\n", &[true]), ("three\n", &[false, true]), ("four\n", &[false, false])];
        for (line, writes) in lines {
            given.lines.say(line);
            writes.iter().for_each(|is_full| given.is_full.send(*is_full).unwrap());
        }
        given.lines.flush(SOON);
        let notices = [2, 1].map(|lost| format!("\n{lost} lines before this one could not be written\n"));
        assert_eq!(given.shown(), format!("{}four\n", notices.concat()));
    }

    #[test]
    fn who_says_something_never_waits_and_what_waits_is_bounded() {
        let given = given();
        let line = [&[b'x'; 1023], &b"\n"[..]].concat();
        let fits = ROOM / line.len();
        for _ in 0..3 * fits {
            given.lines.say(line.clone());
        }
        assert!(given.lines.counts.waiting.load(Relaxed) <= ROOM);
        // Nor is it waited for at the end.
        given.lines.flush(Duration::from_millis(10));
        assert_eq!(given.shown(), "");
        // The file has room again: each line is written, or counted before the next one that is.
        drop(given.is_full);
        given.lines.flush(SOON);
        given.lines.say("last\n");
        given.lines.flush(SOON);
        let shown = String::from_utf8(given.written.lock().unwrap().clone()).unwrap();
        let written = shown.lines().filter(|line| line.starts_with('x')).count();
        let counted: u64 =
            shown.lines().filter_map(|line| line.split_once(" lines before")?.0.parse::<u64>().ok()).sum();
        assert!(written <= fits, "{written}");
        assert_eq!(written as u64 + counted, 3 * fits as u64, "{written} {counted}");
    }
}
