//! The gateway: an OpenClaw gateway's session history, whose streams end when access ends.
//!
//! `cargo run --release --example gateway -- --demo` shows it; `--help` names the flags.
//!
//! Top to bottom: the process, the layers of each route, the router, and what is in front of it. The rooms:
//!
//! - [`config`]: flags, variables, openclaw.json and files of secrets, followed while the gateway runs
//! - [`auth`]: who may call, by those settings
//! - [`http`]: from a request's target to its answer
//! - [`sessions`]: from a key to a page of what is on disk
//! - [`live`]: streams that go on from a page
//! - [`files`]: noticing that a file has changed, and proving that none has
//! - [`json`]: JSON as JavaScript has it
//! - [`serve`]: connections and their deadlines
//! - [`demo`]: a state folder to try it all on

#[path = "gateway/auth/mod.rs"]
pub(crate) mod auth;
#[path = "gateway/config/mod.rs"]
pub(crate) mod config;
#[path = "gateway/demo.rs"]
pub(crate) mod demo;
#[path = "gateway/files/mod.rs"]
pub(crate) mod files;
#[path = "gateway/http/mod.rs"]
pub(crate) mod http;
#[path = "gateway/json/mod.rs"]
pub(crate) mod json;
#[path = "gateway/live/mod.rs"]
pub(crate) mod live;
#[path = "gateway/serve/mod.rs"]
pub(crate) mod serve;
#[path = "gateway/sessions/mod.rs"]
pub(crate) mod sessions;

use std::{
    convert::Infallible,
    env,
    error::Error,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use ::http::{HeaderName, Request};
use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{any, get, post},
};
use clap::Parser;
use hyper::body::Incoming;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};
use tower_reauth::{
    Compat, Denied, RequireScopeLayer, Scope, ScopeResolverLayer, StreamReauth, StreamReauthLayer, Strict,
    bearer::AuthLayer,
    scope::{ResolveScopes, ScopeHierarchy},
};
use tracing_subscriber::EnvFilter;

use self::{
    auth::GatewayAuth,
    config::{Config, Environment, Flags, HistoryScopes, LiveSettings},
    demo::Demo,
    files::Watcher,
    http::{
        State,
        handlers::{self, ADMIN, READ, WRITE},
        reply,
        target::{self, ResolveTargetLayer, parsed},
    },
};

/// What a shared secret is granted by the compat rule, and a trusted caller that declares nothing.
const OPERATOR: [Scope; 6] = [
    ADMIN,
    READ,
    WRITE,
    Scope::from_static("operator.approvals"),
    Scope::from_static("operator.pairing"),
    Scope::from_static("operator.talk.secrets"),
];

const DECLARED_SCOPES: HeaderName = HeaderName::from_static("x-openclaw-scopes");

