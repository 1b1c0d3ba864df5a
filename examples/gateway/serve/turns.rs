//! Connections that always have more to say.
//!
//! A connection is read until there is nothing to read, and what was read is dealt with meanwhile: nothing else has
//! its turn on this thread until then. A client that says small things as fast as it can (frames of HTTP/2 that cost
//! it nine bytes each) could keep a thread so for as long as it likes. So after some bytes the others have their
//! turn, those of whom it is not known yet that they have sent something among them. So do they after each of the requests
//! that were read at once over HTTP/1. Of those that have more to say then, however many they are, only one for each thread
//! does so at a time: whoever says little comes before the rest of them. What a request over HTTP/2 has to do is a task of
//! its own, and so is a WebSocket: they only let others have their turn.
//!
//! What is read over HTTP/1 without a request among it is a large body, which costs several times as much in small pieces.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};
use tokio_util::sync::PollSemaphore;

use super::guest::Guest;

/// How much is read in one turn. Most requests are smaller.
const TURN: usize = 2 * 1024;
/// The same of a body over HTTP/1: as much as is read of one at once.
const BODY: usize = 64 * 1024;

/// Where those wait that have more to say.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Semaphore>);

/// What one connection has said in its turn.
#[derive(Debug, Default)]
pub struct Said {
    /// As much as it may.
    enough: AtomicBool,
    /// A request.
    request: AtomicBool,
}

/// The turns of one connection.
pub struct Turns {
    queue: PollSemaphore,
    said: Arc<Said>,
    waits: bool,
    /// Of a turn after the first, until it is over. After one that was used up it is kept until the next begins, which is
    /// when it was looked who else has sent something, unless something else wakes the connection before.
    place: Option<OwnedSemaphorePermit>,
}

/// What is read in turns.
pub struct InTurns<T> {
    inner: T,
    /// How much is left of this turn.
    left: usize,
    said: Arc<Said>,
    speaks_http_2: bool,
    guest: Guest,
    /// How many requests there were when this turn began.
    asked: usize,
}

impl Queue {
    /// That of the runtime's threads.
    pub fn new() -> Self {
        Self::of(Handle::current().metrics().num_workers())
    }

    fn of(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }
}

impl Said {
    /// A request of several that come one after the other: each but the first has to wait for its turn.
    pub async fn request(&self) {
        if self.request.swap(true, Relaxed) {
            self.enough.store(true, Relaxed);
            yield_now().await;
        }
    }
}

impl Turns {
    pub fn new(queue: &Queue, said: Arc<Said>) -> Self {
        Self { queue: PollSemaphore::new(Arc::clone(&queue.0)), said, waits: false, place: None }
    }

    /// The socket that is read in these turns.
    pub fn of<T>(&self, socket: T, speaks_http_2: bool, guest: Guest) -> InTurns<T> {
        let (said, asked) = (Arc::clone(&self.said), guest.asked());
        InTurns { inner: socket, left: TURN, said, speaks_http_2, guest, asked }
    }

    /// What reads that socket, and deals with what it read.
    pub async fn serve<F: Future>(&mut self, mut serving: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| self.poll(cx, serving.as_mut())).await
    }

    fn poll<F: Future>(&mut self, cx: &mut Context<'_>, serving: Pin<&mut F>) -> Poll<F::Output> {
        if self.said.enough.swap(false, Relaxed) {
            self.waits = true;
            self.place = None;
        }
        if self.waits {
            self.place = ready!(self.queue.poll_acquire(cx));
            self.waits = false;
        }
        let served = serving.poll(cx);
        if !self.said.enough.load(Relaxed) {
            self.place = None;
        }
        served
    }
}

