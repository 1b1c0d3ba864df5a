//! Clients of many streams, in processes of their own, that cost little: HTTP/1.1 and HTTP/2 written by hand.
//!
//! 1. Of an answer they read its status and its end, and nothing else: no header is decoded.
//! 2. A process has a bounded number of descriptors, and an address a bounded number of ports: there are as many
//!    processes, and as many addresses of the loopback interface, as it takes.
//! 3. The streams belong to [`CLIENTS`] clients. Over HTTP/2 each of them has a tenth of every connection, as behind
//!    a proxy.
//!
//! A process is told by its environment what to open, says when its streams have begun, and says when all streams of
//! the first client have ended. No other may end.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    panic,
    process::{self, Child, ChildStdout, Stdio},
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
};

use crate::served::{TOKEN, this_program};

/// How many clients have the streams, each of them a tenth.
pub const CLIENTS: usize = 10;
/// How many streams a connection of HTTP/2 has.
pub const STREAMS: usize = 100;
const CROWD: &str = "GATEWAY_BENCH_CROWD";
/// How many connections are being opened at a time, by one process.
const AT_ONCE: usize = 8;
/// How many connections an address has: with those that linger it must have ports for them.
const OF_ADDRESS: usize = 5_000;

/// The secret of one of the clients.
pub fn secret(client: usize) -> String {
    format!("{client:02}{}", &TOKEN[2..])
}

/// Nanoseconds of the wall clock, which all processes share.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.expect("it is later than 1970").as_nanos()).expect("it is earlier than 2554")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What the clients ask for.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The first client, whose streams are to end.
    pub first: String,
    pub others: String,
}

impl Protocol {
    /// How many streams one process opens.
    fn of_process(self) -> usize {
        match self {
            Self::Http1 => 17_000,
            Self::Http2 => 50_000,
        }
    }
}

/// Streams that are open.
pub struct Crowd {
    members: Vec<Member>,
    /// From the first connection until all have begun.
    pub opened: Duration,
}

struct Member {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Crowd {
    /// Opens so many, and returns once all have begun.
    pub fn open(protocol: Protocol, address: SocketAddr, streams: usize, targets: &Targets) -> Self {
        let most = protocol.of_process();
        let members = (0..streams.div_ceil(most)).map(|number| {
            let asked = Asked {
                protocol,
                address,
                // As many connections as there are streams have as many addresses as these.
                first_address: number * most.div_ceil(OF_ADDRESS),
                streams: most.min(streams - number * most),
                targets: targets.clone(),
            };
            Member::start(&asked)
        });
        let mut members: Vec<_> = members.collect();
        let (mut began, mut all) = (u64::MAX, 0);
        for member in &mut members {
            let times = member.hear();
            began = began.min(times[0]);
            all = all.max(times[1]);
        }
        Self { members, opened: Duration::from_nanos(all - began) }
    }

    /// When each of the first client's streams ended. Waits until all have.
    pub fn ends(&mut self) -> Vec<u64> {
        self.members.iter_mut().flat_map(Member::hear).collect()
    }
}

impl Member {
    fn start(asked: &Asked) -> Self {
        let mut process = this_program()
            .env(CROWD, asked.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let says = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, says }
    }

    fn hear(&mut self) -> Vec<u64> {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("it says something");
        assert!(!line.is_empty(), "a client has failed");
        line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What one process is to open.
#[derive(Debug)]
struct Asked {
    protocol: Protocol,
    address: SocketAddr,
    first_address: usize,
    streams: usize,
    targets: Targets,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { protocol, address, first_address, streams, targets: Targets { first, others } } = self;
        write!(f, "{protocol:?} {address} {first_address} {streams} {first} {others}")
    }
}

impl FromStr for Asked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<_> = text.split(' ').collect();
        let [protocol, address, first_address, streams, first, others] = words[..] else {
            return Err("six words are expected");
        };
        Ok(Self {
            protocol: if protocol == "Http1" { Protocol::Http1 } else { Protocol::Http2 },
            address: address.parse().map_err(|_| "an address and a port")?,
            first_address: first_address.parse().map_err(|_| "the number of an address")?,
            streams: streams.parse().map_err(|_| "a number of streams")?,
            targets: Targets { first: first.to_owned(), others: others.to_owned() },
        })
    }
}

