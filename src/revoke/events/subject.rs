//! Whom an event concerns, and what is revoked of them.

use crate::claims::{self, Claims, WrongType};

/// Whom an event concerns: an identifier of RFC 9493, or of a logout token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectId<'a> {
    /// A subject of an issuer: `iss_sub`.
    IssuerSubject {
        /// The issuer.
        issuer: &'a str,
        /// Its subject.
        subject: &'a str,
    },
    /// An address: `email`.
    Email(&'a str),
    /// A name that transmitter and receiver agreed on: `opaque`.
    Opaque(&'a str),
    /// A token of an issuer: `jwt_id`.
    Token {
        /// The issuer.
        issuer: &'a str,
        /// Its `jti`.
        id: &'a str,
    },
    /// A session of the transmitter, by its id: the `session` of a complex subject, or a `sid`.
    Session(&'a str),
}

/// What is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// What was issued to a subject before the event.
    Subject {
        /// The [issuer](crate::Identity::issuer) of the identities, if they have one.
        issuer: Option<String>,
        /// Their [subject](crate::Identity::subject).
        subject: String,
    },
    /// The credentials of a [session](crate::Identity::session_id).
    Session {
        /// The issuer of the identities, if they have one.
        issuer: Option<String>,
        /// The session's id.
        id: String,
    },
    /// One [credential](crate::Identity::credential_id).
    Credential(String),
}

impl Target {
    /// What an identifier means where verifiers name callers as the transmitter does.
    pub(super) fn of(id: SubjectId<'_>, transmitter: &str) -> Self {
        match id {
            SubjectId::IssuerSubject { issuer, subject } => {
                Self::Subject { issuer: Some(issuer.into()), subject: subject.into() }
            }
            SubjectId::Email(name) | SubjectId::Opaque(name) => {
                Self::Subject { issuer: Some(transmitter.into()), subject: name.into() }
            }
            SubjectId::Token { id, .. } => Self::Credential(id.into()),
            SubjectId::Session(id) => Self::Session { issuer: Some(transmitter.into()), id: id.into() },
        }
    }
}

/// Whom an event names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Concerned<'a> {
    pub(super) user: Option<SubjectId<'a>>,
    pub(super) session: Option<SubjectId<'a>>,
}

/// Why an event concerns nobody here.
#[derive(Debug)]
pub(super) enum NotConcerned {
    Malformed(WrongType),
    /// It has a critical member that is not understood.
    Critical(String),
    /// Its format is none that is understood.
    Unknown,
}

impl From<WrongType> for NotConcerned {
    fn from(wrong: WrongType) -> Self {
        Self::Malformed(wrong)
    }
}

impl<'a> Concerned<'a> {
    /// Reads a subject: a simple one is a user, or a token.
    pub(super) fn read(subject: &'a Claims, critical: &[String]) -> Result<Self, NotConcerned> {
        let is_complex = match claims::text(subject, "format")? {
            Some(format) => format == "complex",
            None => !subject.contains_key("subject_type"),
        };
        if !is_complex {
            return Ok(Self { user: Some(simple(subject)?.ok_or(NotConcerned::Unknown)?), session: None });
        }
        let user = claims::member(subject, "user")?.map(simple).transpose()?.flatten();
        let session = claims::member(subject, "session")?.map(session).transpose()?.flatten();
        let is_understood = |name: &str| match name {
            "user" => user.is_some(),
            "session" => session.is_some(),
            _ => false,
        };
        if let Some(name) = critical.iter().find(|name| subject.contains_key(*name) && !is_understood(name)) {
            return Err(NotConcerned::Critical(name.clone()));
        }
        if user.is_none() && session.is_none() { Err(NotConcerned::Unknown) } else { Ok(Self { user, session }) }
    }
}

/// An identifier of one format; `None` of one that is not known.
fn simple(id: &Claims) -> Result<Option<SubjectId<'_>>, WrongType> {
    // By the name that drafts had for it, too.
    let format = match claims::text(id, "format")? {
        Some(format) => Some(format),
        None => claims::text(id, "subject_type")?,
    };
    let required = |name| claims::text(id, name)?.ok_or(WrongType { name, expected: "there" });
    Ok(match format {
        Some("iss_sub" | "iss-sub") => {
            Some(SubjectId::IssuerSubject { issuer: required("iss")?, subject: required("sub")? })
        }
        Some("email") => Some(SubjectId::Email(required("email")?)),
        Some("opaque") => Some(SubjectId::Opaque(required("id")?)),
        Some("jwt_id" | "jwt-id") => Some(SubjectId::Token { issuer: required("iss")?, id: required("jti")? }),
        _ => None,
    })
}

fn session(id: &Claims) -> Result<Option<SubjectId<'_>>, WrongType> {
    Ok(simple(id)?.and_then(|id| match id {
        SubjectId::Opaque(id) => Some(SubjectId::Session(id)),
        SubjectId::Token { .. } => Some(id),
        _ => None,
    }))
}
