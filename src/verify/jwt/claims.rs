//! What the claims of a token must be, and whose identity they make.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    AuthMethod, Identity, Scope, ScopeSet,
    claims::{Claims, WrongType, date, text},
    verify::Rejection,
};

/// What a token must say, and what is taken from it.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) issuer: Arc<str>,
    /// One of these; none where any audience will do.
    pub(super) audiences: Vec<String>,
    pub(super) audience_claim: String,
    pub(super) subject_claim: String,
    /// The types of token that are taken, without `application/`; any of them, or none, where there is none
    /// in particular.
    pub(super) kind: Option<String>,
    pub(super) may_lack_expiry: bool,
    /// Where scopes stand beside `scope` and `scp`.
    pub(super) scope_paths: Vec<Vec<String>>,
    pub(super) read_claims: Option<ReadClaims>,
}

pub(super) type ReadClaims = fn(Identity, Claims) -> Option<Identity>;

/// What says the same as no `typ` at all: a JWT (RFC 7519 section 5.1), an access token (RFC 9068 section 2.1).
const USUAL_KINDS: [&str; 2] = ["JWT", "at+jwt"];

impl Rules {
    /// Whether a token of this `typ` is taken: a media type, in which `application/` may be left out
    /// (RFC 7515 section 4.1.9).
    pub(super) fn takes(&self, kind: Option<&str>) -> bool {
        const PREFIX: &str = "application/";
        let short = |kind: &str| match kind.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => kind[PREFIX.len()..].to_ascii_lowercase(),
            _ => kind.to_ascii_lowercase(),
        };
        match (&self.kind, kind.map(short)) {
            (Some(required), Some(kind)) => short(required) == kind,
            (Some(_), None) => false,
            (None, Some(kind)) => USUAL_KINDS.iter().any(|usual| usual.eq_ignore_ascii_case(&kind)),
            (None, None) => true,
        }
    }

    /// Whose token it is.
    pub(super) fn identify(&self, claims: Claims) -> Result<Identity, Rejection> {
        // What is said about somebody, and nobody's to present: a security event (RFC 8417), or a logout token.
        if claims.contains_key("events") {
            return Err(Rejection::WRONG_TYPE);
        }
        if claims.contains_key("cnf") {
            return Err(Rejection::BOUND_TO_KEY);
        }
        match text(&claims, "iss")? {
            Some(issuer) if issuer == &*self.issuer => {}
            Some(_) => return Err(Rejection::WRONG_ISSUER),
            None => return Err(Rejection::MISSING_CLAIM),
        }
        self.check_audience(&claims)?;
        let subject = match claims.get(&self.subject_claim) {
            None => return Err(Rejection::MISSING_CLAIM),
            Some(Value::String(subject)) if !subject.is_empty() => &**subject,
            Some(_) => return Err(Rejection::INVALID_CLAIM),
        };
        let mut identity = Identity::new(subject, AuthMethod::Token)
            .with_issuer(Arc::clone(&self.issuer))
            .with_scopes(self.scopes(&claims)?);
        match date(&claims, "exp")? {
            Some(expires_at) => identity = identity.with_expires_at(expires_at),
            None if self.may_lack_expiry => {}
            None => return Err(Rejection::MISSING_CLAIM),
        }
        if let Some(not_before) = date(&claims, "nbf")? {
            identity = identity.with_not_before(not_before);
        }
        if let Some(issued_at) = date(&claims, "iat")? {
            identity = identity.with_issued_at(issued_at);
        }
        if let Some(id) = text(&claims, "sid")? {
            identity = identity.with_session_id(id);
        }
        if let Some(id) = text(&claims, "jti")? {
            identity = identity.with_credential_id(id);
        }
        match self.read_claims {
            None => Ok(identity),
            Some(read) => read(identity, claims).ok_or(Rejection::INVALID_CLAIM),
        }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), Rejection> {
        if self.audiences.is_empty() {
            return Ok(());
        }
        let is_ours = |audience: &str| self.audiences.iter().any(|own| own == audience);
        let is_for_us = match claims.get(&self.audience_claim) {
            None => return Err(Rejection::MISSING_CLAIM),
            Some(Value::String(audience)) => is_ours(audience),
            Some(Value::Array(audiences)) => {
                let texts: Option<Vec<&str>> = audiences.iter().map(Value::as_str).collect();
                texts.ok_or(Rejection::INVALID_CLAIM)?.into_iter().any(is_ours)
            }
            Some(_) => return Err(Rejection::INVALID_CLAIM),
        };
        if is_for_us { Ok(()) } else { Err(Rejection::WRONG_AUDIENCE) }
    }

    /// `scope` (RFC 8693 section 4.2) and `scp`, and what stands where it was said that scopes stand.
    fn scopes(&self, claims: &Claims) -> Result<ScopeSet, Rejection> {
        let mut scopes: Vec<Scope> = Vec::new();
        for name in ["scope", "scp"] {
            match claims.get(name) {
                None => {}
                Some(Value::String(text)) => {
                    for token in text.split(' ').filter(|token| !token.is_empty()) {
                        scopes.push(token.parse().map_err(|_| Rejection::INVALID_CLAIM)?);
                    }
                }
                Some(Value::Array(tokens)) => {
                    for token in tokens {
                        let token = token.as_str().and_then(|token| token.parse().ok());
                        scopes.push(token.ok_or(Rejection::INVALID_CLAIM)?);
                    }
                }
                Some(_) => return Err(Rejection::INVALID_CLAIM),
            }
        }
        for path in &self.scope_paths {
            // The names of roles and groups are an administrator's: one that is no scope-token grants nothing.
            match at(claims, path) {
                None => {}
                Some(Value::String(one)) => scopes.extend(one.parse()),
                Some(Value::Array(all)) => {
                    scopes.extend(all.iter().filter_map(|one| one.as_str()?.parse::<Scope>().ok()))
                }
                Some(_) => return Err(Rejection::INVALID_CLAIM),
            }
        }
        Ok(scopes.into_iter().collect())
    }
}

/// Keeps the claims as a `T` with the identity.
pub(super) fn read_claims<T: DeserializeOwned + Send + Sync + 'static>(
    identity: Identity,
    claims: Claims,
) -> Option<Identity> {
    serde_json::from_value::<T>(Value::Object(claims)).ok().map(|claims| identity.with_claims(claims))
}

fn at<'a>(claims: &'a Claims, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name))
}

impl From<WrongType> for Rejection {
    fn from(_: WrongType) -> Self {
        Self::INVALID_CLAIM
    }
}
