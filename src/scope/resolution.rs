//! How scopes are resolved: one value, for the door and for every recheck.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::{Declared, Granted, ResolveScopes, Scope, ScopeHierarchy, ScopeSet};
use crate::{AuthMethod, Denied, Identity};

/// A strategy, what implies what, and the header that declares scopes.
#[derive(Clone)]
pub(crate) struct Resolution {
    pub(super) resolver: Arc<dyn ResolveScopes>,
    pub(super) hierarchy: ScopeHierarchy,
    pub(super) header: Option<HeaderName>,
}

/// What a layer granted to one caller, and from what, so that it can be found again.
#[derive(Clone)]
pub(crate) struct Grant {
    resolution: Arc<Resolution>,
    /// What the request declared, as far as it can matter at a recheck.
    // Boxed: it is rare, and each request has room for one.
    declared: Option<Box<Declaration>>,
    scopes: ScopeSet,
}

/// What a request declared.
#[derive(Clone)]
struct Declaration {
    scopes: ScopeSet,
    /// How the caller proved who they are: one who proves it in another way did not declare this.
    by: AuthMethod,
}

impl Resolution {
    /// What the header of a request declares.
    ///
    /// # Errors
    ///
    /// [`Denied::Malformed`] for a header that is too long.
    pub(crate) fn declared(&self, headers: &HeaderMap) -> Result<Option<ScopeSet>, Denied> {
        match &self.header {
            // To find one by its name costs more than to look at the names of most requests, and few have it.
            Some(header) if headers.keys().any(|name| name == header) => Declared::parse(headers.get_all(header)),
            _ => Ok(None),
        }
    }
}

impl Grant {
    /// What `identity` has by `resolution`, after it declared `declared`. Calls the resolver.
    pub(crate) fn new(resolution: &Arc<Resolution>, identity: &Identity, declared: Option<ScopeSet>) -> Self {
        let Resolution { resolver, hierarchy, .. } = &**resolution;
        let view = Declared::new(declared.as_ref(), hierarchy);
        let scopes = resolver.resolve(identity, view);
        let kept = if declared.is_some() { resolver.keep_declared(identity, view) } else { None };
        let declared = kept.map(|scopes| Box::new(Declaration { scopes, by: identity.method() }));
        Self { resolution: Arc::clone(resolution), declared, scopes }
    }

    /// What `identity` has now. Calls the resolver.
    pub(crate) fn renewed(&self, identity: &Identity) -> Self {
        let Resolution { resolver, hierarchy, .. } = &*self.resolution;
        let declared = self.declared.as_deref();
        let view = Declared::new(declared.map(|declared| &declared.scopes), hierarchy);
        let scopes = if declared.is_none_or(|declared| declared.by == identity.method()) {
            resolver.resolve(identity, view)
        } else {
            // Who vouches for the caller now has not vouched for this: it narrows, and gives nothing.
            view.narrow(&resolver.resolve(identity, Declared::new(None, hierarchy)))
        };
        Self { scopes, ..self.clone() }
    }

    /// The same strategy, for what another request declared.
    pub(crate) fn with_declared_of(&self, other: &Self) -> Self {
        Self { declared: other.declared.clone(), ..self.clone() }
    }

    /// Whether the two were made by the same layer, or by clones of it.
    pub(crate) fn is_by_the_layer_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resolution, &other.resolution)
    }

    /// Whether both read the same header.
    pub(crate) fn reads_the_header_of(&self, other: &Self) -> bool {
        self.resolution.header == other.resolution.header
    }

    pub(crate) fn allows(&self, scope: &Scope) -> bool {
        self.resolution.hierarchy.allows(&self.scopes, scope)
    }

    pub(crate) fn granted(&self) -> Granted {
        Granted::new(self.scopes.clone(), self.resolution.hierarchy.clone())
    }
}

impl fmt::Debug for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolution")
            .field("hierarchy", &self.hierarchy)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
