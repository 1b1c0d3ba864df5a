//! As many streams as there is room for, idle, and those of one client revoked.
//!
//! `cargo bench --bench gateway -- http2` has 100,000 over 1,000 connections of HTTP/2, in one process; `http1` has
//! 19,000 over HTTP/1.1, which is what 20,000 descriptors allow one process; `port` has 100,000 over HTTP/1.1 in six
//! processes that share one port; `growth` has 10 to 100,000 over HTTP/2. They take `ulimit -n 20000` and 8 GB of memory.
//!
//! The contestants, each a process of its own on the same runtime:
//!
//! 1. The gateway, on its own loop that serves connections, all streams of one session.
//! 2. The library: who, what and for how long around an event stream of axum that says nothing, on `axum::serve`.
//! 3. Bare axum: that event stream with the heartbeat that axum has, on `axum::serve`. What revokes is one token of
//!    cancellation, on which all streams of the first client wait.
//!
//! Measured are, in this order: the time to open; memory and processor time of the server while all are idle; and from
//! the order to revoke the first of ten clients until the clients' sockets have had the ends of all its streams. What
//! others notice of it shows in ten streams besides, which get an event each five milliseconds: how long each takes, over
//! three seconds before, and over the second that begins with the order.

use std::{
    convert::Infallible,
    env, fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::{StreamExt, stream};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower_reauth::{
    BearerAuthLayer, RequireScopeLayer, Scope, StreamReauthLayer, Tokens, revoke::Revocations, verify::Token,
};

use crate::{
    EVENT_STREAM,
    crowd::{self, CLIENTS, Crowd, Protocol, Targets},
    load::Ask,
    plot::Plot,
    sample::{Length, SETTLED, Sample},
    served::{self, HEARTBEAT, Served, TOKEN, this_program},
    ticking::{Ticking, sender},
};

const CONTESTANT: &str = "GATEWAY_BENCH_CONTESTANT";
const FOLDER: &str = "GATEWAY_BENCH_CONTESTANTS_FOLDER";
const PORT: &str = "GATEWAY_BENCH_PORT";

const HISTORY: &str = "/sessions/agent:main:s/history";
const READ: Scope = Scope::from_static("operator.read");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Gateway,
    Library,
    Bare,
}

const ALL: [Contestant; 3] = [Contestant::Gateway, Contestant::Library, Contestant::Bare];

/// How many there are, and how they are measured.
#[derive(Clone, Copy)]
struct Run {
    protocol: Protocol,
    streams: usize,
    processes: usize,
    wanted: bool,
}

/// What so many streams took.
struct Figures {
    /// Seconds.
    opened: f64,
    /// Of a stream.
    kilobytes: f64,
    /// Milliseconds of processor time a second, while all are idle.
    busy: f64,
    revoked: Option<Revoked>,
}

/// Milliseconds.
struct Revoked {
    /// From the order to the ends.
    ends: Percentiles,
    /// From an event to a stream of another client, the 99th percentile: before, and since the order.
    events: [f64; 2],
}

pub fn http1(client: &Runtime, wanted: bool) {
    let streams = if wanted { 19_000 } else { 20 };
    table("over HTTP/1.1, in one process");
    for contestant in ALL {
        contestant.measure(client, Run { protocol: Protocol::Http1, streams, processes: 1, wanted });
    }
}

pub fn http2(client: &Runtime, wanted: bool) {
    let streams = if wanted { 100_000 } else { 20 };
    table("over HTTP/2, in one process");
    for contestant in ALL {
        contestant.measure(client, Run { protocol: Protocol::Http2, streams, processes: 1, wanted });
    }
}

/// The kernel deals the connections out to the processes.
pub fn one_port(client: &Runtime, wanted: bool) {
    let (streams, processes) = if wanted { (100_000, 6) } else { (20, 2) };
    table("over HTTP/1.1, in six processes on one port");
    for contestant in [Contestant::Gateway, Contestant::Bare] {
        contestant.measure(client, Run { protocol: Protocol::Http1, streams, processes, wanted });
    }
}

pub fn growth(client: &Runtime, wanted: bool) -> Plot<'static> {
    let counts = if wanted { [10, 100, 1_000, 10_000, 100_000].as_slice() } else { &[10, 20] };
    table("over HTTP/2, by their number");
    let names = [
        "until all are open, ms",
        "memory of one, kB",
        "idle, µs of processor time a second for each",
        "a tenth is revoked, until the last end, ms",
    ];
    let mut lines = names.map(|name| (name, Vec::new()));
    for &streams in counts {
        let run = Run { protocol: Protocol::Http2, streams, processes: 1, wanted };
        let Figures { opened, kilobytes, busy, revoked } = Contestant::Gateway.measure(client, run);
        let last = revoked.map_or(f64::NAN, |revoked| revoked.ends.last);
        let figures = [1e3 * opened, kilobytes, 1e3 * busy / streams as f64, last];
        for (line, figure) in lines.iter_mut().zip(figures) {
            line.1.push((streams as f64, figure));
        }
    }
    Plot { title: "What streams cost the gateway, over HTTP/2", x: "streams", y: "", lines: lines.into() }
}

