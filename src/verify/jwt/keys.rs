//! Where the keys of a verifier come from.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{KeySet, compact::Compact, key_set::Found};
#[cfg(feature = "jwks")]
use crate::verify::jwks::{Jwks, Provider};
use crate::{
    claims::Claims,
    revoke::Revision,
    verify::{Rejection, VerifyError},
};

/// The keys that tokens are checked with: a [`KeySet`] that stays as it is or, under the feature `jwks`, that of
/// a provider, which is fetched again and again. Clones are handles on the same keys.
#[derive(Clone, Debug)]
pub struct Keys(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<KeySet>, Revision),
    #[cfg(feature = "jwks")]
    Fetched(Arc<Provider>),
}

/// What a token says, once its signature was checked.
pub(crate) struct Signed {
    /// Its `typ`.
    pub(crate) kind: Option<String>,
    pub(crate) claims: Claims,
}

/// Why a token says nothing.
pub(crate) enum Unopened {
    Rejected(Rejection),
    /// None of the keys is the one that it names: whether its issuer has one by now is to be [asked](Keys::ask).
    UnknownKey,
}

/// Completes when the provider has answered, or did not in time.
pub(crate) type Asked = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Keys {
    /// Checks the signature of a token.
    pub(crate) fn open(&self, token: &[u8]) -> Result<Signed, Unopened> {
        let token = Compact::parse(token)?;
        match &self.0 {
            Source::Fixed(keys, _) => open_with(keys, token),
            #[cfg(feature = "jwks")]
            Source::Fetched(provider) => {
                provider.keys().map_or(Err(Unopened::UnknownKey), |keys| open_with(&keys, token))
            }
        }
    }

    /// Asks the provider for keys that are not known yet, unless it was asked a moment ago.
    pub(crate) fn ask(&self) -> Option<Asked> {
        match &self.0 {
            Source::Fixed(..) => None,
            #[cfg(feature = "jwks")]
            Source::Fetched(provider) => provider.ask(),
        }
    }

    /// What is to be said of a token whose key is unknown, and there is nobody to ask.
    pub(crate) fn unknown(&self) -> VerifyError {
        match &self.0 {
            Source::Fixed(..) => VerifyError::rejected(Rejection::UNKNOWN_KEY),
            #[cfg(feature = "jwks")]
            Source::Fetched(provider) => provider.unknown(),
        }
    }

    /// Moves when a key is withdrawn, or another one comes.
    pub(crate) fn revision(&self) -> &Revision {
        match &self.0 {
            Source::Fixed(_, revision) => revision,
            #[cfg(feature = "jwks")]
            Source::Fetched(provider) => provider.revision(),
        }
    }

    /// Waits until there are keys: for a service that is not to start without. A set that is fixed is there
    /// from the start.
    #[cfg(feature = "jwks")]
    pub async fn ready(&self) {
        if let Source::Fetched(provider) = &self.0 {
            provider.ready().await;
        }
    }
}

fn open_with(keys: &KeySet, token: Compact<'_>) -> Result<Signed, Unopened> {
    let key = match keys.find(token.key_id.as_deref(), token.algorithm) {
        Found::Key(key) => key,
        Found::OtherAlgorithm => return Err(Rejection::WRONG_ALGORITHM.into()),
        Found::Nothing => return Err(Unopened::UnknownKey),
    };
    if !key.verifies(token.message, &token.signature()?) {
        return Err(Rejection::BAD_SIGNATURE.into());
    }
    Ok(Signed { claims: token.claims()?, kind: token.kind })
}

impl From<KeySet> for Keys {
    fn from(keys: KeySet) -> Self {
        Self(Source::Fixed(Arc::new(keys), Revision::new()))
    }
}

/// Begins to fetch, in a task of the runtime that it is called in; outside of one with the first token.
#[cfg(feature = "jwks")]
impl From<Jwks> for Keys {
    fn from(keys: Jwks) -> Self {
        Self(Source::Fetched(Arc::new(Provider::new(keys))))
    }
}

impl From<Rejection> for Unopened {
    fn from(reason: Rejection) -> Self {
        Self::Rejected(reason)
    }
}
