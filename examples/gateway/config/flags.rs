//! The command line, as `--help` explains it.
//!
//! Each flag is optional here: what a missing one means is decided in one place, together with the
//! variables and `openclaw.json`.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use tower_reauth::{hosts::AllowedHost, proxy::Origin};

use super::error::needs_feature;
use super::{ConfigError, RedisUrl, Secret, UpstreamUrl};

// No docstring: clap would show it in place of that of whoever has these flags among others.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "gateway", version)]
pub struct Flags {
    /// A TOML file with what no flag and no variable says
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub config: Option<PathBuf>,

    /// Folder with openclaw.json and agents/ [env: OPENCLAW_STATE_DIR] [default: ~/.openclaw]
    #[arg(long, value_name = "FOLDER", help_heading = FILES)]
    pub state_dir: Option<PathBuf>,

    /// Folder for what the gateway keeps [default: ~/.local/state/tower-reauth-gateway]
    #[arg(long, value_name = "FOLDER", help_heading = FILES)]
    pub data_dir: Option<PathBuf>,

    /// File to which a line is added for each stream, refusal and revocation
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub audit_log: Option<PathBuf>,

    /// What a caller must show [env: ..._AUTH_MODE] [default: password if known, else token]
    #[arg(long, value_name = "MODE", hide_possible_values = true, help_heading = ACCESS)]
    pub auth: Option<Mode>,

    /// The shared token. Others can see it here: prefer --token-file or the variable
    #[arg(long, value_parser = secret(), conflicts_with = "token_file", help_heading = ACCESS)]
    pub token: Option<Secret>,

    /// The shared password; the same caution
    #[arg(long, value_parser = secret(), help_heading = ACCESS)]
    pub password: Option<Secret>,

    /// File with the shared token, watched: a new one ends the streams of the old one
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    pub token_file: Option<PathBuf>,

    /// File with tokens of single clients, watched; see gateway token --help
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    pub tokens: Option<PathBuf>,

    /// Scopes of a shared secret on history: compat, all; strict, none [default: compat]
    #[arg(long, value_name = "STRATEGY", hide_possible_values = true, help_heading = ACCESS)]
    pub history_scopes: Option<HistoryScopes>,

    /// Let --auth none be used where others can connect: all may then do all
    #[arg(long, help_heading = ACCESS)]
    pub allow_unauthenticated: bool,

    /// A host that --auth none answers for on loopback; may be given several times
    #[arg(long, value_name = "HOST", value_parser = host, help_heading = ACCESS)]
    pub allow_host: Vec<AllowedHost>,

