//! The contestants of the gateway's benches: the gateway, and what axum can do at best, each in a
//! process of its own.
//!
//! 1. Both are this very program, started once more: the same allocator, the same runtime, the same
//!    loop that serves connections.
//! 2. The bare one has in memory what it answers. `/bodies/{name}` is a file of its folder, read at
//!    the start; `/idle` is an event stream that says nothing; `/events` sends the events that were
//!    posted to `/publish`.

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use clap::Parser;
use futures_util::stream;
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{net::TcpListener, runtime::Runtime, sync::broadcast};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Environment, Flags},
    example, serve,
};

pub const TOKEN: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";
const ROLE: &str = "GATEWAY_BENCH_ROLE";
const FOLDER: &str = "GATEWAY_BENCH_FOLDER";
/// What heartbeats cost is measured with the idle streams.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Gateway,
    Bare,
}

/// A contestant that is being served.
pub struct Served {
    process: Child,
    pub address: SocketAddr,
}

impl Served {
    /// Starts it on a folder, and returns once it listens.
    pub fn start(role: Role, folder: &Path) -> Self {
        Self::run(this_program().env(ROLE, format!("{role:?}")).env(FOLDER, folder))
    }

    /// Starts what announces its port.
    pub fn run(program: &mut Command) -> Self {
        let mut process =
            program.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this program starts once more");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let port = line.trim().parse().expect("it says a port");
        Self { process, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    /// Memory that is resident, in bytes.
    pub fn resident(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        let kibibytes: f64 = line.trim_end_matches("kB").trim().parse().expect("it is a number");
        kibibytes * 1024.0
    }

    /// The processor time of each of its threads so far, in nanoseconds.
    pub fn processor_times(&self) -> HashMap<OsString, u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let times = tasks.filter_map(|task| {
            let task = task.ok()?;
            let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name(), times.split(' ').next()?.parse().ok()?))
        });
        times.collect()
    }

    /// The processor time since then, in nanoseconds, of the threads that are still there: a thread that
    /// ended meanwhile takes what it did before along, too.
    pub fn busy_since(&self, then: &HashMap<OsString, u64>) -> u64 {
        let since = |(thread, time): (OsString, u64)| time - then.get(&thread).copied().unwrap_or(0);
        self.processor_times().into_iter().map(since).sum()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("it runs")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts as one more process.
pub fn this_program() -> Command {
    Command::new(env::current_exe().expect("this program has a path"))
}

/// Serves, if this process was started for that, until it is killed.
pub fn run_if_asked() -> bool {
    let (Ok(role), Some(folder)) = (env::var(ROLE), env::var_os(FOLDER)) else { return false };
    runtime().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let folder = Path::new(&folder);
        if role == format!("{:?}", Role::Gateway) {
            gateway(listener, &["--state-dir", folder.to_str().expect("a plain path"), "--token", TOKEN]).await;
        } else {
            let service = bare(folder).with_state::<()>(());
            announce(&listener);
            let limits = serve::Limits {
                write_timeout: Duration::from_secs(30),
                connections: u32::MAX,
                drain: Duration::from_secs(5),
            };
            serve::serve(listener, service, limits, CancellationToken::new()).await;
        }
    });
    true
}

/// What all contestants run on.
pub fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts")
}

/// Serves the gateway.
pub async fn gateway(listener: TcpListener, flags: &[&str]) {
    let heartbeat = format!("{}s", HEARTBEAT.as_secs());
    let always = ["gateway", "--heartbeat", &heartbeat];
    let flags = Flags::parse_from(always.iter().chain(flags));
    let config = Config::new(flags, Environment::default()).expect("nothing is missing");
    let (mut tasks, stop) = (example::tasks::Tasks::default(), CancellationToken::new());
    let service = example::open(&config, &mut tasks, stop.clone()).expect("it opens").service;
    announce(&listener);
    serve::serve(listener, service, config.limits, stop).await;
}

/// Says at which port it listens.
pub fn announce(listener: &TcpListener) {
    println!("{}", listener.local_addr().expect("it listens").port());
    std::io::stdout().flush().expect("somebody reads it");
}

/// What axum can do at best.
fn bare(folder: &Path) -> Router {
    let bodies: HashMap<String, Bytes> = fs::read_dir(folder)
        .expect("it is there")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, fs::read(entry.path()).ok()?.into()))
        })
        .collect();
    let bodies = Arc::new(bodies);
    let body = async move |extract::Path(name): extract::Path<String>| match bodies.get(&name) {
        Some(body) => ([(CONTENT_TYPE, "application/json; charset=utf-8")], body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    let (events, publish) = published();
    Router::new()
        .route("/bodies/{name}", get(body))
        .route("/idle", get(idle))
        .route("/events", events)
        .route("/publish/{times}", publish)
}

/// An event stream that says nothing but its heartbeat.
pub async fn idle() -> impl IntoResponse {
    let nothing = stream::pending::<Result<Event, Infallible>>();
    Sse::new(nothing).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

/// An event stream, and what sends an event to all that are open.
pub fn published() -> (MethodRouter, MethodRouter) {
    let sender = broadcast::Sender::<Bytes>::new(64);
    let receivers = sender.clone();
    let events = async move || {
        let events = stream::unfold(receivers.subscribe(), async |mut events| {
            let event = events.recv().await.ok()?;
            Some((Ok::<_, Infallible>(event), events))
        });
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
    };
    // Made here: what serves hands no request's body on.
    let event = Bytes::from([b"event: message\ndata: ".as_slice(), &b"x".repeat(1_300), b"\n\n"].concat());
    let publish = async move |extract::Path(times): extract::Path<usize>| {
        for _ in 0..times {
            // An error says that nobody listens.
            let _ = sender.send(event.clone());
        }
    };
    (get(events), post(publish))
}
