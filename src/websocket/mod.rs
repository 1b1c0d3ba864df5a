//! WebSockets on axum, both halves of which end when access ends.
//!
//! [`ReauthUpgrade`] is an extractor in place of axum's `WebSocketUpgrade`, and [`ReauthSocket`] the socket that its
//! handler is given. It needs an [`Access`](crate::Access) in the request, as a door puts it there. Where a client says
//! who it is in a message, an [`OpeningUpgrade`] takes its place: its socket is watched from when it is
//! [admitted](OpeningSocket::admit).
//!
//! # What is promised
//!
//! 1. What the server sends passes as frames of a body do: only while access holds, by the rules of
//!    [`reauth`](crate::reauth). What the client sends is handed on until access ends, and then no more.
//! 2. When access ends, the client is told by a close frame: 1008 `Policy Violation`, or 1013 `Try Again Later` where the
//!    same credential may be good again soon, with the word of [`EndReason::as_str`](crate::reauth::EndReason::as_str).
//!    The handler's `recv` is `None` and its `send` an error.
//! 3. A socket that its handler drops is closed too: with 1000, or 1011 where the handler panicked. After a message
//!    that is too long it is closed with 1009, after a text that is no UTF-8 with 1007, and after what is no frame of
//!    the protocol with 1002 (RFC 6455 section 7.4.1).
//! 4. After a close frame the socket is read on until the client's own, and then let go; all of that takes 5 seconds at
//!    most. Whoever lets go at once cuts off what is on its way, the close frame included.
//! 5. A client that is silent for 20 seconds is pinged, and one from which nothing comes within 20 more is let go:
//!    [`with_ping`](ReauthUpgrade::with_ping). Where the handler does not read, what counts is that the ping could be
//!    written.
//! 6. Pings and pongs are answered and counted here, and not handed on.
//! 7. A message of the client has at most 1 MiB, unless [`with_max_message_size`](ReauthUpgrade::with_max_message_size) says
//!    otherwise. Of what is sent at most 4 KiB and one message wait here for a client that does not read.
//!
//! It works over HTTP/1.1 and, where the server enables extended `CONNECT` (RFC 8441), over HTTP/2; a route for both takes any
//! method. The socket is ended when one of its halves is polled: a handler that waits for something else for long, and
//! not for its socket beside it, keeps that open meanwhile.
//!
//! # What a socket costs
//!
//! An idle one keeps less than 9 KiB on HTTP/1.1, its access, its task and the connection included; a socket as axum makes it
//! keeps more than 128. That is counted in `tests/library/watched_sockets.rs`.
//!
//! # Who may connect
//!
//! CORS does not hold for WebSockets: a page of any origin may connect, and read. A browser sends what it knows by itself, so a
//! cookie, an address or a client certificate must be paired with a look at the `Origin`: a
//! [`TokenCookie`](crate::bearer::TokenCookie) has that, and so has a trusted proxy's `OriginPolicy`. A token that the page
//! had to know needs none: a browser's script sends it as a [subprotocol](crate::bearer::Place::subprotocol).
//!
//! Where a client shows its token in a message, cap the log: at the level TRACE the crate `tungstenite` writes whole messages.
//!
//! # Example
//!
//! ```
//! use axum::{Router, extract::ws::Message, response::Response, routing::any};
//! use tower_reauth::{BearerAuthLayer, StaticToken, bearer::Place, websocket::ReauthUpgrade};
//!
//! async fn echo(upgrade: ReauthUpgrade) -> Response {
//!     upgrade.with_protocols(["echo"]).on_upgrade(async |mut socket| {
//!         while let Some(Ok(Message::Text(text))) = socket.recv().await {
//!             if socket.send(Message::Text(text)).await.is_err() {
//!                 break;
//!             }
//!         }
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use futures_util::{SinkExt, StreamExt};
//! # use tokio_tungstenite::{connect_async, tungstenite::{Message as Received, client::IntoClientRequest}};
//! let secret = StaticToken::new("s3cret");
//! let auth = BearerAuthLayer::new(secret.clone())
//!     .with_places([Place::cookie("__Host-session")?, Place::subprotocol("bearer.")?]);
//! let app = Router::new().route("/echo", any(echo)).layer(auth);
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let mut request = format!("ws://{}/echo", listener.local_addr()?).into_client_request()?;
//! # request.headers_mut().insert("sec-websocket-protocol", "echo, bearer.s3cret".parse()?);
//! # tokio::spawn(async move { axum::serve(listener, app).await });
//! # let (mut client, response) = connect_async(request).await?;
//! # assert_eq!(response.headers()["sec-websocket-protocol"], "echo");
//! // In a browser: `new WebSocket('wss://…/echo', ['echo', 'bearer.s3cret'])`.
//! client.send(Received::text("hello")).await?;
//! assert_eq!(client.next().await.unwrap()?, Received::text("hello"));
//!
//! secret.rotate("another");
//! let Received::Close(Some(close)) = client.next().await.unwrap()? else { panic!("it is closed") };
//! assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "revoked"));
//! # Ok(())
//! # }
//! ```

// - `upgrade`: the extractor. `socket`: what a handler is given. `opening`: both for a client that is not known yet.
// - `handshake`: what is settled for either.
// - `alive`: the socket underneath, which pings. `goodbye`: how it is closed.
//
// A `ReauthSocket` is a `GuardedSink`, which watches access and sends the close frame, around an `Alive`. However the
// handler is done with it, that is dropped, and in its `Drop` hands the connection to `goodbye::say`.

mod alive;
mod goodbye;
mod handshake;
mod opening;
mod socket;
mod upgrade;

pub use self::{
    alive::NoAnswer,
    opening::{OpeningSocket, OpeningUpgrade},
    socket::ReauthSocket,
    upgrade::ReauthUpgrade,
};
