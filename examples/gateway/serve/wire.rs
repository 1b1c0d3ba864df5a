//! What a connection is read from and written to: a socket, or TLS over one. Either fails when the socket takes
//! nothing for too long.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_io_timeout::TimeoutWriter;

use crate::tls::{Secured, Timed};

pub enum Wire {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

pub enum Incoming {
    Plain(OwnedReadHalf),
    /// With a byte that was looked at, and is not read yet.
    Secured(ReadHalf<Box<Secured>>, Option<u8>),
}

pub enum Outgoing {
    Plain(Pin<Box<TimeoutWriter<OwnedWriteHalf>>>),
    Secured(WriteHalf<Box<Secured>>),
}

/// The socket, which fails when it takes nothing for so long.
pub fn timed(socket: TcpStream, write_timeout: Duration) -> Timed {
    Box::pin(with_timeout(socket, write_timeout))
}

fn with_timeout<W: AsyncWrite>(writer: W, write_timeout: Duration) -> TimeoutWriter<W> {
    let mut writer = TimeoutWriter::new(writer);
    writer.set_timeout(Some(write_timeout));
    writer
}

impl Wire {
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer).await,
            Self::Secured(secured) => secured.read(buffer).await,
        }
    }

    pub fn split(self, write_timeout: Duration) -> (Incoming, Outgoing) {
        match self {
            Self::Plain(socket) => {
                let (read, write) = socket.into_split();
                (Incoming::Plain(read), Outgoing::Plain(Box::pin(with_timeout(write, write_timeout))))
            }
            Self::Secured(secured) => {
                let (read, write) = tokio::io::split(secured);
                (Incoming::Secured(read, None), Outgoing::Secured(write))
            }
        }
    }
}

impl Incoming {
    /// Ready when the other side has said its last word. An error if it is known to have gone.
    pub fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut next = [0];
        let mut next = ReadBuf::new(&mut next);
        match self {
            Self::Plain(half) => _ = ready!(half.poll_peek(cx, &mut next))?,
            Self::Secured(_, Some(_)) => return Poll::Pending,
            Self::Secured(half, looked_at) => {
                ready!(Pin::new(half).poll_read(cx, &mut next))?;
                *looked_at = next.filled().first().copied();
            }
        }
        // What there is is the next request, which is read when this one is answered.
        if next.filled().is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(half) => Pin::new(half).poll_read(cx, buffer),
            Self::Secured(_, looked_at) if looked_at.is_some() && buffer.remaining() > 0 => {
                buffer.put_slice(looked_at.take().as_slice());
                Poll::Ready(Ok(()))
            }
            Self::Secured(half, _) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(half) => half.as_mut().poll_write(cx, bytes),
            Self::Secured(half) => Pin::new(half).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(half) => half.as_mut().poll_flush(cx),
            Self::Secured(half) => Pin::new(half).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(half) => half.as_mut().poll_shutdown(cx),
            Self::Secured(half) => Pin::new(half).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(half) => half.as_mut().poll_write_vectored(cx, bytes),
            Self::Secured(half) => Pin::new(half).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(half) => half.is_write_vectored(),
            Self::Secured(half) => half.is_write_vectored(),
        }
    }
}
