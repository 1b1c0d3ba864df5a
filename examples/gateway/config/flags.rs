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
use tower_reauth::hosts::AllowedHost;

use super::Secret;

/// A session-history server whose streams end when access ends.
///
/// Serves GET /sessions/{key}/history, as JSON or as an event stream, from the state folder of an
/// OpenClaw installation. Try it without one: --demo.
///
/// For how callers prove who they are (--auth, --token, --password) a flag wins over gateway.auth in
/// openclaw.json, and that over the variable; for all else a flag wins over the variable. An empty variable
/// counts as unset. RUST_LOG says what is logged, to stderr (info if unset), and NO_COLOR that it has no
/// colours. --demo heeds no other variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Flags {
    /// Address to listen on [env: OPENCLAW_GATEWAY_BIND] [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,

    /// Port to listen on; 0 takes a free one [env: OPENCLAW_GATEWAY_PORT] [default: 19001]
    #[arg(long)]
    pub port: Option<u16>,

    /// Folder with openclaw.json and agents/ [env: OPENCLAW_STATE_DIR] [default: ~/.openclaw]
    ///
    /// OPENCLAW_CONFIG_PATH names another file in place of its openclaw.json.
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,

    /// What a caller must show [env: OPENCLAW_GATEWAY_AUTH_MODE] [default: password if one is
    /// known, else token]
    #[arg(long, value_name = "MODE")]
    pub auth: Option<Mode>,

    /// Let --auth none be used on an address that others than this machine can reach: everybody who can connect
    /// may then read every session, and end its streams
    #[arg(long)]
    pub allow_unauthenticated: bool,

    /// A host, such as gateway.example.org, that requests may be for with --auth none on a loopback address,
    /// besides the loopback names; may be given several times. A web page could call by its own name otherwise
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<AllowedHost>,

    /// The shared token. Other users of this machine can see it here: prefer --token-file or the
    /// variable [env: OPENCLAW_GATEWAY_TOKEN]
    #[arg(long, value_parser = secret(), conflicts_with = "token_file")]
    pub token: Option<Secret>,

    /// The shared password; the same caution [env: OPENCLAW_GATEWAY_PASSWORD]
    #[arg(long, value_parser = secret())]
    pub password: Option<Secret>,

    /// File that holds the shared token. It is watched: writing a new token to it ends the streams
    /// that were opened with the old one, at once. In a container mount the folder, not the file: what
    /// replaces a file that is mounted by itself is not seen inside
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// File of per-client tokens, .toml or .json, each with an id, a secret or its sha256, a
    /// subject, scopes and expires_at. It is watched: removing a token, or taking a scope away that its
    /// streams need, ends its streams and no one else's. Write a new file and rename it over this one: a
    /// file that is written over in place can be read half written
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// Which scopes a shared secret has on history: all of them, or none
    #[arg(long, value_name = "STRATEGY", default_value = "compat")]
    pub history_scopes: HistoryScopes,

    /// How often an idle stream is checked and kept alive, such as 500ms, 15s or 2m; from 10ms to 24h
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = heartbeat)]
    pub heartbeat: Duration,

    /// How long a client may take nothing of what it is sent before it is let go, such as 30s; from 100ms to
    /// 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = write_timeout)]
    pub write_timeout: Duration,

    /// How many connections may be open at once; more wait. Never more than the process has descriptors for
    #[arg(long, value_name = "NUMBER", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Run on a scratch folder with a session that grows, and print commands to try
    #[arg(long, conflicts_with_all = [
        "state_dir", "auth", "allow_unauthenticated", "token", "password", "token_file", "tokens",
    ])]
    pub demo: bool,
}

impl Flags {
    /// The same, but served from this state folder, with the token in this file.
    pub fn on(self, state_dir: PathBuf, token_file: PathBuf) -> Self {
        Self { state_dir: Some(state_dir), auth: Some(Mode::Token), token_file: Some(token_file), ..self }
    }
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

/// Writes the value as the command line has it.
fn write_name(value: impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
}

fn secret() -> impl TypedValueParser<Value = Secret> {
    // Clap would quote a refused value; a blank one gives nothing away.
    clap::builder::StringValueParser::new()
        .try_map(|text| Secret::new(&text).map_err(|flaw| format!("the secret {flaw}")))
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
    let time: SignedDuration = text.parse().map_err(|_| "not a time such as 500ms, 15s or 2m")?;
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
        assert_eq!(flags.history_scopes, HistoryScopes::Compat);
        assert_eq!((flags.heartbeat, flags.write_timeout), (Duration::from_secs(15), Duration::from_secs(30)));
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
            assert_eq!(parse(&["--heartbeat", text]).unwrap().heartbeat, expected);
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