fn main() -> ExitCode {
    let flags = Flags::parse();
    log();
    let served = Runtime::new().map_err(Into::into).and_then(|runtime| {
        let served = runtime.block_on(run(flags));
        // Whatever is still being read is read for nobody.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    let stop = CancellationToken::new();
    stop_at_signal(stop.clone())?;

    let demo = flags.demo.then(Demo::new).transpose()?;
    let config = match &demo {
        None => Config::new(flags, Environment::of_this_process())?,
        Some(demo) => Config::new(flags.on(demo.state_dir(), demo.token_file()), Environment::default())?,
    };

    let service = open(&config, stop.clone())?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| format!("{}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    // The gateway serves whether its output can be written or not.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
    if let Some(demo) = &demo {
        let _ = writeln!(io::stdout(), "\n{}", demo.instructions(address));
        tokio::spawn(demo.talk());
    }
    tracing::info!(%address, "listening");

    serve::serve(listener, service, config.write_timeout, stop).await;
    Ok(())
}

/// The gateway as a service, until `stop` is cancelled.
pub fn open(
    config: &Config,
    stop: CancellationToken,
) -> Result<
    impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + use<>,
    Box<dyn Error>,
> {
    let watcher = Watcher::new()?;
    let live = LiveSettings::open(config.sources.clone())?;
    tracing::info!(
        state_dir = %config.state_dir.display(),
        auth = %live.subscribe().borrow().auth.mode(),
        history_scopes = %config.history_scopes,
        watching = ?config.sources.files().collect::<Vec<_>>(),
        "starting"
    );
    let auth = GatewayAuth::new(&live.subscribe().borrow())?;
    tokio::spawn(auth.clone().follow(live.subscribe()));
    let state = Arc::new(State::new(config, live.subscribe(), watcher.clone(), stop.clone()));
    tokio::spawn(async move { stop.run_until_cancelled(live.follow(&watcher)).await });

    let authenticate = AuthLayer::from_authenticator(auth).with_response(auth::respond);

    // To read is harmless: a shared secret may, unless --history-scopes says otherwise.
    let may_read = ServiceBuilder::new()
        .layer(authenticate.clone())
        .layer(match config.history_scopes {
            HistoryScopes::Compat => resolve_scopes(Compat::new(OPERATOR)),
            HistoryScopes::Strict => resolve_scopes(Strict::new(OPERATOR)),
        })
        .layer(RequireScopeLayer::new(READ).with_response(auth::respond))
        .map_response(|response: ::http::Response<StreamReauth<Body>>| response.map(Body::new))
        .layer(StreamReauthLayer::new().with_heartbeat(config.heartbeat));

    // To kill is not: a shared secret declares nothing, so it may nothing. The handler says which scope it takes.
    let may_kill = ServiceBuilder::new().layer(authenticate.clone()).layer(resolve_scopes(Strict::new(OPERATOR)));

    // To renew takes what the stream took: only the caller is asked for here.
    let may_renew = authenticate;

    let history = get(handlers::history).route_layer(may_read).head(handlers::only_get).fallback(handlers::only_get);
    let kill = post(handlers::kill).route_layer(may_kill).fallback(handlers::only_post);
    let renew = post(handlers::renew).route_layer(may_renew).fallback(handlers::only_post);

    let routes = Router::new()
        .route("/sessions/{key}/history", parsed(target::history_key, history.with_state(Arc::clone(&state))))
        .route("/sessions/{key}/kill", parsed(target::kill_key, kill.with_state(Arc::clone(&state))))
        .route("/streams/{id}/renew", parsed(target::stream_id, renew.with_state(Arc::clone(&state))))
        .route("/health", any(handlers::live))
        .route("/healthz", any(handlers::live))
        .route("/ready", any(handlers::ready))
        .route("/readyz", any(handlers::ready))
        .fallback(handlers::not_found);

    // In front of the router: it must not see a target before it is resolved, and every answer has these headers.
    Ok(ServiceBuilder::new()
        .map_response(move |response| {
            reply::with_common_headers(response, state.settings().strict_transport_security.as_ref())
        })
        .layer(ResolveTargetLayer)
        .service(routes))
}

/// How both routes of a session say who may do what; what a caller has by it is for the strategy to say.
fn resolve_scopes(strategy: impl ResolveScopes) -> ScopeResolverLayer<fn(&Denied) -> Response> {
    let hierarchy = ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ);
    ScopeResolverLayer::new(strategy)
        .with_hierarchy(hierarchy)
        .with_declared_header(DECLARED_SCOPES)
        .with_response(auth::respond)
}

/// Cancels `stop` at Ctrl-C or SIGTERM. A signal counts from the return of this on.
fn stop_at_signal(stop: CancellationToken) -> io::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

/// Logs to stderr what `RUST_LOG` says, or else what an operator wants to know. In colour on a terminal, unless
/// `NO_COLOR` says otherwise (no-color.org).
fn log() {
    let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !is_plain)
        // Where a line cannot be written there is nowhere to say so.
        .log_internal_errors(false)
        .init();
}
