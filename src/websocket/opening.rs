//! A socket whose client says who it is in its first messages.

use std::{borrow::Cow, fmt, future::Future, pin::Pin, time::Duration};

use ::axum::{
    Error,
    extract::{
        FromRequestParts,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse, Response},
};
use futures_core::Stream;
use futures_sink::Sink;
use http::{HeaderValue, request::Parts};
use tokio::time::{Instant, timeout_at};

use super::{ReauthSocket, alive::Alive, handshake::Handshake, upgrade::watched};
use crate::{
    Access, StreamReauthLayer,
    reauth::{StreamId, StreamLabel},
};

/// How long a client may take to say who it is.
const DEADLINE: Duration = Duration::from_secs(15);

/// An extractor in place of axum's `WebSocketUpgrade`, for a protocol in which a client says who it is in a message.
///
/// It lets everybody in as far as an [`OpeningSocket`], so a limit on connections has to stand in front of it. Refuses
/// a request that is no handshake as axum's does.
///
/// What the client shows is best put to the layers that ask every other client, by a request of its own:
///
/// ```
/// use std::convert::Infallible;
///
/// use axum::{extract::ws::Message, response::Response};
/// use http::Request;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_reauth::{Access, BearerAuthLayer, StaticToken, StreamReauthLayer, websocket::OpeningUpgrade};
///
/// async fn handler(upgrade: OpeningUpgrade) -> Response {
///     upgrade.on_upgrade(async |mut socket| {
///         let Some(Ok(Message::Text(token))) = socket.recv().await else { return };
///         let door = BearerAuthLayer::new(StaticToken::new("s3cret")).layer(service_fn(async |request: Request<()>| {
///             Ok::<_, Infallible>(http::Response::new(request.extensions().get::<Access>().cloned()))
///         }));
///         let Ok(request) = Request::builder().header("authorization", format!("Bearer {token}")).body(()) else { return };
///         let Ok(answer) = door.oneshot(request).await;
///         let Some(access) = answer.into_body() else { return };
///         let mut socket = socket.admit(&access, &StreamReauthLayer::new(), None, None);
///         while let Some(Ok(said)) = socket.recv().await {
///             if socket.send(said).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// # let _ = handler;
/// ```
#[derive(Debug)]
#[must_use = "without `on_upgrade` there is no socket"]
pub struct OpeningUpgrade {
    handshake: Handshake,
    deadline: Duration,
}

impl OpeningUpgrade {
    /// With read and write buffers of 4 KiB, as a [`ReauthUpgrade`](super::ReauthUpgrade) has them.
    pub fn new(upgrade: WebSocketUpgrade) -> Self {
        Self { handshake: Handshake::new(upgrade), deadline: DEADLINE }
    }

    /// How long a client may take to be [admitted](OpeningSocket::admit). Default: 15 seconds; more than 30 days count
    /// as 30 days.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline: deadline.min(Duration::from_secs(30 * 24 * 60 * 60)), ..self }
    }

    /// As [`ReauthUpgrade::with_ping`](super::ReauthUpgrade::with_ping).
    ///
    /// # Panics
    ///
    /// If one of them is shorter than a millisecond, which no timer can tell from none.
    pub fn with_ping(self, interval: impl Into<Option<Duration>>, deadline: Duration) -> Self {
        Self { handshake: self.handshake.with_ping(interval.into(), deadline), ..self }
    }

    /// As [`ReauthUpgrade::with_protocols`](super::ReauthUpgrade::with_protocols).
    pub fn with_protocols<T: Into<Cow<'static, str>>>(self, protocols: impl IntoIterator<Item = T>) -> Self {
        Self { handshake: self.handshake.with_protocols(protocols), ..self }
    }

    /// The longest message that is taken from a client, in bytes, before and after it is admitted. Default: 1 MiB.
    pub fn with_max_message_size(self, bytes: usize) -> Self {
        Self { handshake: self.handshake.with_max_message_size(bytes), ..self }
    }

    /// Changes what else axum has to be set.
    pub fn map_upgrade(self, change: impl FnOnce(WebSocketUpgrade) -> WebSocketUpgrade) -> Self {
        Self { handshake: self.handshake.map_upgrade(change), ..self }
    }

    /// The response to the handshake; `handler` is called with the socket, in a task of its own.
    #[must_use = "the response is what makes it a socket"]
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(OpeningSocket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { handshake: Handshake { upgrade, ping }, deadline } = self;
        upgrade.on_upgrade(move |socket: WebSocket| {
            let protocol = socket.protocol().cloned();
            let deadline = Instant::now() + deadline;
            handler(OpeningSocket { socket: Alive::new(socket, ping), deadline, protocol })
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OpeningUpgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self::new(upgrade.map_err(IntoResponse::into_response)?))
    }
}

/// A WebSocket whose client is not known yet. Closed when it is dropped, as a [`ReauthSocket`] is.
#[must_use = "a socket that is dropped is closed"]
pub struct OpeningSocket {
    socket: Alive,
    deadline: Instant,
    protocol: Option<HeaderValue>,
}

impl OpeningSocket {
    /// The client's next message. `None` once the socket is closed, or the client's time is up.
    ///
    /// # Errors
    ///
    /// What axum's socket says; after that nothing comes.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        let next = std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_next(cx));
        timeout_at(self.deadline, next).await.unwrap_or(None)
    }

    /// Sends a message, and waits until it was written, or the client's time is up: then what was not written of it
    /// waits for what is sent next.
    ///
    /// # Errors
    ///
    /// What axum's socket says.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        let sent = async {
            std::future::poll_fn(|cx| socket.as_mut().poll_ready(cx)).await?;
            socket.as_mut().start_send(message)?;
            std::future::poll_fn(|cx| socket.as_mut().poll_flush(cx)).await
        };
        timeout_at(self.deadline, sent).await.unwrap_or(Ok(()))
    }

    /// When the client's time is up.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The subprotocol that was chosen, if one was.
    #[must_use]
    pub fn protocol(&self) -> Option<&HeaderValue> {
        self.protocol.as_ref()
    }

    /// The client is known now: from here on the socket is watched by the rules of this layer, and listed by its
    /// [registry](StreamReauthLayer::with_registry) under this id and label.
    pub fn admit<R, U>(
        self,
        access: &Access,
        layer: &StreamReauthLayer<R, U>,
        id: Option<StreamId>,
        label: Option<&StreamLabel>,
    ) -> ReauthSocket {
        ReauthSocket::new(watched(layer, access, id, label, self.socket), self.protocol)
    }
}

impl fmt::Debug for OpeningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningSocket").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