impl<T> InTurns<T> {
    /// The turn after one that was used up.
    fn next_turn(&mut self) -> usize {
        let asked = std::mem::replace(&mut self.asked, self.guest.asked());
        // It may have become something else.
        let is_http_1 = !self.speaks_http_2 && self.guest.speaks_http();
        if is_http_1 && self.asked == asked { BODY } else { TURN }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for InTurns<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = self.next_turn();
            self.said.enough.store(true, Relaxed);
            // It is woken once it was looked who else has sent something: a waker that wakes itself is not.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let most = self.left.min(buffer.remaining());
        let mut some = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut some);
        let length = some.filled().len();
        if read.is_pending() {
            // Whoever waits for more has given up its turn.
            self.left = TURN;
            self.said.request.store(false, Relaxed);
        }
        ready!(read)?;
        self.left -= length;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for InTurns<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::atomic::AtomicUsize, time::Duration};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn guest(speaks_http: bool) -> Guest {
        let guest = Guest::new(Duration::from_secs(30));
        guest.set_speaks_http(speaks_http);
        guest
    }

    #[test]
    fn whoever_always_has_more_to_say_lets_others_have_their_turn() {
        for (speaks_http_2, speaks_http, turn) in [(true, true, TURN), (false, true, BODY), (false, false, TURN)] {
            let said: Vec<u8> = (0..100 * turn).map(|n| n as u8).collect();
            let turns = Turns::new(&Queue::of(1), Arc::default());
            let (mut socket, mut read) = (turns.of(said.as_slice(), speaks_http_2, guest(speaks_http)), Vec::new());
            let mut reading = tokio_test::task::spawn(socket.read_to_end(&mut read));
            let mut count = 1;
            while reading.poll().is_pending() {
                assert!(reading.is_woken());
                count += 1;
            }
            drop(reading);
            assert_eq!(count, 101);
            assert!(read == said);
        }
    }

    #[test]
    fn one_request_after_the_other_is_read_in_small_turns_over_http_1_too() {
        let guest = guest(true);
        let (said, mut read) = ([0; 100 * TURN], Vec::new());
        let mut socket = Turns::new(&Queue::of(1), Arc::default()).of(said.as_slice(), false, guest.clone());
        let mut reading = tokio_test::task::spawn(socket.read_to_end(&mut read));
        let mut turns = 1;
        drop(guest.asks());
        while reading.poll().is_pending() {
            drop(guest.asks());
            turns += 1;
        }
        assert_eq!(turns, 101);
    }

    #[tokio::test]
    async fn after_each_turn_it_is_looked_who_else_has_sent_something() {
        let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut server = tokio::net::UnixStream::from_std(server).unwrap();
        let heard = tokio::spawn(async move { server.read(&mut [0]).await });
        let mut flood = Turns::new(&Queue::of(1), Arc::default()).of(tokio::io::repeat(0), true, guest(true));
        let mut turn = async || flood.read_exact(&mut [0; TURN + 1]).await.unwrap();
        for _ in 0..10 {
            turn().await;
        }
        (&client).write_all(&[0]).unwrap();
        turn().await;
        turn().await;
        assert!(heard.is_finished());
    }

    #[tokio::test]
    async fn who_waits_in_between_is_not_made_to_wait_longer() {
        let (mut client, server) = tokio::io::duplex(TURN);
        let mut server = Turns::new(&Queue::of(1), Arc::default()).of(server, true, guest(true));
        for _ in 0..10 {
            client.write_all(&[0; TURN - 1]).await.unwrap();
            let mut read = tokio_test::task::spawn(async { server.read_exact(&mut [0; TURN - 1]).await.map(drop) });
            assert!(read.poll().is_ready());
            drop(read);
            let mut more = tokio_test::task::spawn(async { server.read(&mut [0]).await });
            assert!(more.poll().is_pending());
            assert!(!more.is_woken());
        }
    }

    #[tokio::test]
    async fn each_of_the_requests_that_were_sent_at_once_but_the_first_has_to_wait() {
        let said = Arc::new(Said::default());
        let turns = Turns::new(&Queue::of(1), Arc::clone(&said));
        let (_client, silent) = tokio::io::duplex(1);
        let mut socket = turns.of(silent, false, guest(true));
        let request = || tokio_test::task::spawn(said.request());
        assert!(request().poll().is_ready());
        for _ in 0..3 {
            let mut next = request();
            assert!(next.poll().is_pending());
            assert!(said.enough.swap(false, Relaxed));
            assert!(next.poll().is_ready());
        }
        // Nothing more is there, so that the next one comes by itself.
        assert!(tokio_test::task::spawn(socket.read(&mut [0])).poll().is_pending());
        assert!(request().poll().is_ready());
        assert!(!said.enough.load(Relaxed));
    }

    /// What a connection reads that always has more to say, and how many turns it had.
    fn flood(queue: &Queue) -> (Turns, impl Future<Output = ()> + use<>, Arc<AtomicUsize>) {
        let (turns, had) = (Turns::new(queue, Arc::default()), Arc::new(AtomicUsize::new(0)));
        let mut socket = turns.of(tokio::io::repeat(0), true, guest(true));
        let reading = {
            let had = Arc::clone(&had);
            async move {
                while socket.read_exact(&mut [0; TURN]).await.is_ok() {
                    had.fetch_add(1, Relaxed);
                }
            }
        };
        (turns, reading, had)
    }

    #[tokio::test]
    async fn of_those_that_have_more_to_say_one_does_so_at_a_time_and_each_in_its_turn() {
        let queue = Queue::of(1);
        let floods: Vec<_> = (0..20)
            .map(|_| {
                let (mut turns, reading, had) = flood(&queue);
                let serving = tokio::spawn(async move { turns.serve(pin!(reading)).await });
                (serving, had)
            })
            .collect();
        let had = || floods.iter().map(|(_, had)| had.load(Relaxed)).collect::<Vec<_>>();
        // The first turn of each is its own.
        while had().iter().sum::<usize>() < 20 {
            yield_now().await;
        }
        for _ in 0..100 {
            let before: usize = had().iter().sum();
            yield_now().await;
            let turns = had().iter().sum::<usize>() - before;
            assert!(turns <= 2, "{turns} turns before somebody else's");
        }
        let (least, most) = (had().into_iter().min().unwrap(), had().into_iter().max().unwrap());
        assert!(least > 1 && most - least <= 1, "{least} to {most}");
        for (serving, _) in floods {
            serving.abort();
        }
    }

    #[tokio::test]
    async fn whoever_goes_or_waits_for_something_else_leaves_its_place_to_the_next() {
        let queue = Queue::of(1);
        let places = || queue.0.available_permits();
        let (mut turns, reading, _) = flood(&queue);
        let mut gone = tokio_test::task::spawn(async move { turns.serve(pin!(reading)).await });
        assert!(gone.poll().is_pending());
        assert!(gone.poll().is_pending());
        assert_eq!(places(), 0, "it has the place until the others were looked at");
        let (mut turns, reading, had) = flood(&queue);
        // It writes, say, to one that reads nothing.
        let mut stalled = tokio_test::task::spawn(async move {
            let mut reading = pin!(reading);
            let mut polls = 0;
            let serving = poll_fn(|cx| {
                polls += 1;
                if polls < 2 { reading.as_mut().poll(cx) } else { Poll::Pending }
            });
            turns.serve(pin!(serving)).await;
        });
        assert!(stalled.poll().is_pending());
        assert!(stalled.poll().is_pending());
        drop(gone);
        assert!(stalled.is_woken() && places() == 0);
        assert!(stalled.poll().is_pending());
        assert_eq!((places(), had.load(Relaxed)), (1, 1));
    }
}
