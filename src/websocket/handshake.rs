//! What is settled in a handshake, whoever the client is.

use std::{borrow::Cow, time::Duration};

use ::axum::extract::ws::WebSocketUpgrade;

use super::alive::Ping;

/// How many bytes are read at once, and how many wait to be written together. axum's own 128 KiB of each are kept
/// by each socket for as long as it is open.
const BUFFER: usize = 4 * 1024;

const MAX_MESSAGE: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) upgrade: WebSocketUpgrade,
    pub(super) ping: Option<Ping>,
}

impl Handshake {
    pub(super) fn new(upgrade: WebSocketUpgrade) -> Self {
        let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        let ping = Ping { interval: Duration::from_secs(20), deadline: Duration::from_secs(20) };
        Self { upgrade, ping: Some(ping) }.with_max_message_size(MAX_MESSAGE)
    }

    pub(super) fn with_ping(self, interval: Option<Duration>, deadline: Duration) -> Self {
        let bounded = |time: Duration| {
            assert!(time >= Duration::from_millis(1), "a client is given at least a millisecond");
            time.min(Duration::from_secs(30 * 24 * 60 * 60))
        };
        Self {
            ping: interval.map(|interval| Ping { interval: bounded(interval), deadline: bounded(deadline) }),
            ..self
        }
    }

    pub(super) fn with_protocols<T: Into<Cow<'static, str>>>(self, protocols: impl IntoIterator<Item = T>) -> Self {
        self.map_upgrade(|upgrade| upgrade.protocols(protocols))
    }

    pub(super) fn with_max_message_size(self, bytes: usize) -> Self {
        self.map_upgrade(|upgrade| upgrade.max_message_size(bytes).max_frame_size(bytes))
    }

    pub(super) fn map_upgrade(self, change: impl FnOnce(WebSocketUpgrade) -> WebSocketUpgrade) -> Self {
        Self { upgrade: change(self.upgrade), ..self }
    }
}
