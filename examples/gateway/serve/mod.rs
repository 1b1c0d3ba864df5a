//! Connections: accepted, served, and let finish at the end.
//!
//! A client that does not read cannot hold what it is sent for ever. By [`Limits::write_timeout`]:
//!
//! 1. A connection whose socket takes nothing for so long is closed, and with it all it carries.
//! 2. An HTTP/2 connection whose client is silent for so long is pinged, and closed when so long again
//!    no answer comes.
//! 3. An HTTP/2 stream whose client reads the socket but takes nothing more of this stream for so long
//!    is let go ([`stalled`]); and the connection with it, if nothing was taken of any other either.
//!
//! A client that takes something now and then, however little, is waited for, and one that says much is read [in
//! turns](turns) with all others. One that asks nothing is not waited for:
//!
//! 4. Until it is known which protocol a client speaks, and over HTTP/1 until the head of a request is there, it
//!    has [`HEAD_TIMEOUT`].
//! 5. An HTTP/2 connection without a request for [`IDLE`] is closed.
//! 6. No more than [`Limits::connections`] are open, nor more than there are descriptors for: the rest of them
//!    are needed to read files. For the next client one on which nothing is asked, or that of a stranger, is
//!    [closed](shortage); it waits while there is none.
//!
//! A body that no route reads is [read over](drain) within bounds, so that an answer is not lost
//! to a client that writes first and reads then. A client that closes its half of the socket after a request
//! is answered all the same; whether one that follows a stream is still there is [asked](gone) by writing.

mod bounds;
mod connection;
mod doors;
mod drain;
mod gone;
mod greet;
mod guest;
mod hello;
mod shortage;
mod stalled;
mod turns;
mod wire;

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body;
use futures_util::future::Either;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{Service, util::ServiceExt};
use tower_reauth::proxy::PeerAddr;

#[cfg(not(feature = "websocket"))]
use self::guest::Guest;
#[cfg(feature = "websocket")]
pub use self::guest::Guest;
#[cfg(not(feature = "upstream"))]
use self::hello::Client;
#[cfg(feature = "upstream")]
pub use self::hello::Client;
use self::{
    connection::Connection,
    guest::Entered,
    hello::Socket,
    shortage::{SHORTAGE, Shortage},
    turns::{Queue, Turns},
};
pub use self::{connection::PageBytes, doors::Doors, guest::known};
use crate::{
    measure::{self, Counted, HeldBack},
    tls::Tls,
};

/// How long a client may take to secure a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to say which protocol it speaks, and then to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection may be open without a request.
const IDLE: Duration = Duration::from_secs(120);
/// How long the connection of one that is known has to end as its protocol does: over HTTP/2 by GOAWAY, and what it had
/// asked meanwhile answered. A stranger is told, and not waited for.
const FAREWELL: Duration = Duration::from_millis(200);
/// How many descriptors are left for what is no connection: files that are read, and watched folders.
const RESERVED: u64 = 256;

/// What clients may take of time and room.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// How many connections may be open at once.
    pub connections: u32,
    /// How long connections may take to finish once the gateway stops.
    pub drain: Duration,
}

