//! How the gateway is set up: the command line, the variables, openclaw.json and files of secrets.
//!
//! [`Config`] is what the process was started with and stays. [`Settings`] is what can change
//! while it runs; [`LiveSettings`] reads them, follows their files and publishes what is new.
//!
//! A flag wins over the variable of the same meaning, and that over the key of the same name in the file of
//! `--config`. For what `gateway.auth` says, openclaw.json is in between: flag, then openclaw.json, then variable,
//! then key. An empty variable counts as unset.
//!
//! What cannot be meant is an error; what may be, and does nothing, is worth a word ([`Settings::advice`]).

mod auth;
mod document;
mod environment;
mod error;
mod file;
mod flags;
mod live;
mod redis;
mod secret;
mod settings;
mod settled;
mod sources;
mod tokens;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::auth::{Auth, TrustedProxy};
pub use self::environment::Environment;
pub use self::error::ConfigError;
#[cfg(not(all(feature = "redis", feature = "tls")))]
pub use self::error::needs_feature;
pub use self::flags::{CorsOrigin, Flags, HistoryScopes, LogFormat, MetricsFor, Mode};
pub use self::live::{LiveSettings, Reload};
pub use self::redis::RedisUrl;
#[cfg(feature = "redis")]
pub use self::redis::Scheme;
pub use self::secret::Secret;
#[cfg(test)]
pub use self::settings::Session;
pub use self::settings::{ControlUi, RateLimit, SessionScope, Settings};
pub use self::settled::Settled;
pub use self::sources::{Sources, TlsFiles};
pub use self::tokens::{ClientToken, KNOWN_SCOPES, from_hex};
pub use self::upstream::UpstreamUrl;

use tower_reauth::hosts::AllowedHostsLayer;

use crate::serve::Limits;

/// What the process was started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, unless the service manager does.
    pub listen: SocketAddr,
    pub state_dir: PathBuf,
    /// Where the gateway keeps what is its own.
    pub data_dir: Option<PathBuf>,
    pub audit_log: Option<PathBuf>,
    /// The home folder, for paths that begin with `~` and for sessions of old installations.
    pub home: Option<PathBuf>,
    pub history_scopes: HistoryScopes,
    pub heartbeat: Duration,
    pub limits: Limits,
    /// How many streams may be open at once, and how many of one client.
    pub streams: MaxStreams,
    /// Whose pages a browser lets read the answers.
    pub cors_origins: Vec<CorsOrigin>,
    pub metrics: MetricsFor,
    /// Where completions are asked for, and how long nothing may come from there.
    pub upstream: Option<(UpstreamUrl, Duration)>,
    /// Where other gateways are that share what is revoked.
    pub redis: Option<RedisUrl>,
    /// Where the sessions are, if it is not in [`state_dir`](Self::state_dir).
    pub edge: Option<UpstreamUrl>,
    /// Whom requests may be for where nobody has to say who they are, if that matters.
    pub allowed_hosts: Option<AllowedHostsLayer>,
    /// Where [`LiveSettings`] come from.
    pub sources: Sources,
    /// What should be done about all this, though it works.
    pub advice: Vec<String>,
}

/// How many streams may be open at once.
#[derive(Clone, Copy, Debug)]
pub struct MaxStreams {
    pub in_all: u32,
    pub of_one_client: u32,
}

impl Config {
    /// From the flags, and from what else is said there.
    pub fn new(flags: Flags, environment: Environment) -> Result<Self, ConfigError> {
        Settled::new(flags, environment).map_err(|mut problems| problems.swap_remove(0))?.config()
    }
}

