//! The first bytes of a connection: read until it is known which protocol they begin.

use std::{
    fmt, io,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Place,
    wire::{Incoming, Outgoing, Wire},
};

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the client has said either all of HTTP/2's preface or something else. What it is sent has to be taken
/// within `write_timeout`, or at least some of it.
pub async fn read(mut wire: Wire, write_timeout: Duration) -> io::Result<Socket> {
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && said[..length] == PREFACE[..length] {
        match wire.read(&mut said[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    let (read, write) = wire.split(write_timeout);
    Ok(Socket { said: said.into(), unread: 0..length, client: Client(Arc::new(Mutex::new(read))), write, place: None })
}

/// A socket of which something has been read, to be read again.
pub struct Socket {
    said: Box<[u8]>,
    unread: Range<usize>,
    client: Client,
    write: Outgoing,
    /// Given back with the socket, whoever has that last: what an upgrade made of it may be closed by a task of its own.
    place: Option<Place>,
}

/// What comes from the client of a connection, to be read by one and looked at by others.
#[derive(Clone)]
pub struct Client(Arc<Mutex<Incoming>>);

impl Socket {
    pub fn speaks_http_2(&self) -> bool {
        *self.said == *PREFACE
    }

    pub fn with_place(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What was written; and whether the client takes nothing is known to others.
    fn has_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Some(place) = &self.place {
            place.entered.guest.set_full(written.is_pending());
        }
        self.unless_it_leaves(cx, written)
    }

    /// What was done; or an error where it would be waited for, and the place is needed for another.
    fn unless_it_leaves<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let has_to_leave = done.is_pending() && self.place.as_mut().is_some_and(|place| place.poll_left(cx).is_ready());
        if has_to_leave { Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())) } else { done }
    }
}

impl Client {
    fn half(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when the client has said its last word: it may have gone, or may still listen. An error if it is
    /// known to have gone. To be polled by the task that reads.
    pub fn poll_half_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_half_closed(cx)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            let read = Pin::new(&mut *self.client.half()).poll_read(cx, buffer);
            return self.unless_it_leaves(cx, read);
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.said[self.unread.start..][..length]);
        self.unread.start += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.write).poll_write(cx, bytes);
        self.has_written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.write).poll_flush(cx);
        self.has_written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.write).poll_shutdown(cx);
        self.has_written(cx, shut_down)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.write).poll_write_vectored(cx, bytes);
        self.has_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }
}
