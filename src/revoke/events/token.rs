//! What a security event token must be, and which event it is.

use std::{fmt, time::SystemTime};

use super::{
    Signed,
    subject::{Concerned, NotConcerned, SubjectId},
};
use crate::{
    claims::{self, Claims, WrongType},
    verify::{Rejection, VerifyError},
};

/// Why a token is refused: an error code of RFC 8935 section 2.4, and what is wrong.
#[derive(Debug)]
pub(super) struct EventError {
    pub(super) code: &'static str,
    pub(super) description: String,
}

/// A token that is the transmitter's and whole.
pub(super) struct Event<'a> {
    pub(super) id: &'a str,
    /// When it happened.
    pub(super) at: SystemTime,
    pub(super) what: What<'a>,
}

/// What happened.
pub(super) enum What<'a> {
    /// Access of these ends.
    Ended(Vec<SubjectId<'a>>),
    /// The transmitter asks whether its events arrive.
    Verification { state: Option<&'a str> },
    /// It concerns nobody here, for a reason that an operator may want to know.
    Discarded(String),
    /// It means nothing here.
    Other,
}

/// Which part of a subject an event is about.
enum About {
    Sessions,
    Tokens,
    User,
}

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const OAUTH: &str = "https://schemas.openid.net/secevent/oauth/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";
/// As the drafts of the framework had it.
const SSE: &str = "https://schemas.openid.net/secevent/sse/event-type/";

impl EventError {
    pub(super) fn request(description: impl Into<String>) -> Self {
        Self { code: "invalid_request", description: description.into() }
    }

    /// For a token whose signature is not the transmitter's.
    pub(super) fn signature(error: &VerifyError) -> Self {
        let reason = error.rejection().unwrap_or(Rejection::BAD_SIGNATURE);
        let code = match reason {
            Rejection::UNKNOWN_KEY | Rejection::WRONG_ALGORITHM => "invalid_key",
            Rejection::BAD_SIGNATURE => "authentication_failed",
            _ => "invalid_request",
        };
        Self { code, description: reason.as_str().into() }
    }
}

impl From<WrongType> for EventError {
    fn from(wrong: WrongType) -> Self {
        Self::request(wrong.to_string())
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.description)
    }
}

/// Who sends, and who receives.
pub(super) struct Parties<'a> {
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
}

impl Parties<'_> {
    pub(super) fn check(&self, claims: &Claims) -> Result<(), EventError> {
        if claims::text(claims, "iss")? != Some(self.issuer) {
            let description = "`iss` is not the transmitter".into();
            return Err(EventError { code: "invalid_issuer", description });
        }
        let audiences = claims::texts(claims, "aud")?.unwrap_or_default();
        if !audiences.into_iter().any(|audience| self.audiences.iter().any(|own| own == audience)) {
            let description = "`aud` does not name this receiver".into();
            return Err(EventError { code: "invalid_audience", description });
        }
        Ok(())
    }
}

/// The `jti` of a token.
pub(super) fn id(claims: &Claims) -> Result<&str, EventError> {
    let id = claims::text(claims, "jti")?.filter(|id| !id.is_empty());
    id.ok_or_else(|| EventError::request("`jti` is not there"))
}

impl<'a> Event<'a> {
    pub(super) fn read(signed: &'a Signed, parties: &Parties<'_>, critical: &[String]) -> Result<Self, EventError> {
        if !signed.is("secevent+jwt") {
            return Err(EventError::request("its `typ` is not `secevent+jwt`"));
        }
        let claims = &signed.claims;
        parties.check(claims)?;
        if let Some(name) = ["sub", "exp"].into_iter().find(|name| claims.contains_key(*name)) {
            return Err(EventError::request(format!("`{name}` is none of an event token's claims")));
        }
        let id = id(claims)?;
        let issued = claims::date(claims, "iat")?.ok_or_else(|| EventError::request("`iat` is not there"))?;
        let events = claims::member(claims, "events")?.ok_or_else(|| EventError::request("`events` is not there"))?;
        let mut each = events.iter();
        let (Some((uri, event)), None) = (each.next(), each.next()) else {
            return Err(EventError::request(format!("`events` has {} members and not one", events.len())));
        };
        let event = event.as_object().ok_or_else(|| EventError::request("the event is not an object"))?;
        let happened = match claims::date(event, "event_timestamp")? {
            Some(happened) => Some(happened),
            None => claims::date(claims, "toe")?,
        };
        let what = What::read(uri, event, claims, critical)?;
        Ok(Self { id, at: happened.unwrap_or(issued), what })
    }
}

impl<'a> What<'a> {
    fn read(uri: &str, event: &'a Claims, claims: &'a Claims, critical: &[String]) -> Result<Self, EventError> {
        let named = |prefix| uri.strip_prefix(prefix);
        let about = match (named(CAEP), named(RISC), named(OAUTH), named(SSF).or(named(SSE))) {
            (.., Some("verification")) => return Ok(Self::Verification { state: claims::text(event, "state")? }),
            (Some("session-revoked"), ..) | (_, Some("sessions-revoked"), ..) => About::Sessions,
            (Some("credential-change"), ..) => match claims::text(event, "change_type")? {
                // Nothing that is in use has changed.
                Some("create") => return Ok(Self::Other),
                _ => About::User,
            },
            (Some("token-claims-change"), ..) | (_, _, Some("token-revoked" | "tokens-revoked"), _) => About::Tokens,
            (_, Some("account-disabled" | "account-purged"), ..) => About::User,
            _ => return Ok(Self::Other),
        };
        let subject = match claims::member(claims, "sub_id")? {
            Some(subject) => Some(subject),
            None => claims::member(event, "subject")?,
        };
        let subject = subject.ok_or_else(|| EventError::request("neither `sub_id` nor a `subject` is there"))?;
        let concerned = match Concerned::read(subject, critical) {
            Ok(concerned) => concerned,
            Err(NotConcerned::Malformed(wrong)) => return Err(wrong.into()),
            Err(NotConcerned::Critical(name)) => {
                return Ok(Self::Discarded(format!("the critical member `{name}` of its subject is not understood")));
            }
            Err(NotConcerned::Unknown) => {
                return Ok(Self::Discarded("its subject is in no format that is understood".into()));
            }
        };
        let Concerned { user, session } = concerned;
        Ok(Self::Ended(
            match about {
                About::Sessions => session.or(user),
                About::Tokens | About::User => user.or(session),
            }
            .into_iter()
            .collect(),
        ))
    }
}