fn table(title: &str) {
    println!("\nstreams {title}");
    println!(
        "                 opened, s | kB each | idle, ms/s | revoked, ms: median |     p99 |    last \
         | an event, p99, ms: before |   after"
    );
}

impl Contestant {
    fn measure(self, client: &Runtime, run: Run) -> Figures {
        let Run { protocol, streams, processes, wanted } = run;
        if wanted {
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            assert!(descriptors >= 20_000, "it takes 20,000 descriptors: ulimit -n");
        }
        let sample = Arc::new(Sample::new());
        sample.write("s", Length::Messages(1));
        sample.write("ticks", Length::Messages(1));
        sample.list(["s", "ticks"].into_iter());
        write_tokens(sample.folder(), 0);
        thread::sleep(SETTLED);

        let first = self.start(sample.folder(), 0);
        let address = first.address;
        let others = (1..processes).map(|_| self.start(sample.folder(), address.port()));
        let served: Vec<_> = [first].into_iter().chain(others).collect();
        let resident = || served.iter().map(Served::resident).sum::<f64>();
        let empty = resident();
        let crowd = Crowd::open(protocol, address, streams, &self.targets());
        let opened = crowd.opened.as_secs_f64();

        // Two heartbeats of each.
        let (rest, time) = if wanted { (2.0, 30.0) } else { (0.0, 0.05) };
        thread::sleep(Duration::from_secs_f64(rest));
        let times: Vec<_> = served.iter().map(Served::processor_times).collect();
        thread::sleep(Duration::from_secs_f64(time));
        let busy: u64 = served.iter().zip(&times).map(|(served, times)| served.busy_since(times)).sum();
        let busy = busy as f64 / 1e6 / time;
        let kilobytes = (resident() - empty) / 1e3 / streams as f64;

        print!("{streams:6} {:8} {opened:10.2} | {kilobytes:7.1} | {busy:10.1}", format!("{self:?}"));
        std::io::stdout().flush().expect("somebody reads it");
        // One token of cancellation ends the streams of one process alone.
        let can_revoke = self == Self::Gateway || processes == 1;
        let revoked = can_revoke.then(|| self.revoke(client, &sample, address, crowd, run));
        match &revoked {
            Some(Revoked { ends: Percentiles { median, p99, last }, events: [before, after] }) => {
                println!(" | {median:19.1} | {p99:7.1} | {last:7.1} | {before:25.1} | {after:7.1}");
            }
            None => println!(),
        }
        Figures { opened, kilobytes, busy, revoked }
    }

    fn start(self, folder: &Path, port: u16) -> Served {
        let mut program = this_program();
        let name = format!("{self:?}");
        Served::run(program.env(CONTESTANT, name).env(FOLDER, folder).env(PORT, port.to_string()))
    }

    fn targets(self) -> Targets {
        let (first, others) = match self {
            Self::Gateway => (HISTORY, HISTORY),
            Self::Library => ("/idle", "/idle"),
            Self::Bare => ("/leaving", "/idle"),
        };
        Targets { first: first.to_owned(), others: others.to_owned() }
    }

    /// Revokes the first client, while others listen.
    fn revoke(
        self,
        client: &Runtime,
        sample: &Arc<Sample>,
        address: SocketAddr,
        mut crowd: Crowd,
        run: Run,
    ) -> Revoked {
        let (before, after) = if run.wanted { (3_000, 1_000) } else { (50, 50) };
        let (before, after) = (Duration::from_millis(before), Duration::from_millis(after));
        client.block_on(async {
            let ticking = match self {
                Self::Gateway => {
                    let (sample, mut numbers) = (Arc::clone(sample), 1..);
                    let append = move || {
                        let number = numbers.next().expect("it does not end");
                        sample.append("ticks", number..number + 1);
                    };
                    let ask = Ask::get(address, "/sessions/agent:main:ticks/history", EVENT_STREAM);
                    Ticking::start(&ask, 2, append).await
                }
                Self::Library | Self::Bare => {
                    let publish = sender(address, Ask::post(address, "/publish/1", b""));
                    Ticking::start(&Ask::get(address, "/events", EVENT_STREAM), 0, publish).await
                }
            };
            sleep(before).await;
            let (start, ordered) = (Instant::now(), crowd::now());
            if run.processes == 1 {
                let order = format!("{{\"credential\":\"{}\"}}", name(0));
                Ask::post(address, "/revocations", order.as_bytes()).body().await;
            } else {
                // The file is what the processes have in common.
                write_tokens(sample.folder(), 1);
            }
            // The others stay open for as long as events are measured.
            let (ends, crowd) = spawn_blocking(move || (crowd.ends(), crowd)).await.expect("no client fails");
            sleep(after.saturating_sub(start.elapsed())).await;
            let events = ticking.finish().await;
            drop(crowd);

            let of = |range: Range<Instant>| {
                percentiles(events.iter().filter(|(then, _)| range.contains(then)).map(|(_, delay)| *delay)).p99
            };
            let events = [of(start - before..start), of(start..start + after)];
            let ends = percentiles(ends.into_iter().map(|end| end.saturating_sub(ordered) as f64 / 1e6));
            Revoked { ends, events }
        })
    }
}