/// Is a client, if this process was started for that, until it is killed, or a stream fails.
pub fn run_if_asked() -> bool {
    let Ok(asked) = env::var(CROWD) else { return false };
    let says = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        says(panic);
        process::exit(1);
    }));
    let asked: Asked = asked.parse().expect("it is as it was written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let began = now();
        let seen = Arc::new(Seen::default());
        let (doors, streams) = (Arc::new(Semaphore::new(AT_ONCE)), asked.streams);
        let of_connection = if asked.protocol == Protocol::Http1 { 1 } else { STREAMS };
        // The first client's, as a stream belongs to the client of its number.
        let ending = streams.div_ceil(CLIENTS);
        let asked = Arc::new(asked);
        for (connection, first) in (0..streams).step_by(of_connection).enumerate() {
            let numbers = first..streams.min(first + of_connection);
            let door = Arc::clone(&doors).acquire_owned().await.expect("it is never closed");
            let (asked, seen) = (Arc::clone(&asked), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut connection = Open { socket: asked.connect(connection).await, seen };
                match asked.protocol {
                    Protocol::Http1 => {
                        connection.ask_1(numbers.start % CLIENTS, &asked).await;
                        drop((door, asked));
                        connection.listen_1().await;
                    }
                    Protocol::Http2 => {
                        let begin = numbers.len();
                        connection.ask_2(numbers, &asked).await;
                        drop(asked);
                        let rest = connection.listen_2(Vec::new(), |begun| begun < begin).await;
                        drop(door);
                        connection.listen_2(rest, |_| true).await;
                    }
                }
            });
        }
        seen.until(|seen| seen.begun == streams).await;
        say(&[began, now()]);
        seen.until(|seen| seen.ends.len() == ending).await;
        say(&seen.counts.lock().expect("nobody panics").ends);
        seen.until(|seen| seen.ends.len() > ending).await;
        panic!("a stream of another client ended");
    });
    true
}

fn say(numbers: &[u64]) {
    let line = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    println!("{line}");
    std::io::stdout().flush().expect("somebody reads it");
}

/// What all connections of a process have seen.
#[derive(Default)]
struct Seen {
    counts: Mutex<Counts>,
    changed: Notify,
}

#[derive(Default)]
struct Counts {
    begun: usize,
    /// The time of each.
    ends: Vec<u64>,
}

impl Seen {
    fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.counts.lock().expect("nobody panics"));
        self.changed.notify_one();
    }

    async fn until(&self, enough: impl Fn(&Counts) -> bool) {
        while !enough(&self.counts.lock().expect("nobody panics")) {
            self.changed.notified().await;
        }
    }
}

impl Asked {
    /// From an address of its own for some thousands.
    async fn connect(&self, connection: usize) -> TcpStream {
        let number = u32::try_from(self.first_address + connection / OF_ADDRESS).expect("there are few");
        let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number);
        let socket = TcpSocket::new_v4().expect("there are descriptors left");
        socket.bind((from, 0).into()).expect("there is a free port");
        let socket = socket.connect(self.address).await.expect("it listens");
        socket.set_nodelay(true).expect("it is a socket");
        socket
    }

    fn target(&self, client: usize) -> &str {
        if client == 0 { &self.targets.first } else { &self.targets.others }
    }
}

struct Open {
    socket: TcpStream,
    seen: Arc<Seen>,
}

