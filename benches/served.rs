//! What a token check costs where a request comes over a socket: axum's hello-world, bare and behind the whole stack.
//!
//! `cargo bench --bench served`: requests per second over 16 connections that stay open, the processor time that the
//! server takes for one, and the ratios of the budget:
//!
//! 1. behind who and what, of one secret: at least 0.97 of the bare server's rate for the same request;
//! 2. behind the same, of JSON Web Tokens (ES256) whose answer is remembered: at least 0.95.
//!
//! Each server has a thread of its own, and a single-threaded runtime. The client takes turns with them, and each round
//! begins with another one; what is said is the median over the rounds. The client never sleeps: to wake it would cost
//! the slower of two servers more than the faster one, which keeps it awake.

#[path = "shared/rounds.rs"]
#[allow(dead_code, reason = "what is timed here is not a call")]
mod rounds;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{Router, routing::get, serve::ListenerExt};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower_reauth::{
    BearerAuthLayer, Compat, RequireScopeLayer, Scope, ScopeResolverLayer, StaticToken,
    scope::ScopeHierarchy,
    verify::{
        Cached,
        jwt::{JwtVerifier, KeySet},
    },
};

/// As long as the tokens that `openssl rand -hex 24` makes.
const TOKEN: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";
const READ: Scope = Scope::from_static("operator.read");
const WRITE: Scope = Scope::from_static("operator.write");
const CONNECTIONS: usize = 16;

/// A server, and what it is asked.
struct Contestant {
    name: &'static str,
    /// What answers the same request bare, and which part of its rate is wanted.
    budget: Option<(usize, f64)>,
    address: SocketAddr,
    request: Arc<[u8]>,
    time: Arc<[u8]>,
}

/// How it went for a while.
#[derive(Clone, Copy)]
struct Measured {
    a_second: f64,
    /// Microseconds of the server's processor time for one.
    time: f64,
}

fn main() {
    let (rounds, time) =
        if rounds::are_wanted() { (21, Duration::from_millis(500)) } else { (1, Duration::from_millis(1)) };
    let (jwt, keys) = signed();
    let verifier = JwtVerifier::new(KeySet::from_json(&keys).expect("a key set"), ISSUER, AUDIENCE);
    let cached = Cached::new(verifier, Duration::from_secs(600));
    let scopes = (
        ScopeResolverLayer::new(Compat::new([READ, WRITE]))
            .with_hierarchy(ScopeHierarchy::new().with_implied(WRITE, READ))
            .with_declared_header(http::HeaderName::from_static("x-scopes")),
        RequireScopeLayer::new(READ),
    );
    let hello = || Router::new().route("/", get(async || "Hello, World!"));
    let static_token = BearerAuthLayer::new(StaticToken::new(TOKEN));
    let contestants = [
        Contestant::serve("bare", None, hello(), TOKEN),
        Contestant::serve("one secret", Some((0, 0.97)), hello().layer((static_token, scopes.clone())), TOKEN),
        Contestant::serve("bare, a signed token", None, hello(), &jwt),
        Contestant::serve(
            "JWT (ES256), remembered",
            Some((2, 0.95)),
            hello().layer((BearerAuthLayer::new(cached), scopes)),
            &jwt,
        ),
    ];
    let runtime = runtime();
    // So that what is made only once is there.
    let mut measured = contestants.each_ref().map(|contestant| {
        runtime.block_on(contestant.measure(time));
        Vec::with_capacity(rounds)
    });
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let turn = (round + turn) % contestants.len();
            measured[turn].push(runtime.block_on(contestants[turn].measure(time)));
        }
    }
    println!("hello-world, {CONNECTIONS} connections  a second | microseconds | rate : bare");
    for (contestant, own) in contestants.iter().zip(&measured) {
        let median = |of: &dyn Fn(&Measured) -> f64| rounds::median(own.iter().map(of).collect());
        print!("{:30}{:10.0} | {:12.2} |", contestant.name, median(&|own| own.a_second), median(&|own| own.time));
        match contestant.budget {
            None => println!(),
            Some((bare, budget)) => {
                let ratios = own.iter().zip(&measured[bare]).map(|(own, bare)| own.a_second / bare.a_second);
                println!(" {:11.3} (budget {budget})", rounds::median(ratios.collect()));
            }
        }
    }
}

impl Contestant {
    fn serve(name: &'static str, budget: Option<(usize, f64)>, router: Router, token: &str) -> Self {
        // That of the one thread that serves, in nanoseconds.
        let time = async || fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says so");
        let router = router.route("/time", get(time));
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
                sender.send(listener.local_addr().expect("it listens")).expect("somebody waits for it");
                let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("it is a socket"));
                axum::serve(listener, router).await.expect("it serves for ever");
            });
        });
        let address = receiver.recv().expect("it listens");
        let get = |target: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n");
            format!("{head}authorization: Bearer {token}\r\n\r\n").into_bytes().into()
        };
        Self { name, budget, address, request: get("/"), time: get("/time") }
    }

    async fn measure(&self, time: Duration) -> Measured {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.connect().await);
        }
        let (before, start) = (self.processor_time().await, Instant::now());
        let mut clients = JoinSet::new();
        for mut socket in connections {
            let request = Arc::clone(&self.request);
            clients.spawn(async move {
                let (mut buffer, mut answers) = ([0; 4096], 0_u32);
                while answers == 0 || start.elapsed() < time {
                    socket.write_all(&request).await.expect("it is open");
                    let read = socket.read(&mut buffer).await.expect("it is open");
                    // Small enough to come at once.
                    let answer = &buffer[..read];
                    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"Hello, World!"));
                    answers += 1;
                }
                f64::from(answers)
            });
        }
        let awake = tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let answers: f64 = clients.join_all().await.into_iter().sum();
        awake.abort();
        let elapsed = start.elapsed().as_secs_f64();
        Measured { a_second: answers / elapsed, time: (self.processor_time().await - before) / answers / 1e3 }
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.expect("it listens");
        socket.set_nodelay(true).expect("it is a socket");
        socket
    }

    /// That of the server so far, in nanoseconds.
    async fn processor_time(&self) -> f64 {
        let (mut socket, mut buffer) = (self.connect().await, [0; 4096]);
        socket.write_all(&self.time).await.expect("it is open");
        let read = socket.read(&mut buffer).await.expect("it is open");
        let answer = String::from_utf8_lossy(&buffer[..read]);
        let time = answer.rsplit("\r\n").next().and_then(|body| body.split(' ').next()?.parse().ok());
        time.expect("Linux says so")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// A token, and the set that its key is in.
fn signed() -> (String, String) {
    let (random, encode) = (SystemRandom::new(), |bytes: &[u8]| BASE64URL.encode(bytes));
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let point = key.public_key().as_ref();
    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "key", "alg": "ES256", "use": "sig" });
    let header = json!({ "alg": "ES256", "kid": "key", "typ": "at+jwt" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "jti": "7",
        "client_id": "app", "scope": "operator.read operator.write",
    });
    let message = [header, claims].map(|part| encode(part.to_string().as_bytes())).join(".");
    let signature = encode(key.sign(&random, message.as_bytes()).expect("a signature").as_ref());
    (format!("{message}.{signature}"), json!({ "keys": [jwk] }).to_string())
}
