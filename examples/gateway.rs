//! The gateway: an OpenClaw gateway's session history, whose streams end when access ends.
//!
//! `cargo run --release --example gateway -- --demo` shows it; `--help` names the flags.
//!
//! Top to bottom: settings, what requests share, the layers of the routes, and the routes.

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

use std::{convert::Infallible, error::Error, io, process::ExitCode, sync::Arc};

use ::http::{HeaderName, Method, Request, Response, StatusCode};
use axum::body::Body;
use clap::Parser;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
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
        target::Target,
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

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(log_filter()).with_writer(io::stderr).init();
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
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
    let listening = listener.local_addr()?;
    println!("listening on http://{listening}");
    if let Some(demo) = &demo {
        println!("\n{}", demo.instructions(listening));
        tokio::spawn(demo.talk());
    }

    serve::serve(listener, service, config.write_timeout, stop).await;
    Ok(())
}

/// The gateway as a service, until `stop` is cancelled.
pub fn open<B: Send + 'static>(
    config: &Config,
    stop: CancellationToken,
) -> Result<impl Gateway<B> + use<B>, Box<dyn Error>> {
    let watcher = Watcher::new()?;
    let live = LiveSettings::open(config.sources.clone())?;
    let settings = live.subscribe();
    let asking = GatewayAuth::new(&settings.borrow())?;
    tokio::spawn(asking.clone().follow(settings));
    let state = Arc::new(State::new(config, live.subscribe(), watcher.clone(), stop.clone()));
    tokio::spawn(async move { stop.run_until_cancelled(live.follow(&watcher)).await });

    let auth = AuthLayer::from_authenticator(asking).with_response(auth::respond);

    // To read is harmless: a shared secret may, unless --history-scopes says otherwise.
    let history = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(match config.history_scopes {
            HistoryScopes::Compat => resolved_by(Compat::new(OPERATOR)),
            HistoryScopes::Strict => resolved_by(Strict::new(OPERATOR)),
        })
        .layer(RequireScopeLayer::new(READ).with_response(auth::respond))
        .map_response(|response: Response<StreamReauth<Body>>| response.map(Body::new))
        .layer(StreamReauthLayer::new().with_heartbeat(config.heartbeat))
        .service(handler(&state, handlers::history));

    // To kill is not: a shared secret declares nothing, so it may nothing.
    let kill = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(resolved_by(Strict::new(OPERATOR)))
        .service(handler(&state, handlers::kill));

    // To renew takes what the stream took: only who is asked here.
    let renew = ServiceBuilder::new().layer(auth).service(handler(&state, handlers::renew));

    // Shared, so that a request clones the one service that it needs. Boxed, because a connection keeps
    // room for the future of a request as long as it is open; and in parts that are small, because an
    // allocator that can give the same piece to the next request leaves fewer holes.
    let shared = Arc::new((history, kill, renew, state));
    Ok(service_fn(move |mut request: Request<B>| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (history, kill, renew, state) = &*shared;
            let method = request.method().clone();
            let Ok(mut response) = match Target::of(request.uri(), request.version()) {
                Target::MalformedKey => Ok(reply::malformed_key()),
                Target::Unreadable => Ok(reply::unauthorized()),
                Target::Unclaimed => Ok(reply::not_found()),
                Target::History(_) if method != Method::GET => Ok(reply::only(&Method::GET)),
                Target::Kill(_) if method != Method::POST => Ok(reply::only(&Method::POST)),
                Target::Renew(_) if method != Method::POST => Ok(reply::only(&Method::POST)),
                Target::Live => Ok(reply::json(StatusCode::OK, &json!({ "ok": true, "status": "live" }))),
                Target::Ready => Ok(reply::json(StatusCode::OK, &json!({ "ok": true, "status": "ready" }))),
                Target::History(key) => {
                    request.extensions_mut().insert(key);
                    Box::pin(history.clone().oneshot(request)).await
                }
                Target::Kill(key) => {
                    request.extensions_mut().insert(key);
                    Box::pin(kill.clone().oneshot(request)).await
                }
                Target::Renew(id) => {
                    request.extensions_mut().insert(id);
                    Box::pin(renew.clone().oneshot(request)).await
                }
            };
            reply::add_common_headers(response.headers_mut(), state.settings().strict_transport_security.as_ref());
            Ok(response)
        })
    }))
}

/// What [`open`] makes.
pub trait Gateway<B>:
    Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<B, S> Gateway<B> for S where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// How both routes say who may do what; what a caller has by it is for the strategy to say.
fn resolved_by(strategy: impl ResolveScopes) -> ScopeResolverLayer<fn(&Denied) -> Response<Body>> {
    let hierarchy = ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ);
    ScopeResolverLayer::new(strategy)
        .with_hierarchy(hierarchy)
        .with_declared_header(DECLARED_SCOPES)
        .with_response(auth::respond)
}

/// A route's handler as the service at the bottom of its layers.
fn handler<B, F>(
    state: &Arc<State>,
    answer: fn(Arc<State>, Request<B>) -> F,
) -> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + use<B, F>
where
    F: Future<Output = Response<Body>> + Send,
{
    let state = Arc::clone(state);
    service_fn(move |request| {
        let answer = answer(Arc::clone(&state), request);
        async move { Ok(answer.await) }
    })
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

/// `RUST_LOG`, or what an operator wants to know.
fn log_filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))
}