impl Open {
    async fn ask_1(&mut self, client: usize, asked: &Asked) {
        let (target, secret) = (asked.target(client), secret(client));
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {secret}\r\naccept: text/event-stream\r\n\r\n",
            asked.address
        );
        self.socket.write_all(head.as_bytes()).await.expect("it is open");
        let mut answer = [0; 12];
        self.socket.read_exact(&mut answer).await.expect("it is answered");
        assert_eq!(&answer, b"HTTP/1.1 200");
        self.seen.note(|seen| seen.begun += 1);
    }

    /// Until the last chunk. What is kept meanwhile is small: a buffer is needed only while something is there.
    async fn listen_1(self) {
        const LAST: &[u8] = b"0\r\n\r\n";
        let mut before = [0; LAST.len()];
        loop {
            self.socket.readable().await.expect("it is open");
            let mut buffer = [0; 4096];
            buffer[..LAST.len()].copy_from_slice(&before);
            match self.socket.try_read(&mut buffer[LAST.len()..]) {
                Ok(0) => panic!("a stream was cut"),
                Ok(read) => before.copy_from_slice(&buffer[read..read + LAST.len()]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => panic!("a stream was lost: {error}"),
            }
            if before == LAST {
                return self.seen.note(|seen| seen.ends.push(now()));
            }
        }
    }

    async fn ask_2(&mut self, numbers: std::ops::Range<usize>, asked: &Asked) {
        /// So that none ever has to be opened further: RFC 9113 section 6.9.1.
        const WINDOW: u32 = (1 << 31) - 1;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE
        frame(&mut bytes, SETTINGS, 0, 0, &[&[0, 4], &WINDOW.to_be_bytes()[..]].concat());
        frame(&mut bytes, WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        for (id, number) in (1..).step_by(2).zip(numbers) {
            let client = number % CLIENTS;
            let fields = head(&asked.address.to_string(), asked.target(client), &secret(client));
            frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, id, &fields);
        }
        self.socket.write_all(&bytes).await.expect("it is open");
    }

    /// For as long as `goes_on` with so many that have begun; what of the next frame has come already goes from one
    /// call to the next.
    async fn listen_2(&mut self, mut kept: Vec<u8>, goes_on: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut begun = 0;
        while goes_on(begun) {
            self.socket.readable().await.expect("it is open");
            let mut buffer = [0; 16 * 1024];
            match self.socket.try_read(&mut buffer) {
                Ok(0) => panic!("a connection was closed"),
                Ok(read) => kept.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => panic!("a connection was lost: {error}"),
            }
            let (mut replies, mut rest) = (Vec::new(), &kept[..]);
            while let Some((frame, after)) = Frame::first(rest) {
                begun += usize::from(frame.kind == HEADERS);
                frame.take(&self.seen, &mut replies);
                rest = after;
            }
            kept = rest.to_vec();
            self.socket.write_all(&replies).await.expect("it is open");
        }
        kept
    }
}

// Types and flags of frames: RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame that was received, on whichever stream.
struct Frame<'a> {
    kind: u8,
    flags: u8,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first of these bytes, if it is whole, and what follows.
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[a, b, c, kind, flags, ..], rest) = bytes.split_first_chunk::<9>()?;
        let (payload, after) = rest.split_at_checked(u32::from_be_bytes([0, a, b, c]) as usize)?;
        Some((Self { kind, flags, payload }, after))
    }

    fn take(&self, seen: &Seen, replies: &mut Vec<u8>) {
        match self.kind {
            HEADERS => {
                // `:status: 200`, as it stands in the static table: RFC 7541 appendix A.
                assert_eq!(self.payload.first(), Some(&0x88), "a stream is refused: {:?}", self.payload);
                seen.note(|seen| seen.begun += 1);
            }
            SETTINGS | PING if self.flags & ACK == 0 => {
                frame(replies, self.kind, ACK, 0, if self.kind == PING { self.payload } else { &[] });
            }
            RST_STREAM | GOAWAY => panic!("a stream is cut: {} {:?}", self.kind, self.payload),
            _ => {}
        }
        if matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0 {
            seen.note(|seen| seen.ends.push(now()));
        }
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// The fields of a request: names and two values from the static table, the rest as they are (RFC 7541 section 6.2).
fn head(authority: &str, path: &str, secret: &str) -> Vec<u8> {
    // `:method: GET` and `:scheme: http`
    let mut fields = vec![0x82, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        fields.extend_from_slice(name);
        // Of one byte up to 126: RFC 7541 section 5.1.
        fields.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("it is short"));
        fields.extend_from_slice(value.as_bytes());
    };
    literal(&[1], authority);
    literal(&[4], path);
    literal(&[0x0f, 19 - 15], "text/event-stream");
    // Never to be indexed.
    literal(&[0x1f, 23 - 15], &format!("Bearer {secret}"));
    fields
}
