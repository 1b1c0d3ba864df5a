//! The gateway: an OpenClaw gateway's session history, whose streams end when access ends.
//!
//! `cargo run --release --example gateway -- --demo` shows it; `--help` names the flags.
//!
//! Top to bottom: the process, the layers of each route, the router, and what is in front of it. The modules:
//!
//! - [`config`]: flags, variables, openclaw.json and files of secrets, followed while the gateway runs
//! - [`auth`]: who may call, by those settings
//! - [`http`]: from a request's target to its answer
//! - [`sessions`]: from a key to a page of what is on disk
//! - [`live`]: streams that go on from a page
//! - [`files`]: noticing that a file has changed, and proving that none has
//! - [`json`]: JSON as JavaScript has it
//! - [`serve`]: connections and their deadlines
//! - [`nodes`]: other gateways, that share what is revoked and who is locked out
//! - [`tls`]: what connections are secured by
//! - [`systemd`]: what a service manager hands over, and what it is told
//! - [`reload`]: what SIGHUP does
//! - [`measure`]: metrics, and a span of each request
//! - [`steer`]: commands besides serving
//! - [`page`]: the page that shows it all in a browser
//! - `upstream`: completions, passed on to another server; behind the feature of that name
//! - `edge`: the sessions of another gateway, served from here; behind the feature of that name
//! - `speak`: OpenClaw's protocol over a WebSocket, with the feature `websocket`
//! - [`demo`]: a state folder to try it all on
//! - [`log`]: lines that never wait for the file they go to
//! - [`plain`]: text without what a terminal would obey
//! - [`tasks`]: what runs beside the requests; one that ends unasked stops the process

#[path = "gateway/auth/mod.rs"]
pub(crate) mod auth;
#[path = "gateway/config/mod.rs"]
pub(crate) mod config;
#[path = "gateway/demo/mod.rs"]
pub(crate) mod demo;
#[cfg(feature = "edge")]
#[path = "gateway/edge/mod.rs"]
pub(crate) mod edge;
#[path = "gateway/files/mod.rs"]
pub(crate) mod files;
#[path = "gateway/http/mod.rs"]
pub(crate) mod http;
#[path = "gateway/json/mod.rs"]
pub(crate) mod json;
#[path = "gateway/live/mod.rs"]
pub(crate) mod live;
#[path = "gateway/log.rs"]
mod log;
#[path = "gateway/measure/mod.rs"]
pub(crate) mod measure;
#[path = "gateway/nodes/mod.rs"]
pub(crate) mod nodes;
#[path = "gateway/page/mod.rs"]
pub(crate) mod page;
#[path = "gateway/plain.rs"]
pub(crate) mod plain;
#[path = "gateway/reload.rs"]
pub(crate) mod reload;
#[path = "gateway/serve/mod.rs"]
pub(crate) mod serve;
#[path = "gateway/sessions/mod.rs"]
pub(crate) mod sessions;
#[cfg(feature = "websocket")]
#[path = "gateway/speak/mod.rs"]
pub(crate) mod speak;
#[path = "gateway/steer/mod.rs"]
pub(crate) mod steer;
#[path = "gateway/systemd/mod.rs"]
pub(crate) mod systemd;
#[path = "gateway/tasks.rs"]
pub(crate) mod tasks;
#[path = "gateway/tls/mod.rs"]
pub(crate) mod tls;
#[cfg(feature = "upstream")]
#[path = "gateway/upstream/mod.rs"]
pub(crate) mod upstream;

use std::{
    convert::Infallible, error::Error, io, net::SocketAddr, path::Path, pin::pin, process::ExitCode, sync::Arc,
    time::Duration,
};

use ::http::{HeaderName, Request};
use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{MethodRouter, any, delete, get, post},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, util::MapRequestLayer};
use tower_reauth::{
    Compat, Denied, RequireScopeLayer, Scope, ScopeResolverLayer, StreamReauth, StreamReauthLayer, Strict,
    bearer::AuthLayer,
    limiter::FailureLimiter,
    reauth::{EndReason, OpenStreams},
    revoke::Revocations,
    scope::{ResolveScopes, ScopeHierarchy},
};

