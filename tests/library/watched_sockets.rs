//! What `websocket` promises of a socket on axum, over real connections. In real time.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{State, WebSocketUpgrade, ws::Message},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode, Version};
use http_body_util::Empty;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message as Received, client::IntoClientRequest, protocol::Role},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    Access, BearerAuthLayer, StreamReauthLayer,
    bearer::Place,
    reauth::{AccessEnded, EndReason, OpenStreams, SendError, StreamLabel},
    verify::VerifyError,
    websocket::{NoAnswer, OpeningSocket, OpeningUpgrade, ReauthSocket, ReauthUpgrade},
};

use crate::support::Oracle;

/// Tells the test how a socket ended for its handler.
type Ends = mpsc::UnboundedSender<Option<EndReason>>;

async fn echo(upgrade: ReauthUpgrade, State(ends): State<Ends>) -> Response {
    upgrade.with_protocols(["echo"]).on_upgrade(async move |mut socket| {
        while let Some(Ok(said @ (Message::Text(_) | Message::Binary(_)))) = socket.recv().await {
            if socket.send(said).await.is_err() {
                break;
            }
        }
        let _ = ends.send(socket.end_reason());
    })
}

/// Never reads.
async fn ticks(upgrade: ReauthUpgrade, State(ends): State<Ends>) -> Response {
    let upgrade = upgrade.with_ping(Duration::from_millis(50), Duration::from_millis(50));
    upgrade.on_upgrade(async move |mut socket| {
        let ended = loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Err(error) = socket.send(Message::text("tick")).await {
                break error;
            }
        };
        let SendError::Ended(AccessEnded { reason, .. }) = ended else { panic!("{ended:?}") };
        let _ = ends.send(Some(reason));
    })
}

/// More than the buffers on the way take.
const MUCH: usize = 64 * 1024 * 1024;

async fn much(upgrade: ReauthUpgrade, State(ends): State<Ends>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let _ = socket.send(Message::binary(vec![0; MUCH])).await;
        let _ = ends.send(socket.end_reason());
    })
}

/// Reads in one task and writes in another.
async fn split(upgrade: ReauthUpgrade, State(ends): State<Ends>) -> Response {
    upgrade.on_upgrade(async move |socket| {
        let (mut sink, mut stream) = socket.split();
        let writer = tokio::spawn(async move {
            sink.send(Message::text("hello")).await.expect("access holds");
            std::future::pending::<()>().await;
        });
        while stream.next().await.is_some() {}
        let _ = ends.send(None);
        writer.abort();
    })
}

/// Reads one message.
async fn once(upgrade: ReauthUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| drop(socket.recv().await))
}

async fn leave(upgrade: ReauthUpgrade) -> Response {
    upgrade.on_upgrade(async |socket| drop(socket))
}

async fn panic(upgrade: ReauthUpgrade) -> Response {
    async fn fails(_socket: ReauthSocket) {
        panic!("the handler fails");
    }
    upgrade.on_upgrade(fails)
}

async fn pinged(upgrade: ReauthUpgrade, State(ends): State<Ends>) -> Response {
    let upgrade = upgrade.with_ping(Duration::from_millis(50), Duration::from_millis(50));
    upgrade.with_max_message_size(100).on_upgrade(async move |mut socket| {
        while let Some(said) = socket.recv().await {
            match said {
                Ok(said) => drop(socket.send(said).await),
                Err(error) => {
                    let is_silent = std::error::Error::source(&error).is_some_and(|source| source.is::<NoAnswer>());
                    let _ = ends.send(is_silent.then_some(EndReason::Disconnected));
                }
            }
        }
        let _ = ends.send(socket.end_reason());
    })
}

/// axum's own.
async fn plain(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| while socket.recv().await.is_some() {})
}

fn app(oracle: &Oracle, ends: Ends) -> Router {
    let layer = BearerAuthLayer::new(oracle.clone())
        .with_places([Place::AUTHORIZATION, Place::subprotocol("bearer.").expect("a token")]);
    Router::new()
        .route("/echo", any(echo))
        .route("/ticks", any(ticks))
        .route("/split", any(split))
        .route("/much", any(much))
        .route("/once", any(once))
        .route("/leave", any(leave))
        .route("/panic", any(panic))
        .route("/pinged", any(pinged))
        .route("/plain", any(plain))
        .with_state(ends)
        .layer(StreamReauthLayer::new())
        .layer(layer)
}

