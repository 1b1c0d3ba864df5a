//! What the gateway costs, beside the least that it could cost.
//!
//! `cargo bench --bench gateway`: criterion's figures for a first look at a transcript, then one table
//! for each question, with the gateway, the bare limit and the ratio; two plots are written to
//! `benches/plots`. It takes some minutes, 2 GB of disk and 10,100 sockets (`ulimit -n`). A name after
//! `--` (pages, lengths, idle, fan-out, busy, commits, million, start) asks for one table only. One more stands
//! the gateway beside OpenClaw: see [`Peer`]; and four more, only if they are named, have as many streams as
//! there is room for: see [`many`].

#[path = "shared/crowd.rs"]
mod crowd;
// The whole example is opened. A bench needs neither its `main` nor, without a harness, what its tests
// import.
#[allow(dead_code, unused_imports)]
#[path = "../examples/gateway.rs"]
mod example;
#[path = "shared/load.rs"]
mod load;
#[path = "shared/many.rs"]
mod many;
#[path = "shared/plot.rs"]
mod plot;
// What takes long is timed here and not in its rounds.
#[allow(dead_code)]
#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/sample.rs"]
mod sample;
#[path = "shared/served.rs"]
mod served;
#[path = "shared/ticking.rs"]
mod ticking;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use tokio::runtime::{Builder, Runtime};

// The rooms of the example name each other by these paths.
use example::{auth, config, demo, files, http, json, live, measure, nodes, plain, serve, sessions, systemd, tls};
#[cfg(feature = "edge")]
use example::{edge, upstream};
use load::{Ask, Asking, Listeners};
use plot::Plot;
use rounds::median;
use sample::{Length, SETTLED, Sample, Stored};
use served::{Role, Served};
use sessions::{
    record::History,
    transcript::{Place, Transcript},
};

const MIB: u64 = 1024 * 1024;
/// How often a page is asked for again in one round.
const ASKED_AGAIN: usize = 5;
const EVENT_STREAM: &str = "text/event-stream";

/// How much is done: enough for figures, or enough to see that it works.
struct Scale {
    rounds: usize,
    time: Duration,
    sizes: &'static [u64],
    streams: &'static [usize],
    sessions: usize,
    /// Messages of a session that is long.
    many: usize,
}

fn main() {
    if served::run_if_asked() || many::run_if_asked() || crowd::run_if_asked() {
        return;
    }
    let wanted = rounds::are_wanted();
    let scale = if wanted {
        Scale {
            rounds: 9,
            time: Duration::from_millis(400),
            sizes: &[MIB, 16 * MIB, 128 * MIB, 1024 * MIB],
            streams: &[100, 1_000, 10_000],
            sessions: 10_000,
            many: 1_000_000,
        }
    } else {
        Scale { rounds: 1, time: Duration::from_millis(20), sizes: &[MIB], streams: &[3], sessions: 30, many: 100 }
    };
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    first_look(&mut criterion, if wanted { 64 * MIB } else { MIB });
    criterion.final_summary();

    // The client has a thread of its own, and the contestants have processes of their own.
    let client = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let filter = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_chosen = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter));
    let save = |plot: Plot<'_>, name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plots").join(name);
        if wanted {
            plot.save(&path).expect("the plot can be written");
        }
    };
    if is_chosen("pages") {
        pages(&client, &scale);
    }
    if let Some(peer) = Peer::of_environment().filter(|_| is_chosen("peer")) {
        beside(&client, &scale, &peer);
    }
    if is_chosen("lengths") {
        save(lengths(&client, &scale), "length.svg");
    }
    if is_chosen("idle") {
        save(idle(&client, &scale), "streams.svg");
    }
    if is_chosen("fan-out") {
        fan_out(&client, &scale);
    }
    if is_chosen("busy") {
        busy(&client, &scale);
    }
    if is_chosen("commits") {
        commits(&client, &scale);
    }
    if is_chosen("million") {
        million(&client, &scale);
    }
    if is_chosen("start") {
        start(&client, &scale);
    }
    // They take more descriptors, ports and memory than is to be had everywhere.
    let is_named = |name: &str| if wanted { filter.as_deref() == Some(name) } else { is_chosen(name) };
    if is_named("http1") {
        many::http1(&client, wanted);
    }
    if is_named("http2") {
        many::http2(&client, wanted);
    }
    if is_named("port") {
        many::one_port(&client, wanted);
    }
    if is_named("growth") {
        save(many::growth(&client, wanted), "many.svg");
    }
}

