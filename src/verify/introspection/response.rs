//! What an endpoint answers, and what of it is believed.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::Rules;
use crate::{
    AuthMethod, Identity, Scope,
    claims::{self, Claims, WrongType},
    http_client::{BoxError, told},
    media_type,
    verify::{Rejection, VerifyError},
};

/// The longest response that is read, in bytes.
pub(super) const MAX_LEN: usize = 64 * 1024;

/// An answer that says nothing of the token, for a fault that is not the token's.
pub(super) struct Fault {
    pub(super) what: Cow<'static, str>,
    /// When the endpoint said to ask again.
    pub(super) retry_after: Option<Duration>,
}

/// What is wrong with the endpoint, or with the token.
pub(super) enum Refusal {
    Fault(Fault),
    Token(Rejection),
}

impl Fault {
    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::saying(format!("there was no answer within {limit:?}"))
    }

    pub(super) fn unreachable(error: BoxError) -> Self {
        Self::saying(format!("it cannot be asked: {}", told(error)))
    }

    fn saying(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), retry_after: None }
    }
}

impl From<Fault> for VerifyError {
    fn from(fault: Fault) -> Self {
        fault.retry_after.map_or(Self::unavailable(), Self::unavailable_for)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<WrongType> for Refusal {
    fn from(wrong: WrongType) -> Self {
        Self::Fault(Fault::saying(wrong.to_string()))
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Token(rejection)
    }
}

/// The object that a response carries.
pub(super) fn read(response: &Response<Bytes>) -> Result<Claims, Fault> {
    let status = response.status();
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Fault::saying(format!("it refuses the credentials of this service: {status}")));
        }
        _ => {
            let what = format!("it answers {status}").into();
            return Err(Fault { what, retry_after: retry_after(response) });
        }
    }
    let kind = media_type::of(response.headers());
    if !kind.eq_ignore_ascii_case(b"application/json") {
        let kind = String::from_utf8_lossy(&kind[..kind.len().min(100)]);
        return Err(Fault::saying(format!("its answer is {kind:?} and not application/json")));
    }
    let body = response.body();
    if body.len() > MAX_LEN {
        return Err(Fault::saying(format!("its answer is longer than {MAX_LEN} bytes")));
    }
    claims::object(body).map_err(|error| Fault::saying(format!("its answer is no JSON object: {error}")))
}

/// The seconds that a `Retry-After` says, a minute at most.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), Duration::from_secs(60)))
}

/// Whose token it is.
pub(super) fn identify(claims: Claims, rules: &Rules) -> Result<Identity, Refusal> {
    match claims::flag(&claims, "active")? {
        Some(true) => {}
        Some(false) => return Err(Rejection::INACTIVE.into()),
        None => return Err(Refusal::Fault(Fault::saying("its answer has no `active`"))),
    }
    if claims.contains_key("cnf") {
        return Err(Rejection::BOUND_TO_KEY.into());
    }
    check_kind(&claims)?;
    let issuer = match (claims::text(&claims, "iss")?, &rules.issuer) {
        (Some(issuer), Some(expected)) if issuer != &**expected => return Err(Rejection::WRONG_ISSUER.into()),
        // The endpoint is that of the expected one.
        (_, Some(expected)) => Some(expected.clone()),
        (issuer, None) => issuer.map(Into::into),
    };
    let audiences = claims::texts(&claims, "aud")?;
    if !rules.audiences.is_empty() {
        let audiences = audiences.ok_or(Rejection::MISSING_CLAIM)?;
        if !audiences.into_iter().any(|audience| rules.audiences.iter().any(|own| own == audience)) {
            return Err(Rejection::WRONG_AUDIENCE.into());
        }
    }
    let subject = match claims::text(&claims, rules.subject_member)? {
        None => return Err(Rejection::MISSING_CLAIM.into()),
        Some("") => return Err(Rejection::INVALID_CLAIM.into()),
        Some(subject) => subject,
    };
    let mut identity = Identity::new(subject, AuthMethod::Token).with_scopes(scopes(&claims)?);
    if let Some(issuer) = issuer {
        identity = identity.with_issuer(issuer);
    }
    if let Some(expires_at) = claims::date(&claims, "exp")? {
        identity = identity.with_expires_at(expires_at);
    }
    if let Some(not_before) = claims::date(&claims, "nbf")? {
        identity = identity.with_not_before(not_before);
    }
    if let Some(issued_at) = claims::date(&claims, "iat")? {
        identity = identity.with_issued_at(issued_at);
    }
    if let Some(id) = claims::text(&claims, "jti")? {
        identity = identity.with_credential_id(id);
    }
    if let Some(id) = claims::text(&claims, "sid")? {
        identity = identity.with_session_id(id);
    }
    match rules.read_claims {
        None => Ok(identity),
        Some(read) => read(identity, claims).ok_or(Refusal::Token(Rejection::INVALID_CLAIM)),
    }
}

/// Whether it is a bearer token, and an access token: a refresh token is active as well (RFC 7662 section 4).
fn check_kind(claims: &Claims) -> Result<(), Refusal> {
    if let Some(kind) = claims::text(claims, "token_type")? {
        let is_one = |name: &str| kind.eq_ignore_ascii_case(name);
        if is_one("DPoP") {
            return Err(Rejection::BOUND_TO_KEY.into());
        }
        if !is_one("Bearer") && !is_one("access_token") {
            return Err(Rejection::WRONG_TYPE.into());
        }
    }
    match claims::text(claims, "token_use")? {
        None | Some("access_token") => Ok(()),
        Some(_) => Err(Rejection::WRONG_TYPE.into()),
    }
}

/// The `scope` of RFC 7662 section 2.2, a text, or an array as some servers have it.
fn scopes(claims: &Claims) -> Result<crate::ScopeSet, Refusal> {
    let names: Vec<&str> = match claims.get("scope") {
        Some(Value::String(text)) => text.split(' ').filter(|name| !name.is_empty()).collect(),
        _ => claims::texts(claims, "scope")?.unwrap_or_default(),
    };
    let scopes: Option<Vec<Scope>> = names.into_iter().map(|name| name.parse().ok()).collect();
    let wrong = WrongType { name: "scope", expected: "a list of scope-tokens" };
    Ok(scopes.ok_or(wrong)?.into_iter().collect())
}
