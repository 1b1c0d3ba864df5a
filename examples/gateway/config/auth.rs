//! How callers prove who they are: put together from the flags, openclaw.json and the variables.
//!
//! 1. Mode, token and password are each taken from the first place that has one: flags, then
//!    `gateway.auth` in openclaw.json, then the variables.
//! 2. Without a mode it is `password` if a password is known, else `token`.
//! 3. A mode whose secret is missing is an error that says what to set. Per-client tokens can stand
//!    in for a shared token.
//! 4. What would quietly have no effect, or hollow out the mode, is an error: a token beside
//!    `trusted-proxy`; a watched token file, or per-client tokens, in a mode that does not use them.

use http::HeaderName;

use super::document::Node;
use super::environment::Environment;
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
        let secret = |name| Ok(environment.text(name)?.and_then(Secret::new));
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

    /// What this place leaves open is taken from the `next` one.
    pub fn or(self, next: Self) -> Self {
        Self {
            mode: self.mode.or(next.mode),
            token: self.token.or(next.token),
            password: self.password.or(next.password),
        }
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

    /// `auth` is `gateway.auth` of openclaw.json.
    pub fn new(given: Given, auth: &Node<'_>, files: SecretFiles) -> Result<Self, ConfigError> {
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
        None => Ok(Secret::new(text)),
        // Not quoted: it may be a secret that only looks like this.
        Some(name) if !is_variable(name) => Err(node.error("must name a variable between `${` and `}`")),
        Some(name) => match environment.text(name)?.and_then(Secret::new) {
            None => Err(node.error(format!("names the variable {name}, which is not set"))),
            secret => Ok(secret),
        },
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
