//! HTTPS: both protocols, certificates that are replaced under open streams, and clients that do not speak it.
//!
//! The certificates in `tls/` are their own authorities, valid for a hundred years.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::TLS12,
    },
};

use crate::{
    client::PATIENCE,
    house::{AT_ONCE, House, TOKEN},
    process::Start,
    state::{SESSION, State, message},
};

const FIRST: [&str; 2] = [include_str!("tls/first.pem"), include_str!("tls/first-key.pem")];
const SECOND: [&str; 2] = [include_str!("tls/second.pem"), include_str!("tls/second-key.pem")];
const EXPIRED: [&str; 2] = [include_str!("tls/expired.pem"), include_str!("tls/expired-key.pem")];
const EARLY: &str = include_str!("tls/early.pem");
const ENCRYPTED: [&str; 2] = [include_str!("tls/encrypted-key.pem"), include_str!("tls/old-encrypted-key.pem")];

/// How long it takes until a pair that fits is served, or until one that does not is said to be broken.
const TAKEN_OVER: Duration = Duration::from_secs(8);

fn pair(state: &State, [cert, key]: [&str; 2]) -> [PathBuf; 2] {
    let files = [state.file("cert.pem", cert), state.file("key.pem", key)];
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o600)).expect("permissions");
    files
}

fn flags([cert, key]: &[PathBuf; 2]) -> [&std::ffi::OsStr; 6] {
    ["--token".as_ref(), TOKEN.as_ref(), "--tls-cert".as_ref(), cert.as_ref(), "--tls-key".as_ref(), key.as_ref()]
}

fn secured(state: State) -> House {
    let files = pair(&state, FIRST);
    House::with(state, flags(&files))
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for [cert, _] in [FIRST, SECOND] {
        roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate")).expect("an authority");
    }
    roots
}

/// A client that trusts both pairs, and offers these protocols.
fn client(protocols: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

type Secured = TlsStream<net::TcpStream>;

async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Secured {
    let socket = net::TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    timeout(PATIENCE, TlsConnector::from(Arc::clone(config)).connect(name, socket))
        .await
        .expect("in time")
        .expect("TLS")
}

fn protocol(secured: &Secured) -> Option<String> {
    secured.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// Whether it was the certificate of this pair that was shown.
fn is_of(secured: &Secured, [cert, _]: [&str; 2]) -> bool {
    let expected = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
    secured.get_ref().1.peer_certificates().is_some_and(|shown| shown == [expected])
}

/// What can be asked over a connection, whichever protocol was agreed on.
enum Client {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn over(secured: Secured) -> Self {
        if protocol(&secured).as_deref() == Some("h2") {
            let (client, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(secured)).await.expect("HTTP/2");
            tokio::spawn(connection);
            Self::Two(client)
        } else {
            let (client, connection) = http1::handshake(TokioIo::new(secured)).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            Self::One(client)
        }
    }

    async fn history(&mut self, accept: &str) -> Response<Incoming> {
        let request = Request::get(match self {
            Self::One(_) => format!("/sessions/{SESSION}/history"),
            Self::Two(_) => format!("https://localhost/sessions/{SESSION}/history"),
        });
        let request = request.header("host", "localhost").header("accept", accept);
        let request = request.header("authorization", format!("Bearer {TOKEN}")).body(Empty::new()).expect("a request");
        let answer = match self {
            Self::One(client) => client.send_request(request).await,
            Self::Two(client) => client.send_request(request).await,
        };
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer
    }
}

/// Reads on until the body holds this.
async fn read_until(body: &mut Incoming, text: &str) -> String {
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let frame = body.frame().await.expect("the stream goes on").expect("a frame");
            read.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("text"));
        }
    };
    let in_time = timeout(PATIENCE, reading).await;
    assert!(in_time.is_ok(), "no {text:?} in {read:?}");
    read
}

