//! The settings of one moment, as something that can be asked.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, header::ORIGIN};
use tower_reauth::{
    AuthMethod, Denied, Identity, Tokens,
    bearer::{Authenticate, Head},
    limiter::{Attempt, FailureLimiter, Limited},
    proxy::{ClientAddress, Origin, OriginPolicy, PeerAddr, ProxiedUser, TrustedNetworks, TrustedProxy},
    verify::{BearerToken, CredentialKey, TokenDigest, Verification, VerifyError},
};

use super::bearer::{self, LenientBearer};
#[cfg(feature = "metrics")]
use super::ingress::is_from_nearby;
use super::ingress::{FUNNEL, is_forwarded, is_local_direct};
use super::secrets::Secrets;
use crate::config::{self, Auth, ControlUi, Secret, Settings};

type LimitedBearer = Limited<LenientBearer>;

/// The rules by which callers are let in.
#[derive(Debug)]
pub struct Rules {
    /// The proxies that are believed, and what they say about their clients.
    proxies: TrustedNetworks,
    addresses: ClientAddress,
    shown: Shown,
    /// The pages that may open a socket; those of this machine may, where the caller is on it.
    #[cfg(feature = "websocket")]
    origins: OriginPolicy,
    #[cfg(feature = "websocket")]
    is_a_password: bool,
}

/// A caller who has yet to say who it is, by the head of its request.
#[cfg(feature = "websocket")]
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    /// Whether the secret that is asked for is a password.
    pub owes_a_password: bool,
    /// Whether it calls from this machine, and no page does.
    pub is_a_local_program: bool,
    pub page: Page,
}

/// The page that calls.
#[cfg(feature = "websocket")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A program is none.
    None,
    MayCall,
    MayNotCall,
    /// It has no origin that can be told.
    Unreadable,
}