    /// A page's origin that may call and read, or *; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = page, help_heading = ACCESS)]
    pub cors_origin: Vec<CorsOrigin>,

    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_parser = address, help_heading = NETWORK)]
    pub bind: Option<IpAddr>,

    /// Port to listen on; 0 takes a free one [default: 19001]
    #[arg(long, value_parser = port, help_heading = NETWORK)]
    pub port: Option<u16>,

    /// How often an idle stream is checked and kept alive, 10ms to 24h [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = heartbeat, help_heading = NETWORK)]
    pub heartbeat: Option<Duration>,

    /// How long a client may take nothing of what it is sent, 100ms to 1h [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = write_timeout, help_heading = NETWORK)]
    pub write_timeout: Option<Duration>,

    /// How long answers may take to finish when it stops, 0s to 1h [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = drain, help_heading = NETWORK)]
    pub drain: Option<Duration>,

    /// Certificate and chain in PEM, watched: serves https alone; with --tls-key
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert in PEM, watched
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub tls_key: Option<PathBuf>,

    /// How many connections may be open at once; more wait [default: 16384]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = LIMITS)]
    pub max_connections: Option<u32>,

    /// How many streams may be open at once; more get 503 [default: 131072]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = LIMITS)]
    pub max_streams: Option<u32>,

    /// The same for one subject, or address; more get 429 [default: 16384]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = LIMITS)]
    pub max_streams_per_client: Option<u32>,
    /// How the log is written: text, json [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, help_heading = MEASURE)]
    pub log_format: Option<LogFormat>,

    /// Who may GET /metrics: local, also whoever is on this machine; admin [default: local]
    #[arg(long, value_name = "WHO", hide_possible_values = true, help_heading = MEASURE)]
    pub metrics: Option<MetricsFor>,
    /// A server of OpenAI's API, for /v1/models, chat/completions and responses
    #[arg(long, value_name = "URL", value_parser = upstream, help_heading = UPSTREAM)]
    pub upstream: Option<UpstreamUrl>,

    /// File with the key for it, watched; shown to nobody else
    #[arg(long, value_name = "FILE", help_heading = UPSTREAM)]
    pub upstream_key_file: Option<PathBuf>,

    /// How long it may send nothing, 100ms to 1h [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = write_timeout, help_heading = UPSTREAM)]
    pub upstream_timeout: Option<Duration>,

    /// The Redis of all gateways that share what is revoked; prefer the variable
    #[arg(long, value_name = "URL", value_parser = redis, hide_env_values = true, help_heading = NODES)]
    pub redis: Option<RedisUrl>,

    /// Serve the sessions of the gateway at this URL, which shares the Redis, and keep none
    #[arg(long, value_name = "URL", value_parser = upstream, help_heading = NODES)]
    pub edge: Option<UpstreamUrl>,

    /// File with an admin's token there, watched; shown to nobody else
    #[arg(long, value_name = "FILE", help_heading = NODES)]
    pub edge_token_file: Option<PathBuf>,

    /// Run on a scratch folder with a session that grows, and print commands to try
    #[arg(long, conflicts_with_all = [
        "config", "state_dir", "data_dir", "auth", "allow_unauthenticated", "token", "password", "token_file", "tokens",
        "tls_cert", "tls_key", "edge", "edge_token_file",
    ])]
    pub demo: bool,
}

const FILES: &str = "Files";
const ACCESS: &str = "Access";
const NETWORK: &str = "Network";
const TLS: &str = "TLS";
const LIMITS: &str = "Limits";
const MEASURE: &str = "Measure";
const UPSTREAM: &str = "Upstream";
const NODES: &str = "Nodes";

impl Flags {
    /// The same, but served from this state folder, with the token in this file.
    pub fn on(self, state_dir: PathBuf, token_file: PathBuf) -> Self {
        let data_dir = Some(state_dir.join("gateway"));
        Self { state_dir: Some(state_dir), data_dir, auth: Some(Mode::Token), token_file: Some(token_file), ..self }
    }

    /// What is given here, and else what is given there.
    pub fn or(self, other: Self) -> Self {
        // Taken apart, so that none is forgotten.
        let Self {
            config,
            state_dir,
            data_dir,
            audit_log,
            auth,
            token,
            password,
            token_file,
            tokens,
            history_scopes,
            allow_unauthenticated,
            allow_host,
            cors_origin,
            bind,
            port,
            heartbeat,
            write_timeout,
            drain,
            tls_cert,
            tls_key,
            max_connections,
            max_streams,
            max_streams_per_client,
            log_format,
            metrics,
            upstream,
            upstream_key_file,
            upstream_timeout,
            redis,
            edge,
            edge_token_file,
            demo,
        } = self;
        Self {
            config: config.or(other.config),
            state_dir: state_dir.or(other.state_dir),
            data_dir: data_dir.or(other.data_dir),
            audit_log: audit_log.or(other.audit_log),
            auth: auth.or(other.auth),
            token: token.or(other.token),
            password: password.or(other.password),
            token_file: token_file.or(other.token_file),
            tokens: tokens.or(other.tokens),
            history_scopes: history_scopes.or(other.history_scopes),
            allow_unauthenticated: allow_unauthenticated || other.allow_unauthenticated,
            allow_host: if allow_host.is_empty() { other.allow_host } else { allow_host },
            cors_origin: if cors_origin.is_empty() { other.cors_origin } else { cors_origin },
            bind: bind.or(other.bind),
            port: port.or(other.port),
            heartbeat: heartbeat.or(other.heartbeat),
            write_timeout: write_timeout.or(other.write_timeout),
            drain: drain.or(other.drain),
            tls_cert: tls_cert.or(other.tls_cert),
            tls_key: tls_key.or(other.tls_key),
            max_connections: max_connections.or(other.max_connections),
            max_streams: max_streams.or(other.max_streams),
            max_streams_per_client: max_streams_per_client.or(other.max_streams_per_client),
            log_format: log_format.or(other.log_format),
            metrics: metrics.or(other.metrics),
            upstream: upstream.or(other.upstream),
            upstream_key_file: upstream_key_file.or(other.upstream_key_file),
            upstream_timeout: upstream_timeout.or(other.upstream_timeout),
            redis: redis.or(other.redis),
            edge: edge.or(other.edge),
            edge_token_file: edge_token_file.or(other.edge_token_file),
            demo: demo || other.demo,
        }
    }