async fn log_has(house: &House, text: &str) {
    let start = Instant::now();
    while !house.gateway.log().contains(text) {
        assert!(start.elapsed() < PATIENCE, "no {text:?} in the log: {}", house.gateway.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until new connections are shown this pair.
async fn shows(address: SocketAddr, config: &Arc<ClientConfig>, pair: [&str; 2]) -> Secured {
    let start = Instant::now();
    loop {
        let secured = connect(address, config).await;
        if is_of(&secured, pair) {
            return secured;
        }
        assert!(start.elapsed() < TAKEN_OVER, "it still shows the other one");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_shown_over_both_protocols_and_no_stream_is_dropped() {
    let house = secured(State::of_messages(1));
    let address = house.gateway.address;
    let offers = [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)];
    let mut streams = Vec::new();
    for (offered, expected) in offers {
        let secured = connect(address, &Arc::new(client(offered))).await;
        assert!(is_of(&secured, FIRST));
        assert_eq!(protocol(&secured).as_deref(), expected);
        let mut client = Client::over(secured).await;
        let mut body = client.history("text/event-stream").await.into_body();
        read_until(&mut body, "event: history\n").await;
        streams.push((client, body));
    }

    // One is written before the other: what is there in between is never shown.
    house.state.replace(&house.state.path().join("cert.pem"), SECOND[0]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_of(&connect(address, &Arc::new(client(&[]))).await, FIRST));
    house.state.replace(&house.state.path().join("key.pem"), SECOND[1]);
    for (offered, expected) in offers {
        let secured = shows(address, &Arc::new(client(offered)), SECOND).await;
        assert_eq!(protocol(&secured).as_deref(), expected, "after a reload");
        let page = Client::over(secured).await.history("application/json").await;
        assert!(!page.headers().contains_key("strict-transport-security"));
        assert!(page.into_body().collect().await.is_ok());
    }
    assert!(house.gateway.log().contains("--tls-cert"), "{}", house.gateway.log());
    assert!(!house.gateway.log().contains("stay as they were"), "{}", house.gateway.log());

    house.state.append(&message(2));
    for (_client, body) in &mut streams {
        read_until(body, r#""messageId":"m2""#).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_folder_with_a_new_pair_is_followed() {
    let state = State::of_messages(1);
    for (name, [cert, key]) in [("one", FIRST), ("two", SECOND)] {
        fs::create_dir(state.path().join(name)).expect("a folder");
        state.file(&format!("{name}/tls.crt"), cert);
        state.file(&format!("{name}/tls.key"), key);
    }
    let (link, new) = (state.path().join("current"), state.path().join("new"));
    symlink("one", &link).expect("a link");
    let files = [link.join("tls.crt"), link.join("tls.key")];
    let house = House::with(state, flags(&files));
    let config = Arc::new(client(&[]));
    assert!(is_of(&connect(house.gateway.address, &config).await, FIRST));
    symlink("two", &new).expect("a link");
    fs::rename(&new, &link).expect("a link in its place");
    shows(house.gateway.address, &config, SECOND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_changes_nothing_and_is_said_once() {
    let house = secured(State::of_messages(1));
    let config = Arc::new(client(&[]));
    let cert = house.state.path().join("cert.pem");
    for (broken, words) in [
        (SECOND[0], "does not belong to the certificate"),
        ("rubbish", "holds no certificate in PEM"),
        (EXPIRED[0], "does not belong"),
    ] {
        let before = house.gateway.log().matches("stay as they were").count();
        house.state.replace(&cert, broken);
        log_has(&house, words).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let log = house.gateway.log();
        assert_eq!(log.matches("stay as they were").count(), before + 1, "{log}");
        assert!(is_of(&connect(house.gateway.address, &config).await, FIRST));
        assert!(!log.contains("PRIVATE KEY") && !log.contains("BEGIN"), "{log}");
        house.state.replace(&cert, FIRST[0]);
        let start = Instant::now();
        while house.gateway.log().matches("good again").count() <= before {
            assert!(start.elapsed() < PATIENCE, "{}", house.gateway.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn what_clients_would_refuse_is_an_error_at_the_start_and_in_a_check() {
    let state = State::of_messages(1);
    let (missing, nothing) = (state.path().join("missing.pem"), Path::new(""));
    for (files, words) in [
        ([FIRST[0], SECOND[1]], "key.pem: the whole of it: does not belong to the certificate in"),
        (EXPIRED, "cert.pem: the whole of it: has expired on 2021-01-01T00:00:00Z"),
        ([EARLY, EXPIRED[1]], "cert.pem: the whole of it: is not valid before 2099-01-01T00:00:00Z"),
        ([FIRST[0], ENCRYPTED[0]], "key.pem: the whole of it: is encrypted"),
        ([FIRST[0], ENCRYPTED[1]], "key.pem: the whole of it: is encrypted"),
        ([FIRST[1], FIRST[1]], "cert.pem: the whole of it: holds no certificate in PEM"),
        ([FIRST[0], FIRST[0]], "key.pem: the whole of it: holds no private key in PEM"),
        (["", FIRST[1]], "cert.pem: the whole of it: holds no certificate in PEM"),
        (["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", FIRST[1]], "a certificate that cannot be"),
        (
            ["-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", FIRST[1]],
            "cert.pem: the whole of it: is not PEM",
        ),
    ] {
        let files = pair(&state, files);
        for command in [&[][..], &["check"]] {
            let output = Start::new().args(command).arg_state(&state).args(flags(&files)).output();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{words}: {error}");
            assert!(error.contains(words), "{words}: {error}");
            assert!(!error.contains("BEGIN"), "{error}");
        }
    }
    let files = pair(&state, FIRST);
    for (cert, key, words) in [
        (Some(missing.as_path()), Some(files[1].as_path()), "missing.pem"),
        (Some(files[0].as_path()), Some(nothing), "No such file"),
        (Some(files[0].as_path()), None, "--tls-cert needs --tls-key"),
        (None, Some(files[1].as_path()), "--tls-key needs --tls-cert"),
    ] {
        for command in [&[][..], &["check"]] {
            let mut start = Start::new().args(command).arg_state(&state).args(["--token", TOKEN]);
            for (flag, file) in [("--tls-cert", cert), ("--tls-key", key)] {
                if let Some(file) = file {
                    start = start.args([
                        flag.as_ref(),
                        if file == nothing { "/dev/nowhere".as_ref() } else { file.as_os_str() },
                    ]);
                }
            }
            let output = start.output();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && error.contains(words), "{words}: {error}");
        }
    }
}

#[test]
fn a_key_that_others_can_read_is_worth_a_word() {
    let state = State::of_messages(1);
    let files = pair(&state, FIRST);
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o644)).expect("permissions");
    let check = |command: &[&str]| Start::new().args(command).arg_state(&state).args(flags(&files));
    let said = String::from_utf8_lossy(&check(&["check"]).output().stdout).into_owned();
    assert!(said.contains("advice:") && said.contains("key.pem holds secrets") && said.ends_with("good\n"), "{said}");
    check(&[]).run().has_logged("key.pem holds secrets");
}

fn plain(address: SocketAddr, said: &[u8]) -> (String, Duration) {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(said).expect("some bytes");
    let (start, mut answer) = (Instant::now(), Vec::new());
    socket.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{error} after {answer:?}"));
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
}

#[test]
fn plain_http_is_told_to_use_https_and_is_not_answered() {
    let house = secured(State::of_messages(1));
    let request =
        format!("GET /sessions/{SESSION}/history HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let (answer, took) = plain(house.gateway.address, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nThe gateway speaks TLS: use https.\n"), "{answer}");
    assert!(took < AT_ONCE, "{took:?}");
    // What is neither is closed, and nobody else is any the worse for it.
    for said in [&b"\x00\x01\x02"[..], b"\x80hello"] {
        assert_eq!(plain(house.gateway.address, said).0, "");
    }
    // A record of the handshake that is none is answered by an alert at most.
    let (answer, _) = plain(house.gateway.address, &[22, 3, 1, 0, 5, 9, 9, 9, 9, 9]);
    assert!(!answer.contains("HTTP"), "{answer}");
    assert!(house.gateway.log().contains("listening"), "{}", house.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_holds_up_nobody_and_is_let_go() {
    let house = secured(State::of_messages(1));
    let address = house.gateway.address;
    let silent: Vec<_> = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"]
        .map(|said| {
            let mut socket = TcpStream::connect(address).expect("a connection");
            socket.write_all(said).expect("some bytes");
            socket
        })
        .into();
    let start = Instant::now();
    Client::over(connect(address, &Arc::new(client(&["h2"]))).await).await.history("application/json").await;
    assert!(start.elapsed() < AT_ONCE);
    let closed = spawn_blocking(move || {
        for mut socket in silent {
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            // An alert may come before the end.
            while socket.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
            assert!(start.elapsed() < PATIENCE, "it is let go");
        }
    });
    closed.await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_under_the_certificate_that_it_began_under_alone() {
    let house = secured(State::of_messages(1));
    let address = house.gateway.address;
    let config = Arc::new(client(&["http/1.1"]));
    let kind = async || {
        let mut secured = connect(address, &config).await;
        let kind = secured.get_ref().1.handshake_kind();
        // Tickets come after the handshake, and with the first answer at the latest.
        secured.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("a request");
        let mut answer = Vec::new();
        // Not cut: the gateway says that this is the end (RFC 8446 section 6.1).
        secured.read_to_end(&mut answer).await.expect("a whole answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        kind
    };
    assert_eq!(kind().await, Some(HandshakeKind::Full));
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));
    pair(&house.state, SECOND);
    shows(address, &Arc::new(client(&[])), SECOND).await;
    assert_eq!(kind().await, Some(HandshakeKind::Full), "the old certificate is withdrawn");
    assert_eq!(kind().await, Some(HandshakeKind::Resumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_tls_1_2_are_served_and_those_without_a_common_protocol_are_not() {
    let house = secured(State::of_messages(1));
    let address = house.gateway.address;
    let mut old = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .expect("a version")
        .with_root_certificates(roots())
        .with_no_client_auth();
    old.alpn_protocols = vec![b"h2".to_vec()];
    let old = Arc::new(old);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let secured = connect(address, &old).await;
        assert_eq!((secured.get_ref().1.handshake_kind(), protocol(&secured).as_deref()), (Some(kind), Some("h2")));
        Client::over(secured).await.history("application/json").await;
    }
    let socket = net::TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let strange = TlsConnector::from(Arc::new(client(&["spdy/3"]))).connect(name, socket).await;
    assert!(strange.is_err_and(|error| error.to_string().contains("NoApplicationProtocol")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_follows_a_stream_all_the_same() {
    let house = secured(State::of_messages(1));
    let mut secured = connect(house.gateway.address, &Arc::new(client(&["http/1.1"]))).await;
    let request = format!(
        "GET /sessions/{SESSION}/history HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nAccept: text/event-stream\r\n\r\n"
    );
    secured.write_all(request.as_bytes()).await.expect("a request");
    secured.shutdown().await.expect("half of a connection");
    let mut read = String::new();
    let mut until = async |text: &str| {
        let mut buffer = [0; 4096];
        while !read.contains(text) {
            let length = timeout(PATIENCE, secured.read(&mut buffer)).await.expect("in time").expect("it goes on");
            assert!(length > 0, "no {text:?} in {read:?}");
            read.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    until("event: history").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    house.state.append(&message(2));
    until(r#""messageId":"m2""#).await;
}

/// A session of some 16 MB.
fn large() -> State {
    let text = "x".repeat(4000);
    let line = |n: usize| {
        format!("{{\"type\":\"message\",\"id\":\"m{n}\",\"message\":{{\"role\":\"user\",\"content\":\"{text}\"}}}}\n")
    };
    State::holding(&(1..=4000).map(line).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_a_little_now_and_then_is_waited_for_and_one_that_takes_nothing_is_not() {
    let state = large();
    let files = pair(&state, FIRST);
    let house = House::with(state, flags(&files).into_iter().chain(["--write-timeout".as_ref(), "1s".as_ref()]));
    let request = format!(
        "GET /sessions/{SESSION}/history HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    let ask = async || {
        let mut secured = connect(house.gateway.address, &Arc::new(client(&["http/1.1"]))).await;
        secured.write_all(request.as_bytes()).await.expect("a request");
        secured
    };
    let (mut slow, mut stalled) = (ask().await, ask().await);
    // In three times what a client may take nothing for, and so much at a time that the sockets' own buffers, of some
    // MB, let more be sent within that time.
    let mut buffer = vec![0; 500 * 1024];
    let mut read = 0;
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        read += slow.read_exact(&mut buffer).await.expect("it is waited for");
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.expect("it is sent all of it");
    assert!(read + rest.len() > 15_000_000, "{}", read + rest.len());
    let mut rest = Vec::new();
    let cut = stalled.read_to_end(&mut rest).await;
    assert!(cut.is_err() && rest.len() < 15_000_000, "{cut:?} {}", rest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_tells_each_stream_why() {
    for offered in ["h2", "http/1.1"] {
        let mut house = secured(State::of_messages(1));
        let mut client = Client::over(connect(house.gateway.address, &Arc::new(client(&[offered]))).await).await;
        let mut body = client.history("text/event-stream").await.into_body();
        read_until(&mut body, "event: history\n").await;
        house.gateway.signal("TERM");
        let rest = timeout(AT_ONCE, body.collect()).await.expect("at once").expect("a clean end").to_bytes();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.ends_with("data: {\"reason\":\"shutting_down\",\"reconnect\":true}\n\n"), "{offered}: {rest}");
        let ended = spawn_blocking(move || house.gateway.ended_within(AT_ONCE)).await.expect("a thread");
        assert_eq!(ended.expect("it ends soon").code(), Some(0), "{offered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_is_let_go_before_a_heartbeat() {
    let state = State::of_messages(1);
    let files = pair(&state, FIRST);
    let tokens =
        state.file("tokens.json", r#"{"token":[{"id":"admin","secret":"admin","scopes":["operator.admin"]}]}"#);
    let house = House::with(
        state,
        flags(&files).into_iter().chain([
            "--heartbeat".as_ref(),
            "1h".as_ref(),
            "--tokens".as_ref(),
            tokens.as_os_str(),
        ]),
    );
    let address = house.gateway.address;
    let open = async || {
        let mut client = Client::over(connect(address, &Arc::new(client(&["http/1.1"]))).await).await;
        let Client::One(client) = &mut client else { panic!("HTTP/1.1") };
        let request = Request::get("/streams").header("host", "a").header("authorization", "Bearer admin");
        let answer = client.send_request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")["streams"].as_array().expect("a list").len()
    };
    let mut client = Client::over(connect(address, &Arc::new(client(&["http/1.1"]))).await).await;
    let mut body = client.history("text/event-stream").await.into_body();
    read_until(&mut body, "event: history\n").await;
    assert_eq!(open().await, 1);
    drop((client, body));
    let start = Instant::now();
    while open().await > 0 {
        assert!(start.elapsed() < AT_ONCE, "it is still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
