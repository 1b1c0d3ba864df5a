//! The handshake, and what is settled in it.

use std::{borrow::Cow, fmt, future::Future, time::Duration};

use ::axum::{
    extract::{
        FromRequestParts,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse, Response},
};
use http::request::Parts;
use tokio::time::Instant;

use super::{ReauthSocket, alive::Alive, goodbye, handshake::Handshake};
use crate::{
    Access, StreamReauthLayer,
    reauth::{GuardedSink, StreamId, StreamLabel},
};

/// An extractor that makes a [`ReauthSocket`] of a request: in place of axum's `WebSocketUpgrade`.
///
/// Refuses a request that is no handshake as that does, and one without an [`Access`] with 500.
#[must_use = "without `on_upgrade` there is no socket"]
pub struct ReauthUpgrade {
    handshake: Handshake,
    access: Access,
    reauth: StreamReauthLayer,
    id: Option<StreamId>,
    label: Option<StreamLabel>,
}

impl ReauthUpgrade {
    /// Watches by the rules of a [`StreamReauthLayer`] as it is made, with read and write buffers of 4 KiB.
    pub fn new(upgrade: WebSocketUpgrade, access: Access) -> Self {
        let (handshake, reauth) = (Handshake::new(upgrade), StreamReauthLayer::new());
        Self { handshake, access, reauth, id: None, label: None }
    }

    /// Watches by the rules of this layer: its heartbeat, `max_age`, check timeout, grace, early close and hooks.
    pub fn with_reauth<R, U>(self, layer: &StreamReauthLayer<R, U>) -> Self {
        Self { reauth: layer.by_hand(), ..self }
    }

    /// Lists the socket under this id in the layer's [registry](StreamReauthLayer::with_registry), unless another stream
    /// has it.
    pub fn with_id(self, id: impl Into<StreamId>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Lists the socket with this label in the layer's [registry](StreamReauthLayer::with_registry).
    pub fn with_label(self, label: StreamLabel) -> Self {
        Self { label: Some(label), ..self }
    }

    /// Pings a client that is silent for `interval`, and lets it go where nothing comes from it within `deadline` after
    /// that. Default: 20 seconds each. An interval of `None` never pings; more than 30 days count as 30 days.
    ///
    /// # Panics
    ///
    /// If one of them is shorter than a millisecond, which no timer can tell from none.
    pub fn with_ping(self, interval: impl Into<Option<Duration>>, deadline: Duration) -> Self {
        Self { handshake: self.handshake.with_ping(interval.into(), deadline), ..self }
    }

    /// Chooses the first of these subprotocols that the client offers. A browser that offered some gives up where
    /// none is chosen; one that is a [token](crate::bearer::Place::subprotocol) is no longer among them.
    pub fn with_protocols<T: Into<Cow<'static, str>>>(self, protocols: impl IntoIterator<Item = T>) -> Self {
        Self { handshake: self.handshake.with_protocols(protocols), ..self }
    }

    /// The longest message that is taken from a client, in bytes; a longer one is the error of `recv`. Default:
    /// 1 MiB.
    pub fn with_max_message_size(self, bytes: usize) -> Self {
        Self { handshake: self.handshake.with_max_message_size(bytes), ..self }
    }

    /// Changes what else axum has to be set.
    pub fn map_upgrade(self, change: impl FnOnce(WebSocketUpgrade) -> WebSocketUpgrade) -> Self {
        Self { handshake: self.handshake.map_upgrade(change), ..self }
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
        let Self { handshake: Handshake { upgrade, ping }, access, reauth, id, label } = self;
        upgrade.on_upgrade(move |socket: WebSocket| {
            let protocol = socket.protocol().cloned();
            let guarded = watched(&reauth, &access, id, label.as_ref(), Alive::new(socket, ping));
            handler(ReauthSocket::new(guarded, protocol))
        })
    }
}

/// Watches a socket, which says goodbye when access ends.
pub(super) fn watched<R, U>(
    layer: &StreamReauthLayer<R, U>,
    access: &Access,
    id: Option<StreamId>,
    label: Option<&StreamLabel>,
    socket: Alive,
) -> GuardedSink<Alive, Message> {
    let leaves_since = socket.leaves_since();
    layer.watch_sink_as(access, id, label, socket).with_farewell(move |reason| {
        leaves_since.get_or_init(Instant::now);
        goodbye::frame(reason)
    })
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
            .field("handshake", &self.handshake)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
