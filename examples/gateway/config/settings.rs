//! The settings that can change while the gateway runs: what openclaw.json says, with the
//! authentication that results from it, the flags, the variables and the files of secrets.
//!
//! Fields that the gateway does not use are ignored: the file is OpenClaw's.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::auth::{Auth, Given};
use super::document::Node;
use super::sources::{Contents, Sources};
use super::{ClientToken, ConfigError, CorsOrigin, Secret};
use crate::tls::Tls;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub auth: Auth,
    /// `--tokens`; `None` without that flag.
    pub client_tokens: Option<Arc<[ClientToken]>>,
    /// What is shown to the server of `--upstream`.
    pub upstream_key: Option<Secret>,
    /// What is shown to the origin of `--edge`.
    pub edge_token: Option<Secret>,
    pub rate_limit: RateLimit,
    /// Addresses and CIDR blocks, as written.
    pub trusted_proxies: Vec<String>,
    pub allow_real_ip_fallback: bool,
    pub control_ui: ControlUi,
    pub strict_transport_security: Option<HeaderValue>,
    /// By which connections are secured; `None` without `--tls-cert`.
    pub tls: Option<Tls>,
    pub session: Session,
    pub agents: Vec<Agent>,
    /// What should be done about all this, though it works: sentences without a secret.
    pub advice: Vec<String>,
}

/// `gateway.auth.rateLimit`: when a client that keeps failing is locked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The failure that locks the client out.
    pub max_attempts: u32,
    /// How long a failure counts.
    pub window: Duration,
    pub lockout: Duration,
    /// Whether clients on this machine are never locked out.
    pub exempt_loopback: bool,
}

/// `gateway.controlUi`: which web pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUi {
    /// As written: the comparison lower-cases.
    pub allowed_origins: Vec<String>,
    pub host_header_fallback: bool,
}

/// `session`: where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Another path for sessions.json; may hold `{agentId}` and a leading `~`.
    pub store: Option<String>,
    pub scope: SessionScope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionScope {
    #[default]
    PerSender,
    /// An agent's main session is `global`.
    Global,
}

/// An agent that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub id: String,
    /// Whether sessions that name no agent are its own.
    pub default: bool,
}

impl Settings {
    pub fn new(sources: &Sources, contents: &Contents) -> Result<Self, ConfigError> {
        Self::checked(sources, contents).map_err(|mut problems| problems.swap_remove(0))
    }

    /// The same, with all that is wrong.
    pub fn checked(sources: &Sources, contents: &Contents) -> Result<Self, Vec<ConfigError>> {
        let root = contents.document.root();
        let at = |path: &[&str]| path.iter().try_fold(root.clone(), |node, key| node.at(key));
        let mut problems = Problems::default();

        let trusted_proxies = problems.keep(at(&["gateway", "trustedProxies"]).and_then(|list| owned(&list)));
        let auth = trusted_proxies.as_ref().and_then(|trusted_proxies| {
            problems.keep(at(&["gateway", "auth"]).and_then(|auth| {
                let (given, overruled) = given(sources, contents, &auth)?;
                let idle_given = given.clone();
                let mode = Auth::new(given, &auth, contents.secrets(), trusted_proxies, sources.exposed)?;
                if mode == Auth::None && sources.cors_origins.contains(&CorsOrigin::Any) {
                    let advice = "every web page could read all sessions: with --auth none, --cors-origin * is \
                                  refused. Name the origins, or ask for a token";
                    return Err(ConfigError::Unusable(advice.to_owned()));
                }
                let nobody = (mode == Auth::Token(None)
                    && contents.client_tokens.as_deref().is_some_and(<[_]>::is_empty))
                .then(|| "nobody can get in: --tokens names no token, and there is no shared one".to_owned());
                let advice = overruled.into_iter().chain(idle_given.idle(&mode)).chain(nobody);
                Ok((mode, advice.chain(contents.advice(sources)).collect()))
            }))
        });
        let rate_limit = problems.keep(at(&["gateway", "auth", "rateLimit"]).and_then(|node| RateLimit::new(&node)));
        let real_ip = problems.keep(at(&["gateway", "allowRealIpFallback"]).and_then(|node| node.flag()));
        let control_ui = problems.keep(at(&["gateway", "controlUi"]).and_then(|node| ControlUi::new(&node)));
        // A page that may read what is answered may ask, too.
        let control_ui = control_ui.map(|known| known.with_allowed(&sources.cors_origins));
        let strict_transport_security = ["gateway", "http", "securityHeaders", "strictTransportSecurity"];
        let strict_transport_security =
            problems.keep(at(&strict_transport_security).and_then(|node| transport_security(&node)));
        let session = problems.keep(at(&["session"]).and_then(|node| Session::new(&node)));
        let agents = problems.keep(at(&["agents"]).and_then(|node| Agent::all(&node)));
        let all = (|| {
            let (auth, advice) = auth?;
            Some(Self {
                advice,
                auth,
                client_tokens: contents.client_tokens.clone(),
                upstream_key: contents.upstream_key.clone(),
                edge_token: contents.edge_token.clone(),
                rate_limit: rate_limit?,
                trusted_proxies: trusted_proxies?,
                allow_real_ip_fallback: real_ip?.unwrap_or(false),
                control_ui: control_ui?,
                strict_transport_security: strict_transport_security?,
                tls: contents.tls.clone(),
                session: session?,
                agents: agents?,
            })
        })();
        all.ok_or(problems.0)
    }

