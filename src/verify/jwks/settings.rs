//! Where keys are, and how they are fetched.

use std::{fmt, time::Duration};

use http::Uri;

use super::JwksError;
use crate::{
    http_client::{
        HttpClient,
        secure::{is_secure, shown, shown_url},
    },
    verify::jwt::{Algorithm, Crypto},
};

/// The keys of an issuer, to be fetched from where it publishes them. See the [module](super) for the rules;
/// [`Keys`](crate::verify::jwt::Keys) are made of it.
pub struct Jwks {
    pub(super) place: Place,
    pub(super) client: Box<dyn HttpClient>,
    pub(super) crypto: Crypto,
    pub(super) rsa: Algorithm,
    pub(super) least: Duration,
    pub(super) most: Duration,
    pub(super) cooldown: Duration,
    pub(super) outage: Duration,
    pub(super) timeout: Duration,
}

/// A longer time counts as this one: ten years, which each clock can count to.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A provider is not asked in a loop.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) enum Place {
    /// Of the key set itself.
    KeySet(Uri),
    /// Of the documents that say where it is, in the order in which they are asked for.
    Issuer { issuer: String, documents: [Uri; 2] },
}

/// Whose keys they are, for an operator.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeySet(url) => shown_url(url).fmt(f),
            Self::Issuer { issuer, .. } => f.write_str(&shown(issuer)),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl Jwks {
    /// The key set at `url`.
    ///
    /// # Errors
    ///
    /// If `url` is not an absolute one or neither `https` nor on this machine, or no cryptography is compiled in.
    pub fn at(url: &str, client: impl HttpClient) -> Result<Self, JwksError> {
        Self::new(Place::KeySet(secure(url)?), client)
    }

    /// The key set of `issuer`, by its discovery document: that of OpenID Connect Discovery 1.0 or else that of
    /// RFC 8414. The document must name `issuer` as it is written here, and that of an issuer which is `https` a key
    /// set that is.
    ///
    /// # Errors
    ///
    /// If `issuer` is not an absolute URL or neither `https` nor on this machine, or no cryptography is compiled
    /// in.
    pub fn of_issuer(issuer: &str, client: impl HttpClient) -> Result<Self, JwksError> {
        let url = secure(issuer)?;
        if url.query().is_some() || issuer.contains('#') {
            return Err(JwksError::InvalidUrl(shown(issuer)));
        }
        let (base, path) = (issuer.trim_end_matches('/'), url.path().trim_end_matches('/'));
        let origin = base.strip_suffix(path).unwrap_or(base);
        let documents = [
            secure(&format!("{base}/.well-known/openid-configuration"))?,
            secure(&format!("{origin}/.well-known/oauth-authorization-server{path}"))?,
        ];
        Self::new(Place::Issuer { issuer: issuer.to_owned(), documents }, client)
    }

    fn new(place: Place, client: impl HttpClient) -> Result<Self, JwksError> {
        Ok(Self {
            place,
            client: Box::new(client),
            crypto: Crypto::compiled_in().ok_or(JwksError::NoCrypto)?,
            rsa: Algorithm::RS256,
            least: Duration::from_secs(60),
            most: Duration::from_secs(15 * 60),
            cooldown: Duration::from_secs(10),
            outage: Duration::from_secs(60 * 60),
            timeout: Duration::from_secs(10),
        })
    }

    /// How often keys are fetched: as the provider's `Cache-Control` says, but no sooner than `least` after the
    /// last time and no later than `most`; where it says nothing, every five minutes within these. Default: one
    /// and 15 minutes. A key that the provider withdraws is good for so long. A shorter time than 100 ms counts as that.
    #[must_use]
    pub fn with_refresh(mut self, least: Duration, most: Duration) -> Self {
        let least = least.clamp(SHORTEST, LONGEST);
        (self.least, self.most) = (least, most.clamp(least, LONGEST));
        self
    }

    /// How long after the provider was asked an unknown key has it asked again, at the earliest. Default: ten
    /// seconds.
    #[must_use]
    pub fn with_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown.min(LONGEST);
        self
    }

    /// How long known keys are good for while the provider cannot be reached, after it was reached last.
    /// Default: one hour. They are good until they are fetched again, however short this is.
    #[must_use]
    pub fn with_outage(mut self, outage: Duration) -> Self {
        self.outage = outage.min(LONGEST);
        self
    }

    /// How long the provider has for its answer, discovery included. Default: ten seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    /// The algorithm of those RSA keys that name none. Default: RS256, as OpenID Connect has it.
    #[must_use]
    pub fn with_rsa_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.rsa = algorithm;
        self
    }

    /// Whose code checks signatures. Default: [`Crypto::compiled_in`].
    #[must_use]
    pub fn with_crypto(mut self, crypto: Crypto) -> Self {
        self.crypto = crypto;
        self
    }
}

/// The URL that `text` is, if keys can be had from there.
pub(super) fn secure(text: &str) -> Result<Uri, JwksError> {
    let url = text.parse::<Uri>().ok().filter(|url| url.scheme().is_some() && url.host().is_some());
    let url = url.ok_or_else(|| JwksError::InvalidUrl(shown(text)))?;
    if is_secure(&url) { Ok(url) } else { Err(JwksError::Insecure(shown_url(&url))) }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("place", &self.place).finish_non_exhaustive()
    }
}
