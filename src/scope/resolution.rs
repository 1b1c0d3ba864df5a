//! How scopes are resolved: one value, for the door and for every recheck.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};

use super::{Declared, ResolveScopes, ScopeHierarchy, ScopeSet};
use crate::Identity;

/// A strategy, what implies what, and the header that declares scopes.
#[derive(Clone)]
pub(crate) struct Resolution {
    pub(super) resolver: Arc<dyn ResolveScopes>,
    pub(super) hierarchy: ScopeHierarchy,
    pub(super) header: Option<HeaderName>,
}

impl Resolution {
    pub(crate) fn declared(&self, headers: &HeaderMap) -> Option<ScopeSet> {
        Declared::parse(headers.get_all(self.header.as_ref()?))
    }

    pub(crate) fn resolve(&self, identity: &Identity, declared: Option<&ScopeSet>) -> ScopeSet {
        self.resolver.resolve(identity, Declared::new(declared, &self.hierarchy))
    }

    pub(crate) fn hierarchy(&self) -> &ScopeHierarchy {
        &self.hierarchy
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