/// One pass over a transcript that nobody has looked at, beside the search for its line ends.
fn first_look(criterion: &mut Criterion, bytes: u64) {
    let sample = Sample::new();
    let (size, _) = sample.write("t", Length::Bytes(bytes));
    let path = sample.transcript("t");
    let mut group = criterion.benchmark_group("first look");
    group.throughput(Throughput::Bytes(size));
    group.bench_function("indexed", |bencher| {
        bencher.iter(|| Transcript::new(Place::File(path.clone())).view().expect("it can be read").len());
    });
    group.bench_function("bare: read whole, line ends found", |bencher| {
        bencher.iter(|| memchr::memchr_iter(b'\n', &fs::read(&path).expect("it can be read")).count());
    });
}

/// Pages of 2,000 messages in a database and in a file, beside the same bytes ready-made.
fn pages(client: &Runtime, scale: &Scale) {
    const MESSAGES: usize = 2_000;
    let stored = Sample::new();
    let _database = Stored::write(&stored, "s", MESSAGES);
    let sample = Sample::new();
    sample.write("s", Length::Messages(MESSAGES));
    sample.list(["s"].into_iter());
    thread::sleep(SETTLED);
    println!("\na page, 16 connections              bytes | requests/s | bare axum | ratio");
    for (store, folder) in [("database", stored.folder()), ("file", sample.folder())] {
        let ready = Sample::new();
        let gateway = Served::start(Role::Gateway, folder);
        let queries = [("limit=50", "fifty"), ("limit=1", "one"), ("limit=50&cursor=1000", "cursor")];
        client.block_on(async {
            let ours = queries.map(|(query, _)| history(&gateway, "s", query));
            for (ask, (_, name)) in ours.iter().zip(queries) {
                fs::write(ready.folder().join(name), ask.body().await).expect("there is room");
            }
            let bare = Served::start(Role::Bare, ready.folder());
            for (ask, (query, name)) in ours.iter().zip(queries) {
                let limit = Ask::get(bare.address, &format!("/bodies/{name}"), "*/*");
                let bytes = limit.body().await.len();
                let mut rates = [Vec::new(), Vec::new(), Vec::new()];
                for _ in 0..3 * scale.rounds {
                    let (ours, bare) = (ask.rate(16, scale.time).await, limit.rate(16, scale.time).await);
                    rates[0].push(ours);
                    rates[1].push(bare);
                    rates[2].push(ours / bare);
                }
                let [ours, bare, ratio] = rates.map(median);
                println!("{store:8} {query:22} {bytes:9} | {ours:10.0} | {bare:9.0} | {ratio:5.2}");
            }
        });
    }
}

/// OpenClaw, started by hand on a state folder with a session `agent:main:s`, and with the bench's token.
struct Peer {
    /// `OPENCLAW_ADDRESS`
    address: SocketAddr,
    /// `OPENCLAW_STATE_DIR`
    folder: PathBuf,
}

impl Peer {
    fn of_environment() -> Option<Self> {
        let address = env::var("OPENCLAW_ADDRESS").ok()?.parse().expect("an address and a port");
        Some(Self { address, folder: env::var_os("OPENCLAW_STATE_DIR")?.into() })
    }
}

/// Pages of the folder of a peer, by the peer, by the gateway and ready-made.
fn beside(client: &Runtime, scale: &Scale, peer: &Peer) {
    /// So that the slowest of them answers some dozens of times in a round.
    const PEERS_TIME: u32 = 3;
    let ready = Sample::new();
    let gateway = Served::start(Role::Gateway, &peer.folder);
    println!("\na page, 16 connections        bytes | requests/s | OpenClaw | times | bare axum | ratio");
    client.block_on(async {
        let queries = [("limit=50", "fifty"), ("limit=1", "one"), ("limit=50&cursor=1000", "cursor")];
        for (query, name) in queries {
            fs::write(ready.folder().join(name), history(&gateway, "s", query).body().await).expect("there is room");
        }
        let bare = Served::start(Role::Bare, ready.folder());
        for (query, name) in queries {
            let ours = history(&gateway, "s", query);
            let theirs = Ask::get(peer.address, &format!("/sessions/agent:main:s/history?{query}"), "*/*");
            let limit = Ask::get(bare.address, &format!("/bodies/{name}"), "*/*");
            let bytes = ours.body().await;
            assert!(bytes == theirs.body().await, "both answer the same bytes");
            let mut rates = [const { Vec::new() }; 5];
            for _ in 0..scale.rounds {
                let theirs = theirs.rate(16, PEERS_TIME * scale.time).await;
                let ours = ours.rate(16, scale.time).await;
                let bare = limit.rate(16, scale.time).await;
                for (rates, rate) in rates.iter_mut().zip([ours, theirs, ours / theirs, bare, ours / bare]) {
                    rates.push(rate);
                }
            }
            let [ours, theirs, times, bare, ratio] = rates.map(median);
            let bytes = bytes.len();
            println!("{query:22} {bytes:12} | {ours:10.0} | {theirs:8.0} | {times:5.0} | {bare:9.0} | {ratio:5.2}");
        }
    });
}