/// Serves until `stop` is cancelled, then lets open requests finish.
pub async fn serve<S>(doors: impl Into<Doors>, service: S, limits: Limits, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let write_timeout = limits.write_timeout;
    let http = Arc::new(bounds::http(write_timeout));
    let mut accepting = Accepting::new(doors.into(), limits.connections);
    let mut connections = JoinSet::new();
    let queue = Queue::new();

    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection was lost");
                }
                continue;
            }
            accepted = accepting.next() => accepted,
        };
        let (socket, peer, room) = match accepted {
            Ok(accepted) => accepted,
            Err(wait) => {
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                continue;
            }
        };
        let (http, stop, queue) = (Arc::clone(&http), stop.clone(), queue.clone());
        let (service, tls) = (service.clone(), accepting.doors.tls());
        let entered = accepting.shortage.guests.enter(Guest::new(write_timeout));
        connections.spawn(async move {
            let guest = entered.guest.clone();
            let place = Place { entered, left: None, _room: room, _counted: Counted::connection() };
            let socket = tokio::select! {
                begun = stop.run_until_cancelled(begin(socket, tls, write_timeout)) => begun.flatten(),
                () = guest.leaves() => None,
            };
            let Some(socket) = socket.map(|socket| socket.with_place(place)) else { return };
            guest.moves();
            guest.set_speaks_http(true);
            let speaks_http_2 = socket.speaks_http_2();
            let connection = Arc::new(Connection::new(speaks_http_2, guest));
            let client = socket.client();
            // One for all requests of a connection: it is not cloned where they come one after the other. Each clone counts up
            // what its layers share with all other threads.
            let service = RefCell::new(service);
            let service = service_fn({
                let connection = Arc::clone(&connection);
                move |request: Request<Incoming>| {
                    answer(&mut *service.borrow_mut(), request, peer, Arc::clone(&connection), client.clone())
                }
            });
            let mut turns = Turns::new(&queue, connection.said());
            let socket = turns.of(socket, speaks_http_2, connection.guest().clone());
            let served = http.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
            let mut served = Box::pin(served);
            let mut is_stopping = false;
            let result = loop {
                tokio::select! {
                    result = turns.serve(served.as_mut()) => break result,
                    () = stop.cancelled(), if !is_stopping => {
                        is_stopping = true;
                        served.as_mut().graceful_shutdown();
                    }
                    () = connection.is_done_for() => {
                        tracing::debug!("connection closed: its client takes or asks nothing");
                        served.as_mut().graceful_shutdown();
                        let farewell = if connection.guest().is_known() { FAREWELL } else { Duration::ZERO };
                        // In no turn: it is over before that would come.
                        drop(turns);
                        break timeout(farewell, served.as_mut()).await.unwrap_or(Ok(()));
                    }
                }
            };
            if let Err(error) = result {
                tracing::debug!(error, "connection failed");
            }
            // It may have become something else.
            connection.guest().set_speaks_http(false);
        });
    }

    let room = Arc::clone(&accepting.room);
    let all = accepting.all;
    drop(accepting);
    // Those too that have become something else than a connection of HTTP.
    if timeout(limits.drain, room.acquire_many(all)).await.is_err() {
        tracing::warn!("some connections did not finish in time");
    }
}

/// Secures the connection, and reads until it is known which protocol the client speaks. `None` if it takes too long, or ends.
async fn begin(socket: TcpStream, tls: Option<Tls>, write_timeout: Duration) -> Option<Socket> {
    let wire = match timeout(HANDSHAKE_TIMEOUT, greet::greet(socket, tls.as_ref(), write_timeout)).await {
        Ok(Ok(wire)) => wire?,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no connection could be secured");
            return None;
        }
        Err(_) => return None,
    };
    // The protocol's own timers begin when it is known which protocol it is.
    timeout(HEAD_TIMEOUT, hello::read(wire, write_timeout)).await.ok()?.ok()
}

/// Answers a request, whose body is for the route to read, or to leave.
fn answer<S>(
    service: &mut S,
    request: Request<Incoming>,
    peer: PeerAddr,
    connection: Arc<Connection>,
    client: Client,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let asking = connection.ask();
    let (mut head, body) = request.into_parts();
    let body = drain::body(body, &head.headers, connection.guest());
    head.extensions.insert(peer);
    head.extensions.insert(connection.guest().clone());
    if let Some(pages) = connection.pages() {
        head.extensions.insert(pages);
    }
    #[cfg(feature = "upstream")]
    if !asking.shares() {
        head.extensions.insert(client.clone());
    }
    let request = Request::from_parts(head, body);
    let answer = match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) if !asking.shares() => Either::Left(service.call(request)),
        // What is called in its turn. Boxed: a connection keeps room for the future of a request for as long as it is open.
        _ => Either::Right(Box::pin(service.clone().oneshot(request))),
    };
    let waits = connection.guest().waits();
    async move {
        let response = if asking.shares() {
            asking.in_turn(answer).await?
        } else {
            asking.comes().await;
            answer.await?
        };
        drop(waits);
        Ok(if asking.shares() { stalled::let_go(response, asking) } else { gone::ask(response, client, asking) })
    }
}

/// A place among the connections that may be open, for as long as one is.
struct Place {
    entered: Entered,
    /// Made where it is waited for.
    left: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Place {
    /// Ready where the place is needed for another, and nothing that serves HTTP sees to it.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let guest = &self.entered.guest;
        if guest.speaks_http() {
            return Poll::Pending;
        }
        self.left.get_or_insert_with(|| Box::pin(guest.leaves())).as_mut().poll(cx)
    }
}

