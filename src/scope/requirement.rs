//! What a route requires.

use std::{collections::BTreeSet, fmt};

use super::{Scope, ScopeSet, few::Few};

/// What a route requires of its caller: of each group of alternatives, at least one scope.
///
/// Requirements of nested layers add up. The empty requirement asks for nothing.
#[derive(Clone, Default)]
pub struct Requirement(Few<ScopeSet>);

impl Requirement {
    /// Every one of `scopes`.
    #[must_use]
    pub fn all_of(scopes: impl Into<ScopeSet>) -> Self {
        Self::from_groups(scopes.into().iter().cloned().map(ScopeSet::from).collect())
    }

    /// At least one of `scopes`. Of the empty set nobody has one: it is a door that stays shut.
    #[must_use]
    pub fn any_of(scopes: impl Into<ScopeSet>) -> Self {
        Self::from_groups(vec![scopes.into()])
    }

    /// This requirement and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (&self.0, &other.0) {
            (_, Few::None) => self,
            (Few::None, _) => other,
            (mine, others) => {
                let mine = mine.as_slice();
                let new = others.as_slice().iter().filter(|group| !mine.contains(group));
                Self::from_groups(mine.iter().chain(new).cloned().collect())
            }
        }
    }

    /// The groups of alternatives: one scope of each is required.
    #[must_use]
    pub fn alternatives(&self) -> &[ScopeSet] {
        self.0.as_slice()
    }

    /// Every scope that is named, in byte order: the `scope` attribute of a challenge (RFC 6750
    /// section 3).
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        let named: BTreeSet<&Scope> = self.alternatives().iter().flat_map(ScopeSet::iter).collect();
        named.into_iter().cloned().collect()
    }

    /// Whether of each group of alternatives one scope is allowed.
    pub(crate) fn is_met_by(&self, allows: impl Fn(&Scope) -> bool) -> bool {
        self.alternatives().iter().all(|any_of| any_of.iter().any(&allows))
    }

    fn from_groups(groups: Vec<ScopeSet>) -> Self {
        Self(groups.into())
    }
}

impl PartialEq for Requirement {
    fn eq(&self, other: &Self) -> bool {
        self.alternatives() == other.alternatives()
    }
}

impl Eq for Requirement {}

impl From<Scope> for Requirement {
    fn from(scope: Scope) -> Self {
        Self::all_of(scope)
    }
}

/// Every scope of the set.
impl From<ScopeSet> for Requirement {
    fn from(scopes: ScopeSet) -> Self {
        Self::all_of(scopes)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.alternatives()).finish()
    }
}