/// From a commit of another process until open streams have it, and what that takes of the gateway.
fn commits(client: &Runtime, scale: &Scale) {
    println!("\na commit, milliseconds    until all have it | processor time");
    for streams in [1].iter().chain(scale.streams) {
        let sample = Sample::new();
        let mut database = Stored::write(&sample, "s", 5);
        let gateway = Served::start(Role::Gateway, sample.folder());
        let ask = Ask::get(gateway.address, "/sessions/agent:main:s/history", EVENT_STREAM);
        client.block_on(async {
            let listeners = Listeners::open(&ask, *streams, 2).await;
            let (mut latencies, mut busy) = (Vec::new(), Vec::new());
            for number in 5..5 + 3 * scale.rounds {
                // What the last commit set going is over.
                tokio::time::sleep(SETTLED).await;
                let times = gateway.processor_times();
                database.append("s", number..number + 1);
                let start = Instant::now();
                listeners.hear(*streams).await;
                latencies.push(start.elapsed().as_secs_f64() * 1e3);
                busy.push(gateway.busy_since(&times) as f64 / 1e6);
            }
            println!("{streams:6} streams {:29.1} | {:10.1}", median(latencies), median(busy));
            listeners.close().await;
        });
    }
}

/// The first page of a long session in a database, which nobody has looked at.
fn million(client: &Runtime, scale: &Scale) {
    let sample = Sample::new();
    drop(Stored::write(&sample, "s", scale.many));
    let (mut times, mut resident, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let gateway = Served::start(Role::Gateway, sample.folder());
        let before = gateway.resident();
        client.block_on(async {
            let mut asking = history(&gateway, "s", "limit=50").open().await;
            times.push(asking.milliseconds().await);
        });
        resident.push(gateway.resident() / MIB as f64);
        more.push((gateway.resident() - before) / MIB as f64);
    }
    let [times, resident, more] = [times, resident, more].map(median);
    println!("\nthe first page of {} messages in a database", scale.many);
    println!("milliseconds {times:.1}, resident MiB {resident:.1}, of which for the page {more:.1}");
}

/// What the length of a transcript costs: the first look, later ones, and the one after an append.
///
/// All lengths are there at once and take turns, so that whatever else the machine does hits them alike.
fn lengths(client: &Runtime, scale: &Scale) -> Plot<'static> {
    println!(
        "\nlimit=1 by length, milliseconds      first | remembered |   read | after an append | GB/s at first | bytes a line"
    );
    let mut lines = vec![("first look", vec![]), ("remembered", vec![]), ("read", vec![]), ("after an append", vec![])];
    client.block_on(async {
        let mut lengths = Vec::new();
        for size in scale.sizes {
            lengths.push(Long::open(*size).await);
        }
        for round in 0..8 * scale.rounds {
            // Each round in another order: from another one on, forwards or backwards.
            let mut order: Vec<_> = lengths.iter_mut().collect();
            order.rotate_left(round / 2 % scale.sizes.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for length in &mut order {
                length.append().await;
            }
            thread::sleep(SETTLED);
            for length in &mut order {
                length.remember().await;
            }
        }
        for Long { size, messages, first, busy, kept, remembered, read, appended, .. } in lengths {
            let (remembered, read, appended) = (median(remembered), median(read), median(appended));
            println!(
                "{:9.0} MiB, {messages:7} messages {first:9.1} | {remembered:10.3} | {read:6.3} | {appended:15.3} | {:13.2} | {:12.0}",
                size / MIB as f64,
                size / busy,
                kept / messages as f64
            );
            for (line, figure) in lines.iter_mut().zip([first, remembered, read, appended]) {
                line.1.push((size / MIB as f64, figure));
            }
        }
    });
    Plot { title: "A page of one message, by the length of the transcript", x: "MiB", y: "ms", lines }
}

