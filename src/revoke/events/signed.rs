//! Whose signature a token bears.

use std::{future::Future, pin::Pin, sync::Arc};

#[cfg(feature = "_jwt")]
use crate::verify::jwt::{self, Keys, Unopened};
use crate::{
    claims::{self, Claims},
    verify::{Rejection, VerifyError},
};

/// What a signed token says, its signature checked.
#[derive(Clone)]
pub struct Signed {
    pub(super) kind: Option<String>,
    pub(super) claims: Claims,
}

/// A token whose signature was checked, or why it is none of the transmitter's.
pub type SignedFuture = Pin<Box<dyn Future<Output = Result<Signed, VerifyError>> + Send>>;

/// Checks the signature of a compact JWS (RFC 7515) with the keys of a transmitter, and nothing else of it.
///
/// Implemented for the `Keys` of the module `verify::jwt`, which under the feature `jwks` may be a provider's, and for
/// every closure `Fn(String) -> impl Future<Output = Result<Signed, VerifyError>>` and for [`Arc`]s.
pub trait VerifySignature: Send + Sync + 'static {
    /// Checks `token`. [`VerifyError::Unavailable`] is for keys that cannot be had; any other error says that the
    /// token is not theirs.
    fn verify(&self, token: &str) -> SignedFuture;
}

impl Signed {
    /// A token with this `typ` in its header and this payload.
    ///
    /// # Errors
    ///
    /// If the payload is no JSON object, or has a name twice.
    pub fn new(kind: Option<&str>, payload: &[u8]) -> Result<Self, VerifyError> {
        let claims = claims::object(payload).map_err(|_| VerifyError::rejected(Rejection::MALFORMED))?;
        Ok(Self { kind: kind.map(Into::into), claims })
    }

    /// Whether its `typ` is this media type, in which `application/` may be left out (RFC 7515 section 4.1.9).
    pub(super) fn is(&self, kind: &str) -> bool {
        const PREFIX: &str = "application/";
        let short = |own: &str| match own.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => own[PREFIX.len()..].eq_ignore_ascii_case(kind),
            _ => own.eq_ignore_ascii_case(kind),
        };
        self.kind.as_deref().is_some_and(short)
    }
}

impl<F, R> VerifySignature for F
where
    F: Fn(String) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Signed, VerifyError>> + Send + 'static,
{
    fn verify(&self, token: &str) -> SignedFuture {
        Box::pin(self(token.to_owned()))
    }
}

/// The transmitter's keys, fixed or fetched. A key that is not known is asked for once, as for an access token.
#[cfg(feature = "_jwt")]
impl VerifySignature for Keys {
    fn verify(&self, token: &str) -> SignedFuture {
        let (keys, token) = (self.clone(), token.to_owned());
        Box::pin(async move {
            let opened = match keys.open(token.as_bytes()) {
                Err(Unopened::UnknownKey) => match keys.ask() {
                    Some(asked) => {
                        asked.await;
                        keys.open(token.as_bytes())
                    }
                    None => Err(Unopened::UnknownKey),
                },
                opened => opened,
            };
            match opened {
                Ok(jwt::Signed { kind, claims }) => Ok(Signed { kind, claims }),
                Err(Unopened::Rejected(reason)) => Err(VerifyError::rejected(reason)),
                Err(Unopened::UnknownKey) => Err(keys.unknown()),
            }
        })
    }
}

impl<V: VerifySignature + ?Sized> VerifySignature for Arc<V> {
    fn verify(&self, token: &str) -> SignedFuture {
        (**self).verify(token)
    }
}

impl std::fmt::Debug for Signed {
    // What it says is about somebody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").field("kind", &self.kind).finish_non_exhaustive()
    }
}