struct Percentiles {
    median: f64,
    p99: f64,
    last: f64,
}

fn percentiles(values: impl Iterator<Item = f64>) -> Percentiles {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 100];
    Percentiles { median: at(50), p99: at(99), last: at(100) }
}

/// The id of a client's token.
fn name(client: usize) -> String {
    format!("client-{client}")
}

/// The gateway's file of tokens, with those of the clients from this one on; and ours, which may all.
fn write_tokens(folder: &Path, first: usize) {
    let token = |id: &str, secret: &str, scopes: &str| {
        format!("[[token]]\nid = {id:?}\nsubject = {id:?}\nsecret = {secret:?}\nscopes = [{scopes}]\n")
    };
    let mut file = token("operator", TOKEN, "\"operator.admin\"");
    for client in first..CLIENTS {
        file += &token(&name(client), &crowd::secret(client), "\"operator.read\"");
    }
    let (new, path) = (folder.join("tokens.new"), tokens(folder));
    fs::write(&new, file).and_then(|()| fs::rename(new, path)).expect("there is room");
}

fn tokens(folder: &Path) -> PathBuf {
    folder.join("tokens.toml")
}

/// Serves, if this process was started for that, until it is killed.
pub fn run_if_asked() -> bool {
    let (Ok(contestant), Some(folder)) = (env::var(CONTESTANT), env::var_os(FOLDER)) else { return false };
    let port = env::var(PORT).expect("it was said").parse().expect("a port");
    served::runtime().block_on(async {
        let listener = listen(port).expect("the port can be shared");
        let contestant = ALL.into_iter().find(|other| format!("{other:?}") == contestant);
        let app = match contestant.expect("it is one of them") {
            Contestant::Gateway => {
                let folder = Path::new(&folder);
                // Of each process: what is revoked is kept there.
                let data = folder.join(format!("data-{}", process::id()));
                fs::create_dir(&data).expect("there is room");
                let [state, data, tokens] = [folder.to_owned(), data, tokens(folder)].map(PathBuf::into_os_string);
                let [state, data, tokens] = [&state, &data, &tokens].map(|path| path.to_str().expect("a plain path"));
                // A connection for each stream, as far as there are descriptors.
                let flags =
                    ["--state-dir", state, "--data-dir", data, "--tokens", tokens, "--max-connections", "20000"];
                return served::gateway(listener, &flags).await;
            }
            Contestant::Library => library(),
            Contestant::Bare => bare(),
        };
        served::announce(&listener);
        let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("it is a socket"));
        axum::serve(listener, app).await.expect("it serves for ever");
    });
    true
}

/// At a port that several processes may share, and with room for as many clients at once as the gateway has.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)
}

fn library() -> Router {
    let clients = (0..CLIENTS).map(|client| (name(client), crowd::secret(client)));
    let all = clients.chain([("operator".to_owned(), TOKEN.to_owned())]);
    let tokens = Tokens::new(all.map(|(id, secret)| Token::new(&id, secret).with_scopes(READ)));
    let revocations = Revocations::new();
    let (events, publish) = served::published();
    let streams = Router::new()
        .route("/idle", get(async || Sse::new(stream::pending::<Result<Event, Infallible>>())))
        .route("/events", events)
        .layer(StreamReauthLayer::new().with_heartbeat(HEARTBEAT))
        .layer(RequireScopeLayer::new(READ))
        .layer(BearerAuthLayer::new(tokens.expect("they differ")).with_revocations(&revocations));
    let revoke = post(async move || revocations.revoke(&name(0)));
    streams.route("/publish/{times}", publish).route("/revocations", revoke)
}

fn bare() -> Router {
    let (events, publish) = served::published();
    let leave = CancellationToken::new();
    let left = leave.clone();
    let leaving = async move || {
        let nothing = stream::pending::<Result<Event, Infallible>>().take_until(left.cancelled_owned());
        Sse::new(nothing).keep_alive(KeepAlive::new().interval(HEARTBEAT))
    };
    Router::new()
        .route("/idle", get(served::idle))
        .route("/leaving", get(leaving))
        .route("/events", events)
        .route("/publish/{times}", publish)
        .route("/revocations", post(async move || leave.cancel()))
}
