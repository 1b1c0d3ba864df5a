//! The settings of one moment, as something that can be asked.

use tower_reauth::{
    AuthMethod, Denied, Identity, Tokens,
    bearer::{Authenticate, Head},
    limiter::{Attempt, FailureLimiter, Limited},
    proxy::{ClientAddress, Origin, OriginPolicy, PeerAddr, ProxiedUser, TrustedNetworks, TrustedProxy},
    verify::{BearerToken, CredentialKey, TokenDigest, Verification, VerifyError},
};

use super::bearer::{self, LenientBearer};
use super::local::is_local_direct;
use super::secrets::Secrets;
use crate::config::{self, Auth, ControlUi, Secret, Settings};

type LimitedBearer = Limited<LenientBearer>;

/// What a caller must show.
#[derive(Debug)]
pub enum Rules {
    Nothing(Identity),
    Secret(LimitedBearer),
    Proxy {
        proxy: TrustedProxy,
        /// For requests that are local and direct.
        password: Option<LimitedBearer>,
    },
}

/// What a caller has shown.
#[derive(Clone, Debug)]
pub enum Credential {
    Nothing,
    Secret { attempt: Attempt<BearerToken>, local_direct: bool },
    Proxied(ProxiedUser),
}

/// When a credential is verified.
#[derive(Clone, Copy, Debug)]
pub enum Occasion {
    /// A request comes in: an attempt.
    Door,
    /// A response still streams.
    Stream,
}

impl Rules {
    /// Whether both settings make the same rules.
    pub fn are_alike(a: &Settings, b: &Settings) -> bool {
        a.auth == b.auth
            && a.trusted_proxies == b.trusted_proxies
            && a.allow_real_ip_fallback == b.allow_real_ip_fallback
            && a.control_ui == b.control_ui
    }

    /// What the settings demand, where the tokens of single clients are `clients`.
    pub fn new(settings: &Settings, clients: &Tokens, limiter: &FailureLimiter) -> Self {
        let limited = |shared: Option<&Secret>| {
            let bearer = LenientBearer::new(Secrets::new(shared, clients.clone()));
            let addresses = client_addresses(settings);
            Limited::new(bearer, limiter.clone(), move |headers, extensions| {
                Some(addresses.resolve(headers, extensions.get::<PeerAddr>()?.ip()))
            })
        };
        match &settings.auth {
            Auth::None => Self::Nothing(Identity::new("anonymous", AuthMethod::Anonymous)),
            Auth::Token(token) => Self::Secret(limited(token.as_ref())),
            Auth::Password(password) => Self::Secret(limited(Some(password))),
            Auth::TrustedProxy(proxy) => Self::Proxy {
                password: proxy.local_password.as_ref().map(|password| limited(Some(password))),
                proxy: trusted_proxy(proxy, settings),
            },
        }
    }

    pub fn present(&self, head: Head<'_>) -> Result<Credential, Denied> {
        match self {
            Self::Nothing(_) => Ok(Credential::Nothing),
            Self::Secret(secret) => present_secret(secret, head),
            Self::Proxy { proxy, password } => match (proxy.identify(head), password) {
                (Ok(user), _) if proxy.origins().allows(head) => Ok(Credential::Proxied(user)),
                (Ok(_), _) => Err(Denied::Rejected),
                (Err(_), Some(password)) if comes_locally_with_a_bearer(head) => present_secret(password, head),
                (Err(denied), _) => Err(denied),
            },
        }
    }

    pub fn verify(&self, credential: &Credential, occasion: Occasion) -> Verification {
        match (self, credential) {
            (Self::Nothing(identity), Credential::Nothing) => Ok(identity.clone()).into(),
            (Self::Secret(secret), Credential::Secret { attempt, .. })
            | (Self::Proxy { password: Some(secret), .. }, Credential::Secret { attempt, local_direct: true }) => {
                match occasion {
                    Occasion::Door => secret.verify(attempt),
                    Occasion::Stream => secret.verify_again(attempt),
                }
            }
            (Self::Proxy { proxy, .. }, Credential::Proxied(user)) => proxy.verify(user),
            // It was shown under other rules.
            _ => Err(VerifyError::Rejected).into(),
        }
    }

