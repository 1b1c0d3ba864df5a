//! How a socket is closed.

use std::time::Duration;

use ::axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use crate::{reauth::EndReason, unwind::contained};

/// How long the client has to answer, from when it is told.
const LIMIT: Duration = Duration::from_secs(5);

/// The frame that closes a socket for a reason.
pub(super) fn frame(reason: EndReason) -> Message {
    Message::Close(Some(CloseFrame { code: reason.close_code(), reason: reason.as_str().into() }))
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
