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
    issuer: Option<Arc<str>>,
    subject: Arc<str>,
    method: AuthMethod,
    credential_id: Option<Arc<str>>,
    session_id: Option<Arc<str>>,
    scopes: Option<ScopeSet>,
    issued_at: Option<SystemTime>,
    not_before: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    claims: Option<Arc<dyn Any + Send + Sync>>,
}

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// One secret that several callers share: it names nobody and declares nothing.
    SharedSecret,
    /// A token of the caller's own: under the shipped strategies it may do what its
    /// [scopes](Identity::with_scopes) say, and without any nothing.
    Token,
    /// A proxy in front of the service vouches for the caller.
    TrustedProxy,
    /// Nobody was asked.
    Anonymous,
}

impl AuthMethod {
    /// Whether the subjects of such callers say only how they came in.
    pub(crate) fn names_nobody(self) -> bool {
        matches!(self, Self::SharedSecret | Self::Anonymous)
    }
}

impl Identity {
    /// An identity without scopes of its own that never expires.
    ///
    /// `subject` is a stable name, as the `sub` claim of RFC 7519 section 4.1.2. It names somebody only
    /// within its issuer, which [`with_issuer`](Self::with_issuer) adds. While a response streams, a
    /// recheck that answers with another caller ends it.
    #[must_use]
    pub fn new(subject: impl Into<Arc<str>>, method: AuthMethod) -> Self {
        Self(Arc::new(Inner {
            issuer: None,
            subject: subject.into(),
            method,
            credential_id: None,
            session_id: None,
            scopes: None,
            issued_at: None,
            not_before: None,
            expires_at: None,
            claims: None,
        }))
    }

    /// Names who issued the credential: the `iss` claim of RFC 7519 section 4.1.1. Two issuers may use
    /// one subject for two callers, so a service that accepts credentials of several names them.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).issuer = Some(issuer.into());
        self
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

    /// Names the session that the caller signed in to, unique within the [issuer](Self::issuer): the `sid` claim
    /// of OpenID Connect (Front-Channel Logout section 3, Back-Channel Logout section 2.1). All credentials of
    /// one session end with it.
    #[must_use]
    pub fn with_session_id(mut self, id: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).session_id = Some(id.into());
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

    /// The moment before which the credential is not good yet, in wall-clock time: the `nbf` claim of RFC 7519
    /// section 4.1.5.
    #[must_use]
    pub fn with_not_before(mut self, not_before: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).not_before = Some(not_before);
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

    /// Who issued the credential, if that is known.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// A stable name of the caller, unique within the [issuer](Self::issuer).
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

    /// The session that the caller signed in to, if that is known.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.0.session_id.as_deref()
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

    /// When the credential begins to be good, if it says so.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.0.not_before
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

    /// Whether the two are one caller, by whichever credential: the same subject of the same issuer.
    /// The subjects of [`SharedSecret`](AuthMethod::SharedSecret) and
    /// [`Anonymous`](AuthMethod::Anonymous) name nobody, so these are the same only among themselves.
    pub(crate) fn is_same_caller(&self, other: &Self) -> bool {
        let (own, theirs) = (self.method(), other.method());
        self.issuer() == other.issuer()
            && self.subject() == other.subject()
            && (own == theirs || !(own.names_nobody() || theirs.names_nobody()))
    }

    /// Whether the two say the same. Claims are the same only when they are shared.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let Inner {
            issuer,
            subject,
            method,
            credential_id,
            session_id,
            scopes,
            issued_at,
            not_before,
            expires_at,
            claims,
        } = &*self.0;
        let same_claims = match (claims, &other.0.claims) {
            (Some(own), Some(theirs)) => Arc::ptr_eq(own, theirs),
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        *issuer == other.0.issuer
            && *subject == other.0.subject
            && *method == other.0.method
            && *credential_id == other.0.credential_id
            && *session_id == other.0.session_id
            && *scopes == other.0.scopes
            && *issued_at == other.0.issued_at
            && *not_before == other.0.not_before
            && *expires_at == other.0.expires_at
            && same_claims
    }
}

impl fmt::Debug for Identity {
    // The claims stay out: they are a verifier's own and may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.0.issuer)
            .field("subject", &self.0.subject)
            .field("method", &self.0.method)
            .field("credential_id", &self.0.credential_id)
            .field("session_id", &self.0.session_id)
            .field("scopes", &self.0.scopes)
            .field("issued_at", &self.0.issued_at)
            .field("not_before", &self.0.not_before)
            .field("expires_at", &self.0.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_a_subject_of_an_issuer_and_a_shared_secret_is_nobody_else() {
        use AuthMethod::{Anonymous, SharedSecret, Token, TrustedProxy};
        let of = |issuer: &str, subject: &str, method| match issuer {
            "" => Identity::new(subject, method),
            issuer => Identity::new(subject, method).with_issuer(issuer),
        };
        for (one, other, is_same) in [
            (("", "alice", Token), ("", "alice", Token), true),
            (("", "alice", Token), ("", "bob", Token), false),
            (("", "alice", Token), ("", "alice", TrustedProxy), true),
            (("idp", "alice", Token), ("idp", "alice", TrustedProxy), true),
            (("idp", "alice", Token), ("other", "alice", Token), false),
            (("idp", "alice", Token), ("", "alice", Token), false),
            (("", "alice", Token), ("", "alice", SharedSecret), false),
            (("", "alice", Anonymous), ("", "alice", Token), false),
            (("", "alice", Anonymous), ("", "alice", SharedSecret), false),
            (("", "alice", Anonymous), ("", "alice", Anonymous), true),
            (("", "shared-secret", SharedSecret), ("", "shared-secret", SharedSecret), true),
        ] {
            let (one, other) = (of(one.0, one.1, one.2), of(other.0, other.1, other.2));
            assert_eq!(one.is_same_caller(&other), is_same, "{one:?} {other:?}");
            assert_eq!(other.is_same_caller(&one), is_same, "{other:?} {one:?}");
        }
    }
}
