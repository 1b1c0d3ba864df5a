//! How a socket is closed.

use std::{error::Error as _, time::Duration};

use ::axum::{
    Error as SocketError,
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use tungstenite::error::{Error as Wrong, ProtocolError};

use crate::{reauth::EndReason, unwind::contained};

/// How long the client has to answer, from when it is told.
const LIMIT: Duration = Duration::from_secs(5);

/// The frame that closes a socket for a reason.
pub(super) fn frame(reason: EndReason) -> Message {
    Message::Close(Some(CloseFrame { code: reason.close_code(), reason: reason.as_str().into() }))
}

/// What a client sent that no socket goes on after (RFC 6455 section 7.1.7).
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    TooLong,
    NoUtf8,
    NoWebSocket,
}

impl Fault {
    /// `None` for what is no client's fault, or leaves nobody to be told.
    pub(super) fn of(error: &SocketError) -> Option<Self> {
        match error.source()?.downcast_ref()? {
            Wrong::Capacity(_) => Some(Self::TooLong),
            Wrong::Utf8(_) => Some(Self::NoUtf8),
            Wrong::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Wrong::Protocol(_) => Some(Self::NoWebSocket),
            _ => None,
        }
    }

    pub(super) fn frame(self) -> Message {
        let (code, reason) = match self {
            Self::TooLong => (close_code::SIZE, "a message is too long"),
            Self::NoUtf8 => (close_code::INVALID, "a text is no UTF-8"),
            Self::NoWebSocket => (close_code::PROTOCOL, "a frame is none of the protocol"),
        };
        Message::Close(Some(CloseFrame { code, reason: reason.into() }))
    }
}

/// Says goodbye unless that was said, and lets the client answer, in a task of its own. Where there is no runtime
/// any more, the socket is dropped.
pub(super) fn say(socket: WebSocket, frame: Option<Message>, since: Instant) {
    if let Ok(runtime) = Handle::try_current() {
        contained(|| runtime.spawn(timeout_at(since + LIMIT, finish(socket, frame))));
    }
}

async fn finish(mut socket: WebSocket, frame: Option<Message>) {
    if let Some(frame) = frame {
        if socket.send(frame).await.is_err() {
            return;
        }
    }
    while let Some(Ok(_)) = socket.recv().await {}
}
