//! Who a request turned out to be from.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use crate::ScopeSet;

/// Who a request turned out to be from: a verifier's answer.
///
/// Clones share one allocation, so a verifier that knows its callers builds each identity once and
/// answers without allocating.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    subject: Arc<str>,
    method: AuthMethod,
    credential_id: Option<Arc<str>>,
    scopes: Option<ScopeSet>,
    issued_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    claims: Option<Arc<dyn Any + Send + Sync>>,
}

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// One secret that several callers share: it names nobody and declares nothing.
    SharedSecret,
    /// A token of the caller's own.
    Token,
    /// A proxy in front of the service vouches for the caller.
    TrustedProxy,
    /// Nobody was asked.
    Anonymous,
}

impl Identity {
    /// An identity without scopes of its own that never expires.
    ///
    /// `subject` is a stable name, as the `sub` claim of RFC 7519 section 4.1.2. While a response
    /// streams, a recheck that answers with another subject ends it.
    #[must_use]
    pub fn new(subject: impl Into<Arc<str>>, method: AuthMethod) -> Self {
        Self(Arc::new(Inner {
            subject: subject.into(),
            method,
            credential_id: None,
            scopes: None,
            issued_at: None,
            expires_at: None,
            claims: None,
        }))
    }

    /// Gives the identity another subject.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).subject = subject.into();
        self
    }

    /// Names the credential, so that a log tells two tokens of one subject apart. Never a secret.
    #[must_use]
    pub fn with_credential_id(mut self, id: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).credential_id = Some(id.into());
        self
    }

    /// Binds scopes to the credential: what it was issued for (RFC 6749 section 3.3). The empty set
    /// means that it was issued for nothing; an identity that never had this called has no say.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl Into<ScopeSet>) -> Self {
        Arc::make_mut(&mut self.0).scopes = Some(scopes.into());
        self
    }

    /// When the credential was issued, in wall-clock time: the `iat` claim of RFC 7519 section 4.1.6.
    #[must_use]
    pub fn with_issued_at(mut self, issued_at: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).issued_at = Some(issued_at);
        self
    }

    /// The moment from which on the credential is no longer good, in wall-clock time.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expires_at = Some(expires_at);
        self
    }

    /// Attaches whatever else the verifier learned.
    #[must_use]
    pub fn with_claims<T: Send + Sync + 'static>(mut self, claims: T) -> Self {
        Arc::make_mut(&mut self.0).claims = Some(Arc::new(claims));
        self
    }

    /// A stable name of the caller.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// How the caller proved it.
    #[must_use]
    pub fn method(&self) -> AuthMethod {
        self.0.method
    }

    /// The name of the credential, if it has one.
    #[must_use]
    pub fn credential_id(&self) -> Option<&str> {
        self.0.credential_id.as_deref()
    }

    /// The scopes that are bound to the credential itself, if any.
    #[must_use]
    pub fn scopes(&self) -> Option<&ScopeSet> {
        self.0.scopes.as_ref()
    }

    /// When the credential was issued, if it says so.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.0.issued_at
    }

    /// When the credential expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// What [`with_claims`](Self::with_claims) attached, if it is a `T`.
    #[must_use]
    pub fn claims<T: 'static>(&self) -> Option<&T> {
        self.0.claims.as_ref()?.downcast_ref()
    }

    /// Whether the two say the same. Claims are the same only when they are shared.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let Inner { subject, method, credential_id, scopes, issued_at, expires_at, claims } = &*self.0;
        let same_claims = match (claims, &other.0.claims) {
            (Some(own), Some(theirs)) => Arc::ptr_eq(own, theirs),
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        *subject == other.0.subject
            && *method == other.0.method
            && *credential_id == other.0.credential_id
            && *scopes == other.0.scopes
            && *issued_at == other.0.issued_at
            && *expires_at == other.0.expires_at
            && same_claims
    }
}

impl fmt::Debug for Identity {
    // The claims stay out: they are a verifier's own and may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.0.subject)
            .field("method", &self.0.method)
            .field("credential_id", &self.0.credential_id)
            .field("scopes", &self.0.scopes)
            .field("issued_at", &self.0.issued_at)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}
