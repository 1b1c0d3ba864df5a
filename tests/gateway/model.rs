//! Writers of every kind against clients that follow, and clients that are cut and go on where they were.
//!
//! Whatever a writer does, and whenever a client is cut, a client shows in the end what a fresh gateway shows; until
//! then it is sent each message once, with the number that follows, and none that nobody wrote.
//!
//! Ten seeds are tried. `MODEL_SEEDS=1000` tries so many, `MODEL_SEEDS=17..18` those.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::Write,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Request, Response},
    house::{House, TOKEN},
    process::Start,
    state::State,
};

/// How many seeds are tried at a time.
const AT_ONCE: usize = 5;

/// How many messages a stream begins with at most: the newest.
const MOST: usize = 1000;

/// How long a client may take to show what it should.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_repeated_or_wrong_whatever_is_written_and_whoever_is_cut() {
    let seeds = seeds();
    let state = State::seeded();
    let rows: serde_json::Map<_, _> =
        seeds.clone().map(|seed| (key(seed), json!({ "sessionId": format!("s{seed}"), "updatedAt": 1 }))).collect();
    state.write_store(&Value::from(rows));
    let house = House::over(state);
    let next = AtomicU64::new(seeds.start);
    let (sessions, address) = (house.state.sessions(), house.gateway.address);
    let run = || {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        seeds.contains(&seed).then(|| Run::new(&sessions, address, seed).run()).map(|shown| (seed, shown))
    };
    let work = || std::iter::from_fn(run).collect::<Vec<_>>();
    let shown: HashMap<u64, Shown> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no seed fails")).collect()
    });
    assert_eq!(shown.len() as u64, seeds.end - seeds.start);

    let fresh = Start::new().arg_state(&house.state).args(["--token", TOKEN]).run();
    for (seed, shown) in shown {
        assert_eq!(page(fresh.address, seed), shown, "seed {seed}");
    }
}

fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("MODEL_SEEDS") else { return 0..10 };
    let number = |text: &str| text.parse().expect("MODEL_SEEDS is a number, or two");
    match seeds.split_once("..") {
        None => 0..number(&seeds),
        Some((start, end)) => number(start)..number(end),
    }
}

fn key(seed: u64) -> String {
    format!("agent:main:s{seed}")
}

/// What a client shows: the number of each message, and its text.
type Shown = Vec<(u64, String)>;

fn shown(history: &Value) -> Shown {
    history["messages"].as_array().expect("messages").iter().map(one_shown).collect()
}

fn one_shown(message: &Value) -> (u64, String) {
    let seq = message["__openclaw"]["seq"].as_u64().expect("a number");
    (seq, message["content"].as_str().expect("a text").to_owned())
}

fn page(address: SocketAddr, seed: u64) -> Shown {
    let request = Request::new("GET", &format!("/sessions/{}/history", key(seed)));
    let start = Instant::now();
    loop {
        let request = request.clone().header("Authorization", &format!("Bearer {TOKEN}"));
        let answer = request.send(address).expect("an answer");
        if answer.status == 200 {
            return shown(&serde_json::from_str(&answer.text()).expect("JSON"));
        }
        // While it is written over.
        assert_eq!(answer.status, 503);
        assert!(start.elapsed() < PATIENCE, "{answer:?}");
    }
}

/// SplitMix64, by Sebastiano Vigna.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A record as it stands in the file.
#[derive(Clone)]
struct Record {
    id: String,
    parent: Option<String>,
    text: String,
}

impl Record {
    fn line(&self) -> String {
        let message = json!({ "role": "user", "content": self.text });
        let record = match &self.parent {
            None => json!({ "type": "message", "id": self.id, "message": message }),
            Some(parent) if parent.is_empty() => {
                json!({ "type": "message", "id": self.id, "parentId": null, "message": message })
            }
            Some(parent) => json!({ "type": "message", "id": self.id, "parentId": parent, "message": message }),
        };
        format!("{record}\n")
    }
}

/// A transcript that is written in every way.
struct Writer {
    path: PathBuf,
    random: Random,
    records: Vec<Record>,
    /// Whether each names the one before it.
    is_linked: bool,
    count: usize,
    written: HashSet<String>,
}