/// A transcript, a gateway of its own, and what its pages took.
struct Long {
    sample: Sample,
    _served: Served,
    asking: Asking,
    size: f64,
    /// As many as there were at first.
    messages: usize,
    appends: usize,
    first: f64,
    /// Processor time of the first look, in nanoseconds, and the memory that it left behind.
    busy: f64,
    kept: f64,
    remembered: Vec<f64>,
    read: Vec<f64>,
    appended: Vec<f64>,
}

impl Long {
    async fn open(size: u64) -> Self {
        let sample = Sample::new();
        let (size, messages) = sample.write("s", Length::Bytes(size));
        sample.list(["s"].into_iter());
        thread::sleep(SETTLED);
        let served = Served::start(Role::Gateway, sample.folder());
        let mut asking = history(&served, "s", "limit=1").open().await;
        let (resident, times) = (served.resident(), served.processor_times());
        let first = asking.milliseconds().await;
        let busy = served.busy_since(&times) as f64;
        let kept = served.resident() - resident;
        let (remembered, read, appended) = (Vec::new(), Vec::new(), Vec::new());
        let (size, _served, appends) = (size as f64, served, 0);
        Self { sample, _served, asking, size, messages, appends, first, busy, kept, remembered, read, appended }
    }

    /// Asks after an append, and again: so soon after a change a page is read each time.
    async fn append(&mut self) {
        let next = self.messages + self.appends;
        self.sample.append("s", next..next + 1);
        self.appends += 1;
        self.appended.push(self.asking.milliseconds().await);
        for _ in 0..ASKED_AGAIN {
            self.read.push(self.asking.milliseconds().await);
        }
    }

    /// Asks for what can be remembered by now, and again.
    async fn remember(&mut self) {
        self.asking.milliseconds().await;
        for _ in 0..ASKED_AGAIN {
            self.remembered.push(self.asking.milliseconds().await);
        }
    }
}

/// What streams cost that have nothing to say.
fn idle(client: &Runtime, scale: &Scale) -> Plot<'static> {
    println!("\nidle streams       resident, MiB   bare | ratio | busy, ms/s   bare | ratio");
    let mut lines = vec![("gateway", vec![]), ("bare axum", vec![])];
    let sample = Sample::new();
    sample.write("s", Length::Messages(1));
    sample.list(["s"].into_iter());
    for streams in scale.streams {
        let gateway = Served::start(Role::Gateway, sample.folder());
        let bare = Served::start(Role::Bare, sample.folder());
        let asks = [
            (&gateway, Ask::get(gateway.address, "/sessions/agent:main:s/history", EVENT_STREAM), 2),
            (&bare, Ask::get(bare.address, "/idle", EVENT_STREAM), 0),
        ];
        client.block_on(async {
            let mut figures = Vec::new();
            for (served, ask, beginning) in &asks {
                let listeners = Listeners::open(ask, *streams, *beginning).await;
                // Long enough for each stream to have had a heartbeat or two.
                let time = if scale.rounds > 1 { Duration::from_secs(30) } else { scale.time };
                let times = served.processor_times();
                tokio::time::sleep(time).await;
                let busy = served.busy_since(&times) as f64 / 1e6 / time.as_secs_f64();
                figures.push((served.resident() / MIB as f64, busy));
                listeners.close().await;
            }
            let [ours, limit] = figures[..] else { return };
            println!(
                "{streams:6} streams {:18.1} | {:6.1} | {:5.2} | {:10.2} | {:6.2} | {:5.2}",
                ours.0,
                limit.0,
                ours.0 / limit.0,
                ours.1,
                limit.1,
                ours.1 / limit.1
            );
            for (line, figure) in lines.iter_mut().zip([ours, limit]) {
                line.1.push((*streams as f64, figure.0));
            }
        });
    }
    Plot { title: "Memory of a server, by the streams that are open and idle", x: "streams", y: "MiB", lines }
}