struct Accepting {
    doors: Doors,
    /// Who came last, and has no place yet.
    waiting: Option<(TcpStream, PeerAddr)>,
    shortage: Shortage,
    /// When room is made for who waits.
    makes_room: Option<Instant>,
    room: Arc<Semaphore>,
    /// How many places there are.
    all: u32,
    /// Whether the last try failed, or had to wait: so that it is said once.
    is_short: bool,
}

impl Accepting {
    fn new(doors: Doors, connections: u32) -> Self {
        let all = u32::try_from(descriptors()).unwrap_or(u32::MAX).min(connections);
        let room = Arc::new(Semaphore::new(all as usize));
        Self { doors, waiting: None, shortage: Shortage::default(), makes_room: None, room, all, is_short: false }
    }

    /// The next connection, and its place among those that are open; or how long to wait for better times. Nothing is lost if
    /// it is not waited for to the end.
    async fn next(&mut self) -> Result<(TcpStream, PeerAddr, OwnedSemaphorePermit), Duration> {
        if self.waiting.is_none() {
            match self.doors.accept().await {
                Ok((socket, peer)) => {
                    measure::accepted();
                    // An event is small and must not wait for the next one.
                    if let Err(error) = socket.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY could not be set");
                    }
                    self.waiting = Some((socket, PeerAddr(peer)));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Err(Duration::ZERO),
                Err(error) => {
                    // Out of file descriptors, most likely: others must finish before the next can come.
                    measure::held_back(HeldBack::Failed);
                    self.say(&format!("no connection could be accepted: {error}"));
                    return Err(Duration::from_millis(100));
                }
            }
            match self.room.available_permits() {
                0 => {
                    measure::held_back(HeldBack::Limit);
                    self.say("as many connections are open as may be: the next one waits");
                }
                // One that is left in between is none to speak of, unless there is but one.
                1 if self.all > 1 => {}
                _ => self.is_short = false,
            }
        }
        let room = loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
                break room;
            }
            // One has to leave, and another one if that takes too long.
            let makes_room = *self.makes_room.get_or_insert_with(Instant::now);
            // It is never closed.
            if let Ok(Ok(room)) = timeout_at(makes_room, Arc::clone(&self.room).acquire_owned()).await {
                break room;
            }
            self.shortage.make_room();
            self.makes_room = Some(Instant::now() + SHORTAGE);
        };
        self.makes_room = None;
        self.waiting.take().map(|(socket, peer)| (socket, peer, room)).ok_or(Duration::ZERO)
    }

    fn say(&mut self, what: &str) {
        if !std::mem::replace(&mut self.is_short, true) {
            tracing::warn!("{what}");
        }
    }
}