async fn served(oracle: &Oracle) -> (SocketAddr, mpsc::UnboundedReceiver<Option<EndReason>>) {
    let (sender, ends) = mpsc::unbounded_channel();
    let app = app(oracle, sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, ends)
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(oracle: &Oracle, path: &str) -> (Client, mpsc::UnboundedReceiver<Option<EndReason>>) {
    let (address, ends) = served(oracle).await;
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", "Bearer t0ken".parse().expect("ASCII"));
    (connect_async(request).await.expect("the door is open").0, ends)
}

/// The code and the word with which the socket is closed, and whether its connection then ends.
async fn close_of<S>(client: &mut WebSocketStream<S>) -> (u16, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let closed = timeout(Duration::from_secs(3), async {
        let frame = loop {
            match client.next().await.expect("a close frame, not a cut").expect("a close frame, not an error") {
                Received::Close(frame) => break frame.expect("a reason"),
                _ => continue,
            }
        };
        assert!(client.next().await.is_none(), "nothing comes after it");
        (frame.code.into(), frame.reason.as_str().to_owned())
    });
    closed.await.expect("a prompt end")
}

async fn end(ends: &mut mpsc::UnboundedReceiver<Option<EndReason>>) -> Option<EndReason> {
    timeout(Duration::from_secs(3), ends.recv()).await.expect("a prompt end").expect("the handler tells")
}

fn revoke(oracle: &Oracle) {
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
}

#[tokio::test]
async fn an_idle_socket_whose_token_is_revoked_is_closed_with_1008_and_ends_for_its_handler() {
    let oracle = Oracle::with_revision();
    let (mut client, mut ends) = connect(&oracle, "/echo").await;
    client.send(Received::text("hello")).await.expect("a socket");
    assert_eq!(client.next().await.expect("an echo").expect("an echo"), Received::text("hello"));
    let revoked = Instant::now();
    revoke(&oracle);
    assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
    assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
}

#[tokio::test]
async fn a_socket_whose_verifier_is_down_is_closed_with_1013() {
    let oracle = Oracle::with_revision();
    let (mut client, mut ends) = connect(&oracle, "/echo").await;
    oracle.says(Err(VerifyError::unavailable()));
    oracle.moves();
    assert_eq!(close_of(&mut client).await, (1013, "unavailable".to_owned()));
    assert_eq!(end(&mut ends).await, Some(EndReason::Unavailable));
}

#[tokio::test]
async fn the_close_frame_reaches_a_client_whose_messages_nobody_read() {
    for _ in 0..10 {
        let oracle = Oracle::with_revision();
        let (mut client, mut ends) = connect(&oracle, "/ticks").await;
        for _ in 0..50 {
            client.send(Received::binary(vec![0; 1000])).await.expect("room");
        }
        assert_eq!(client.next().await.expect("a tick").expect("a tick"), Received::text("tick"));
        revoke(&oracle);
        assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
        assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
    }
}

#[tokio::test]
async fn both_halves_end_though_two_tasks_have_them() {
    let oracle = Oracle::with_revision();
    let (mut client, mut ends) = connect(&oracle, "/split").await;
    assert_eq!(client.next().await.expect("a word").expect("a word"), Received::text("hello"));
    revoke(&oracle);
    assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
    assert_eq!(end(&mut ends).await, None);
}

#[tokio::test]
async fn a_socket_that_its_handler_drops_is_closed_with_1000_or_after_a_panic_with_1011() {
    for (path, close) in [("/leave", (1000, "finished")), ("/panic", (1011, "failed"))] {
        let (mut client, _) = connect(&Oracle::with_revision(), path).await;
        assert_eq!(close_of(&mut client).await, (close.0, close.1.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_frame_is_let_go() {
    let oracle = Oracle::with_revision();
    let (address, mut ends) = served(&oracle).await;
    let mut client = handshake(address, "/echo").await;
    revoke(&oracle);
    let revoked = Instant::now();
    // A close frame of 9 bytes, the code first; and then the end of the connection.
    assert_eq!(rest(&mut client).await, b"\x88\x09\x03\xf0revoked");
    assert!((4..8).contains(&revoked.elapsed().as_secs()), "{:?}", revoked.elapsed());
    assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_in_the_same_time() {
    let oracle = Oracle::with_revision();
    let (address, mut ends) = served(&oracle).await;
    let mut client = handshake(address, "/much").await;
    client.read_u8().await.expect("it is being sent");
    revoke(&oracle);
    tokio::time::sleep(Duration::from_secs(7)).await;
    // What is in the buffers on the way still comes, and no more.
    assert!(rest(&mut client).await.len() < MUCH, "the message went on");
    assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_ping_is_let_go() {
    let (address, mut ends) = served(&Oracle::with_revision()).await;
    let started = Instant::now();
    let mut client = handshake(address, "/pinged").await;
    assert_eq!(rest(&mut client).await, b"\x89\x00", "a ping, and the end");
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    // The error first, and then the end.
    assert_eq!(end(&mut ends).await, Some(EndReason::Disconnected));
    assert_eq!(end(&mut ends).await, None);
}

/// Connects as a client does, and then says nothing.
async fn handshake(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a server");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t0ken\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a response"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    socket
}

/// What comes until the connection ends.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), socket.read_to_end(&mut bytes)).await.expect("an end").expect("a clean end");
    bytes
}

#[tokio::test]
async fn a_silent_client_that_answers_pings_keeps_its_socket_whoever_reads() {
    for path in ["/pinged", "/ticks"] {
        let (mut client, mut ends) = connect(&Oracle::with_revision(), path).await;
        // Reading is what answers.
        let read = async { while let Some(Ok(_)) = client.next().await {} };
        assert!(timeout(Duration::from_millis(600), read).await.is_err(), "{path}");
        assert!(ends.try_recv().is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_an_error_and_a_close_with_1009() {
    let (mut client, mut ends) = connect(&Oracle::with_revision(), "/pinged").await;
    client.send(Received::binary(vec![0; 100])).await.expect("a socket");
    assert_eq!(client.next().await.expect("an echo").expect("an echo"), Received::binary(vec![0; 100]));
    client.send(Received::binary(vec![0; 101])).await.expect("a socket");
    assert_eq!(end(&mut ends).await, None);
    assert_eq!(close_of(&mut client).await, (1009, "a message is too long".to_owned()));
}

#[tokio::test]
async fn what_is_no_frame_of_the_protocol_or_no_utf_8_is_said_to_be_that() {
    for (frame, close) in [
        // A text of two bytes that are none, and a frame without a mask.
        (&b"\x81\x82\0\0\0\0\xff\xfe"[..], &b"\x03\xefa text is no UTF-8"[..]),
        (b"\x81\x02hi", b"\x03\xeaa frame is none of the protocol"),
    ] {
        let (address, _ends) = served(&Oracle::with_revision()).await;
        let mut client = handshake(address, "/pinged").await;
        client.write_all(frame).await.expect("a socket");
        let expected = [&[0x88, close.len() as u8][..], close].concat();
        assert_eq!(rest(&mut client).await, expected, "{frame:?}");
    }
}

#[tokio::test]
async fn a_client_that_closes_is_answered_though_its_handler_reads_no_further() {
    let (address, _ends) = served(&Oracle::with_revision()).await;
    let mut client = handshake(address, "/once").await;
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.expect("a socket");
    assert_eq!(rest(&mut client).await, b"\x88\x02\x03\xe8");
}

#[tokio::test]
async fn a_client_that_is_not_known_is_not_watched_until_it_is_admitted() {
    let oracle = Oracle::with_revision();
    let streams = OpenStreams::new();
    let (mut client, _) = connect_async(opening(&oracle, &streams).await).await.expect("anybody may");
    client.send(Received::text("hello?")).await.expect("a socket");
    assert_eq!(client.next().await.expect("an answer").expect("an answer"), Received::text("who?"));
    assert_eq!(streams.len(), 0);
    client.send(Received::text("t0ken")).await.expect("a socket");
    assert_eq!(client.next().await.expect("an answer").expect("an answer"), Received::text("welcome"));
    let listed = streams.list();
    assert_eq!((listed.len(), listed[0].id.get(), listed[0].label.as_deref()), (1, 7, Some("a socket")));
    revoke(&oracle);
    assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
    assert_eq!(streams.len(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_say_who_it_is_has_so_much_time() {
    let began = Instant::now();
    let address = opening(&Oracle::with_revision(), &OpenStreams::new()).await;
    let (mut client, _) = connect_async(address).await.expect("anybody may");
    assert_eq!(close_of(&mut client).await, (1000, "finished".to_owned()));
    assert!((300..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

/// The address of a server whose clients say who they are in a message.
async fn opening(oracle: &Oracle, streams: &OpenStreams) -> String {
    let layer = StreamReauthLayer::new().with_registry(streams);
    let door = BearerAuthLayer::new(oracle.clone()).layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(http::Response::new(request.extensions().get::<Access>().cloned()))
    }));
    let handler = async move |upgrade: OpeningUpgrade| {
        let (door, layer) = (door.clone(), layer.clone());
        upgrade.with_deadline(Duration::from_millis(300)).on_upgrade(async move |mut socket: OpeningSocket| {
            while let Some(Ok(Message::Text(said))) = socket.recv().await {
                if said.as_str() != "t0ken" {
                    socket.send(Message::text("who?")).await.expect("a client");
                    continue;
                }
                let shown = Request::builder().header("authorization", format!("Bearer {said}"));
                let entered = door.oneshot(shown.body(()).expect("a request")).await.expect("infallible");
                let access = entered.into_body().expect("it is good");
                let mut socket = socket.admit(&access, &layer, Some(7.into()), Some(&StreamLabel::new("a socket")));
                socket.send(Message::text("welcome")).await.expect("a client");
                while socket.recv().await.is_some() {}
                return;
            }
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("ws://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", any(handler))).await });
    address
}

#[tokio::test]
async fn the_subprotocol_with_the_token_is_not_chosen_and_the_other_is() {
    let (address, _ends) = served(&Oracle::with_revision()).await;
    let mut request = format!("ws://{address}/echo").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "bearer.t0ken, echo".parse().expect("ASCII"));
    let (_client, response) = connect_async(request).await.expect("the door is open");
    assert_eq!(response.headers()["sec-websocket-protocol"], "echo");
}

#[tokio::test]
async fn over_http_2_it_is_the_same() {
    let oracle = Oracle::with_revision();
    let (sender, mut ends) = mpsc::unbounded_channel();
    let service = TowerToHyperService::new(app(&oracle, sender));
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http2().enable_connect_protocol();
        let _ = server.serve_connection_with_upgrades(TokioIo::new(far), service).await;
    });
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await;
    let (mut client, connection) = handshake.expect("a connection");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://localhost/echo")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("authorization", "Bearer t0ken")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let response = client.send_request(request).await.expect("a response");
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(response).await.expect("a stream");
    let mut client = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    client.send(Received::text("hello")).await.expect("a socket");
    assert_eq!(client.next().await.expect("an echo").expect("an echo"), Received::text("hello"));
    revoke(&oracle);
    assert_eq!(close_of(&mut client).await, (1008, "revoked".to_owned()));
    assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
}

#[tokio::test]
async fn a_request_that_is_no_handshake_or_has_no_access_is_refused() {
    let (sender, _ends) = mpsc::unbounded_channel();
    let request = || Request::builder().uri("/echo").header("authorization", "Bearer t0ken");
    let plain = request().body(axum::body::Body::empty()).expect("a request");
    let response = app(&Oracle::with_revision(), sender.clone()).oneshot(plain).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);

    let open = Router::new().route("/echo", any(echo)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, open).await });
    match connect_async(format!("ws://{address}/echo")).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 500),
        opened => panic!("{:?}", opened.map(|_| ())),
    }
}

#[tokio::test]
async fn the_rules_of_a_layer_hold_for_a_socket() {
    let (sender, mut ends) = mpsc::unbounded_channel();
    let reauth = StreamReauthLayer::new().with_on_end(move |ended| {
        let _ = sender.send(Some(ended.reason));
    });
    let by_hand = async move |upgrade: ReauthUpgrade, access: Access| {
        assert!(upgrade.access().identity().subject() == access.identity().subject());
        upgrade.with_reauth(&reauth).on_upgrade(async |mut socket| while socket.recv().await.is_some() {})
    };
    let oracle = Oracle::with_revision();
    let open = Router::new().route("/", any(by_hand)).layer(BearerAuthLayer::new(oracle.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut request =
        format!("ws://{}/", listener.local_addr().expect("an address")).into_client_request().expect("one");
    tokio::spawn(async move { axum::serve(listener, open).await });
    request.headers_mut().insert("authorization", "Bearer t0ken".parse().expect("ASCII"));
    let (_client, _) = connect_async(request).await.expect("the door is open");
    revoke(&oracle);
    assert_eq!(end(&mut ends).await, Some(EndReason::Revoked));
}

#[test]
fn an_idle_socket_keeps_less_than_9_kib_where_axums_own_keeps_more_than_128() {
    const SOCKETS: usize = 50;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (address, _ends) = runtime.block_on(served(&Oracle::with_revision()));
    let kept = |path| {
        let open = || runtime.block_on(handshake(address, path));
        // The server does what is left to do.
        let settle = || runtime.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        let _first = (open(), settle());
        let mut clients = Vec::with_capacity(SOCKETS);
        // The clients' ends are of this thread too: some hundred bytes each.
        let kept = allocation_counter::measure(|| {
            clients.extend((0..SOCKETS).map(|_| open()));
            settle();
        });
        kept.bytes_current / SOCKETS as i64
    };
    let (own, axums) = (kept("/echo"), kept("/plain"));
    println!("{own} bytes; a socket of axum's {axums}");
    assert!((1..9 * 1024).contains(&own), "{own}");
    assert!(axums > 128 * 1024, "{axums}");
}
