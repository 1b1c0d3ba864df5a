//! What a handler is given.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use ::axum::{Error, extract::ws::Message};
use futures_core::Stream;
use futures_sink::Sink;
use http::HeaderValue;

use super::alive::Alive;
use crate::reauth::{EndReason, GuardedSink, SendError};

/// A WebSocket, both halves of which end when access ends.
///
/// It is a `Stream` of the client's messages and a `Sink` for the server's, and may be split.
#[must_use = "a socket that is dropped is closed"]
pub struct ReauthSocket {
    guarded: GuardedSink<Alive, Message>,
    protocol: Option<HeaderValue>,
}

impl ReauthSocket {
    pub(super) fn new(guarded: GuardedSink<Alive, Message>, protocol: Option<HeaderValue>) -> Self {
        Self { guarded, protocol }
    }

    /// The client's next message: `Text`, `Binary`, or a `Close` that it began with. `None` once the socket is
    /// closed or access has ended.
    ///
    /// # Errors
    ///
    /// What axum's socket says; and a [`NoAnswer`](super::NoAnswer), after which nothing comes.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Sends a message, and waits until it was written.
    ///
    /// # Errors
    ///
    /// [`SendError::Ended`] when access has ended, and what axum's socket says.
    pub async fn send(&mut self, message: Message) -> Result<(), SendError<Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(&mut *self).start_send(message)?;
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// Why access ended, once it has.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.guarded.end_reason()
    }

    /// The subprotocol that was chosen, if one was.
    #[must_use]
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }
}

impl Stream for ReauthSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.guarded).poll_next(cx)
    }
}

impl Sink<Message> for ReauthSocket {
    type Error = SendError<Error>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.guarded).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        Pin::new(&mut self.guarded).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.guarded).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.guarded).poll_close(cx)
    }
}

impl fmt::Debug for ReauthSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReauthSocket").field("ended", &self.end_reason()).finish_non_exhaustive()
    }
}
