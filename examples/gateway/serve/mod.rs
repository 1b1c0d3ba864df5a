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
//! A client that takes something now and then, however little, is waited for. One that asks nothing is not:
//!
//! 4. Until it is known which protocol a client speaks, and over HTTP/1 until the head of a request is there, it
//!    has [`HEAD_TIMEOUT`].
//! 5. An HTTP/2 connection without a request for [`IDLE`] is closed.
//! 6. No more than [`Limits::connections`] are open, nor more than there are descriptors for: the rest of them
//!    are needed to read files. The next client waits until one is closed.
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
mod hello;
mod stalled;
mod wire;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, util::ServiceExt};
use tower_reauth::proxy::PeerAddr;

use self::connection::Connection;
#[cfg(not(feature = "upstream"))]
use self::hello::Client;
#[cfg(feature = "upstream")]
pub use self::hello::Client;
pub use self::{connection::PageBytes, doors::Doors};
use crate::measure::{self, Counted, HeldBack};

/// How long a client may take to secure a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to say which protocol it speaks, and then to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection may be open without a request.
const IDLE: Duration = Duration::from_secs(120);
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
    let (http, open) = (Arc::new(bounds::http(write_timeout)), GracefulShutdown::new());
    let mut accepting = Accepting::new(doors.into(), limits.connections);
    let mut connections = JoinSet::new();

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
        let (http, open, stop) = (Arc::clone(&http), open.watcher(), stop.clone());
        let (service, tls) = (service.clone(), accepting.doors.tls());
        connections.spawn(async move {
            let place = Place { _room: room, _counted: Counted::connection() };
            let greeted = timeout(HANDSHAKE_TIMEOUT, greet::greet(socket, tls.as_ref(), write_timeout));
            let wire = match stop.run_until_cancelled(greeted).await {
                Some(Ok(Ok(Some(wire)))) => wire,
                Some(Ok(Err(error))) => return tracing::debug!(%error, "no connection could be secured"),
                _ => return,
            };
            // The protocol's own timers begin when it is known which protocol it is.
            let said = stop.run_until_cancelled(timeout(HEAD_TIMEOUT, hello::read(wire, write_timeout))).await;
            let Some(Ok(Ok(socket))) = said else { return };
            let socket = socket.with_place(place);
            let connection = Arc::new(Connection::new(socket.speaks_http_2(), write_timeout));
            let client = socket.client();
            let service = service_fn({
                let connection = Arc::clone(&connection);
                move |request: Request<Incoming>| {
                    let service = service.clone();
                    answer(service, request, peer, Arc::clone(&connection), client.clone())
                }
            });
            let served = http.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
            let served = Box::pin(open.watch(served));
            tokio::select! {
                result = served => if let Err(error) = result {
                    tracing::debug!(error, "connection failed");
                },
                () = connection.is_done_for() => tracing::debug!("connection closed: its client takes or asks nothing"),
            }
        });
    }

    let room = Arc::clone(&accepting.room);
    let all = accepting.all;
    drop(accepting);
    let finished = async {
        open.shutdown().await;
        // What has become something else than a connection of HTTP is no longer among those.
        let _ = room.acquire_many(all).await;
    };
    if timeout(limits.drain, finished).await.is_err() {
        tracing::warn!("some connections did not finish in time");
    }
}

/// Answers a request, whose body is for the route to read, or to leave.
fn answer<S>(
    service: S,
    request: Request<Incoming>,
    peer: PeerAddr,
    connection: Arc<Connection>,
    client: Client,
) -> impl Future<Output = Result<Response<Body>, Infallible>>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let asking = connection.ask();
    let (mut head, body) = request.into_parts();
    let body = drain::body(body, &head.headers);
    head.extensions.insert(peer);
    head.extensions.insert(connection.pages());
    #[cfg(feature = "upstream")]
    if asking.is_none() {
        head.extensions.insert(client.clone());
    }
    let answer = service.oneshot(Request::from_parts(head, body));
    async move {
        let response = answer.await?;
        Ok(match asking {
            Some(asking) => stalled::let_go(response, asking),
            None => gone::ask(response, client),
        })
    }
}

/// A place among the connections that may be open, for as long as one is.
struct Place {
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

struct Accepting {
    doors: Doors,
    room: Arc<Semaphore>,
    /// How many places there are.
    all: u32,
    /// Whether the last try failed, or had to wait: so that it is said once.
    is_short: bool,
}

impl Accepting {
    fn new(doors: Doors, connections: u32) -> Self {
        let all = u32::try_from(descriptors()).unwrap_or(u32::MAX).min(connections);
        Self { doors, room: Arc::new(Semaphore::new(all as usize)), all, is_short: false }
    }

    /// The next connection, and its place among those that are open; or how long to wait for better times.
    async fn next(&mut self) -> Result<(TcpStream, PeerAddr, OwnedSemaphorePermit), Duration> {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                measure::held_back(HeldBack::Limit);
                self.say("as many connections are open as may be: the next one waits");
                // It is never closed.
                Arc::clone(&self.room).acquire_owned().await.map_err(|_| Duration::MAX)?
            }
        };
        match self.doors.accept().await {
            Ok((socket, peer)) => {
                measure::accepted();
                self.is_short &= self.room.available_permits() == 0;
                // An event is small and must not wait for the next one.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                Ok((socket, PeerAddr(peer), room))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Err(Duration::ZERO),
            Err(error) => {
                // Out of file descriptors, most likely: others must finish before the next can come.
                measure::held_back(HeldBack::Failed);
                self.say(&format!("no connection could be accepted: {error}"));
                Err(Duration::from_millis(100))
            }
        }
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
        time::Instant,
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
    async fn one_more_than_there_is_room_for_waits_until_one_is_closed() {
        let (address, ..) = serving(2).await;
        let ask = async |client: &mut TcpStream| {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            timeout(Duration::from_millis(200), client.read(&mut [0; 1024])).await.is_ok()
        };
        let mut clients = Vec::new();
        for is_answered in [true, true, false] {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(ask(&mut client).await, is_answered);
            clients.push(client);
        }
        drop(clients.remove(0));
        assert!(timeout(Duration::from_secs(10), clients[1].read(&mut [0; 1024])).await.unwrap().unwrap() > 0);
    }
}
