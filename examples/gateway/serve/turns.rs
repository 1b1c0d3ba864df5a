//! Connections that always have more to say.
//!
//! A connection is read until there is nothing to read, and what was read is dealt with meanwhile: nothing else has
//! its turn on this thread until then. A client that says small things as fast as it can (frames of HTTP/2 that cost
//! it nine bytes each) could keep a thread so for as long as it likes. So after some bytes the others have their
//! turn, those of whom it is not known yet that they have sent something among them.
//!
//! What is read over HTTP/1 without a request among it is a large body, which costs several times as much in small pieces.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
};

use super::guest::Guest;

/// How much is read in one turn. Most requests are smaller.
const TURN: usize = 2 * 1024;
/// The same of a body over HTTP/1: as much as is read of one at once.
const BODY: usize = 64 * 1024;

/// What is read in turns.
pub struct InTurns<T> {
    inner: T,
    /// How much is left of this turn.
    left: usize,
    speaks_http_2: bool,
    guest: Guest,
    /// How many requests there were when this turn began.
    asked: usize,
}

impl<T> InTurns<T> {
    pub fn new(inner: T, speaks_http_2: bool, guest: Guest) -> Self {
        let asked = guest.asked();
        Self { inner, left: TURN, speaks_http_2, guest, asked }
    }

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
    use std::{io::Write, time::Duration};

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
            let (mut socket, mut read) = (InTurns::new(said.as_slice(), speaks_http_2, guest(speaks_http)), Vec::new());
            let mut reading = tokio_test::task::spawn(socket.read_to_end(&mut read));
            let mut turns = 1;
            while reading.poll().is_pending() {
                assert!(reading.is_woken());
                turns += 1;
            }
            drop(reading);
            assert_eq!(turns, 101);
            assert!(read == said);
        }
    }

    #[test]
    fn one_request_after_the_other_is_read_in_small_turns_over_http_1_too() {
        let guest = guest(true);
        let (said, mut read) = ([0; 100 * TURN], Vec::new());
        let mut socket = InTurns::new(said.as_slice(), false, guest.clone());
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
        let mut flood = InTurns::new(tokio::io::repeat(0), true, guest(true));
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
        let mut server = InTurns::new(server, true, guest(true));
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
}
