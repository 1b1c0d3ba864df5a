//! The `WWW-Authenticate` challenge.

use std::{error::Error, fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Uri};

use crate::{
    Denied, ScopeSet,
    scope::{Requirement, Scope},
    unwind::contained,
};

/// The Bearer challenges of RFC 6750 section 3, in the syntax of RFC 9110 section 11.6.1: parameters
/// joined by commas, values quoted. Those that never vary are written once.
#[derive(Clone)]
pub struct Challenge {
    scheme: Arc<str>,
    /// Name and text of what every challenge says.
    parameters: Vec<(&'static str, String)>,
    /// What a 401 asks for.
    scope: ScopeSet,
    metadata_of: Option<Arc<MetadataOf>>,
    missing: HeaderValue,
    malformed: HeaderValue,
    rejected: HeaderValue,
    expired: HeaderValue,
}

type MetadataOf = dyn Fn(&Uri, &HeaderMap) -> Option<String> + Send + Sync;

/// What a challenge says of one request alone: its `resource_metadata`, as written into a challenge.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfRequest(Option<Box<str>>);

/// A text that a challenge cannot hold: the scheme is a token (RFC 9110 section 5.6.2), a parameter a
/// quoted-string (section 5.6.4) of visible ASCII and spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidParameter;

impl Challenge {
    /// `Bearer` and nothing more.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scheme: Arc::default(),
            parameters: Vec::new(),
            scope: ScopeSet::empty(),
            metadata_of: None,
            missing: HeaderValue::from_static("Bearer"),
            malformed: HeaderValue::from_static(r#"Bearer error="invalid_request""#),
            rejected: HeaderValue::from_static(r#"Bearer error="invalid_token""#),
            expired: HeaderValue::from_static(r#"Bearer error="invalid_token", error_description="expired""#),
        }
    }

    /// Names another scheme than `Bearer` (RFC 9110 section 11.1), for credentials that are no bearer
    /// tokens. The parameters stay the same: a client ignores those that it does not know.
    ///
    /// # Errors
    ///
    /// If the text is not a token.
    pub fn with_scheme(mut self, scheme: &str) -> Result<Self, InvalidParameter> {
        let is_token_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if scheme.is_empty() || !scheme.bytes().all(is_token_char) {
            return Err(InvalidParameter);
        }
        self.scheme = scheme.into();
        self.rendered()
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

    /// Says where the resource describes itself, by the request: for a server with several names. It
    /// takes precedence over [`with_resource_metadata`](Self::with_resource_metadata) where it has an
    /// answer that is visible ASCII and spaces.
    ///
    /// The well-known part stands between the host and the path of the resource (RFC 9728 section 3.1).
    /// Anyone can write a `Host`: name only hosts that you serve.
    ///
    /// ```
    /// use http::{HeaderMap, Uri, header::HOST};
    /// use tower_reauth::bearer::Challenge;
    ///
    /// const HOSTS: [&str; 2] = ["mcp.example.com", "mcp.example.org"];
    ///
    /// let challenge = Challenge::new().with_resource_metadata_from(|uri: &Uri, headers: &HeaderMap| {
    ///     // HTTP/2 names the host in the URI, HTTP/1.1 in a header.
    ///     let host = uri.host().or_else(|| headers.get(HOST)?.to_str().ok())?;
    ///     HOSTS.contains(&host).then(|| format!("https://{host}/.well-known/oauth-protected-resource/mcp"))
    /// });
    /// # let _ = challenge;
    /// ```
    #[must_use]
    pub fn with_resource_metadata_from(
        mut self,
        url: impl Fn(&Uri, &HeaderMap) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.metadata_of = Some(Arc::new(url));
        self
    }

    /// Names scopes in a 401 already, as MCP asks of its servers, so that a client asks its user for
    /// these and no others. Default: none, for one who is not authenticated need not learn what exists.
    ///
    /// A 403 names what its route requires, whatever was set here.
    #[must_use]
    pub fn with_scope(mut self, scope: impl IntoIterator<Item = Scope>) -> Self {
        self.scope = scope.into_iter().collect();
        // What was rendered before is rendered again: no scope-token is more than visible ASCII.
        self.clone().rendered().unwrap_or(self)
    }

    fn with_parameter(mut self, name: &'static str, value: &str) -> Result<Self, InvalidParameter> {
        let text = parameter(name, value)?;
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            // A name occurs once in a challenge (RFC 9110 section 11.2).
            Some((_, old)) => *old = text,
            None => self.parameters.push((name, text)),
        }
        self.rendered()
    }

    fn rendered(mut self) -> Result<Self, InvalidParameter> {
        let everyone = OfRequest::default();
        self.missing = self.render(&Denied::Missing, &everyone)?;
        self.malformed = self.render(&Denied::Malformed, &everyone)?;
        self.rejected = self.render(&Denied::Rejected, &everyone)?;
        self.expired = self.render(&Denied::Expired, &everyone)?;
        Ok(self)
    }

    /// What the challenge says of this request alone.
    pub(crate) fn of<B>(&self, request: &Request<B>) -> OfRequest {
        let Some(metadata_of) = &self.metadata_of else { return OfRequest::default() };
        let url = contained(|| metadata_of(request.uri(), request.headers())).flatten();
        OfRequest(url.and_then(|url| parameter("resource_metadata", &url).ok()).map(Box::from))
    }

    /// The challenge that answers `denied`, where one does.
    pub(crate) fn answer(&self, denied: &Denied, of_request: &OfRequest) -> Option<HeaderValue> {
        match (denied, &of_request.0) {
            (Denied::Missing, None) => Some(self.missing.clone()),
            (Denied::Malformed, None) => Some(self.malformed.clone()),
            (Denied::Rejected | Denied::Revoked, None) => Some(self.rejected.clone()),
            (Denied::Expired, None) => Some(self.expired.clone()),
            (
                Denied::Missing
                | Denied::Malformed
                | Denied::Rejected
                | Denied::Revoked
                | Denied::Expired
                | Denied::InsufficientScope { .. },
                _,
            ) => self.render(denied, of_request).ok(),
            (
                Denied::LockedOut { .. }
                | Denied::Unavailable { .. }
                | Denied::NoHost
                | Denied::Misdirected
                | Denied::UnknownSession
                | Denied::ForeignSession
                | Denied::CheckPanicked
                | Denied::NoAccess { .. }
                | Denied::NoPeer,
                _,
            ) => None,
        }
    }

    fn render(&self, denied: &Denied, of_request: &OfRequest) -> Result<HeaderValue, InvalidParameter> {
        let (error, description) = match denied {
            Denied::Malformed => (Some("invalid_request"), None),
            Denied::Rejected | Denied::Revoked => (Some("invalid_token"), None),
            Denied::Expired => (Some("invalid_token"), Some("expired")),
            Denied::InsufficientScope { .. } => (Some("insufficient_scope"), None),
            _ => (None, None),
        };
        let scope = match denied {
            Denied::InsufficientScope { required } => Requirement::sufficient(required),
            Denied::Malformed => ScopeSet::empty(),
            _ => self.scope.clone(),
        };
        let mut parameters: Vec<String> = Vec::new();
        for (name, text) in &self.parameters {
            match &of_request.0 {
                Some(_) if *name == "resource_metadata" => {}
                _ => parameters.push(text.clone()),
            }
        }
        parameters.extend(of_request.0.as_deref().map(str::to_owned));
        // A `scope` without a scope-token is none (RFC 6749 section 3.3).
        let scope = (!scope.is_empty()).then(|| scope.to_string());
        let more = [("error", error), ("error_description", description), ("scope", scope.as_deref())];
        for (name, value) in more {
            parameters.extend(value.map(|value| parameter(name, value)).transpose()?);
        }
        let scheme = if self.scheme.is_empty() { "Bearer" } else { &self.scheme };
        let challenge =
            if parameters.is_empty() { scheme.into() } else { format!("{scheme} {}", parameters.join(", ")) };
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

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("missing", &self.missing).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a challenge's scheme is a token, its parameters are visible ASCII and spaces (RFC 9110 section 5.6)",
        )
    }
}

impl Error for InvalidParameter {}
