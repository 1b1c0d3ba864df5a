//! A client that costs little: HTTP/1.1 written by hand over sockets that stay open.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    sync::Notify,
    task::JoinSet,
};

use crate::served::TOKEN;

/// A request, ready to be sent again and again.
#[derive(Clone)]
pub struct Ask {
    address: SocketAddr,
    bytes: Arc<[u8]>,
}

impl Ask {
    pub fn get(address: SocketAddr, target: &str, accept: &str) -> Self {
        let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n");
        Self { address, bytes: format!("{head}accept: {accept}\r\n\r\n").into_bytes().into() }
    }

    pub fn post(address: SocketAddr, target: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n");
        let head = format!("{head}content-length: {length}\r\n\r\n");
        Self { address, bytes: [head.as_bytes(), body].concat().into() }
    }

    /// The body of the answer, which has to be 200.
    pub async fn body(&self) -> Vec<u8> {
        let mut socket = self.connect().await;
        let (mut answer, length) = self.first(&mut socket).await;
        answer.split_off(answer.len() - length)
    }

    /// A connection over which this is asked again and again.
    pub async fn open(self) -> Asking {
        let socket = self.connect().await;
        Asking { ask: self, socket }
    }

    /// An event stream that has begun with so many events.
    pub async fn listen(&self, beginning: usize) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(&self.bytes).await.expect("it is open");
        let mut start = Vec::new();
        let began = |start: &[u8]| {
            let head = memmem::find(start, b"\r\n\r\n");
            head.is_some_and(|head| ends(&start[head..], &mut b' ') >= beginning)
        };
        while !began(&start) {
            assert!(socket.read_buf(&mut start).await.expect("it is open") > 0, "the stream begins");
        }
        socket
    }

    /// How many answers a second, over so many connections, for so long.
    pub async fn rate(&self, connections: usize, time: Duration) -> f64 {
        let mut opened = Vec::new();
        for _ in 0..connections {
            let mut socket = self.connect().await;
            let length = self.first(&mut socket).await.0.len();
            opened.push((socket, length));
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (mut socket, length) in opened {
            let ask = self.clone();
            tasks.spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                let mut answers = 0;
                while start.elapsed() < time {
                    socket.write_all(&ask.bytes).await.expect("it is open");
                    // Every answer is as long as the first.
                    let mut left = length;
                    while left > 0 {
                        let read = socket.read(&mut buffer).await.expect("it is open");
                        assert!((1..=left).contains(&read), "the answers are alike");
                        left -= read;
                    }
                    answers += 1;
                }
                answers
            });
        }
        let answers: usize = tasks.join_all().await.into_iter().sum();
        answers as f64 / start.elapsed().as_secs_f64()
    }

    /// Asks over a socket, without waiting for the answer.
    pub fn send(&self, socket: &mut impl Write) {
        socket.write_all(&self.bytes).expect("it is open");
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.expect("it listens");
        socket.set_nodelay(true).expect("it is a socket");
        socket
    }

    /// Head and body of the answer, and the length of the body.
    async fn first(&self, socket: &mut TcpStream) -> (Vec<u8>, usize) {
        socket.write_all(&self.bytes).await.expect("it is open");
        let mut answer = Vec::new();
        loop {
            assert!(socket.read_buf(&mut answer).await.expect("it is open") > 0, "the answer is whole");
            let Some(end) = memmem::find(&answer, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
            if answer.len() == end + 4 + length {
                return (answer, length);
            }
        }
    }
}

/// A request, and a connection that stays open for it.
pub struct Asking {
    ask: Ask,
    socket: TcpStream,
}

impl Asking {
    /// Asks, and says how many milliseconds it took until the answer was whole.
    pub async fn milliseconds(&mut self) -> f64 {
        let start = Instant::now();
        self.ask.first(&mut self.socket).await;
        start.elapsed().as_secs_f64() * 1e3
    }
}

/// Milliseconds until each answer was whole, of requests that are `apart`, from a thread of its own: what else the client does
/// must not count. One that could not be asked in time for the one before it counts from when it should have been.
pub fn latencies(ask: &Ask, apart: Duration, time: Duration) -> Vec<f64> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let mut asking = ask.clone().open().await;
        asking.milliseconds().await;
        let (start, mut latencies) = (Instant::now(), Vec::new());
        for number in 0.. {
            let due = apart * number;
            if due > time {
                break;
            }
            let late = start.elapsed().saturating_sub(due);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let late = if late > apart { late } else { Duration::ZERO };
            latencies.push(late.as_secs_f64() * 1e3 + asking.milliseconds().await);
        }
        latencies
    })
}

/// Event streams that are open, and how many events all of them have had.
pub struct Listeners {
    tasks: JoinSet<()>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    events: AtomicUsize,
    wanted: AtomicUsize,
    enough: Notify,
}

impl Listeners {
    /// Opens so many streams, each of which begins with so many events.
    pub async fn open(ask: &Ask, count: usize, beginning: usize) -> Self {
        let heard = Arc::new(Heard::default());
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let mut socket = ask.listen(beginning).await;
            let heard = Arc::clone(&heard);
            tasks.spawn(async move {
                let mut buffer = [0; 4096];
                let mut last = b' ';
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    heard.add(ends(&buffer[..read], &mut last));
                }
            });
        }
        Self { tasks, heard }
    }

    /// Closes all of them.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// Until so many events have come, over all streams and since the last time.
    pub async fn hear(&self, events: usize) {
        self.heard.wanted.store(events, Ordering::SeqCst);
        self.heard.add(0);
        self.heard.enough.notified().await;
    }
}

impl Heard {
    fn add(&self, events: usize) {
        let heard = self.events.fetch_add(events, Ordering::SeqCst) + events;
        let wanted = self.wanted.load(Ordering::SeqCst);
        if wanted > 0 && heard >= wanted {
            self.events.store(0, Ordering::SeqCst);
            self.wanted.store(0, Ordering::SeqCst);
            self.enough.notify_one();
        }
    }
}

/// How many events end in these bytes, the last byte before them being `last`.
pub fn ends(bytes: &[u8], last: &mut u8) -> usize {
    let across = usize::from(*last == b'\n' && bytes.first() == Some(&b'\n'));
    *last = bytes.last().copied().unwrap_or(*last);
    across + memmem::find_iter(bytes, b"\n\n").count()
}