    /// What is asked for of what this gateway was built without.
    pub fn unbuilt(&self) -> Vec<ConfigError> {
        let flags = [
            ("--metrics", self.metrics.is_some(), "metrics", cfg!(feature = "metrics")),
            ("--tls-cert", self.tls_cert.is_some(), "tls", cfg!(feature = "tls")),
            ("--tls-key", self.tls_key.is_some(), "tls", cfg!(feature = "tls")),
            ("--redis", self.redis.is_some(), "redis", cfg!(feature = "redis")),
            ("--edge", self.edge.is_some(), "edge", cfg!(feature = "edge")),
            ("--edge-token-file", self.edge_token_file.is_some(), "edge", cfg!(feature = "edge")),
            ("--upstream", self.upstream.is_some(), "upstream", cfg!(feature = "upstream")),
            ("--upstream-key-file", self.upstream_key_file.is_some(), "upstream", cfg!(feature = "upstream")),
            ("--upstream-timeout", self.upstream_timeout.is_some(), "upstream", cfg!(feature = "upstream")),
        ];
        let missing = flags.into_iter().filter(|(_, is_given, _, is_built)| *is_given && !is_built);
        missing.map(|(flag, _, feature, _)| needs_feature(flag, feature)).collect()
    }

    pub fn drain(&self) -> Duration {
        self.drain.unwrap_or(Duration::from_secs(10))
    }
}

/// Whose pages a browser lets read what is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Those of every site.
    Any,
    Of(Origin),
}

/// How a caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The shared token, or one of the per-client tokens
    Token,
    /// The shared password, or one of the per-client tokens
    Password,
    /// Nothing: every client that reaches the port may read, and end streams
    None,
    /// A user name that a trusted proxy puts into a header; its settings are in openclaw.json
    TrustedProxy,
}

impl Mode {
    /// All names, for an error.
    pub const NAMES: &str = "token, password, none or trusted-proxy";

    /// The mode of this name, as it is written everywhere.
    pub fn named(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(*self, f)
    }
}

/// How scopes are resolved for history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistoryScopes {
    /// A shared secret has the default scopes, as OpenClaw does it
    #[default]
    Compat,
    /// A shared secret has no scopes: per-client tokens, trusted users and, with --auth none, everybody can read
    Strict,
}

impl Display for HistoryScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(*self, f)
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for a person
    #[default]
    Text,
    /// An object of JSON in each line
    Json,
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MetricsFor {
    /// Whoever is on this machine, and operators
    #[default]
    Local,
    /// Operators
    Admin,
}

/// Writes the value as the command line has it.
fn write_name(value: impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
}

fn secret() -> impl TypedValueParser<Value = Secret> {
    // Clap would quote a refused value; a blank one gives nothing away.
    clap::builder::StringValueParser::new()
        .try_map(|text| Secret::new(&text).map_err(|flaw| format!("the secret {flaw}")))
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address")
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "must be a port number")
}

fn positive(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("must be a number from 1 to 4294967295")
}

fn host(text: &str) -> Result<AllowedHost, &'static str> {
    text.parse().map_err(|_| "must be a host, such as gateway.example.org")
}

/// An origin as a browser names it: what else a URL has would be ignored, and was meant.
fn page(text: &str) -> Result<CorsOrigin, &'static str> {
    let reason = "must be an origin, such as https://app.example.org, or *";
    if text == "*" {
        return Ok(CorsOrigin::Any);
    }
    let (scheme, authority) = text.split_once("://").ok_or(reason)?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) || authority.contains(['/', '?', '#']) {
        return Err(reason);
    }
    text.parse().map(CorsOrigin::Of).map_err(|_| reason)
}

