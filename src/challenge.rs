//! The `WWW-Authenticate` challenge.

use std::{error::Error, fmt};

use http::HeaderValue;

use crate::{Denied, scope::Requirement};

/// The Bearer challenges of RFC 6750 section 3, in the syntax of RFC 9110 section 11.6.1: parameters
/// joined by commas, values quoted. Those that never vary are written once.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Name and text of what every challenge says.
    parameters: Vec<(&'static str, String)>,
    missing: HeaderValue,
    malformed: HeaderValue,
    rejected: HeaderValue,
    expired: HeaderValue,
}

/// A text that a quoted-string (RFC 9110 section 5.6.4) cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidParameter;

impl Challenge {
    /// `Bearer` and nothing more.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parameters: Vec::new(),
            missing: HeaderValue::from_static("Bearer"),
            malformed: HeaderValue::from_static(r#"Bearer error="invalid_request""#),
            rejected: HeaderValue::from_static(r#"Bearer error="invalid_token""#),
            expired: HeaderValue::from_static(r#"Bearer error="invalid_token", error_description="expired""#),
        }
    }

    /// Names the protection space (RFC 9110 section 11.5). Set again, it is replaced.
    ///
    /// # Errors
    ///
    /// If the text is more than visible ASCII and spaces.
    pub fn with_realm(self, realm: &str) -> Result<Self, InvalidParameter> {
        self.with_parameter("realm", realm)
    }

    /// Says where the resource describes itself: the URL of its metadata (RFC 9728 section 5.1).
    ///
    /// # Errors
    ///
    /// If the text is more than visible ASCII and spaces.
    pub fn with_resource_metadata(self, url: &str) -> Result<Self, InvalidParameter> {
        self.with_parameter("resource_metadata", url)
    }

    fn with_parameter(mut self, name: &'static str, value: &str) -> Result<Self, InvalidParameter> {
        let text = parameter(name, value)?;
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            // A name occurs once in a challenge (RFC 9110 section 11.2).
            Some((_, old)) => *old = text,
            None => self.parameters.push((name, text)),
        }
        self.missing = self.render(&[])?;
        self.malformed = self.render(&[("error", "invalid_request")])?;
        self.rejected = self.render(&[("error", "invalid_token")])?;
        self.expired = self.render(&[("error", "invalid_token"), ("error_description", "expired")])?;
        Ok(self)
    }

    /// The challenge that answers `denied`, where one does.
    pub(crate) fn answer(&self, denied: &Denied) -> Option<HeaderValue> {
        match denied {
            Denied::Missing => Some(self.missing.clone()),
            Denied::Malformed => Some(self.malformed.clone()),
            Denied::Rejected | Denied::Revoked => Some(self.rejected.clone()),
            Denied::Expired => Some(self.expired.clone()),
            Denied::InsufficientScope { required } => self.insufficient_scope(required).ok(),
            Denied::LockedOut { .. }
            | Denied::Unavailable { .. }
            | Denied::CheckPanicked
            | Denied::NoAccess { .. }
            | Denied::NoPeer => None,
        }
    }

    fn insufficient_scope(&self, required: &Requirement) -> Result<HeaderValue, InvalidParameter> {
        let error = ("error", "insufficient_scope");
        let scopes = required.scopes();
        // A `scope` without a scope-token is none (RFC 6749 section 3.3).
        if scopes.is_empty() { self.render(&[error]) } else { self.render(&[error, ("scope", &scopes.to_string())]) }
    }

    fn render(&self, more: &[(&str, &str)]) -> Result<HeaderValue, InvalidParameter> {
        let mut parameters: Vec<String> = self.parameters.iter().map(|(_, text)| text.clone()).collect();
        for (name, value) in more {
            parameters.push(parameter(name, value)?);
        }
        let challenge =
            if parameters.is_empty() { "Bearer".into() } else { format!("Bearer {}", parameters.join(", ")) };
        HeaderValue::try_from(challenge).map_err(|_| InvalidParameter)
    }
}

impl Default for Challenge {
    fn default() -> Self {
        Self::new()
    }
}

fn parameter(name: &str, value: &str) -> Result<String, InvalidParameter> {
    if value.bytes().any(|b| !matches!(b, b' '..=b'~')) {
        return Err(InvalidParameter);
    }
    Ok(format!(r#"{name}="{}""#, value.replace('\\', r"\\").replace('"', r#"\""#)))
}

impl fmt::Display for InvalidParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a challenge's parameter is visible ASCII and spaces (RFC 9110 section 5.6.4)")
    }
}

impl Error for InvalidParameter {}