/// What a caller must show.
#[derive(Debug)]
pub enum Shown {
    Nothing {
        identity: Identity,
        /// The pages that may call; those of this machine may, where the caller is on it.
        origins: Arc<OriginPolicy>,
    },
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
    /// With the rule by which the page that called was let in, if it was one.
    Nothing(Option<Arc<OriginPolicy>>),
    Secret {
        attempt: Attempt<BearerToken>,
        local_direct: bool,
    },
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
        let proxies = trusted_networks(settings);
        let addresses = client_addresses(&proxies, settings);
        let limited = |shared: Option<&Secret>| {
            let bearer = LenientBearer::new(Secrets::new(shared, clients.clone()));
            let addresses = addresses.clone();
            Limited::new(bearer, limiter.clone(), move |headers, extensions| {
                Some(addresses.resolve(headers, extensions.get::<PeerAddr>()?.ip()))
            })
        };
        let shown = match &settings.auth {
            Auth::None => Shown::Nothing {
                identity: Identity::new("anonymous", AuthMethod::Anonymous),
                origins: Arc::new(origin_policy(&settings.control_ui)),
            },
            Auth::Token(token) => Shown::Secret(limited(token.as_ref())),
            Auth::Password(password) => Shown::Secret(limited(Some(password))),
            Auth::TrustedProxy(proxy) => Shown::Proxy {
                password: proxy.local_password.as_ref().map(|password| limited(Some(password))),
                proxy: trusted_proxy(proxy, &proxies, settings),
            },
        };
        Self {
            proxies,
            addresses,
            shown,
            #[cfg(feature = "websocket")]
            origins: origin_policy(&settings.control_ui),
            #[cfg(feature = "websocket")]
            is_a_password: matches!(settings.auth, Auth::Password(_) | Auth::TrustedProxy(_)),
        }
    }

    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The client that a trusted proxy names, or else the peer.
    pub fn client(&self, head: Head<'_>) -> Option<IpAddr> {
        let peer = head.extensions().get::<PeerAddr>()?.ip();
        Some(self.addresses.resolve(head.headers(), peer).to_canonical())
    }

    /// Whether it can be told who sent the request: a caller of this machine, the client of a trusted proxy, or the
    /// peer, if nothing says that it passes on what another sent.
    pub fn can_attribute(&self, head: Head<'_>) -> bool {
        let Some(peer) = head.extensions().get::<PeerAddr>().map(|peer| peer.ip().to_canonical()) else { return true };
        match &self.shown {
            // A user whom no proxy passed on. Who is none may know the password.
            Shown::Proxy { proxy, .. } if is_local_direct(peer, head.headers()) => proxy.identify(head).is_err(),
            _ if is_local_direct(peer, head.headers()) => true,
            _ if self.proxies.contains(peer) => self.addresses.resolve(head.headers(), peer) != peer,
            // Here nobody is believed at all.
            Shown::Proxy { .. } if self.proxies == TrustedNetworks::none() => true,
            _ => !is_forwarded(head.headers()),
        }
    }

    /// Whether a program on this machine asks, and for itself. Where a trusted proxy has the same address nobody can
    /// tell.
    #[cfg(feature = "metrics")]
    pub fn is_from_nearby(&self, head: Head<'_>) -> bool {
        let Some(peer) = head.extensions().get::<PeerAddr>().map(|peer| peer.ip().to_canonical()) else { return false };
        is_from_nearby(peer, head) && !self.proxies.contains(peer)
    }

    pub fn present(&self, head: Head<'_>) -> Result<Credential, Denied> {
        match &self.shown {
            // Tailscale let the whole internet in.
            Shown::Nothing { .. } if head.headers().get(FUNNEL).is_some_and(|value| value == "?1") => {
                Err(Denied::Missing)
            }
            Shown::Nothing { .. } if !has_a_page(head.headers()) => Ok(Credential::Nothing(None)),
            Shown::Nothing { origins, .. } => {
                let is_local = comes_locally(head) && has_a_page_of_this_machine(head.headers());
                if is_local || may_call(origins, head) {
                    Ok(Credential::Nothing(Some(Arc::clone(origins))))
                } else {
                    Err(Denied::Rejected)
                }
            }
            Shown::Secret(secret) => present_secret(secret, head),
            Shown::Proxy { proxy, password } => match (proxy.identify(head), password) {
                (Ok(user), _) if may_call(proxy.origins(), head) => Ok(Credential::Proxied(user)),
                (Ok(_), _) => Err(Denied::Rejected),
                (Err(_), Some(password)) if comes_locally_with_a_bearer(head) => present_secret(password, head),
                (Err(denied), _) => Err(denied),
            },
        }
    }

    #[cfg(feature = "websocket")]
    pub fn stranger(&self, head: Head<'_>) -> Stranger {
        let is_local = comes_locally(head);
        let page = match head.headers().get(ORIGIN).map(|origin| origin.to_str().ok()?.parse::<Origin>().ok()) {
            _ if !has_a_page(head.headers()) => Page::None,
            None | Some(None) => Page::Unreadable,
            Some(Some(_)) if names_more_than_an_origin(head.headers()) => Page::Unreadable,
            Some(Some(_)) if is_local && has_a_page_of_this_machine(head.headers()) => Page::MayCall,
            Some(Some(_)) if self.origins.allows(head) => Page::MayCall,
            Some(Some(_)) => Page::MayNotCall,
        };
        let is_a_local_program = is_local && page == Page::None;
        Stranger { owes_a_password: self.is_a_password, is_a_local_program, page }
    }

    pub fn verify(&self, credential: &Credential, occasion: Occasion) -> Verification {
        match (&self.shown, credential) {
            (Shown::Nothing { identity, origins }, Credential::Nothing(judged_by))
                if judged_by.as_ref().is_none_or(|judged_by| judged_by == origins) =>
            {
                Ok(identity.clone()).into()
            }
            (Shown::Secret(secret), Credential::Secret { attempt, .. })
            | (Shown::Proxy { password: Some(secret), .. }, Credential::Secret { attempt, local_direct: true }) => {
                match occasion {
                    Occasion::Door => secret.verify(attempt),
                    Occasion::Stream => secret.verify_again(attempt),
                }
            }
            (Shown::Proxy { proxy, .. }, Credential::Proxied(user)) => proxy.verify(user),
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
        match (&self.shown, credential) {
            (
                Shown::Secret(secret) | Shown::Proxy { password: Some(secret), .. },
                Credential::Secret { attempt, .. },
            ) => secret.conclude(attempt, verdict),
            _ => verdict,
        }
    }

    /// What tells this caller from others, all of it that is verified again.
    pub fn key(&self, credential: &Credential) -> Option<CredentialKey> {
        match (&self.shown, credential) {
            (
                Shown::Secret(secret) | Shown::Proxy { password: Some(secret), .. },
                Credential::Secret { attempt, local_direct },
            ) => Some(secret.key(attempt)?.and([u8::from(*local_direct)])),
            (Shown::Proxy { proxy, .. }, Credential::Proxied(user)) => proxy.key(user),
            // No token is empty.
            (Shown::Nothing { .. }, Credential::Nothing(None)) => {
                Some(CredentialKey::new(TokenDigest::of("")).and("nothing"))
            }
            // It has a page, or was shown under other rules a moment ago.
            _ => None,
        }
    }

    pub fn detach(&self, credential: &Credential) -> Credential {
        match (&self.shown, credential) {
            (
                Shown::Secret(secret) | Shown::Proxy { password: Some(secret), .. },
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

/// Whether the page that a request comes from may call. A browser's origins have no path (RFC 6454 section 6.2).
fn may_call(origins: &OriginPolicy, head: Head<'_>) -> bool {
    !names_more_than_an_origin(head.headers()) && origins.allows(head)
}

fn names_more_than_an_origin(headers: &HeaderMap) -> bool {
    let has_a_path = |origin: &HeaderValue| {
        let text = origin.to_str().unwrap_or_default().trim();
        let authority = text.split_once("://").map_or(text, |(_, authority)| authority);
        authority.strip_suffix('/').unwrap_or(authority).contains(['/', '?', '#', '\\'])
    };
    headers.get_all(ORIGIN).iter().any(has_a_path)
}

/// Whether a page calls, and it says so.
fn has_a_page(headers: &HeaderMap) -> bool {
    headers.get_all(ORIGIN).iter().any(|origin| !origin.as_bytes().trim_ascii().is_empty())
}

fn has_a_page_of_this_machine(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().and_then(|origin| origin.to_str().ok()?.parse::<Origin>().ok());
    let is_local = |origin: &Origin| {
        origin.host() == "localhost" || origin.address().is_some_and(|address| address.to_canonical().is_loopback())
    };
    origins.next().is_none() && origin.as_ref().is_some_and(is_local)
}

/// OpenClaw drops the hops that it cannot read.
fn client_addresses(proxies: &TrustedNetworks, settings: &Settings) -> ClientAddress {
    let addresses = ClientAddress::new(proxies.clone()).with_unreadable_hops_skipped();
    if settings.allow_real_ip_fallback { addresses.with_real_ip() } else { addresses }
}

fn trusted_proxy(proxy: &config::TrustedProxy, proxies: &TrustedNetworks, settings: &Settings) -> TrustedProxy {
    let mut trusted =
        TrustedProxy::new(proxies.clone(), proxy.user_header.clone()).with_origins(origin_policy(&settings.control_ui));
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