#[cfg(feature = "edge")]
use self::edge::{Edge, Publishers};
#[cfg(feature = "upstream")]
use self::upstream::Upstream;
use self::{
    auth::{AttributedLayer, GatewayAuth},
    config::{Config, ConfigError, Environment, HistoryScopes, LiveSettings, Reload, Settings, Settled},
    demo::Demo,
    files::Watcher,
    http::{
        State,
        cors::CorsLayer,
        handlers::{self, ADMIN, READ, WRITE},
        hosts::HostsLayer,
        listing, openapi,
        operate::{self, Audit, AuditLayer, Kept},
        operators, reply,
        routes::{Histories, Routes},
        target::{self, ResolveTargetLayer, parsed},
    },
    log::Lines,
    measure::RequestLayer,
    nodes::Node,
    serve::Doors,
    steer::Cli,
    systemd::{Manager, Sockets},
    tasks::Tasks,
};
#[cfg(feature = "metrics")]
use self::{
    config::MetricsFor,
    measure::{Exporter, NearbyLayer},
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

/// What many streams took is given back when they are gone.
#[cfg(all(feature = "jemalloc", not(test)))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const DECLARED_SCOPES: HeaderName = HeaderName::from_static("x-openclaw-scopes");

/// How long what is said at the end may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many clients the system keeps for the gateway to accept, if it keeps so many: one more has to try again, a second later.
const BACKLOG: u32 = 4096;

/// How many tasks have their turn before it is looked who has sent something: whoever sends little waits for no more of those
/// who send much. To look more often costs pages: after each fourth some 10 %.
const TURNS: u32 = 16;

/// How long a thread that reads files is kept when there are none to read.
const IDLE_THREAD: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let Cli { flags, command } = Cli::of_this_process();
    if let Some(command) = command {
        return steer::run(flags, command, Environment::of_this_process());
    }
    // While there is one thread.
    let sockets = Sockets::of_this_process();
    let format = flags.log_format;
    let settled = Settled::new(flags, Environment::of_this_process()).map_err(ConfigError::all);
    let format = settled.as_ref().map_or(format, |settled| settled.flags.log_format);
    let Ok(log) = log::start(format.unwrap_or_default()) else { return ExitCode::FAILURE };
    let ended = sockets.map_err(Into::into).and_then(|sockets| start(settled?, sockets));
    if let Err(error) = &ended {
        log.fatal(error);
    }
    log.flush(LAST_WORDS);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(settled: Settled, sockets: Sockets) -> Result<(), Box<dyn Error>> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(tasks::workers())
        .thread_keep_alive(IDLE_THREAD)
        .event_interval(TURNS)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run(settled, sockets));
    // Nobody waits any more for what still reads a file.
    runtime.shutdown_background();
    ended
}