/// Appends that go to every stream of a session, beside ready-made bytes that do.
fn fan_out(client: &Runtime, scale: &Scale) {
    const BURST: usize = 10;
    println!("\nfan-out            events/s |   bare | ratio");
    for streams in scale.streams {
        let sample = Sample::new();
        sample.write("s", Length::Messages(5));
        sample.list(["s"].into_iter());
        let gateway = Served::start(Role::Gateway, sample.folder());
        let bare = Served::start(Role::Bare, sample.folder());
        let ask = Ask::get(gateway.address, "/sessions/agent:main:s/history", EVENT_STREAM);
        let limit = Ask::get(bare.address, "/events", EVENT_STREAM);
        let publish = Ask::post(bare.address, &format!("/publish/{BURST}"), b"");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut appended = 5;
        client.block_on(async {
            // One after the other: together they might need more sockets than there are.
            for _ in 0..scale.rounds.div_ceil(3) {
                let listeners = Listeners::open(&ask, *streams, 2).await;
                for _ in 0..3 {
                    let start = Instant::now();
                    sample.append("s", appended..appended + BURST);
                    appended += BURST;
                    listeners.hear(streams * BURST).await;
                    ours.push((streams * BURST) as f64 / start.elapsed().as_secs_f64());
                }
                listeners.close().await;
                let listeners = Listeners::open(&limit, *streams, 0).await;
                for _ in 0..3 {
                    let start = Instant::now();
                    publish.body().await;
                    listeners.hear(streams * BURST).await;
                    theirs.push((streams * BURST) as f64 / start.elapsed().as_secs_f64());
                }
                listeners.close().await;
            }
        });
        let (ours, bare) = (median(ours), median(theirs));
        println!("{streams:6} streams {ours:13.0} | {bare:6.0} | {:5.2}", ours / bare);
    }
}

/// How long a page takes while streams of other sessions take events.
fn busy(client: &Runtime, scale: &Scale) {
    /// Each is appended to once a second.
    const SESSIONS: usize = 100;
    const APART: Duration = Duration::from_millis(2);
    let Some(streams) = scale.streams.last() else { return };
    let sample = Sample::new();
    let names: Vec<_> = (0..SESSIONS).map(|number| format!("s{number}")).collect();
    sample.list(names.iter().map(String::as_str).chain(["quiet"]));
    for name in names.iter().map(String::as_str).chain(["quiet"]) {
        sample.write(name, Length::Messages(5));
    }
    thread::sleep(SETTLED);
    let gateway = Served::start(Role::Gateway, sample.folder());
    let ask = history(&gateway, "quiet", "limit=1");
    let time = 25 * scale.time;
    let alone = load::latencies(&ask, APART, time);
    let (idle, busy) = client.block_on(async {
        let mut listeners = Vec::new();
        for name in &names {
            let ask = Ask::get(gateway.address, &format!("/sessions/agent:main:{name}/history"), EVENT_STREAM);
            listeners.push(Listeners::open(&ask, streams.div_ceil(SESSIONS), 2).await);
        }
        let measure = || {
            let ask = ask.clone();
            tokio::task::spawn_blocking(move || load::latencies(&ask, APART, time))
        };
        let idle = measure().await.expect("it does not panic");
        let mut busy = measure();
        let mut due = tokio::time::interval(Duration::from_secs(1) / SESSIONS as u32);
        let mut appended = 0;
        let busy = loop {
            tokio::select! {
                busy = &mut busy => break busy.expect("it does not panic"),
                _ = due.tick() => {
                    let number = 5 + appended / SESSIONS;
                    sample.append(&names[appended % SESSIONS], number..number + 1);
                    appended += 1;
                }
            }
        };
        (idle, busy)
    });
    println!("\na page beside {streams} streams, milliseconds    median |   p99 | p99, times the first");
    let least = percentile(&alone, 99);
    for (what, latencies) in [("without any", alone), ("idle", idle), ("100 appends a second", busy)] {
        let (median, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        println!("{what:40} {median:11.3} | {p99:5.3} | {:6.2}", p99 / least);
    }
}

fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// From the start of the process to the first page out of a large store.
fn start(client: &Runtime, scale: &Scale) {
    let sample = Sample::new();
    let names: Vec<_> = (0..scale.sessions).map(|number| format!("s{number}")).collect();
    sample.list(names.iter().map(String::as_str));
    sample.write("s7", Length::Messages(10));
    let (mut listens, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let begin = Instant::now();
        let gateway = Served::start(Role::Gateway, sample.folder());
        listens.push(begin.elapsed().as_secs_f64() * 1e3);
        client.block_on(history(&gateway, "s7", "limit=1").body());
        answers.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    println!("\nstart with {} sessions, milliseconds", scale.sessions);
    println!("until it listens {:.1}, until the first page is there {:.1}", median(listens), median(answers));
}

fn history(served: &Served, session: &str, query: &str) -> Ask {
    Ask::get(served.address, &format!("/sessions/agent:main:{session}/history?{query}"), "application/json")
}
