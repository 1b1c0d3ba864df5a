//! The verifier of signed tokens.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    Keys,
    claims::{Rules, read_claims},
    keys::Unopened,
};
use crate::{
    Identity,
    revoke::Revision,
    verify::{BearerToken, Rejection, Verification, VerifyError, VerifyToken},
};

/// Verifies JSON Web Tokens (RFC 7519) of one issuer. See the [module](super) for the rules.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    keys: Keys,
    rules: Rules,
}

impl JwtVerifier {
    /// Accepts the tokens of `issuer` that are for `audience`, signed with one of `keys`.
    ///
    /// `issuer` is the `iss` of the tokens, byte for byte: some have a slash at their end.
    #[must_use]
    pub fn new(keys: impl Into<Keys>, issuer: impl Into<Arc<str>>, audience: impl Into<String>) -> Self {
        let rules = Rules {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            audience_claim: "aud".to_owned(),
            subject_claim: "sub".to_owned(),
            kind: None,
            may_lack_expiry: false,
            scope_paths: Vec::new(),
            read_claims: None,
        };
        Self(Arc::new(Inner { keys: keys.into(), rules }))
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut Arc::make_mut(&mut self.0).rules);
        self
    }

    /// Accepts tokens for `audience` as well.
    #[must_use]
    pub fn with_audience(self, audience: impl Into<String>) -> Self {
        self.with(|rules| rules.audiences.push(audience.into()))
    }

    /// Accepts tokens for everybody. Whoever else gets a token of this issuer can use it here: for an issuer
    /// whose tokens are for nobody else.
    #[must_use]
    pub fn with_any_audience(self) -> Self {
        self.with(|rules| rules.audiences.clear())
    }

    /// Reads the audience from another claim than `aud`.
    #[must_use]
    pub fn with_audience_claim(self, name: impl Into<String>) -> Self {
        self.with(|rules| rules.audience_claim = name.into())
    }

    /// Reads the subject from another claim than `sub`: from one that names the caller for good.
    #[must_use]
    pub fn with_subject_claim(self, name: impl Into<String>) -> Self {
        self.with(|rules| rules.subject_claim = name.into())
    }

    /// Accepts only tokens of this type: `at+jwt` for the access tokens of RFC 9068. Default: those whose `typ`
    /// is `JWT` or `at+jwt`, and those that have none.
    #[must_use]
    pub fn with_type(self, kind: impl Into<String>) -> Self {
        self.with(|rules| rules.kind = Some(kind.into()))
    }

    /// Accepts tokens that never expire.
    #[must_use]
    pub fn with_optional_expiry(self) -> Self {
        self.with(|rules| rules.may_lack_expiry = true)
    }

    /// Takes what stands at `path` for scopes too, beside `scope` and `scp`: a text or an array of texts, such as
    /// the names of roles. A claim within a claim is named by both names. What is no scope-token, as a name with
    /// a space, is passed over.
    #[must_use]
    pub fn with_scopes_at(self, path: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let path = path.into_iter().map(Into::into).collect();
        self.with(|rules| rules.scope_paths.push(path))
    }

    /// Reads all claims as a `T` too, which [`Identity::claims`] then has. A token whose claims are no `T` is
    /// rejected.
    #[must_use]
    pub fn with_claims<T: DeserializeOwned + Send + Sync + 'static>(self) -> Self {
        self.with(|rules| rules.read_claims = Some(read_claims::<T>))
    }
}

impl Inner {
    fn check(&self, token: &[u8]) -> Result<Identity, Unopened> {
        let signed = self.keys.open(token)?;
        if !self.rules.takes(signed.kind.as_deref()) {
            return Err(Rejection::WRONG_TYPE.into());
        }
        Ok(self.rules.identify(signed.claims)?)
    }

    fn verdict(&self, token: &BearerToken) -> Result<Identity, VerifyError> {
        self.check(token.as_bytes()).map_err(|unopened| match unopened {
            Unopened::Rejected(reason) => VerifyError::rejected(reason),
            Unopened::UnknownKey => self.keys.unknown(),
        })
    }
}

impl VerifyToken for JwtVerifier {
    fn verify(&self, token: &BearerToken) -> Verification {
        match self.0.check(token.as_bytes()) {
            Ok(identity) => Ok(identity).into(),
            Err(Unopened::Rejected(reason)) => Err(VerifyError::rejected(reason)).into(),
            Err(Unopened::UnknownKey) => match self.0.keys.ask() {
                None => Err(self.0.keys.unknown()).into(),
                Some(asked) => {
                    let (inner, token) = (Arc::clone(&self.0), token.clone());
                    Verification::pending(async move {
                        asked.await;
                        inner.verdict(&token)
                    })
                }
            },
        }
    }

    fn revision(&self) -> Option<&Revision> {
        Some(self.0.keys.revision())
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("issuer", &self.0.rules.issuer)
            .field("audiences", &self.0.rules.audiences)
            .field("keys", &self.0.keys)
            .finish_non_exhaustive()
    }
}
