//! How callers prove who they are: put together from the flags, openclaw.json and the variables.
//!
//! 1. Mode, token and password are each taken from the first place that has one: flags, then
//!    `gateway.auth` in openclaw.json, then the variables, then the file of `--config`.
//! 2. Without a mode it is `password` if a password is known, else `token`.
//! 3. A mode whose secret is missing is an error that says what to set. Per-client tokens can stand
//!    in for a shared token.
//! 4. What would quietly have no effect, or hollow out the mode, is an error: a token beside
//!    `trusted-proxy`; a watched token file, or per-client tokens, in a mode that does not use them. So is a
//!    mode that can let nobody in (`trusted-proxy` without a proxy to trust), and one that lets in everybody
//!    (`none`) where others than this machine can connect.
//! 5. A secret that is set and opens nothing is worth a word.

use std::net::IpAddr;

use http::HeaderName;
use tower_reauth::proxy::TrustedNetworks;

use super::document::Node;
use super::environment::Environment;
use super::secret::Flaw;
use super::{ConfigError, Flags, Mode, Secret};

/// What a caller must show. Each variant holds all that its mode needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// The shared token. `None`: there are per-client tokens only.
    Token(Option<Secret>),
    /// The shared password.
    Password(Secret),
    /// A user name from a proxy.
    TrustedProxy(TrustedProxy),
}

/// `gateway.auth.trustedProxy`, and the password that a direct local caller may use instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    pub user_header: HeaderName,
    pub required_headers: Vec<HeaderName>,
    /// Compared exactly. Empty: any user.
    pub allow_users: Vec<String>,
    pub allow_loopback: bool,
    pub local_password: Option<Secret>,
}

/// What one place says about authentication.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub mode: Option<Mode>,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
}

/// Which files of secrets there are.
#[derive(Clone, Copy, Debug)]
pub struct SecretFiles {
    pub token: bool,
    pub client_tokens: bool,
}

impl Given {
    pub fn by_flags(flags: &Flags) -> Self {
        Self { mode: flags.auth, token: flags.token.clone(), password: flags.password.clone() }
    }

    pub fn by_variables(environment: &Environment) -> Result<Self, ConfigError> {
        let secret = |name| match environment.text(name)? {
            None => Ok(None),
            Some(text) => set(text).map_err(|flaw| ConfigError::variable(name, flaw.to_string())),
        };
        let mode = match environment.text("OPENCLAW_GATEWAY_AUTH_MODE")? {
            None => None,
            Some(name) => Some(Mode::named(name).ok_or_else(|| {
                let reason = format!("must be {}", Mode::NAMES);
                ConfigError::variable("OPENCLAW_GATEWAY_AUTH_MODE", reason)
            })?),
        };
        Ok(Self { mode, token: secret("OPENCLAW_GATEWAY_TOKEN")?, password: secret("OPENCLAW_GATEWAY_PASSWORD")? })
    }

    /// Reads `gateway.auth`.
    pub fn by_file(auth: &Node<'_>, environment: &Environment) -> Result<Self, ConfigError> {
        let mode = auth.at("mode")?;
        let mode = match mode.text()? {
            None => None,
            Some(name) => {
                let unknown = || mode.error(format!("must be {}", Mode::NAMES));
                Some(Mode::named(name).ok_or_else(unknown)?)
            }
        };
        Ok(Self {
            mode,
            token: secret(&auth.at("token")?, environment)?,
            password: secret(&auth.at("password")?, environment)?,
        })
    }

    /// What is said in all of these places, the first one to say something first; and which secrets are
    /// set aside by that.
    pub fn by_all(places: [(&str, Self); 5]) -> (Self, Vec<String>) {
        let mut all = Self::default();
        let (mut token_from, mut password_from) = ("", "");
        let mut advice = Vec::new();
        for (place, given) in places {
            all.mode = all.mode.or(given.mode);
            for (kind, known, from, given) in [
                ("token", &mut all.token, &mut token_from, given.token),
                ("password", &mut all.password, &mut password_from, given.password),
            ] {
                if known.is_none() {
                    (*known, *from) = (given, place);
                } else if given.is_some() && *known != given {
                    advice.push(format!(
                        "there are two {kind}s: that of {from} is used, and that of {place} opens nothing"
                    ));
                }
            }
        }
        (all, advice)
    }
}

impl Auth {
    /// How a caller proves who it is.
    pub fn mode(&self) -> Mode {
        match self {
            Self::None => Mode::None,
            Self::Token(_) => Mode::Token,
            Self::Password(_) => Mode::Password,
            Self::TrustedProxy(_) => Mode::TrustedProxy,
        }
    }

