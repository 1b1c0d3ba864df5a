//! Which scope implies which, and what a caller was granted under it.

use std::sync::Arc;

use super::{Requirement, Scope, ScopeSet};

/// What implies what: `admin` implies everything, `write` implies `read`.
///
/// Empty by default: each scope then stands for itself alone. Implications are transitive.
#[derive(Clone, Debug, Default)]
pub struct ScopeHierarchy(Option<Arc<Vec<Rule>>>);

#[derive(Clone, Debug)]
struct Rule {
    holder: Scope,
    implies: Implied,
}

#[derive(Clone, Debug)]
enum Implied {
    Everything,
    One(Scope),
}

/// What a caller was granted: a scope set, read under a hierarchy.
///
/// This is the value that is handed on: whoever holds it need not know how it came about.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    scopes: ScopeSet,
    hierarchy: ScopeHierarchy,
}

impl ScopeHierarchy {
    /// A hierarchy in which nothing implies anything.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whoever has `holder` has every scope.
    #[must_use]
    pub fn with_all(self, holder: Scope) -> Self {
        self.with(Rule { holder, implies: Implied::Everything })
    }

    /// Whoever has `holder` has `implied`, and what that implies.
    #[must_use]
    pub fn with_implied(self, holder: Scope, implied: Scope) -> Self {
        self.with(Rule { holder, implies: Implied::One(implied) })
    }

    /// Whether one who holds `held` has `wanted`.
    #[must_use]
    pub fn implies(&self, held: &Scope, wanted: &Scope) -> bool {
        held == wanted || self.reaches(held, wanted, self.rules().len())
    }

    /// Whether one of the scopes `held` is, or implies, `wanted`.
    #[must_use]
    pub fn allows(&self, held: &ScopeSet, wanted: &Scope) -> bool {
        held.contains(wanted) || held.iter().any(|scope| self.implies(scope, wanted))
    }

    // A path visits each rule at most once, so `steps` bounds a hierarchy that runs in a circle.
    fn reaches(&self, held: &Scope, wanted: &Scope, steps: usize) -> bool {
        steps > 0
            && self.rules().iter().filter(|rule| rule.holder == *held).any(|rule| match &rule.implies {
                Implied::Everything => true,
                Implied::One(scope) => scope == wanted || self.reaches(scope, wanted, steps - 1),
            })
    }

    fn with(mut self, rule: Rule) -> Self {
        Arc::make_mut(self.0.get_or_insert_default()).push(rule);
        self
    }

    fn rules(&self) -> &[Rule] {
        self.0.as_ref().map_or(&[], |rules| rules)
    }
}

impl Granted {
    /// `scopes`, read under `hierarchy`.
    #[must_use]
    pub fn new(scopes: ScopeSet, hierarchy: ScopeHierarchy) -> Self {
        Self { scopes, hierarchy }
    }

    /// The scopes that were granted by name.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Whether `scope` was granted, by name or by implication.
    #[must_use]
    pub fn allows(&self, scope: &Scope) -> bool {
        self.hierarchy.allows(&self.scopes, scope)
    }

    /// Whether all of `requirement` is met.
    #[must_use]
    pub fn satisfies(&self, requirement: &Requirement) -> bool {
        requirement.alternatives().iter().all(|any_of| any_of.iter().any(|scope| self.allows(scope)))
    }
}
