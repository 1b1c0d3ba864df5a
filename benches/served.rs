//! What a token check costs where a request comes over a socket: axum's hello-world, bare and behind the whole stack.
//!
//! `cargo bench --bench served`: requests per second over 16 connections that stay open, and the ratios of the budget:
//!
//! 1. behind who and what, of one secret: at least 0.97 of the bare server's;
//! 2. behind the same, of JSON Web Tokens (ES256) whose answer is remembered: at least 0.95.
//!
//! Each server has a thread of its own, and a single-threaded runtime. The client takes turns with them, and each round
//! begins with another one; a ratio is the median of those of the rounds.

#[path = "shared/rounds.rs"]
#[allow(dead_code, reason = "what is timed here is not a call")]
mod rounds;

use std::{
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
    /// Of the bare server's rate, if it has to do with that.
    budget: Option<f64>,
    address: SocketAddr,
    request: Arc<[u8]>,
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
    let contestants = [
        Contestant::serve("bare", None, hello(), TOKEN),
        Contestant::serve(
            "who and what, one secret",
            Some(0.97),
            hello().layer((BearerAuthLayer::new(StaticToken::new(TOKEN)), scopes.clone())),
            TOKEN,
        ),
        Contestant::serve(
            "who and what, JWT (ES256), remembered",
            Some(0.95),
            hello().layer((BearerAuthLayer::new(cached), scopes)),
            &jwt,
        ),
    ];
    let runtime = runtime();
    // So that what is made only once is there.
    let mut rates = contestants.each_ref().map(|contestant| {
        runtime.block_on(contestant.rate(time));
        Vec::with_capacity(rounds)
    });
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            let turn = (round + turn) % contestants.len();
            rates[turn].push(runtime.block_on(contestants[turn].rate(time)));
        }
    }
    println!("hello-world over {CONNECTIONS} connections, {rounds} rounds                     a second | : bare");
    for (contestant, own) in contestants.iter().zip(&rates) {
        let ratio = rounds::median(own.iter().zip(&rates[0]).map(|(own, bare)| own / bare).collect());
        let budget = contestant.budget.map_or(String::new(), |budget| format!(" (budget {budget})"));
        println!("{:60}{:10.0} | {ratio:.3}{budget}", contestant.name, rounds::median(own.clone()));
    }
}

impl Contestant {
    fn serve(name: &'static str, budget: Option<f64>, router: Router, token: &str) -> Self {
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
        let head = format!("GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n");
        let request = format!("{head}authorization: Bearer {token}\r\n\r\n").into_bytes().into();
        Self { name, budget, address, request }
    }

    /// How many answers it gives in a second.
    async fn rate(&self, time: Duration) -> f64 {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut socket = TcpStream::connect(self.address).await.expect("it listens");
            socket.set_nodelay(true).expect("it is a socket");
            let request = Arc::clone(&self.request);
            let start = Instant::now();
            connections.spawn(async move {
                let (mut buffer, mut answers) = ([0; 4096], 0_u32);
                while answers == 0 || start.elapsed() < time {
                    socket.write_all(&request).await.expect("it is open");
                    let read = socket.read(&mut buffer).await.expect("it is open");
                    // Small enough to come at once.
                    let answer = &buffer[..read];
                    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"Hello, World!"));
                    answers += 1;
                }
                f64::from(answers) / start.elapsed().as_secs_f64()
            });
        }
        connections.join_all().await.into_iter().sum()
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