impl Writer {
    fn record(&mut self, parent: Option<String>) -> Record {
        self.count += 1;
        let text = format!("{} {}", self.count, "x".repeat(self.random.below(200)));
        self.written.insert(text.clone());
        Record { id: format!("r{}", self.count), parent, text }
    }

    fn next(&mut self) -> Record {
        let last = self.records.last().map_or_else(String::new, |last| last.id.clone());
        let record = self.record(self.is_linked.then_some(last));
        self.records.push(record.clone());
        record
    }

    fn some(&mut self, count: usize) -> String {
        (0..count).map(|_| self.next().line()).collect()
    }

    fn append(&self, text: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).expect("a transcript");
        file.write_all(text).expect("an append");
    }

    fn content(&self) -> String {
        self.records.iter().map(Record::line).collect()
    }

    fn begin_anew(&mut self) -> String {
        self.records.clear();
        self.is_linked = self.random.once_in(2);
        let count = self.random.below(20);
        self.some(count)
    }

    fn pause(&mut self) {
        if self.random.once_in(2) {
            thread::sleep(Duration::from_millis(self.random.below(30) as u64));
        }
    }

    /// One thing that happens to the file.
    fn step(&mut self) {
        match self.random.below(14) {
            0..=3 => {
                let line = self.some(1);
                self.append(line.as_bytes());
            }
            4 => {
                for _ in 0..self.random.below(50) {
                    let line = self.some(1);
                    self.append(line.as_bytes());
                }
            }
            5 => {
                let count = [5, 40, 200, 1500][self.random.below(4)];
                let lines = self.some(count);
                self.append(lines.as_bytes());
            }
            6 => {
                let line = self.some(1);
                let (start, rest) = line.split_at(self.random.below(line.len()));
                self.append(start.as_bytes());
                self.pause();
                self.append(rest.as_bytes());
            }
            7 if self.is_linked => {
                // A child that stands before its parent.
                let (parent, child) = (self.next(), self.next());
                let at = self.records.len() - 2;
                self.records.swap(at, at + 1);
                self.append((child.line() + &parent.line()).as_bytes());
                // The next one follows the child.
                let next = self.record(Some(child.id));
                self.append(next.line().as_bytes());
                self.records.push(next);
            }
            8 | 9 if !self.records.is_empty() => self.write_over_one(),
            10 => {
                let content = self.begin_anew();
                let new = self.path.with_extension("new");
                fs::write(&new, content).expect("a transcript");
                fs::rename(new, &self.path).expect("a transcript in its place");
            }
            11 if !self.records.is_empty() => {
                let left = self.random.below(self.records.len());
                self.records.truncate(left);
                let size = self.content().len() as u64;
                open(&self.path).set_len(size).expect("it is cut");
            }
            12 => {
                let content = self.begin_anew();
                fs::write(&self.path, content).expect("a transcript");
            }
            13 => {
                let content = self.begin_anew();
                // It may be gone already.
                let _ = fs::remove_file(&self.path);
                self.pause();
                fs::write(&self.path, content).expect("a transcript");
            }
            _ => {}
        }
    }

    /// One message in the middle says something else, as long as before or not.
    fn write_over_one(&mut self) {
        let at = self.random.below(self.records.len());
        let mut text = self.records[at].text.replace(['x', 'y'], if self.random.once_in(2) { "x" } else { "y" });
        if self.random.once_in(3) {
            text.push('z');
        }
        self.written.insert(text.clone());
        let is_as_long = text.len() == self.records[at].text.len();
        self.records[at].text = text;
        let content = self.content();
        let mut file = open(&self.path);
        let modified = file.metadata().and_then(|file| file.modified()).expect("a time");
        file.write_all(content.as_bytes()).expect("it is written over");
        file.set_len(content.len() as u64).expect("it is cut");
        if is_as_long && self.random.once_in(2) {
            file.set_modified(modified).expect("the time is put back");
        }
    }
}

fn newest(shown: &Shown) -> &[(u64, String)] {
    &shown[shown.len().saturating_sub(MOST)..]
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).expect("a transcript")
}

struct Run {
    address: SocketAddr,
    seed: u64,
    writer: Writer,
    clients: Vec<Client>,
}