    /// The names of the settings that are not as they were, as openclaw.json and the command line have them.
    /// Without their values: some are secrets.
    pub fn changed_since(&self, before: &Self) -> Vec<&'static str> {
        // Taken apart, so that no field is forgotten.
        let Self {
            auth,
            client_tokens,
            upstream_key,
            edge_token,
            rate_limit,
            trusted_proxies,
            allow_real_ip_fallback,
            control_ui,
            strict_transport_security,
            tls,
            session,
            agents,
            advice: _,
        } = self;
        let changes = [
            ("gateway.auth", *auth != before.auth),
            ("--tokens", *client_tokens != before.client_tokens),
            ("--upstream-key-file", *upstream_key != before.upstream_key),
            ("--edge-token-file", *edge_token != before.edge_token),
            ("gateway.auth.rateLimit", *rate_limit != before.rate_limit),
            ("gateway.trustedProxies", *trusted_proxies != before.trusted_proxies),
            ("gateway.allowRealIpFallback", *allow_real_ip_fallback != before.allow_real_ip_fallback),
            ("gateway.controlUi", *control_ui != before.control_ui),
            (
                "gateway.http.securityHeaders.strictTransportSecurity",
                *strict_transport_security != before.strict_transport_security,
            ),
            ("--tls-cert", *tls != before.tls),
            ("session", *session != before.session),
            ("agents", *agents != before.agents),
        ];
        changes.into_iter().filter(|(_, is_changed)| *is_changed).map(|(name, _)| name).collect()
    }
}

/// What went wrong so far, each once.
#[derive(Default)]
struct Problems(Vec<ConfigError>);

impl Problems {
    fn keep<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                // Whoever asks for a part of what is no object is told of the whole.
                if self.0.iter().all(|known| known.to_string() != problem.to_string()) {
                    self.0.push(problem);
                }
                None
            }
        }
    }
}

impl RateLimit {
    fn new(settings: &Node<'_>) -> Result<Self, ConfigError> {
        let time = |key, default: u32| {
            let milliseconds = settings.at(key)?.count()?.unwrap_or(default);
            Ok::<_, ConfigError>(Duration::from_millis(milliseconds.into()))
        };
        Ok(Self {
            max_attempts: settings.at("maxAttempts")?.count()?.unwrap_or(10),
            window: time("windowMs", 60_000)?,
            lockout: time("lockoutMs", 300_000)?,
            exempt_loopback: settings.at("exemptLoopback")?.flag()?.unwrap_or(true),
        })
    }
}

impl ControlUi {
    fn new(settings: &Node<'_>) -> Result<Self, ConfigError> {
        let fallback = settings.at("dangerouslyAllowHostHeaderOriginFallback")?;
        Ok(Self {
            allowed_origins: owned(&settings.at("allowedOrigins")?)?,
            host_header_fallback: fallback.flag()?.unwrap_or(false),
        })
    }

    /// With these pages too. That all pages may read does not make one of them a caller.
    fn with_allowed(mut self, pages: &[CorsOrigin]) -> Self {
        self.allowed_origins.extend(pages.iter().filter_map(|page| match page {
            CorsOrigin::Any => None,
            CorsOrigin::Of(origin) => Some(origin.to_string()),
        }));
        self
    }
}