fn redis(text: &str) -> Result<RedisUrl, &'static str> {
    RedisUrl::parse(text)
}

fn upstream(text: &str) -> Result<UpstreamUrl, &'static str> {
    UpstreamUrl::parse(text)
}

/// How long the end may take: whoever wants it longer has forgotten it.
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);

fn drain(text: &str) -> Result<Duration, &'static str> {
    time(text)?.filter(|time| DRAINS.contains(time)).ok_or("must be between 0s and 1h")
}

/// The shortest and longest heartbeat: below, it would only check; above, it would keep nothing
/// alive.
const HEARTBEATS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(24 * 60 * 60);

fn heartbeat(text: &str) -> Result<Duration, &'static str> {
    time(text)?.filter(|time| HEARTBEATS.contains(time)).ok_or("must be between 10ms and 24h")
}

/// The shortest and longest write timeout: below, a busy network would look like a stalled client.
const WRITE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);

fn write_timeout(text: &str) -> Result<Duration, &'static str> {
    time(text)?.filter(|time| WRITE_TIMEOUTS.contains(time)).ok_or("must be between 100ms and 1h")
}

/// A time, if it is not before its own beginning.
fn time(text: &str) -> Result<Option<Duration>, &'static str> {
    let time: SignedDuration = text.parse().map_err(|_| "must be a time such as 500ms, 15s or 2m")?;
    Ok(time.try_into().ok())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Flags, String> {
        Flags::try_parse_from(["gateway"].iter().chain(flags)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_are_put_together_rightly() {
        Flags::command().debug_assert();
    }

    #[test]
    fn no_flags_leave_everything_open() {
        let flags = parse(&[]).unwrap();
        assert_eq!((flags.bind, flags.port, flags.auth), (None, None, None));
        assert_eq!((flags.history_scopes, flags.heartbeat, flags.write_timeout), (None, None, None));
        assert!(!flags.demo);
    }

    #[test]
    fn every_mode_has_the_name_that_openclaw_gives_it() {
        for (name, mode) in [
            ("token", Mode::Token),
            ("password", Mode::Password),
            ("none", Mode::None),
            ("trusted-proxy", Mode::TrustedProxy),
        ] {
            assert_eq!(parse(&["--auth", name]).unwrap().auth, Some(mode));
            assert_eq!(Mode::named(name), Some(mode));
            assert_eq!(mode.to_string(), name);
            assert!(Mode::NAMES.contains(name));
        }
        assert_eq!(Mode::named("Token"), None);
    }

    #[test]
    fn a_heartbeat_is_a_time_with_its_unit() {
        for (text, milliseconds) in [("500ms", 500), ("15s", 15_000), ("2m", 120_000)] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse(&["--heartbeat", text]).unwrap().heartbeat, Some(expected));
        }
        for text in ["", "15", "0s", "-5s", "1ms", "25h", "soon", "999999999999999999999s"] {
            assert!(heartbeat(text).is_err(), "{text}");
            assert!(write_timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_in_no_help_no_debug_and_no_error() {
        let flags = parse(&["--token", "hunter2", "--password", "hunter3"]).unwrap();
        assert_eq!(flags.token.as_ref().unwrap().expose(), "hunter2");
        let shown = format!("{flags:?}{}", Flags::command().render_long_help());
        assert!(!shown.contains("hunter"), "{shown}");

        let both = parse(&["--token", "hunter2", "--token-file", "f"]).unwrap_err();
        assert!(both.contains("--token-file") && !both.contains("hunter"), "{both}");
        assert!(parse(&["--token", " "]).unwrap_err().contains("the secret is blank"));
    }

    #[test]
    fn the_demo_is_a_house_of_its_own() {
        for other in ["--state-dir=x", "--auth=none", "--token=x", "--password=x", "--token-file=x"] {
            assert!(parse(&["--demo", other]).is_err(), "{other}");
        }
        assert!(parse(&["--demo", "--port=0", "--bind=::1", "--heartbeat=1s"]).unwrap().demo);
    }
}
