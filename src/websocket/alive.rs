//! A socket that asks whether its client is still there.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use ::axum::{
    Error as SocketError,
    extract::ws::{Message, WebSocket},
};
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::time::{Instant, Sleep};

use super::goodbye::{self, Fault};
use crate::{
    reauth::{EndReason, TwoWakers},
    timer::timer,
};

/// When a client is asked whether it is there, and when it is let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
}

/// A client did not answer a ping in time: what is in the error of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoAnswer;

pub(super) struct Alive {
    /// `None` once it was let go.
    socket: Option<WebSocket>,
    /// It came to its end, failed, or its client is not there: there is nobody to say goodbye to.
    is_over: bool,
    has_said_goodbye: bool,
    /// Since when it is to be closed.
    leaves_since: Arc<OnceLock<Instant>>,
    /// What the client did that no socket goes on after.
    fault: Option<Fault>,
    watch: Option<Watch>,
}

/// The watch over a client.
struct Watch {
    ping: Ping,
    timer: Pin<Box<Sleep>>,
    last_heard: Instant,
    asked: Option<Asked>,
    // One task may read and another write: whichever polled last, both are woken.
    tasks: Arc<TwoWakers>,
    both: Waker,
}

/// A ping that nothing has come after.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// What the client sends was read since, so that its answer would have been seen.
    is_read: bool,
    /// Something could be written since.
    is_written: bool,
}

#[derive(Clone, Copy)]
enum Half {
    Read,
    Write,
}

impl Alive {
    pub(super) fn new(socket: WebSocket, ping: Option<Ping>) -> Self {
        let watch = ping.and_then(|ping| {
            let now = Instant::now();
            let tasks = Arc::new(TwoWakers::default());
            let both = Waker::from(Arc::clone(&tasks));
            let timer = Box::pin(timer(now.checked_add(ping.interval)?)?);
            Some(Watch { ping, timer, last_heard: now, asked: None, tasks, both })
        });
        Self {
            socket: Some(socket),
            is_over: false,
            has_said_goodbye: false,
            leaves_since: Arc::default(),
            fault: None,
            watch,
        }
    }

    /// Sends a ping where one is due, and fails where one was not answered.
    fn poll_watch(&mut self, cx: &mut Context<'_>, half: Half) -> Result<(), SocketError> {
        let (Some(watch), Some(socket)) = (&mut self.watch, &mut self.socket) else { return Ok(()) };
        match half {
            Half::Read => watch.tasks.other.register(cx),
            Half::Write => watch.tasks.one.register(cx),
        }
        while watch.timer.as_mut().poll(&mut Context::from_waker(&watch.both)).is_ready() {
            let now = Instant::now();
            let quiet_until = watch.last_heard + watch.ping.interval;
            if now < quiet_until {
                watch.timer.as_mut().reset(quiet_until);
                continue;
            }
            // Where nobody reads, an answer would not have been seen: what can be written is a sign of life.
            if watch.asked.is_some_and(|asked| asked.is_read || !asked.is_written) {
                self.is_over = true;
                return Err(SocketError::new(NoAnswer));
            }
            watch.timer.as_mut().reset(now + watch.ping.deadline);
            let mut socket = Pin::new(&mut *socket);
            let mut is_written = false;
            if socket.as_mut().poll_ready(cx)?.is_ready() {
                socket.as_mut().start_send(Message::Ping(Bytes::new()))?;
                is_written = socket.poll_flush(cx)?.is_ready();
            }
            watch.asked = Some(Asked { is_read: false, is_written });
        }
        if let Some(asked) = &mut watch.asked {
            asked.is_read |= matches!(half, Half::Read);
        }
        Ok(())
    }

    fn says_goodbye(&mut self) {
        self.has_said_goodbye = true;
        self.leaves_since.get_or_init(Instant::now);
    }

    /// To be set when the socket is to be closed: the time that there is for it begins then, though it may be a while
    /// until anything can be written.
    pub(super) fn leaves_since(&self) -> Arc<OnceLock<Instant>> {
        Arc::clone(&self.leaves_since)
    }

    /// Polls the socket to write.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        poll: fn(Pin<&mut WebSocket>, &mut Context<'_>) -> Poll<Result<(), SocketError>>,
    ) -> Poll<Result<(), SocketError>> {
        self.poll_watch(cx, Half::Write)?;
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(())) };
        let written = ready!(poll(Pin::new(socket), cx));
        self.is_over |= written.is_err();
        if let Some(asked) = self.watch.as_mut().and_then(|watch| watch.asked.as_mut()) {
            asked.is_written = true;
        }
        Poll::Ready(written)
    }
}

impl Stream for Alive {
    type Item = Result<Message, SocketError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            if let Err(error) = self.poll_watch(cx, Half::Read) {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(socket) = &mut self.socket else { return Poll::Ready(None) };
            let item = ready!(Pin::new(socket).poll_next(cx));
            if let Some(watch) = &mut self.watch {
                (watch.last_heard, watch.asked) = (Instant::now(), None);
            }
            match item {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // The socket answers it by itself, when it is polled next.
                Some(Ok(Message::Close(_))) => {
                    self.says_goodbye();
                    return Poll::Ready(item);
                }
                None => {
                    self.is_over = true;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.is_over = true;
                    self.fault = Fault::of(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                message => return Poll::Ready(message),
            }
        }
    }
}

impl Sink<Message> for Alive {
    type Error = SocketError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_write(cx, |socket, cx| socket.poll_ready(cx))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        if let Message::Close(_) = message {
            self.says_goodbye();
        }
        let Some(socket) = &mut self.socket else { return Ok(()) };
        Pin::new(socket).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_write(cx, |socket, cx| socket.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.says_goodbye();
        self.poll_write(cx, |socket, cx| socket.poll_close(cx))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        if let Some(fault) = self.fault.filter(|_| !self.has_said_goodbye) {
            return goodbye::say(socket, Some(fault.frame()), Instant::now());
        }
        if self.is_over {
            return;
        }
        let reason = if std::thread::panicking() { EndReason::Failed } else { EndReason::Finished };
        let frame = (!self.has_said_goodbye).then(|| goodbye::frame(reason));
        goodbye::say(socket, frame, *self.leaves_since.get_or_init(Instant::now));
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client did not answer a ping in time")
    }
}

impl Error for NoAnswer {}