/// How many descriptors there are for connections: what the process may have, but for some.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let left = limit.map_or(u64::MAX, |limit| limit - RESERVED.min(limit / 2));
    usize::try_from(left).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;

    /// What answers every request with nothing.
    async fn serving(connections: u32) -> (std::net::SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(async |_: Request<Body>| Ok(Response::new(Body::empty())));
        let stop = CancellationToken::new();
        let limits = Limits { write_timeout: Duration::from_secs(1), connections, drain: Duration::from_secs(5) };
        (address, stop.clone(), tokio::spawn(serve(listener, service, limits, stop)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_say_which_protocol_it_speaks_is_not_waited_for() {
        let (address, stop, serving) = serving(10).await;
        for said in ["", "P", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            let started = Instant::now();
            assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0);
            assert_eq!(started.elapsed().as_secs(), HEAD_TIMEOUT.as_secs(), "{said:?}");
        }

        // Nor when the gateway stops.
        let mut silent = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        stop.cancel();
        let stopped = Instant::now();
        serving.await.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(1));
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn each_shortage_is_told_of_once() {
        for places in [1, 2, 3] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut accepting = Accepting::new(listener.into(), places);
            for _ in 0..3 {
                let (mut clients, mut taken) = (Vec::new(), Vec::new());
                for _ in 0..places {
                    clients.push(TcpStream::connect(address).await.unwrap());
                    taken.push(accepting.next().await.unwrap());
                    assert!(!accepting.is_short, "of {places}");
                }
                clients.push(TcpStream::connect(address).await.unwrap());
                assert!(timeout(Duration::from_millis(100), accepting.next()).await.is_err());
                assert!(accepting.is_short, "of {places}");
                drop(taken);
                drop(accepting.next().await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_takes_the_place_of_one_that_asks_nothing() {
        let (address, ..) = serving(2).await;
        let connect = async || TcpStream::connect(address).await.unwrap();
        let ask = async |client: &mut TcpStream| {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            timeout(Duration::from_secs(10), client.read(&mut [0; 1024])).await.unwrap().unwrap_or_default() > 0
        };
        let (mut silent, mut asks) = (connect().await, connect().await);
        assert!(ask(&mut asks).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(timeout(Duration::from_millis(100), silent.read(&mut [0])).await.is_err(), "there is room for all");
        assert!(ask(&mut asks).await);
        assert!(ask(&mut connect().await).await);
        assert_eq!(silent.read(&mut [0]).await.unwrap_or_default(), 0);
        assert!(ask(&mut asks).await, "who has just asked is not closed");
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_takes_the_place_of_a_stranger_that_takes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(async |_: Request<Body>| Ok(Response::new(Body::from("page"))));
        let limits = Limits { write_timeout: Duration::from_secs(30), connections: 2, drain: Duration::from_secs(5) };
        tokio::spawn(serve(listener, service, limits, CancellationToken::new()));
        // A window of nothing, and GET /.
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
        let headers = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x01\x09localhost";
        let asked = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], settings, headers].concat();
        let mut strangers = Vec::new();
        for _ in 0..2 {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            stranger.write_all(&asked).await.unwrap();
            strangers.push(stranger);
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let mut another = TcpStream::connect(address).await.unwrap();
        another.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = timeout(Duration::from_secs(10), another.read(&mut [0; 1024])).await;
        assert!(answer.unwrap().unwrap() > 0);
        let mut said = Vec::new();
        strangers[0].read_to_end(&mut said).await.unwrap();
        // The last frame but PING: GOAWAY, with no error.
        assert!(said.windows(4).any(|kind| kind == [8, 7, 0, 0]), "{said:?}");
    }

    #[tokio::test]
    async fn a_page_that_is_read_is_not_cut_off_for_one_more_than_there_is_room_for() {
        const SIZE: usize = 16 * 1024 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let page = bytes::Bytes::from(vec![b'x'; SIZE]);
        let service = tower::service_fn(move |request: Request<Body>| {
            known(request);
            std::future::ready(Ok(Response::new(Body::from(page.clone()))))
        });
        let limits = Limits { write_timeout: Duration::from_secs(30), connections: 1, drain: Duration::from_secs(5) };
        tokio::spawn(serve(listener, service, limits, CancellationToken::new()));
        let mut reader = TcpStream::connect(address).await.unwrap();
        reader.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (mut piece, mut read, mut another) = (vec![0; 64 * 1024], 0, None);
        let begun = Instant::now();
        while read < SIZE {
            match reader.read(&mut piece).await.unwrap_or_default() {
                0 => break,
                length => read += length,
            }
            if begun.elapsed() > Duration::from_millis(1500) && another.is_none() {
                another = Some(TcpStream::connect(address).await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        assert!(another.is_some() && read >= SIZE, "{read} of {SIZE}");
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_takes_no_more_than_one_place() {
        let (address, ..) = serving(100).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
            clients.push(client);
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let _another = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut closed = Vec::new();
        for (n, client) in clients.iter_mut().enumerate() {
            if timeout(Duration::from_millis(5), client.read(&mut [0])).await.is_ok() {
                closed.push(n);
            }
        }
        assert_eq!(closed, [0], "who has rested for the longest time");
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_waits_while_each_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(async |request: Request<Body>| {
            known(request);
            let body = futures_util::stream::pending::<Result<bytes::Bytes, Infallible>>();
            Ok(Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(body)).unwrap())
        });
        let limits = Limits { write_timeout: Duration::from_secs(30), connections: 2, drain: Duration::from_secs(5) };
        tokio::spawn(serve(listener, service, limits, CancellationToken::new()));
        let ask = async || {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            client
        };
        let is_answered =
            async |client: &mut TcpStream, within| timeout(within, client.read(&mut [0; 1024])).await.is_ok();
        let (mut one, mut two) = (ask().await, ask().await);
        for client in [&mut one, &mut two] {
            assert!(is_answered(client, Duration::from_secs(10)).await);
        }
        let mut waits = ask().await;
        assert!(!is_answered(&mut waits, Duration::from_secs(2)).await);
        drop(one);
        assert!(is_answered(&mut waits, Duration::from_secs(10)).await);
    }
}
