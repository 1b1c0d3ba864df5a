//! The handshake, and what is settled in it.

use std::{borrow::Cow, fmt, future::Future, time::Duration};

use ::axum::{
    extract::{
        FromRequestParts,
        ws::{WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::{
    ReauthSocket,
    alive::{Alive, Ping},
    goodbye,
};
use crate::{Access, StreamReauthLayer};

/// How many bytes are read at once, and how many wait to be written together. axum's own 128 KiB of each are kept
/// by each socket for as long as it is open.
const BUFFER: usize = 4 * 1024;

const MAX_MESSAGE: usize = 1024 * 1024;

/// An extractor that makes a [`ReauthSocket`] of a request: in place of axum's `WebSocketUpgrade`.
///
/// Refuses a request that is no handshake as that does, and one without an [`Access`] with 500.
#[must_use = "without `on_upgrade` there is no socket"]
pub struct ReauthUpgrade {
    upgrade: WebSocketUpgrade,
    access: Access,
    reauth: StreamReauthLayer,
    ping: Option<Ping>,
}

impl ReauthUpgrade {
    /// Watches by the rules of a [`StreamReauthLayer`] as it is made, with read and write buffers of 4 KiB.
    pub fn new(upgrade: WebSocketUpgrade, access: Access) -> Self {
        let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        let ping = Ping { interval: Duration::from_secs(20), deadline: Duration::from_secs(20) };
        Self { upgrade, access, reauth: StreamReauthLayer::new(), ping: Some(ping) }.with_max_message_size(MAX_MESSAGE)
    }

    /// Watches by the rules of this layer: its heartbeat, `max_age`, check timeout, grace, early close and hooks.
    pub fn with_reauth<R, U>(self, layer: &StreamReauthLayer<R, U>) -> Self {
        Self { reauth: layer.by_hand(), ..self }
    }

    /// Pings a client that is silent for `interval`, and lets it go where nothing comes from it within `deadline` after
    /// that. Default: 20 seconds each. An interval of `None` never pings; more than 30 days count as 30 days.
    ///
    /// # Panics
    ///
    /// If one of them is shorter than a millisecond, which no timer can tell from none.
    pub fn with_ping(self, interval: impl Into<Option<Duration>>, deadline: Duration) -> Self {
        let bounded = |time: Duration| {
            assert!(time >= Duration::from_millis(1), "a client is given at least a millisecond");
            time.min(Duration::from_secs(30 * 24 * 60 * 60))
        };
        let ping = interval.into().map(|interval| Ping { interval: bounded(interval), deadline: bounded(deadline) });
        Self { ping, ..self }
    }

    /// Chooses the first of these subprotocols that the client offers. A browser that offered some gives up where
    /// none is chosen; one that is a [token](crate::bearer::Place::subprotocol) is no longer among them.
    pub fn with_protocols<T: Into<Cow<'static, str>>>(self, protocols: impl IntoIterator<Item = T>) -> Self {
        Self { upgrade: self.upgrade.protocols(protocols), ..self }
    }

    /// The longest message that is taken from a client, in bytes; a longer one is the error of `recv`. Default:
    /// 1 MiB.
    pub fn with_max_message_size(self, bytes: usize) -> Self {
        Self { upgrade: self.upgrade.max_message_size(bytes).max_frame_size(bytes), ..self }
    }

    /// Changes what else axum has to be set.
    pub fn map_upgrade(self, change: impl FnOnce(WebSocketUpgrade) -> WebSocketUpgrade) -> Self {
        Self { upgrade: change(self.upgrade), ..self }
    }

    /// Who connects.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The response to the handshake; `handler` is called with the socket, in a task of its own.
    #[must_use = "the response is what makes it a socket"]
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(ReauthSocket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { upgrade, access, reauth, ping } = self;
        upgrade.on_upgrade(move |socket: WebSocket| {
            let protocol = socket.protocol().cloned();
            let guarded = reauth.watch_sink(&access, Alive::new(socket, ping)).with_farewell(goodbye::frame);
            handler(ReauthSocket::new(guarded, protocol))
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ReauthUpgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let access = <Access as FromRequestParts<S>>::from_request_parts(parts, state).await;
        Ok(Self::new(upgrade, access.map_err(IntoResponse::into_response)?))
    }
}

impl fmt::Debug for ReauthUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReauthUpgrade")
            .field("upgrade", &self.upgrade)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
