//! From an identity to its scopes: the strict rule, the compat rule, and yours.

use http::{HeaderValue, header::GetAll};

use super::{ScopeHierarchy, ScopeSet};
use crate::{AuthMethod, Denied, Identity};

/// How many bytes of a declared-scopes header are read: more than any client has scopes to declare.
const MOST_DECLARED: usize = 16 * 1024;

/// Says which scopes an identity has.
///
/// Implemented by [`Strict`], [`Compat`] and every closure
/// `Fn(&Identity, Declared<'_>) -> ScopeSet`. Called at the door and again at every recheck of a
/// stream, so it must be quick. Where its answer hangs on more than its arguments, move the
/// verifier's [`Revision`](crate::revoke::Revision) when that changes: an unmoved revision
/// is taken to mean that earlier answers hold.
pub trait ResolveScopes: Send + Sync + 'static {
    /// The scopes of `identity`, which declared `declared` for this request.
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet;

    /// What a stream keeps of `declared` for its rechecks, which see this in its place. Called after
    /// [`resolve`](Self::resolve), and only where something was declared.
    ///
    /// By default a credential with scopes of its own keeps what it has of the declared ones, so that
    /// what a client declares does not decide how large its streams are; any other keeps all.
    fn keep_declared(&self, identity: &Identity, declared: Declared<'_>) -> Option<ScopeSet> {
        match identity.scopes() {
            Some(own) => Some(declared.narrow(own)),
            None => declared.scopes().cloned(),
        }
    }
}

/// What a request declares of itself in the declared-scopes header, if one is configured.
///
/// Anyone can write a header: a declaration narrows what a credential has and never widens it. Only
/// an identity that somebody else vouches for (a trusted proxy, or nobody at all in an open
/// installation) is taken at its word.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    scopes: Option<&'a ScopeSet>,
    hierarchy: &'a ScopeHierarchy,
}

/// A shared secret has no scopes: it declares nothing, so it has nothing.
///
/// | identity | has |
/// | --- | --- |
/// | scopes of its own | those; a declaration narrows them |
/// | [`SharedSecret`](AuthMethod::SharedSecret) or [`Token`](AuthMethod::Token) without | nothing |
/// | [`TrustedProxy`](AuthMethod::TrustedProxy) or [`Anonymous`](AuthMethod::Anonymous) without | header absent: the defaults; empty: nothing; else what it declares |
#[derive(Clone, Debug)]
pub struct Strict {
    defaults: ScopeSet,
}

/// A shared secret is the operator: without scopes of its own it has the defaults, whatever the header
/// says.
///
/// Every other identity is resolved as by [`Strict`], and so is a secret that has scopes of its own.
#[derive(Clone, Debug)]
pub struct Compat {
    strict: Strict,
}

impl<F> ResolveScopes for F
where
    F: Fn(&Identity, Declared<'_>) -> ScopeSet + Send + Sync + 'static,
{
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet {
        self(identity, declared)
    }
}

impl<'a> Declared<'a> {
    pub(crate) fn new(scopes: Option<&'a ScopeSet>, hierarchy: &'a ScopeHierarchy) -> Self {
        Self { scopes, hierarchy }
    }

    /// What was declared; `None` when the header is absent, the empty set when it is blank.
    #[must_use]
    pub fn scopes(self) -> Option<&'a ScopeSet> {
        self.scopes
    }

    /// `own`, or as much of it as was declared: a declared scope is kept when `own` has or implies it.
    #[must_use]
    pub fn narrow(self, own: &ScopeSet) -> ScopeSet {
        match self.scopes {
            None => own.clone(),
            Some(declared) => self.hierarchy.allowed(own, declared).cloned().collect(),
        }
    }

    /// What was declared, or `defaults` when nothing was.
    #[must_use]
    pub fn or(self, defaults: &ScopeSet) -> ScopeSet {
        self.scopes.unwrap_or(defaults).clone()
    }

    /// Reads the header as the comma-separated list of RFC 9110 section 5.6.1. What is not a
    /// scope-token could never be required, so it is passed over.
    ///
    /// # Errors
    ///
    /// [`Denied::Malformed`] for more than [`MOST_DECLARED`] bytes.
    pub(crate) fn parse(values: GetAll<'_, HeaderValue>) -> Result<Option<ScopeSet>, Denied> {
        if values.iter().next().is_none() {
            return Ok(None);
        }
        if values.iter().map(HeaderValue::len).sum::<usize>() > MOST_DECLARED {
            return Err(Denied::Malformed);
        }
        let items = values.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        let texts = items.filter_map(|item| std::str::from_utf8(item.trim_ascii()).ok());
        Ok(Some(texts.filter_map(|text| text.parse().ok()).collect()))
    }
}

impl Strict {
    /// Strict resolution, with `defaults` for a vouched-for identity that declares nothing.
    #[must_use]
    pub fn new(defaults: impl Into<ScopeSet>) -> Self {
        Self { defaults: defaults.into() }
    }
}

impl ResolveScopes for Strict {
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet {
        match (identity.scopes(), identity.method()) {
            (Some(own), _) => declared.narrow(own),
            (None, AuthMethod::SharedSecret | AuthMethod::Token) => ScopeSet::empty(),
            (None, AuthMethod::TrustedProxy | AuthMethod::Anonymous) => declared.or(&self.defaults),
        }
    }

    fn keep_declared(&self, identity: &Identity, declared: Declared<'_>) -> Option<ScopeSet> {
        match (identity.scopes(), identity.method()) {
            (Some(own), _) => Some(declared.narrow(own)),
            // Nobody vouches for what these declare.
            (None, AuthMethod::SharedSecret | AuthMethod::Token) => Some(ScopeSet::empty()),
            (None, AuthMethod::TrustedProxy | AuthMethod::Anonymous) => declared.scopes().cloned(),
        }
    }
}

impl Compat {
    /// Compat resolution, with `defaults` for a shared secret and for a vouched-for identity that
    /// declares nothing.
    #[must_use]
    pub fn new(defaults: impl Into<ScopeSet>) -> Self {
        Self { strict: Strict::new(defaults) }
    }
}

impl ResolveScopes for Compat {
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet {
        match (identity.scopes(), identity.method()) {
            (None, AuthMethod::SharedSecret) => self.strict.defaults.clone(),
            _ => self.strict.resolve(identity, declared),
        }
    }

    fn keep_declared(&self, identity: &Identity, declared: Declared<'_>) -> Option<ScopeSet> {
        self.strict.keep_declared(identity, declared)
    }
}