impl Session {
    fn new(settings: &Node<'_>) -> Result<Self, ConfigError> {
        let store = settings.at("store")?.text()?.map(str::trim);
        let scope = settings.at("scope")?;
        Ok(Self {
            store: store.filter(|path| !path.is_empty()).map(str::to_owned),
            scope: match scope.text()? {
                None | Some("per-sender") => SessionScope::PerSender,
                Some("global") => SessionScope::Global,
                Some(_) => return Err(scope.error("must be per-sender or global")),
            },
        })
    }
}

impl Agent {
    /// The agents of `agents.entries`, by their names, or of `agents.list`, as it was before.
    fn all(agents: &Node<'_>) -> Result<Vec<Self>, ConfigError> {
        let named = |id: &str, entry: &Node<'_>| {
            Ok(Self { id: id.to_owned(), default: entry.at("default")?.flag()?.unwrap_or(false) })
        };
        let listed = agents.at("list")?.items()?;
        let listed = listed.iter().map(|entry| {
            let id = entry.at("id")?;
            named(id.text()?.ok_or_else(|| id.error("is needed"))?, entry)
        });
        let entries = agents.at("entries")?.fields()?;
        let entries = entries.iter().map(|(id, entry)| named(id, entry));
        let mut all: Vec<Self> = entries.chain(listed).collect::<Result<_, _>>()?;
        // Written by `openclaw doctor`, in the place of a mark.
        if agents.at("ownership")?.text()? == Some("explicit") {
            let owner = agents.at("defaults")?.at("systemAgent")?.at("agentId")?.text()?;
            all.iter_mut().for_each(|agent| agent.default = owner.is_some_and(|owner| is_named(&agent.id, owner)));
        }
        Ok(all)
    }
}

/// Whether both are names of one agent.
fn is_named(agent: &str, name: &str) -> bool {
    agent.trim().eq_ignore_ascii_case(name.trim())
}

/// What the places say about authentication, the first one to say something first.
fn given(sources: &Sources, contents: &Contents, auth: &Node<'_>) -> Result<(Given, Vec<String>), ConfigError> {
    Ok(Given::by_all([
        ("--token-file", Given { token: contents.token.clone(), ..Given::default() }),
        ("the flags", sources.flags.clone()),
        ("gateway.auth in openclaw.json", Given::by_file(auth, &sources.environment)?),
        ("the variables", Given::by_variables(&sources.environment)?),
        ("the file of --config", sources.in_file.clone()),
    ]))
}

/// A header's value, or `false` for no header.
fn transport_security(node: &Node<'_>) -> Result<Option<HeaderValue>, ConfigError> {
    if let Ok(Some(false)) = node.flag() {
        return Ok(None);
    }
    let Some(text) = node.text()?.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let value = HeaderValue::from_str(text).map_err(|_| node.error("must be a header's value"))?;
    Ok(Some(value))
}