impl Run {
    fn new(sessions: &Path, address: SocketAddr, seed: u64) -> Self {
        let path = sessions.join(format!("s{seed}.jsonl"));
        let random = Random(seed);
        let mut writer =
            Writer { path, random, records: Vec::new(), is_linked: false, count: 0, written: HashSet::new() };
        let content = writer.begin_anew();
        fs::write(&writer.path, content).expect("a transcript");
        let clients = [0, 4, 2].map(|cut| Client { stays: cut, ..Client::default() }).into();
        Self { address, seed, writer, clients }
    }

    /// What all clients show in the end.
    fn run(mut self) -> Shown {
        for _ in 0..25 {
            self.writer.step();
            self.clients_look(Duration::ZERO);
            self.writer.pause();
        }
        let expected = page(self.address, self.seed);
        let start = Instant::now();
        while self.clients.iter().any(|client| newest(&client.shown) != newest(&expected)) {
            if start.elapsed() > PATIENCE {
                let shown = self.clients.iter().map(|client| client.shown.len()).collect::<Vec<_>>();
                panic!("seed {}: {} messages, the clients show {shown:?}", self.seed, expected.len());
            }
            self.clients_look(Duration::from_millis(10));
        }
        expected
    }

    fn clients_look(&mut self, within: Duration) {
        for client in &mut self.clients {
            client.looks(self.address, self.seed, within, &self.writer.written);
            // A client that is cut before anything has come would never get on.
            if client.has_seen && client.stays > 0 && self.writer.random.once_in(client.stays) {
                (client.stream, client.has_seen) = (None, false);
            }
        }
    }
}

#[derive(Default)]
struct Client {
    /// It is cut once in so many looks; 0: never.
    stays: usize,
    stream: Option<Response>,
    /// Whether this stream has brought an event.
    has_seen: bool,
    /// The id of the last event.
    id: Option<String>,
    shown: Shown,
}

impl Client {
    fn looks(&mut self, address: SocketAddr, seed: u64, within: Duration, written: &HashSet<String>) {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let request = Request::new("GET", &format!("/sessions/{}/history?resume", key(seed)));
                let request = request.header("Authorization", &format!("Bearer {TOKEN}"));
                let request = request.header("Accept", "text/event-stream");
                let request = match &self.id {
                    None => request,
                    Some(id) => request.header("Last-Event-ID", id),
                };
                let stream = request.send(address).expect("an answer");
                if stream.status == 503 {
                    return;
                }
                assert_eq!(stream.status, 200, "seed {seed}");
                none.insert(stream)
            }
        };
        for block in stream.take_blocks(within.max(Duration::from_millis(1))) {
            self.sees(&block, seed, written);
        }
    }

    fn sees(&mut self, block: &str, seed: u64, written: &HashSet<String>) {
        let Some((id, event)) = block.strip_prefix("id: ").and_then(|block| block.split_once('\n')) else {
            assert!(block.starts_with(':') || block.starts_with("retry:"), "seed {seed}: {block}");
            return;
        };
        (self.id, self.has_seen) = (Some(id.to_owned()), true);
        let event = event.strip_prefix("event: ").and_then(|event| event.split_once("\ndata: "));
        let (name, data) = event.unwrap_or_else(|| panic!("seed {seed}: {block}"));
        let data: Value = serde_json::from_str(data).expect("JSON");
        match name {
            "history" => {
                self.shown = shown(&data);
                self.is_right(0, seed, written);
            }
            "message" => {
                let message = one_shown(&data["message"]);
                let is_repeated = self.shown.iter().any(|(_, text)| *text == message.1);
                assert!(!is_repeated, "seed {seed}: {message:?} once more, with {} before", self.shown.len());
                self.shown.push(message);
                self.is_right(self.shown.len() - 1, seed, written);
            }
            other => panic!("seed {seed}: {other}"),
        }
    }

    /// What it shows from here on. Of a long history it shows the end.
    fn is_right(&self, from: usize, seed: u64, written: &HashSet<String>) {
        let first = self.shown.first().map_or(1, |(seq, _)| *seq);
        assert!(first == 1 || self.shown.len() >= MOST, "seed {seed}: {} from {first} on", self.shown.len());
        for (at, (seq, text)) in self.shown.iter().enumerate().skip(from) {
            assert_eq!(*seq, at as u64 + first, "seed {seed}");
            assert!(written.contains(text), "seed {seed}: nobody wrote {text:?}");
        }
    }
}