impl Settled {
    pub fn config(self) -> Result<Config, ConfigError> {
        let Self { flags, given, in_file, environment, passed, mut advice } = self;
        let bind = flags.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listen = SocketAddr::new(bind, flags.port.unwrap_or(19001));
        // What the service manager listens on counts in place of what the flags say.
        let addresses = if passed.is_empty() { vec![listen] } else { passed };
        let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let exposed = addresses.iter().find(|address| !is_local(address)).map(SocketAddr::ip);
        let expand = |path: &PathBuf| environment.expand(path);
        let state_dir = flags
            .state_dir
            .as_ref()
            .map(expand)
            .or_else(|| environment.home().map(|home| home.join(".openclaw")))
            // Where an edge has its settings: it has nothing else there.
            .or_else(|| {
                environment.path("OPENCLAW_CONFIG_PATH").filter(|_| flags.edge.is_some())?.parent().map(PathBuf::from)
            })
            .ok_or_else(|| {
                let advice = match flags.edge {
                    Some(_) => "no openclaw.json: set OPENCLAW_CONFIG_PATH or HOME",
                    None => "no state folder: set --state-dir, OPENCLAW_STATE_DIR or HOME",
                };
                ConfigError::Unusable(advice.to_owned())
            })?;
        let state_home = environment.path("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
        let state_home = || state_home.or_else(|| Some(environment.home()?.join(".local/state")));
        let data_dir = flags.data_dir.as_ref().map(expand);
        let data_dir = data_dir.or_else(|| Some(state_home()?.join("tower-reauth-gateway")));
        let config = environment.path("OPENCLAW_CONFIG_PATH").unwrap_or_else(|| state_dir.join("openclaw.json"));
        let tls = match (&flags.tls_cert, &flags.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert: expand(cert), key: expand(key) }),
            (Some(_), None) => return Err(ConfigError::Unusable("--tls-cert needs --tls-key beside it".to_owned())),
            (None, Some(_)) => return Err(ConfigError::Unusable("--tls-key needs --tls-cert beside it".to_owned())),
        };
        for (flag, is_given) in [
            ("--upstream", flags.upstream.is_some()),
            ("--upstream-key-file", flags.upstream_key_file.is_some()),
            ("--upstream-timeout", flags.upstream_timeout.is_some()),
        ] {
            if is_given && flags.upstream.is_none() {
                return Err(ConfigError::Unusable(format!("{flag} needs --upstream")));
            }
        }
        Self::check_edge(&flags)?;
        if flags.edge.as_ref().is_some_and(UpstreamUrl::is_read_on_the_way) {
            advice.push(
                "--edge is http, so others on the way there can read the token and all sessions: use https".to_owned(),
            );
        }
        let is_read_on_the_way = flags.upstream.as_ref().is_some_and(UpstreamUrl::is_read_on_the_way);
        if is_read_on_the_way && flags.upstream_key_file.is_some() {
            advice.push("--upstream is http, so others on the way there can read the key: use https".to_owned());
        }
        let hosts = || AllowedHostsLayer::new().with_allowed(flags.allow_host.iter().cloned());
        Ok(Config {
            listen,
            state_dir,
            data_dir,
            audit_log: flags.audit_log.as_ref().map(expand),
            home: environment.home(),
            history_scopes: flags.history_scopes.unwrap_or_default(),
            heartbeat: flags.heartbeat.unwrap_or(Duration::from_secs(15)),
            limits: Limits {
                write_timeout: flags.write_timeout.unwrap_or(Duration::from_secs(30)),
                connections: flags.max_connections.unwrap_or(16384),
                drain: flags.drain(),
            },
            metrics: flags.metrics.unwrap_or_default(),
            redis: flags.redis.clone(),
            edge: flags.edge.clone(),
            upstream: flags
                .upstream
                .clone()
                .map(|url| (url, flags.upstream_timeout.unwrap_or(Duration::from_secs(300)))),
            streams: MaxStreams {
                in_all: flags.max_streams.unwrap_or(131_072),
                of_one_client: flags.max_streams_per_client.unwrap_or(16_384),
            },
            allowed_hosts: exposed.is_none().then(hosts),
            sources: Sources {
                config,
                token_file: flags.token_file.as_ref().map(expand),
                tokens: flags.tokens.as_ref().map(expand),
                upstream_key: flags.upstream_key_file.as_ref().map(expand),
                edge_token: flags.edge_token_file.as_ref().map(expand),
                flags: given,
                in_file,
                tls,
                exposed: exposed.filter(|_| !flags.allow_unauthenticated),
                cors_origins: flags.cors_origin.clone(),
                environment,
            },
            cors_origins: flags.cors_origin,
            advice,
        })
    }

    /// What an edge needs, and what makes no sense with one.
    fn check_edge(flags: &Flags) -> Result<(), ConfigError> {
        let problem = match (&flags.edge, &flags.edge_token_file) {
            (None, Some(_)) => "--edge-token-file needs --edge",
            (Some(_), None) => {
                "--edge needs --edge-token-file: a token of an admin, by which the sessions are asked for"
            }
            (Some(_), _) if flags.redis.is_none() => "--edge needs --redis: that of the gateway that it names",
            (Some(_), _) if flags.state_dir.is_some() => {
                "--state-dir is of no use with --edge: the sessions are those of the gateway that it names. \
                 OPENCLAW_CONFIG_PATH names an openclaw.json"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Unusable(problem.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    fn config(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        let flags = Flags::parse_from(["gateway"].iter().chain(flags));
        Config::new(flags, variables.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        let config = config(&[], &[("HOME", "/home/me")]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:19001");
        assert_eq!(config.state_dir, Path::new("/home/me/.openclaw"));
        assert_eq!(config.sources.config, Path::new("/home/me/.openclaw/openclaw.json"));
        assert_eq!(config.home.unwrap(), Path::new("/home/me"));
        assert_eq!(config.heartbeat, Duration::from_secs(15));
        assert_eq!(config.history_scopes, HistoryScopes::Compat);
    }

    #[test]
    fn an_edge_says_what_it_needs_and_what_it_has_no_use_for() {
        let (edge, token) = ("--edge=http://localhost:1", "--edge-token-file=/t");
        let (redis, home) = ("--redis=redis://localhost", ("HOME", "/home/me"));
        let refused = |flags: &[&str], variables: &[(&str, &str)]| config(flags, variables).unwrap_err();
        if cfg!(not(feature = "edge")) {
            return assert!(refused(&[edge, token], &[home]).contains("feature"));
        }
        assert!(refused(&[token], &[home]).contains("needs --edge"));
        assert!(refused(&[edge, redis], &[home]).contains("needs --edge-token-file"));
        assert!(refused(&[edge, token], &[home]).contains("needs --redis"));
        assert!(refused(&[edge, token, redis], &[]).contains("OPENCLAW_CONFIG_PATH"));
        for (flags, variables) in [
            (&[edge, token, redis, "--state-dir=/s"][..], &[home][..]),
            (&[edge, token, redis], &[home, ("OPENCLAW_STATE_DIR", "/s")]),
        ] {
            assert!(refused(flags, variables).contains("--state-dir is of no use"));
        }
        let of_another = config(&["--edge=http://origin.example", token, redis], &[home]).unwrap();
        assert!(of_another.advice.iter().any(|advice| advice.contains("use https")));
        let here = config(&[edge, token, redis], &[("OPENCLAW_CONFIG_PATH", "/etc/edge.json")]).unwrap();
        assert_eq!((here.sources.config.to_str(), here.advice.len()), (Some("/etc/edge.json"), 0));
    }

    #[test]
    fn a_variable_is_used_and_a_flag_wins_over_it() {
        let variables = [
            ("HOME", "/home/me"),
            ("OPENCLAW_GATEWAY_BIND", "::1"),
            ("OPENCLAW_GATEWAY_PORT", "8080"),
            ("OPENCLAW_STATE_DIR", "~/state"),
            ("OPENCLAW_CONFIG_PATH", "/etc/openclaw.json"),
        ];
        let by_variables = config(&[], &variables).unwrap();
        assert_eq!(by_variables.listen.to_string(), "[::1]:8080");
        assert_eq!(by_variables.state_dir, Path::new("/home/me/state"));
        assert_eq!(by_variables.sources.config, Path::new("/etc/openclaw.json"));

        let flags = ["--bind=0.0.0.0", "--port=0", "--state-dir=/s"];
        let by_flags = config(&flags, &variables).unwrap();
        assert_eq!(by_flags.listen.to_string(), "0.0.0.0:0");
        assert_eq!(by_flags.state_dir, Path::new("/s"));
    }

    /// Every flag, with a value that it can have. `demo` is for flags alone, and `config` names the file.
    const EVERY: [(&str, &str); 30] = [
        ("state-dir", "/s"),
        ("data-dir", "/d"),
        ("audit-log", "/a"),
        ("auth", "password"),
        ("token", "t0ken"),
        ("password", "passw0rd"),
        ("token-file", "/t"),
        ("tokens", "/c.toml"),
        ("history-scopes", "strict"),
        ("allow-unauthenticated", "true"),
        ("allow-host", "a.example"),
        ("bind", "::1"),
        ("port", "7"),
        ("heartbeat", "7s"),
        ("write-timeout", "8s"),
        ("max-connections", "9"),
        ("drain", "10s"),
        ("cors-origin", "https://a.example"),
        ("tls-cert", "/cert"),
        ("tls-key", "/key"),
        ("max-streams", "11"),
        ("max-streams-per-client", "12"),
        ("log-format", "json"),
        ("metrics", "admin"),
        ("upstream", "http://localhost:11434"),
        ("upstream-key-file", "/k"),
        ("upstream-timeout", "11s"),
        ("redis", "redis://localhost"),
        ("edge", "http://localhost:19001"),
        ("edge-token-file", "/e"),
    ];

    fn settled(flags: &[&str], variables: &[(String, String)]) -> Result<Settled, Vec<String>> {
        let flags = Flags::parse_from(["gateway"].iter().chain(flags));
        Settled::new(flags, variables.iter().cloned().collect())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_flag_has_a_variable_and_a_key() {
        use clap::CommandFactory;

        let command = Flags::command();
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let others = ["config", "demo"];
        assert_eq!(flags.iter().filter(|flag| !others.contains(flag)).count(), EVERY.len());
        let (folder, nothing) = (tempfile::tempdir().unwrap(), format!("{:?}", Flags::default()));
        let file = folder.path().join("gateway.toml");
        let by_file = ("OPENCLAW_GATEWAY_CONFIG".to_owned(), file.to_str().unwrap().to_owned());
        for (flag, value) in EVERY {
            assert!(flags.contains(&flag), "{flag}");
            if cfg!(not(feature = "metrics")) && flag == "metrics" {
                continue;
            }
            std::fs::write(&file, format!("{flag} = \"{value}\"\n")).unwrap();
            let in_file = settled(&[], std::slice::from_ref(&by_file)).unwrap();
            let variable = (settled::variable(flag), value.to_owned());
            let in_variable = settled(&[], &[variable]).unwrap();
            // Those of authentication are heeded later, in their order.
            if ["auth", "token", "password"].contains(&flag) {
                assert_ne!(format!("{:?}", in_file.in_file), format!("{:?}", auth::Given::default()), "{flag}");
                continue;
            }
            let without_path = Flags { config: None, ..in_file.flags };
            assert_ne!(format!("{without_path:?}"), nothing, "{flag}");
            assert_eq!(format!("{without_path:?}"), format!("{:?}", in_variable.flags), "{flag}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_variable_and_that_over_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, "port = 1\nheartbeat = '1s'\ndrain = '1s'\nallow-host = ['a.example', 'b.example']\n")
            .unwrap();
        let variables = [("OPENCLAW_GATEWAY_PORT", "2"), ("OPENCLAW_GATEWAY_HEARTBEAT", "2s")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = settled(&["--config", file.to_str().unwrap(), "--port=3"], &variables).unwrap().flags;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((flags.port, flags.heartbeat, flags.drain), (Some(3), seconds(2), seconds(1)));
        assert_eq!(flags.allow_host.len(), 2);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_value_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        let text = "port = 'hunter2'\npotr = 1\ntoken = ''\ndemo = true\nconfig = 'x'\nbind = ['::1', '::1']\nheartbeat = 1.5\n\
                    history-scopes = 'hunter2'\nallow-unauthenticated = 'hunter2'\npassword = \"hunter2\\u0001\"\n";
        std::fs::write(&file, text).unwrap();
        let variables =
            [("OPENCLAW_GATEWAY_DRAIN", "hunter2"), ("OPENCLAW_GATEWAY_ALLOW_HOST", "a.example, hunter2/x")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let problems = settled(&["--config", file.to_str().unwrap()], &variables).err().unwrap();
        for expected in [
            "the variable OPENCLAW_GATEWAY_DRAIN must be a time",
            "the variable OPENCLAW_GATEWAY_ALLOW_HOST must be a host",
            "port: must be a port number",
            "potr: is no key",
            "token: the secret is blank",
            "demo: is no key",
            "config: is no key",
            "bind: must be one value",
            "heartbeat: must be text",
            "history-scopes: must be one of compat, strict",
            "allow-unauthenticated: must be true or false",
            "password: the secret holds a character",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
        }
        assert_eq!(problems.len(), 12, "{problems:#?}");
        assert!(!problems.concat().contains("hunter"), "{problems:#?}");
        std::fs::write(&file, "port = 'hunter2\n").unwrap();
        let problems = settled(&["--config", file.to_str().unwrap()], &[]).err().unwrap();
        assert!(problems.len() == 1 && !problems[0].contains("hunter"), "{problems:#?}");
    }

    #[cfg(not(feature = "metrics"))]
    #[test]
    fn what_was_not_built_is_an_error_that_says_how_to_build_it() {
        let expected = "--metrics: this gateway was built without it; build it with --features metrics";
        let by_variable = ("OPENCLAW_GATEWAY_METRICS".to_owned(), "admin".to_owned());
        for (flags, variables) in
            [(&["--metrics=local"][..], &[][..]), (&["--demo", "--metrics=local"], &[]), (&[], &[by_variable])]
        {
            let problems = settled(flags, variables).err().unwrap();
            assert_eq!(problems, [expected], "{flags:?}");
        }
    }

    #[test]
    fn a_flag_of_a_part_that_was_left_out_is_an_error() {
        for flag in ["--upstream=http://localhost", "--upstream-key-file=/k", "--upstream-timeout=1s"] {
            let error = config(&["--state-dir=/s", flag], &[]).err().unwrap_or_default();
            let name = flag.split('=').next().unwrap_or_default();
            match cfg!(feature = "upstream") {
                true if name == "--upstream" => assert_eq!(error, ""),
                true => assert_eq!(error, format!("{name} needs --upstream")),
                false => {
                    let how = "this gateway was built without it; build it with --features upstream";
                    assert_eq!(error, format!("{name}: {how}"));
                }
            }
        }
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_an_error_that_names_it() {
        let error = config(&[], &[("OPENCLAW_GATEWAY_PORT", "http")]).unwrap_err();
        assert_eq!(error, "the variable OPENCLAW_GATEWAY_PORT must be a port number");
        let error = config(&[], &[("OPENCLAW_GATEWAY_BIND", "everywhere")]).unwrap_err();
        assert_eq!(error, "the variable OPENCLAW_GATEWAY_BIND must be an IP address");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_flag_of_a_feature_that_is_not_there_says_how_to_have_it() {
        for flag in ["--tls-cert", "--tls-key"] {
            let error = config(&["--state-dir=/s", flag, "x"], &[]).unwrap_err();
            assert_eq!(error, format!("{flag}: this gateway was built without it; build it with --features tls"));
        }
    }

    #[test]
    fn without_a_home_a_state_folder_must_be_named() {
        assert!(config(&[], &[]).unwrap_err().contains("--state-dir"));
        assert!(config(&["--state-dir=/s"], &[]).is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let variables = [("HOME", "/home/me"), ("OPENCLAW_GATEWAY_TOKEN", "hunter2")];
        let shown = format!("{:?}", config(&["--password=hunter3"], &variables).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