fn owned(list: &Node<'_>) -> Result<Vec<String>, ConfigError> {
    Ok(list.texts()?.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;

    use http::HeaderName;

    use super::super::document::Document;
    use super::super::environment::Environment;
    use super::super::sources::FileFacts;
    use super::super::{Mode, TrustedProxy};
    use super::*;

    /// What the settings come from, with openclaw.json as text.
    struct Places {
        flags: Given,
        json5: &'static str,
        variables: &'static [(&'static str, &'static str)],
        token_file: Option<&'static str>,
        client_tokens: bool,
        exposed: Option<IpAddr>,
    }

    const NOTHING: Places = Places {
        flags: Given { mode: None, token: None, password: None },
        json5: "{}",
        variables: &[],
        token_file: None,
        client_tokens: false,
        exposed: None,
    };

    impl Places {
        fn settings(self) -> Result<Settings, String> {
            let config = PathBuf::from("openclaw.json");
            let contents = Contents {
                document: Document::json5(&config, self.json5).unwrap(),
                token: self.token_file.map(secret),
                client_tokens: self.client_tokens.then(|| Arc::from([])),
                tls: None,
                upstream_key: None,
                edge_token: None,
                facts: FileFacts::default(),
            };
            let sources = Sources {
                config,
                token_file: None,
                tokens: None,
                tls: None,
                cors_origins: Vec::new(),
                upstream_key: None,
                edge_token: None,
                flags: self.flags,
                in_file: Given::default(),
                environment: self.variables.iter().copied().collect::<Environment>(),
                exposed: self.exposed,
            };
            Settings::new(&sources, &contents).map_err(|error| error.to_string())
        }

        fn auth(self) -> Result<Auth, String> {
            self.settings().map(|settings| settings.auth)
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn token(text: &str) -> Result<Auth, String> {
        Ok(Auth::Token(Some(secret(text))))
    }

    fn password(text: &str) -> Result<Auth, String> {
        Ok(Auth::Password(secret(text)))
    }

    /// A gateway that starts, so that other settings can be looked at.
    fn with(json5: &'static str) -> Result<Settings, String> {
        Places { json5, flags: Given { mode: Some(Mode::None), ..Given::default() }, ..NOTHING }.settings()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_variable() {
        let all = || Places {
            flags: Given { mode: Some(Mode::Token), token: Some(secret("flag")), password: None },
            json5: "{ gateway: { auth: { mode: 'password', token: 'file', password: 'file' } } }",
            variables: &[
                ("OPENCLAW_GATEWAY_AUTH_MODE", "none"),
                ("OPENCLAW_GATEWAY_TOKEN", "variable"),
                ("OPENCLAW_GATEWAY_PASSWORD", "variable"),
            ],
            ..NOTHING
        };
        assert_eq!(all().auth(), token("flag"));
        let flags = NOTHING.flags;
        assert_eq!(Places { flags, ..all() }.auth(), password("file"));
        let (flags, json5) = (NOTHING.flags, "{}");
        assert_eq!(Places { flags, json5, ..all() }.auth(), Ok(Auth::None));
    }

    #[test]
    fn mode_and_secret_may_come_from_different_places() {
        let places = Places {
            json5: "{ gateway: { auth: { mode: 'token' } } }",
            variables: &[("OPENCLAW_GATEWAY_TOKEN", "variable"), ("OPENCLAW_GATEWAY_PASSWORD", "p")],
            ..NOTHING
        };
        assert_eq!(places.auth(), token("variable"));
    }

    #[test]
    fn without_a_mode_a_known_password_is_asked_for_else_a_token() {
        let variables = &[("OPENCLAW_GATEWAY_TOKEN", "t")];
        assert_eq!(Places { variables, ..NOTHING }.auth(), token("t"));
        let json5 = "{ gateway: { auth: { password: 'p' } } }";
        assert_eq!(Places { json5, variables, ..NOTHING }.auth(), password("p"));
    }

    #[test]
    fn blank_secrets_and_empty_variables_count_as_unset() {
        let places = Places {
            json5: "{ gateway: { auth: { password: '  ', token: '' } } }",
            variables: &[("OPENCLAW_GATEWAY_AUTH_MODE", ""), ("OPENCLAW_GATEWAY_TOKEN", "t")],
            ..NOTHING
        };
        assert_eq!(places.auth(), token("t"));
    }

    #[test]
    fn a_missing_secret_is_an_error_that_says_what_to_set() {
        let error = NOTHING.auth().unwrap_err();
        for way in ["--token-file", "--token,", "gateway.auth.token", "OPENCLAW_GATEWAY_TOKEN"] {
            assert!(error.contains(way), "{error}");
        }
        let json5 = "{ gateway: { auth: { mode: 'password', token: 't' } } }";
        let error = Places { json5, ..NOTHING }.auth().unwrap_err();
        for way in ["--password", "gateway.auth.password", "OPENCLAW_GATEWAY_PASSWORD"] {
            assert!(error.contains(way), "{error}");
        }
    }

    #[test]
    fn client_tokens_can_stand_in_for_a_shared_token_but_not_for_a_mode() {
        let places = |json5| Places { json5, client_tokens: true, ..NOTHING };
        assert_eq!(places("{}").auth(), Ok(Auth::Token(None)));
        for mode in ["none", "trusted-proxy"] {
            let json5 = match mode {
                "none" => "{ gateway: { auth: { mode: 'none' } } }",
                _ => "{ gateway: { auth: { mode: 'trusted-proxy' } } }",
            };
            assert!(places(json5).auth().unwrap_err().contains("--tokens needs"));
        }
        let json5 = "{ gateway: { auth: { mode: 'password' } } }";
        assert!(places(json5).auth().unwrap_err().contains("needs a password"));
    }

    #[test]
    fn the_token_file_is_the_token_and_refuses_a_mode_without_one() {
        let places = |variables| Places { variables, token_file: Some("rotated"), ..NOTHING };
        assert_eq!(places(&[("OPENCLAW_GATEWAY_TOKEN", "t")]).auth(), token("rotated"));
        for variables in [&[("OPENCLAW_GATEWAY_PASSWORD", "p")], &[("OPENCLAW_GATEWAY_AUTH_MODE", "none")]] {
            assert!(places(variables).auth().unwrap_err().contains("--token-file"));
        }
    }

    #[test]
    fn a_secret_in_the_file_can_name_a_variable() {
        let json5 = "{ gateway: { auth: { token: '${MY_TOKEN}' } } }";
        let variables = &[("MY_TOKEN", "t")];
        assert_eq!(Places { json5, variables, ..NOTHING }.auth(), token("t"));
        let error = Places { json5, ..NOTHING }.auth().unwrap_err();
        assert!(error.contains("gateway.auth.token: names the variable MY_TOKEN"), "{error}");
    }

    #[test]
    fn a_secret_that_only_looks_like_a_variable_is_not_quoted() {
        for json5 in [
            "{ gateway: { auth: { token: '${hunter-2}' } } }",
            "{ gateway: { auth: { token: '${2hunter}' } } }",
            "{ gateway: { auth: { password: '${${hunter}}' } } }",
            "{ gateway: { auth: { token: '${}' } } }",
        ] {
            let error = Places { json5, ..NOTHING }.auth().unwrap_err();
            assert!(error.contains("must name a variable"), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    #[test]
    fn an_unknown_mode_is_an_error_that_says_where() {
        let json5 = "{ gateway: { auth: { mode: 'tokne' } } }";
        let error = Places { json5, ..NOTHING }.auth().unwrap_err();
        assert!(error.contains("openclaw.json: gateway.auth.mode: must be token, "), "{error}");
        let variables = &[("OPENCLAW_GATEWAY_AUTH_MODE", "tokne")];
        let error = Places { variables, ..NOTHING }.auth().unwrap_err();
        assert!(error.contains("variable OPENCLAW_GATEWAY_AUTH_MODE must be token, "), "{error}");
    }

    #[test]
    fn a_trusted_proxy_has_its_settings_and_a_password_for_local_callers() {
        let json5 = "{ gateway: { trustedProxies: ['127.0.0.1', '10.0.0.0/8'], auth: {
            mode: 'trusted-proxy', password: 'p', trustedProxy: {
                userHeader: ' X-Forwarded-User', requiredHeaders: ['X-Forwarded-Proto', 'x-auth-src'],
                allowUsers: ['alice@example.com', 'Bob'], allowLoopback: true } } } }";
        let settings = Places { json5, ..NOTHING }.settings().unwrap();
        assert_eq!(settings.trusted_proxies, ["127.0.0.1", "10.0.0.0/8"]);
        let expected = TrustedProxy {
            user_header: HeaderName::from_static("x-forwarded-user"),
            required_headers: vec![HeaderName::from_static("x-forwarded-proto"), HeaderName::from_static("x-auth-src")],
            allow_users: vec!["alice@example.com".to_owned(), "Bob".to_owned()],
            allow_loopback: true,
            local_password: Some(secret("p")),
        };
        assert_eq!(settings.auth, Auth::TrustedProxy(expected));
    }

    #[test]
    fn a_trusted_proxy_refuses_a_token_beside_it_and_needs_its_user_header() {
        let json5 = "{ gateway: { trustedProxies: ['10.0.0.1'], auth: { mode: 'trusted-proxy',
            trustedProxy: { userHeader: 'x-user' } } } }";
        assert!(Places { json5, ..NOTHING }.auth().is_ok());
        let variables = &[("OPENCLAW_GATEWAY_TOKEN", "t")];
        let error = Places { json5, variables, ..NOTHING }.auth().unwrap_err();
        assert!(error.contains("cannot be combined with a token"), "{error}");
        let token_file = Some("t");
        let error = Places { json5, token_file, ..NOTHING }.auth().unwrap_err();
        assert!(error.contains("cannot be combined with a token"), "{error}");

        for (trusted_proxy, expected) in [
            ("{ gateway: { trustedProxies: ['::1'], auth: { mode: 'trusted-proxy' } } }", "userHeader: is needed"),
            (
                "{ gateway: { trustedProxies: ['10.0.0.0/8'],
                  auth: { mode: 'trusted-proxy', trustedProxy: { userHeader: 'a b' } } } }",
                "userHeader: must be a header's name",
            ),
        ] {
            let error = Places { json5: trusted_proxy, ..NOTHING }.auth().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_trusted_proxy_without_a_proxy_lets_nobody_in_and_is_an_error() {
        for json5 in [
            "{ gateway: { auth: { mode: 'trusted-proxy', trustedProxy: { userHeader: 'x-user' } } } }",
            "{ gateway: { trustedProxies: ['proxy.example'],
              auth: { mode: 'trusted-proxy', password: 'p', trustedProxy: { userHeader: 'x-user' } } } }",
        ] {
            let error = Places { json5, ..NOTHING }.auth().unwrap_err();
            assert!(error.contains("gateway.trustedProxies"), "{error}");
        }
    }

    #[test]
    fn no_authentication_is_for_this_machine_only() {
        let exposed = Some(IpAddr::from([0, 0, 0, 0]));
        let json5 = "{ gateway: { auth: { mode: 'none' } } }";
        let error = Places { json5, exposed, ..NOTHING }.auth().unwrap_err();
        for remedy in ["--bind 127.0.0.1", "--auth token", "--allow-unauthenticated"] {
            assert!(error.contains(remedy), "{error}");
        }
        let variables = &[("OPENCLAW_GATEWAY_TOKEN", "t")];
        assert_eq!(Places { variables, exposed, ..NOTHING }.auth(), token("t"));
    }

    #[test]
    fn a_secret_that_no_caller_could_show_is_an_error_and_not_quoted() {
        for places in [
            Places { json5: "{ gateway: { auth: { token: 'hunter\u{7}2' } } }", ..NOTHING },
            Places { json5: "{ gateway: { auth: { password: '狩人' } } }", ..NOTHING },
            Places { variables: &[("OPENCLAW_GATEWAY_TOKEN", "hunter\n2")], ..NOTHING },
            Places {
                json5: "{ gateway: { auth: { token: '${T}' } } }",
                variables: &[("T", "hunter\u{0}2")],
                ..NOTHING
            },
        ] {
            let error = places.auth().unwrap_err();
            assert!(error.contains("no Authorization header can carry") && !error.contains("hunter"), "{error}");
        }
        // What ends a line, or marks the beginning of a file, is no part of it.
        let variables = &[("OPENCLAW_GATEWAY_TOKEN", "\u{feff}t\r\n")];
        assert_eq!(Places { variables, ..NOTHING }.auth(), token("t"));
    }

    #[test]
    fn a_secret_that_opens_nothing_is_worth_a_word() {
        for (places, expected) in [
            (
                Places {
                    variables: &[("OPENCLAW_GATEWAY_TOKEN", "hunter2"), ("OPENCLAW_GATEWAY_PASSWORD", "p")],
                    ..NOTHING
                },
                "a token is set and opens nothing, as the auth mode is password",
            ),
            (
                Places {
                    json5: "{ gateway: { auth: { mode: 'token', token: 't', password: 'hunter2' } } }",
                    ..NOTHING
                },
                "a password is set and opens nothing, as the auth mode is token",
            ),
            (
                Places { json5: "{ gateway: { auth: { mode: 'none', token: 'hunter2' } } }", ..NOTHING },
                "a token is set and opens nothing, as the auth mode is none",
            ),
            (
                Places {
                    json5: "{ gateway: { auth: { token: 't' } } }",
                    variables: &[("OPENCLAW_GATEWAY_TOKEN", "hunter2")],
                    ..NOTHING
                },
                "two tokens: that of gateway.auth in openclaw.json is used, and that of the variables opens nothing",
            ),
            (Places { client_tokens: true, ..NOTHING }, "nobody can get in"),
        ] {
            let advice = places.settings().unwrap().advice.join("\n");
            assert!(advice.contains(expected) && !advice.contains("hunter"), "{advice}");
        }
        let alike = Places {
            json5: "{ gateway: { auth: { token: 't' } } }",
            variables: &[("OPENCLAW_GATEWAY_TOKEN", "t")],
            ..NOTHING
        };
        assert!(alike.settings().unwrap().advice.is_empty());
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let settings = with("{}").unwrap();
        let rate_limit = RateLimit {
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            exempt_loopback: true,
        };
        assert_eq!(settings.rate_limit, rate_limit);
        assert_eq!(settings.session.scope, SessionScope::PerSender);
        assert_eq!(settings.session.store, None);
        assert!(!settings.allow_real_ip_fallback && !settings.control_ui.host_header_fallback);
        assert!(settings.trusted_proxies.is_empty() && settings.agents.is_empty());
        assert_eq!(settings.strict_transport_security, None);
    }

    #[test]
    fn every_setting_is_read_and_unknown_ones_are_ignored() {
        let settings = with(
            "{ unknown: [1], gateway: { port: 1, mode: {}, allowRealIpFallback: true,
                auth: { rateLimit: { maxAttempts: 3, windowMs: 1000, lockoutMs: 2000, exemptLoopback: false } },
                controlUi: { allowedOrigins: ['https://a.example'], dangerouslyAllowHostHeaderOriginFallback: true },
                http: { securityHeaders: { strictTransportSecurity: 'max-age=1' } } },
              session: { store: ' ~/s/{agentId}.json ', scope: 'global', mainKey: 'work' },
              agents: { list: [{ id: 'dev', name: 'x' }, { id: 'ops', default: true }], defaults: {} } }",
        )
        .unwrap();
        let rate_limit = RateLimit {
            max_attempts: 3,
            window: Duration::from_secs(1),
            lockout: Duration::from_secs(2),
            exempt_loopback: false,
        };
        assert_eq!(settings.rate_limit, rate_limit);
        assert!(settings.allow_real_ip_fallback);
        assert_eq!(settings.control_ui.allowed_origins, ["https://a.example"]);
        assert!(settings.control_ui.host_header_fallback);
        assert_eq!(settings.strict_transport_security.unwrap(), "max-age=1");
        assert_eq!(settings.session.store.unwrap(), "~/s/{agentId}.json");
        assert_eq!(settings.session.scope, SessionScope::Global);
        let agents: Vec<_> = settings.agents.iter().map(|a| (a.id.as_str(), a.default)).collect();
        assert_eq!(agents, [("dev", false), ("ops", true)]);
    }

    #[test]
    fn agents_are_entries_by_their_names() {
        for (json5, dev, ops) in [
            ("{ agents: { entries: { dev: {}, ops: { default: true } } } }", false, true),
            (
                "{ agents: { ownership: 'explicit', entries: { dev: {}, ops: { default: true } },
                    defaults: { systemAgent: { agentId: ' Dev' } } } }",
                true,
                false,
            ),
            ("{ agents: { ownership: 'explicit', entries: { dev: {}, ops: { default: true } } } }", false, false),
        ] {
            let agents = with(json5).unwrap().agents;
            let agents: Vec<_> = agents.iter().map(|agent| (agent.id.as_str(), agent.default)).collect();
            assert_eq!(agents, [("dev", dev), ("ops", ops)], "{json5}");
        }
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_an_error_with_its_path() {
        for (json5, expected) in [
            ("[]", "the whole of it: must be an object"),
            ("{ gateway: 'hunter2' }", "gateway: must be an object"),
            ("{ gateway: { auth: 'hunter2' } }", "gateway.auth: must be an object"),
            ("{ gateway: { auth: { token: 123456 } } }", "gateway.auth.token: must be text"),
            ("{ gateway: { auth: { rateLimit: { maxAttempts: 0 } } } }", "rateLimit.maxAttempts: must be a whole"),
            ("{ gateway: { trustedProxies: [1] } }", "gateway.trustedProxies[0]: must be text"),
            ("{ gateway: { http: { securityHeaders: { strictTransportSecurity: true } } } }", "must be text"),
            ("{ session: { scope: 'all' } }", "session.scope: must be per-sender or global"),
            ("{ agents: { list: [{}] } }", "agents.list[0].id: is needed"),
            ("{ agents: { entries: [] } }", "agents.entries: must be an object"),
            ("{ agents: { entries: { ops: 1 } } }", "agents.entries.ops: must be an object"),
        ] {
            let error = with(json5).unwrap_err();
            assert!(error.contains("openclaw.json: ") && error.contains(expected), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("123456"), "{error}");
        }
        assert!(with("{ gateway: { http: { securityHeaders: { strictTransportSecurity: false } } } }").is_ok());
    }
}