    /// `auth` is `gateway.auth` of openclaw.json, and `exposed` an address that others can reach, if there is
    /// one where they have to say who they are.
    pub fn new(
        given: Given,
        auth: &Node<'_>,
        files: SecretFiles,
        trusted_proxies: &[String],
        exposed: Option<IpAddr>,
    ) -> Result<Self, ConfigError> {
        let mode = given.mode.unwrap_or(match given.password {
            Some(_) => Mode::Password,
            None => Mode::Token,
        });
        if files.client_tokens && !matches!(mode, Mode::Token | Mode::Password) {
            return Err(unusable("--tokens needs auth mode token or password"));
        }
        if files.token && mode == Mode::Password {
            return Err(unusable("--token-file needs auth mode token, and the mode is password: set --auth token"));
        }
        if files.token && mode == Mode::None {
            return Err(unusable("--token-file has no meaning with auth mode none"));
        }
        let is_network = |text: &String| TrustedNetworks::parse([text]).is_ok();
        match (mode, exposed) {
            (Mode::None, Some(address)) => {
                return Err(ConfigError::Unusable(format!(
                    "auth mode none on {address} would let everybody who can connect read every session, and end \
                     its streams: listen on this machine only (--bind 127.0.0.1), set --auth token or password, or \
                     say --allow-unauthenticated if that is meant"
                )));
            }
            (Mode::TrustedProxy, _) if !trusted_proxies.iter().any(is_network) => {
                return Err(unusable(
                    "auth mode trusted-proxy lets nobody in without a proxy to trust: name its address or network in \
                     gateway.trustedProxies of openclaw.json",
                ));
            }
            _ => {}
        }
        match mode {
            Mode::None => Ok(Self::None),
            Mode::Token if given.token.is_none() && !files.client_tokens => Err(unusable(
                "auth mode token needs a token: set --token-file, --token, --tokens, \
                 gateway.auth.token in openclaw.json, or the variable OPENCLAW_GATEWAY_TOKEN",
            )),
            Mode::Token => Ok(Self::Token(given.token)),
            Mode::Password => given.password.map(Self::Password).ok_or_else(|| {
                unusable(
                    "auth mode password needs a password: set --password, gateway.auth.password \
                     in openclaw.json, or the variable OPENCLAW_GATEWAY_PASSWORD",
                )
            }),
            Mode::TrustedProxy if given.token.is_some() => Err(unusable(
                "auth mode trusted-proxy cannot be combined with a token: remove --token, \
                 --token-file, gateway.auth.token and the variable OPENCLAW_GATEWAY_TOKEN",
            )),
            Mode::TrustedProxy => TrustedProxy::new(&auth.at("trustedProxy")?, given.password).map(Self::TrustedProxy),
        }
    }
}

impl Given {
    /// The secrets that `auth` does not ask for.
    pub fn idle(&self, auth: &Auth) -> Vec<String> {
        let mode = auth.mode();
        let idle = |kind: &str| {
            format!("a {kind} is set and opens nothing, as the auth mode is {mode}: remove one of the two")
        };
        let token = self.token.is_some() && !matches!(mode, Mode::Token);
        let password = self.password.is_some() && !matches!(mode, Mode::Password | Mode::TrustedProxy);
        token.then(|| idle("token")).into_iter().chain(password.then(|| idle("password"))).collect()
    }
}

impl TrustedProxy {
    fn new(settings: &Node<'_>, local_password: Option<Secret>) -> Result<Self, ConfigError> {
        let user_header = settings.at("userHeader")?;
        let required_headers = settings.at("requiredHeaders")?;
        Ok(Self {
            user_header: match user_header.text()? {
                Some(name) => header(&user_header, name)?,
                None => return Err(user_header.error("is needed by auth mode trusted-proxy")),
            },
            required_headers: required_headers
                .texts()?
                .into_iter()
                .map(|name| header(&required_headers, name))
                .collect::<Result<_, _>>()?,
            allow_users: settings.at("allowUsers")?.texts()?.into_iter().map(str::to_owned).collect(),
            allow_loopback: settings.at("allowLoopback")?.flag()?.unwrap_or(false),
            local_password,
        })
    }
}

/// A secret in openclaw.json. OpenClaw lets it be `${NAME}`, the variable of that name. Taking that
/// text for the secret itself would let in everyone who has read OpenClaw's manual.
fn secret(node: &Node<'_>, environment: &Environment) -> Result<Option<Secret>, ConfigError> {
    let Some(text) = node.text()? else {
        return Ok(None);
    };
    let text = text.trim();
    match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        None => set(text).map_err(|flaw| node.error(flaw.to_string())),
        // Not quoted: it may be a secret that only looks like this.
        Some(name) if !is_variable(name) => Err(node.error("must name a variable between `${` and `}`")),
        Some(name) => {
            let value = environment.text(name)?.unwrap_or_default();
            match set(value).map_err(|flaw| ConfigError::variable(name, flaw.to_string()))? {
                None => Err(node.error(format!("names the variable {name}, which is not set"))),
                secret => Ok(secret),
            }
        }
    }
}

/// A secret in a place where a blank one counts as unset.
fn set(text: &str) -> Result<Option<Secret>, Flaw> {
    match Secret::new(text) {
        Err(Flaw::Blank) => Ok(None),
        secret => secret.map(Some),
    }
}

/// Whether a variable can have this name: letters, digits and `_`, and no digit first.
fn is_variable(name: &str) -> bool {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word && name.starts_with(|first: char| !first.is_ascii_digit())
}

fn header(node: &Node<'_>, name: &str) -> Result<HeaderName, ConfigError> {
    let invalid = |_| node.error("must be a header's name");
    HeaderName::from_bytes(name.trim().as_bytes()).map_err(invalid)
}

fn unusable(advice: &str) -> ConfigError {
    ConfigError::Unusable(advice.to_owned())
}
