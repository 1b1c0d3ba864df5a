//! What a caller was granted.

use std::sync::Arc;

use super::{Requirement, Scope, ScopeHierarchy, ScopeSet};

/// What a caller was granted: a scope set, read under a hierarchy.
///
/// This is the value that is handed on: a function that takes it need not know how it came about. Where
/// several layers resolved scopes, a scope is granted if each of them grants it.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// By name.
    scopes: ScopeSet,
    /// What the innermost layer granted.
    resolved: ScopeSet,
    hierarchy: ScopeHierarchy,
    /// What the layers further out granted.
    outer: Option<Arc<Self>>,
}

impl Granted {
    /// `scopes`, read under `hierarchy`.
    #[must_use]
    pub fn new(scopes: ScopeSet, hierarchy: ScopeHierarchy) -> Self {
        Self { resolved: scopes.clone(), scopes, hierarchy, outer: None }
    }

    /// What both this and `outer` grant.
    #[must_use]
    pub fn and(self, outer: Self) -> Self {
        let (mine, theirs) = (outer.allowed(self.scopes.clone()), self.allowed(outer.scopes.clone()));
        let scopes = mine.into_iter().chain(theirs).collect();
        let outer = match self.outer {
            None => outer,
            Some(further) => Arc::unwrap_or_clone(further).and(outer),
        };
        Self { scopes, resolved: self.resolved, hierarchy: self.hierarchy, outer: Some(Arc::new(outer)) }
    }

    /// The scopes that were granted by name.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Whether `scope` was granted, by name or by implication.
    #[must_use]
    pub fn allows(&self, scope: &Scope) -> bool {
        self.hierarchy.allows(&self.resolved, scope) && self.outer.as_ref().is_none_or(|outer| outer.allows(scope))
    }

    /// Those of `wanted` that were granted, by name or by implication.
    fn allowed(&self, wanted: ScopeSet) -> ScopeSet {
        let here = self.hierarchy.allowed(&self.resolved, &wanted).cloned().collect();
        match &self.outer {
            Some(outer) => outer.allowed(here),
            None => here,
        }
    }

    /// Whether all of `requirement` is met.
    #[must_use]
    pub fn satisfies(&self, requirement: &Requirement) -> bool {
        requirement.is_met_by(|scope| self.allows(scope))
    }
}
