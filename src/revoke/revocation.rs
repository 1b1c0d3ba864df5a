//! What is revoked, as a value.

use std::time::SystemTime;

use crate::{Identity, verify::TokenDigest};

/// A subject, and the issuer within which it is one (RFC 7519 section 4.1.2): equal subjects of two
/// issuers are two callers.
///
/// A text is a subject without an issuer, a pair an issuer and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// The `iss` of the credential, if it has one.
    pub issuer: Option<&'a str>,
    /// The `sub` of the credential.
    pub subject: &'a str,
}

/// Something that is revoked, as a value: to be shown, or kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// A token, by its digest.
    #[non_exhaustive]
    Token {
        /// Its SHA-256.
        digest: TokenDigest,
        /// Until when, if not for ever.
        until: Option<SystemTime>,
    },
    /// The credential with this id.
    #[non_exhaustive]
    Credential {
        /// Its id.
        id: String,
        /// Until when, if not for ever.
        until: Option<SystemTime>,
    },
    /// All credentials of a session.
    #[non_exhaustive]
    Session {
        /// The issuer of its credentials, if they name one.
        issuer: Option<String>,
        /// Its id.
        id: String,
        /// Until when, if not for ever.
        until: Option<SystemTime>,
    },
    /// What was issued to a subject before a date, and what does not say when it was.
    #[non_exhaustive]
    Subject {
        /// The issuer of its credentials, if they name one.
        issuer: Option<String>,
        /// The subject.
        subject: String,
        /// The date.
        issued_before: SystemTime,
    },
    /// What was issued before this date.
    IssuedBefore(SystemTime),
}

impl Revocation {
    /// As by [`Revocations::revoke_token`](super::Revocations::revoke_token), or [`Revocations::revoke_token_until`](super::Revocations::revoke_token_until) where there is an end.
    #[must_use]
    pub fn of_token(digest: TokenDigest, until: Option<SystemTime>) -> Self {
        Self::Token { digest, until }
    }

    /// As by [`Revocations::revoke`](super::Revocations::revoke), or [`Revocations::revoke_until`](super::Revocations::revoke_until) where there is an end.
    #[must_use]
    pub fn of_credential(id: impl Into<String>, until: Option<SystemTime>) -> Self {
        Self::Credential { id: id.into(), until }
    }

    /// As by [`Revocations::revoke_session`](super::Revocations::revoke_session), or [`Revocations::revoke_session_until`](super::Revocations::revoke_session_until) where there is an end.
    #[must_use]
    pub fn of_session(issuer: Option<String>, id: impl Into<String>, until: Option<SystemTime>) -> Self {
        Self::Session { issuer, id: id.into(), until }
    }

    /// As by [`Revocations::revoke_subject_before`](super::Revocations::revoke_subject_before).
    #[must_use]
    pub fn of_subject<'a>(subject: impl Into<Subject<'a>>, issued_before: SystemTime) -> Self {
        let Subject { issuer, subject } = subject.into();
        Self::Subject { issuer: issuer.map(Into::into), subject: subject.into(), issued_before }
    }
}

impl<'a> From<&'a str> for Subject<'a> {
    fn from(subject: &'a str) -> Self {
        Self { issuer: None, subject }
    }
}

impl<'a> From<&'a String> for Subject<'a> {
    fn from(subject: &'a String) -> Self {
        Self { issuer: None, subject }
    }
}

/// An issuer and its subject.
impl<'a> From<(&'a str, &'a str)> for Subject<'a> {
    fn from((issuer, subject): (&'a str, &'a str)) -> Self {
        Self { issuer: Some(issuer), subject }
    }
}

impl<'a> From<&'a Identity> for Subject<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { issuer: identity.issuer(), subject: identity.subject() }
    }
}
