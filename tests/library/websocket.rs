//! Promises 3 and 8 for a WebSocket, with axum on the one end and tungstenite on the other: it is
//! closed with a code that says why. In real time.

use std::time::Duration;

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::Response,
    routing::get,
};
use futures_util::{SinkExt, StreamExt, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message as Received, client::IntoClientRequest},
};
use tower_reauth::{Access, BearerAuthLayer, StreamReauthLayer, reauth::EndReason, verify::VerifyError};

use crate::support::Oracle;

/// What a handler has at hand: the layer, and somebody to tell why a socket ended.
#[derive(Clone)]
struct Hands {
    reauth: StreamReauthLayer,
    ends: mpsc::UnboundedSender<EndReason>,
}

/// Sends ticks from a stream that is watched.
async fn ticks_from_a_stream(upgrade: WebSocketUpgrade, access: Access, State(hands): State<Hands>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let ticks = stream::unfold(interval(Duration::from_millis(2)), async |mut clock| {
            clock.tick().await;
            Some((Message::text("tick"), clock))
        });
        let mut ticks = std::pin::pin!(hands.reauth.watch_stream(&access, ticks));
        while let Some(tick) = ticks.next().await {
            if socket.send(tick).await.is_err() {
                return;
            }
        }
        hands.close(socket, ticks.end_reason()).await;
    })
}

/// Sends ticks into a socket that is watched, and reads meanwhile.
async fn ticks_into_a_sink(upgrade: WebSocketUpgrade, access: Access, State(hands): State<Hands>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let mut watched = hands.reauth.watch_sink(&access, &mut socket);
        let mut clock = interval(Duration::from_millis(2));
        loop {
            tokio::select! {
                said = watched.next() => if said.is_none() { break },
                _ = clock.tick() => if watched.send(Message::text("tick")).await.is_err() { break },
            }
        }
        let reason = watched.end_reason();
        hands.close(socket, reason).await;
    })
}

/// Answers what the client says, which says nothing.
async fn echo(upgrade: WebSocketUpgrade, access: Access, State(hands): State<Hands>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let mut watched = hands.reauth.watch_sink(&access, &mut socket);
        while let Some(Ok(said)) = watched.next().await {
            if watched.send(said).await.is_err() {
                break;
            }
        }
        let reason = watched.end_reason();
        hands.close(socket, reason).await;
    })
}

/// Sends more than the client reads.
async fn flood(upgrade: WebSocketUpgrade, access: Access, State(hands): State<Hands>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let mut watched = hands.reauth.watch_sink(&access, &mut socket);
        let drop = bytes::Bytes::from(vec![0; 1 << 20]);
        while watched.send(Message::Binary(drop.clone())).await.is_ok() {}
        let reason = watched.end_reason();
        hands.close(socket, reason).await;
    })
}

impl Hands {
    /// Says why, and gives the client a moment to hear it.
    async fn close(self, mut socket: WebSocket, reason: Option<EndReason>) {
        let Some(reason) = reason else { return };
        let _ = self.ends.send(reason);
        let farewell = async {
            let frame = CloseFrame { code: reason.close_code(), reason: reason.as_str().into() };
            socket.send(Message::Close(Some(frame))).await?;
            while socket.recv().await.transpose()?.is_some() {}
            Ok::<_, axum::Error>(())
        };
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Serves sockets to whomever the oracle lets in, and connects to one; beside it, why they end.
async fn connect(oracle: &Oracle, path: &str) -> (Result<Client, Error>, mpsc::UnboundedReceiver<EndReason>) {
    let (sender, ends) = mpsc::unbounded_channel();
    let reauth = StreamReauthLayer::new();
    let app = Router::new()
        .route("/stream", get(ticks_from_a_stream))
        .route("/sink", get(ticks_into_a_sink))
        .route("/echo", get(echo))
        .route("/flood", get(flood))
        .with_state(Hands { reauth: reauth.clone(), ends: sender })
        .layer(reauth)
        .layer(BearerAuthLayer::new(oracle.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", "Bearer t0ken".parse().expect("ASCII"));
    (connect_async(request).await.map(|(client, _)| client), ends)
}

/// The code and the word with which the socket is closed.
async fn close_of(client: &mut Client) -> (u16, String) {
    let closed = timeout(Duration::from_secs(1), async {
        loop {
            match client.next().await.expect("a close frame, not a cut").expect("a close frame, not an error") {
                Received::Close(frame) => return frame.expect("a reason"),
                _ => continue,
            }
        }
    });
    let frame = closed.await.expect("a prompt end");
    (frame.code.into(), frame.reason.as_str().to_owned())
}

#[tokio::test]
async fn a_socket_whose_token_is_revoked_is_closed_with_1008() {
    for path in ["/stream", "/sink"] {
        let oracle = Oracle::with_revision();
        let mut client = connect(&oracle, path).await.0.expect("the door is open");
        for _ in 0..5 {
            let tick = client.next().await.expect("a tick").expect("a tick");
            assert_eq!(tick, Received::text("tick"), "{path}");
        }
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_socket_whose_verifier_is_down_is_closed_with_1013() {
    for path in ["/stream", "/sink", "/echo"] {
        let oracle = Oracle::with_revision();
        let mut client = connect(&oracle, path).await.0.expect("the door is open");
        oracle.says(Err(VerifyError::unavailable()));
        oracle.moves();
        assert_eq!(close_of(&mut client).await, (1013, "unavailable".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn an_idle_socket_is_closed_the_moment_its_token_is_revoked() {
    let oracle = Oracle::with_revision();
    let mut client = connect(&oracle, "/echo").await.0.expect("the door is open");
    client.send(Received::text("hello")).await.expect("a socket");
    assert_eq!(client.next().await.expect("an echo").expect("an echo"), Received::text("hello"));
    oracle.says(Err(VerifyError::Rejected));
    let revoked = Instant::now();
    oracle.moves();
    assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
    assert!(revoked.elapsed() < Duration::from_millis(500), "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_its_socket() {
    let oracle = Oracle::with_revision();
    let (client, mut ends) = connect(&oracle, "/flood").await;
    let _client = client.expect("the door is open");
    // Long enough for the buffers on the way to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(ends.try_recv().is_err());
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    let end = timeout(Duration::from_secs(1), ends.recv()).await;
    assert_eq!(end.expect("a prompt end"), Some(EndReason::Revoked));
}

#[tokio::test]
async fn a_socket_is_not_opened_with_a_dead_token() {
    let oracle = Oracle::with_revision();
    oracle.says(Err(VerifyError::Rejected));
    match connect(&oracle, "/echo").await.0 {
        Err(Error::Http(response)) => assert_eq!(response.status(), 401),
        opened => panic!("{:?}", opened.map(|_| ())),
    }
}