    /// Counts the door's verdict, where guesses are counted.
    pub fn conclude(
        &self,
        credential: &Credential,
        verdict: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        match (self, credential) {
            (Self::Secret(secret) | Self::Proxy { password: Some(secret), .. }, Credential::Secret { attempt, .. }) => {
                secret.conclude(attempt, verdict)
            }
            _ => verdict,
        }
    }

    /// What tells this caller from others, all of it that is verified again.
    pub fn key(&self, credential: &Credential) -> Option<CredentialKey> {
        match (self, credential) {
            (
                Self::Secret(secret) | Self::Proxy { password: Some(secret), .. },
                Credential::Secret { attempt, local_direct },
            ) => Some(secret.key(attempt)?.and([u8::from(*local_direct)])),
            (Self::Proxy { proxy, .. }, Credential::Proxied(user)) => proxy.key(user),
            // No token is empty.
            (Self::Nothing(_), Credential::Nothing) => Some(CredentialKey::new(TokenDigest::of("")).and("nothing")),
            // It was shown under other rules, a moment ago.
            _ => None,
        }
    }

    pub fn detach(&self, credential: &Credential) -> Credential {
        match (self, credential) {
            (
                Self::Secret(secret) | Self::Proxy { password: Some(secret), .. },
                Credential::Secret { attempt, local_direct },
            ) => Credential::Secret { attempt: secret.detach(attempt), local_direct: *local_direct },
            _ => credential.clone(),
        }
    }
}

fn present_secret(secret: &LimitedBearer, head: Head<'_>) -> Result<Credential, Denied> {
    let attempt = secret.present(head)?;
    Ok(Credential::Secret { attempt, local_direct: comes_locally(head) })
}

fn comes_locally(head: Head<'_>) -> bool {
    let peer = head.extensions().get::<PeerAddr>();
    peer.is_some_and(|peer| is_local_direct(peer.ip(), head.headers()))
}

fn comes_locally_with_a_bearer(head: Head<'_>) -> bool {
    comes_locally(head) && bearer::presented(head.headers()).is_ok()
}

/// OpenClaw drops the hops that it cannot read.
fn client_addresses(settings: &Settings) -> ClientAddress {
    let addresses = ClientAddress::new(trusted_networks(settings)).with_unreadable_hops_skipped();
    if settings.allow_real_ip_fallback { addresses.with_real_ip() } else { addresses }
}

fn trusted_proxy(proxy: &config::TrustedProxy, settings: &Settings) -> TrustedProxy {
    let mut trusted = TrustedProxy::new(trusted_networks(settings), proxy.user_header.clone())
        .with_origins(origin_policy(&settings.control_ui));
    for header in &proxy.required_headers {
        trusted = trusted.with_required_header(header.clone());
    }
    if !proxy.allow_users.is_empty() {
        trusted = trusted.with_allowed_users(&proxy.allow_users);
    }
    if proxy.allow_loopback { trusted.with_loopback_allowed() } else { trusted }
}

/// An entry that is no network trusts nobody, as with OpenClaw.
fn trusted_networks(settings: &Settings) -> TrustedNetworks {
    let networks = settings.trusted_proxies.iter().filter(|text| match TrustedNetworks::parse([text]) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "gateway.trustedProxies: an entry is left out");
            false
        }
    });
    TrustedNetworks::parse(networks).unwrap_or_default()
}

/// Pages from the gateway's own host may call where that host is private. `*` allows every origin.
fn origin_policy(settings: &ControlUi) -> OriginPolicy {
    let mut policy = OriginPolicy::new().with_same_private_host([".local", ".ts.net"]);
    if settings.host_header_fallback {
        policy = policy.with_same_host();
    }
    for text in &settings.allowed_origins {
        policy = match text.trim() {
            "*" => policy.with_any(),
            text => match text.parse::<Origin>() {
                Ok(origin) => policy.with_allowed([origin]),
                Err(error) => {
                    tracing::warn!(%error, %text, "gateway.controlUi.allowedOrigins: an entry is left out");
                    policy
                }
            },
        };
    }
    policy
}
