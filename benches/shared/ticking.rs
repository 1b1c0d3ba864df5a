//! How long events take to reach those who listen, while something else goes on.
//!
//! Events are published as planned, whether or not those before have come: one that waits delays none of those that
//! are measured after it.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::load::{self, Ask};

const TICK: Duration = Duration::from_millis(5);
const LISTENERS: usize = 10;

/// Ten streams, and a thread that publishes an event to them each five milliseconds.
pub struct Ticking {
    publishing: thread::JoinHandle<Vec<Instant>>,
    is_over: Arc<AtomicBool>,
    heard: Vec<Arc<Mutex<Vec<Instant>>>>,
    listening: JoinSet<()>,
}

impl Ticking {
    /// Opens the streams, each of which begins with so many events, and begins to publish. No heartbeat may come as
    /// long as it lasts: it would be taken for an event.
    pub async fn start(ask: &Ask, beginning: usize, mut publish: impl FnMut() + Send + 'static) -> Self {
        let (mut heard, mut listening) = (Vec::new(), JoinSet::new());
        for _ in 0..LISTENERS {
            let mut socket = ask.listen(beginning).await;
            let times = Arc::new(Mutex::new(Vec::new()));
            heard.push(Arc::clone(&times));
            listening.spawn(async move {
                let (mut buffer, mut last) = ([0; 4096], b' ');
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    let (events, now) = (load::ends(&buffer[..read], &mut last), Instant::now());
                    times.lock().expect("nobody panics").extend([now].repeat(events));
                }
            });
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let publishing = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let (began, mut published) = (Instant::now(), Vec::new());
                while !is_over.load(Relaxed) {
                    published.push(Instant::now());
                    publish();
                    let next = began + TICK * u32::try_from(published.len()).expect("it is over before");
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                published
            }
        });
        Self { publishing, is_over, heard, listening }
    }

    /// When each event was published, and in how many milliseconds one of the streams had it.
    pub async fn finish(self) -> Vec<(Instant, f64)> {
        self.is_over.store(true, Relaxed);
        let published = spawn_blocking(|| self.publishing.join()).await.expect("it ends").expect("it can publish");
        let heard = |times: &Mutex<Vec<Instant>>| times.lock().expect("nobody panics").clone();
        let all = async {
            while self.heard.iter().any(|times| heard(times).len() < published.len()) {
                sleep(TICK).await;
            }
        };
        timeout(Duration::from_secs(10), all).await.expect("all events come");
        drop(self.listening);
        let mut delays = Vec::new();
        for times in &self.heard {
            let times = heard(times);
            assert_eq!(times.len(), published.len(), "no heartbeat came");
            let milliseconds = |(then, now): (&Instant, Instant)| (*then, (now - *then).as_secs_f64() * 1e3);
            delays.extend(published.iter().zip(times).map(milliseconds));
        }
        delays
    }
}

/// Sends this request over one connection, each time it is called, and waits for no answer.
pub fn sender(address: SocketAddr, request: Ask) -> impl FnMut() + Send + 'static {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("it is a socket");
    socket.set_nonblocking(true).expect("it is a socket");
    move || {
        request.send(&mut socket);
        // An error says that no answer is there yet.
        let _ = socket.read(&mut [0; 4096]);
    }
}