async fn run(settled: Settled, sockets: Sockets) -> Result<(), Box<dyn Error>> {
    let (settled, manager) = (settled.with_passed(sockets.addresses()), Manager::of_this_process()?);
    let hangup = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    tasks::stop_at_signal(stop.clone(), settled.flags.drain(), {
        let manager = manager.clone();
        move || manager.stops()
    })?;

    let demo = settled.flags.demo.then(Demo::new).transpose()?;
    let config = match &demo {
        None => settled.config()?,
        Some(demo) => Config::new(settled.flags.on(demo.state_dir(), demo.token_file()), Environment::default())?,
    };

    let mut tasks = Tasks::default();
    let Gateway { service, settings, reload, audit } = open(&config, &mut tasks, stop.clone())?;
    let mut listeners = sockets.listen()?;
    if listeners.is_empty() {
        let listener = listen(config.listen);
        listeners.push(listener.map_err(|error| format!("{}: {error}", config.listen))?);
    }
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let scheme = if config.sources.tls.is_some() { "https" } else { "http" };
    // The gateway serves whether its output can be written or not.
    let output = Lines::to(io::stdout())?;
    for address in &addresses {
        output.say(format!("listening on {scheme}://{address}\n"));
        tracing::info!(%address, "listening");
    }
    if let Some(demo) = &demo {
        output.say(format!("\n{}\n", demo.instructions(addresses[0])));
        let talk = demo.talk();
        tasks.spawn("the demo", async {
            let error = talk.await;
            tracing::error!(%error, "the demo fell silent");
        });
    }
    let addresses: Vec<_> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    let status = format!("listening on {}", addresses.join(", "));
    manager.is_ready(&status);
    tasks.spawn("the watchdog", manager.clone().watchdog());
    tasks.spawn("what reloads", reload::at_signal(hangup, reload, audit, manager.clone(), status));

    let mut serving = pin!(serve::serve(Doors::new(listeners, settings), service, config.limits, stop.clone()));
    tokio::select! {
        () = &mut serving => {}
        name = tasks.first_to_end() => {
            manager.stops();
            stop.cancel();
            serving.await;
            tasks.finish();
            return Err(format!("{name} ended, and it must not: the gateway stops").into());
        }
    }
    output.flush(LAST_WORDS);
    manager.flush(LAST_WORDS);
    tasks.finish();
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart, while connections of the one before linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A gateway that is open.
pub struct Gateway<S> {
    pub service: S,
    /// Those of now.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Reads them again.
    pub reload: Reload,
    pub audit: Audit,
}

/// The gateway as a service, with the tasks that it needs to run, until `stop` is cancelled.
pub fn open(
    config: &Config,
    tasks: &mut Tasks,
    stop: CancellationToken,
) -> Result<
    Gateway<impl Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + use<>>,
    Box<dyn Error>,
> {
    let watcher = Watcher::new()?;
    let mut live = LiveSettings::open(config.sources.clone())?;
    config.advice.iter().for_each(|advice| tracing::warn!("{advice}"));
    tracing::info!(
        state_dir = %config.state_dir.display(),
        auth = %live.subscribe().borrow().auth.mode(),
        history_scopes = %config.history_scopes,
        sqlite = sessions::sqlite::version(),
        redis = config.redis.is_some(),
        edge = config.edge.as_ref().map(tracing::field::debug),
        watching = ?config.sources.files().collect::<Vec<_>>(),
        "starting"
    );
    if config.edge.is_none() && !config.state_dir.is_dir() {
        tracing::warn!(
            state_dir = %config.state_dir.display(),
            "there is no state folder, and so no session: name the right one with --state-dir or OPENCLAW_STATE_DIR"
        );
    }
    let audit = Audit::open(config.audit_log.as_deref()).map_err(|error| {
        let file = config.audit_log.as_deref().unwrap_or_else(|| Path::new(""));
        format!("--audit-log: {}: {error}", file.display())
    })?;
    tasks.finally({
        let audit = audit.clone();
        move || audit.flush(LAST_WORDS)
    });
    let node = config.redis.as_ref().map(Node::new).transpose()?;
    let revocations = node.as_ref().map_or_else(Revocations::new, Node::revocations);
    let kept = Kept::open(config.data_dir.as_deref(), revocations)?;
    let (settings, reload) = (live.subscribe(), live.reload());
    let limiter = node.as_ref().map_or_else(FailureLimiter::default, Node::limiter);
    let auth = GatewayAuth::with_limiter(&settings.borrow(), limiter)?;
    if let Some(node) = node {
        auth.share_dropped(kept.revocations());
        let settings = live.subscribe();
        tasks.spawn("what gateways share", async move { match node.run(settings).await {} });
    }
    live.apply_by({
        let auth = auth.clone();
        move |settings| auth.apply_published(settings)
    });
    let hosts = HostsLayer::new(config.allowed_hosts.clone(), config.cors_origins.clone(), live.subscribe());
    let state = Arc::new(State::new(config, live.subscribe(), watcher, kept.clone(), audit.clone()));
    tasks.spawn("what ends the streams when the gateway stops", end_all(state.open.clone(), stop.clone()));
    // A watcher of their own: a file system below a transcript that hangs must not hold up a revocation.
    let watcher = Watcher::new()?;
    tasks.spawn("what follows the settings", async move { live.follow(&watcher).await });

    let (rules, asks) = (auth.clone(), auth.clone());
    let authenticate = ServiceBuilder::new()
        .layer(AttributedLayer(auth.clone()))
        .map_response(move |response: Response| rules.challenge(response))
        .layer(
            AuthLayer::from_authenticator(auth.clone())
                .with_revocations(kept.revocations())
                .with_response(auth::respond),
        )
        .layer(AuditLayer { audit: audit.clone(), shows_path: true })
        .layer(MapRequestLayer::new(serve::known as fn(_) -> _));

    let watched = {
        let (audit, ends) = (audit.clone(), state.ends.clone());
        StreamReauthLayer::new()
            .with_heartbeat(config.heartbeat)
            .with_ending(operate::ending(false))
            .with_registry(&state.open)
            .with_on_end(move |ended| {
                ends.note(ended);
                audit.ended(ended);
            })
    };

    // To read is harmless: a shared secret may, unless --history-scopes says otherwise.
    let may_read = ServiceBuilder::new()
        .layer(authenticate.clone())
        .layer(match config.history_scopes {
            HistoryScopes::Compat => resolve_scopes(Compat::new(OPERATOR)),
            HistoryScopes::Strict => resolve_scopes(Strict::new(OPERATOR)),
        })
        .layer(RequireScopeLayer::new(READ).with_response(auth::respond))
        .map_response(|response: ::http::Response<StreamReauth<Body>>| response.map(Body::new))
        .layer(watched.clone());

    // What a completion costs is for the scopes of a shared secret too, and --history-scopes says nothing of it.
    #[cfg(feature = "upstream")]
    let may_ask = |scope| {
        ServiceBuilder::new()
            .layer(authenticate.clone())
            .layer(resolve_scopes(Compat::new(OPERATOR)))
            .layer(RequireScopeLayer::new(scope).with_response(auth::respond))
    };
    #[cfg(feature = "upstream")]
    let (may_see_models, may_complete, completions) = (may_ask(READ), may_ask(WRITE), watched.clone());
    // A socket takes the handshakes out of the requests, and asks who its client is by what that says then.
    #[cfg(feature = "websocket")]
    let sockets = {
        let door =
            |audit| ServiceBuilder::new().layer(AuditLayer { audit, shows_path: true }).layer(authenticate.clone());
        let doors = speak::Doors::new(
            auth.clone(),
            audit.clone(),
            state.seats.clone(),
            DECLARED_SCOPES,
            door(audit.clone()).layer(resolve_scopes(speak::Declaring(Strict::new(OPERATOR)))),
            door(audit.clone()).layer(resolve_scopes(Strict::new(OPERATOR))),
        );
        let speak = speak::Speak { state: Arc::clone(&state), doors, watched: watched.clone(), stop };
        // An edge has no sessions to speak of.
        tower::util::option_layer(config.edge.is_none().then(|| speak::SpeakLayer(Arc::new(speak))))
    };
    #[cfg(not(feature = "websocket"))]
    let sockets = tower::layer::util::Identity::new();

    // To operate is not: a shared secret declares no scopes, so by `Strict` it is granted none.
    let may_operate = ServiceBuilder::new()
        .layer(authenticate.clone())
        .layer(resolve_scopes(Strict::new(OPERATOR)))
        .layer(RequireScopeLayer::new(ADMIN).with_response(auth::respond));

    // To renew takes what the stream took: only the caller is asked for here.
    let may_renew = authenticate;

    let OfSessions { list, history, kill } = of_sessions(config, &state, tasks)?;
    let sessions = list.route_layer(may_read.clone());
    let sessions = sessions.head(handlers::only_get).fallback(handlers::only_get);
    let history = may_read.service(history);
    #[cfg(feature = "metrics")]
    let metrics = {
        let exporter = Exporter::of_this_process()?;
        tasks.spawn("what keeps the metrics small", exporter.clone().keep_small());
        let nearby = (config.metrics == MetricsFor::Local).then(|| asks.clone());
        measure::route(exporter, NearbyLayer { auth: nearby, others: may_operate.clone() })
    };
    let kill = kill.route_layer(may_operate.clone()).fallback(handlers::only_post);
    let may_watch = ServiceBuilder::new()
        .layer(may_operate.clone())
        .map_response(|response: ::http::Response<StreamReauth<Body>>| response.map(Body::new))
        .layer(watched);
    let streams = get(operators::streams).route_layer(may_watch.clone());
    let streams = streams.head(handlers::only_get).fallback(handlers::only_get);
    let end = delete(operators::end).route_layer(may_operate.clone()).fallback(handlers::only_delete);
    #[cfg(feature = "edge")]
    let edges = match (&config.edge, &config.redis) {
        (None, Some(redis)) => Some((Arc::new(Publishers::new(redis, Arc::clone(&state))?), may_operate.clone())),
        _ => None,
    };
    let revocations = get(operators::revocations).post(operators::revoke).route_layer(may_operate);
    let revocations = revocations.head(handlers::only_get_or_post).fallback(handlers::only_get_or_post);
    let renew = post(handlers::renew).route_layer(may_renew).fallback(handlers::only_post);

    let description = openapi::description(|path| match path {
        "/metrics" => cfg!(feature = "metrics"),
        "/sessions/{key}/follow" | "/sessions/{key}/join" => {
            cfg!(feature = "edge") && config.redis.is_some() && config.edge.is_none()
        }
        path => config.upstream.is_some() || !path.starts_with("/v1/"),
    })?;
    let description = get(async move || openapi::answer(description.clone()));

    let ready = get(handlers::ready).fallback(handlers::only_get_or_head).with_state(Arc::clone(&state));

    let routes = Router::new()
        .route("/", get(page::show).fallback(handlers::only_get_or_head))
        .route("/sessions", sessions)
        .route("/sessions/{key}/history", parsed(target::session_key, any(handlers::only_get)))
        .route("/sessions/{key}/kill", parsed(target::session_key, kill))
        .route("/streams", streams.with_state(Arc::clone(&state)))
        .route("/streams/{id}", parsed(target::stream_id, end.with_state(Arc::clone(&state))))
        .route("/revocations", revocations.with_state(Arc::clone(&state)))
        .route("/streams/{id}/renew", parsed(target::stream_id, renew.with_state(Arc::clone(&state))))
        .route("/openapi.json", description.fallback(handlers::only_get_or_head))
        .route("/health", get(handlers::live).fallback(handlers::only_get_or_head))
        .route("/healthz", get(handlers::live).fallback(handlers::only_get_or_head))
        .route("/ready", ready.clone())
        .route("/readyz", ready)
        .fallback(handlers::not_found);
    #[cfg(feature = "metrics")]
    let routes = routes.route("/metrics", metrics);
    #[cfg(feature = "edge")]
    let routes = match edges {
        None => routes,
        Some((publishers, may_operate)) => {
            let follow = get(edge::follow).route_layer(may_watch).head(handlers::only_get).fallback(handlers::only_get);
            let follow = parsed(target::session_key, follow.with_state(Arc::clone(&publishers)));
            let join = get(edge::join).route_layer(may_operate).head(handlers::only_get).fallback(handlers::only_get);
            let join = parsed(target::session_key, join.with_state(publishers));
            routes.route("/sessions/{key}/follow", follow).route("/sessions/{key}/join", join)
        }
    };

    #[cfg(feature = "upstream")]
    let routes = match config.upstream.clone() {
        None => routes,
        Some(upstream) => {
            let upstream = Arc::new(Upstream::new(upstream, Arc::clone(&state), completions)?);
            let see = |handler: MethodRouter<Arc<Upstream>>| {
                handler.route_layer(may_see_models.clone()).head(handlers::only_get).fallback(handlers::only_get)
            };
            let complete = |handler: MethodRouter<Arc<Upstream>>| {
                handler.route_layer(may_complete.clone()).fallback(handlers::only_post)
            };
            routes
                .route("/v1/models", see(get(upstream::models)).with_state(Arc::clone(&upstream)))
                .route("/v1/models/{*id}", see(get(upstream::model)).with_state(Arc::clone(&upstream)))
                .route("/v1/chat/completions", complete(post(upstream::chat)).with_state(Arc::clone(&upstream)))
                .route("/v1/responses", complete(post(upstream::responses)).with_state(upstream))
        }
    };
    let routes = routes.layer(MapRequestLayer::new(measure::note_matched as fn(_) -> _));

    // In front of the router: it must not see a target before it is resolved, and every answer has these headers. A
    // browser that asks beforehand shows no credential, and reads no refusal without its own headers.
    let service = ServiceBuilder::new()
        .layer(RequestLayer(asks))
        .map_response(move |response| {
            let policy = state.sessions.of_settings(|settings| settings.strict_transport_security.clone());
            reply::with_common_headers(response, policy)
        })
        .layer(CorsLayer::new(config.cors_origins.clone()))
        .layer(AuditLayer { audit: audit.clone(), shows_path: false })
        .layer(hosts)
        .layer(ResolveTargetLayer)
        // Whatever path a socket is asked for at is not shown: it may hold a capability.
        .layer(sockets)
        .layer(AuditLayer { audit: audit.clone(), shows_path: true })
        .service(Routes { history, others: routes });
    Ok(Gateway { service, settings, reload, audit })
}

/// What the routes about sessions do, whoever may do it.
struct OfSessions {
    list: MethodRouter,
    history: Histories,
    kill: MethodRouter,
}

/// With the sessions of the state folder, or with those of another gateway.
fn of_sessions(config: &Config, state: &Arc<State>, tasks: &mut Tasks) -> Result<OfSessions, Box<dyn Error>> {
    #[cfg(feature = "edge")]
    if let (Some(origin), Some(redis)) = (&config.edge, &config.redis) {
        let (edge, tail) = Edge::new(origin, redis, Arc::clone(state))?;
        let edge = Arc::new(edge);
        tasks.spawn("what reads the events of sessions", tail);
        return Ok(OfSessions {
            list: get(edge::sessions).with_state(Arc::clone(&edge)),
            history: Histories::There(Arc::clone(&edge)),
            kill: post(edge::kill).with_state(edge),
        });
    }
    #[cfg(not(feature = "edge"))]
    let _ = (config, tasks);
    Ok(OfSessions {
        list: get(listing::sessions).with_state(Arc::clone(state)),
        history: Histories::Here(Arc::clone(state)),
        kill: post(handlers::kill).with_state(Arc::clone(state)),
    })
}

/// Tells each stream, when the gateway stops, that it does: those that are open, and those that still begin.
async fn end_all(open: OpenStreams, stop: CancellationToken) {
    stop.cancelled().await;
    loop {
        let known = open.changes();
        open.end_where(EndReason::ShuttingDown, |_| true);
        open.changed_since(known).await;
    }
}

/// How all routes say who may do what; what a caller has by it is for the strategy to say.
fn resolve_scopes(strategy: impl ResolveScopes) -> ScopeResolverLayer<fn(&Denied) -> Response> {
    let hierarchy = ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ);
    ScopeResolverLayer::new(strategy)
        .with_hierarchy(hierarchy)
        .with_declared_header(DECLARED_SCOPES)
        .with_response(auth::respond)
}
