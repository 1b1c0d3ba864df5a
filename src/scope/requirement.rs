//! What a route requires.

use std::fmt;

use super::{Scope, ScopeSet, few::Few};

/// What a route requires of its caller: of each group of alternatives, at least one scope.
///
/// Requirements of nested layers add up. The empty requirement asks for nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Requirement(Few<Alternatives>);

/// Scopes of which one is enough.
#[derive(Clone)]
struct Alternatives {
    scopes: ScopeSet,
    /// Where in the set the one stands that was written first.
    first: usize,
}

impl Requirement {
    /// Every one of `scopes`.
    #[must_use]
    pub fn all_of(scopes: impl Into<ScopeSet>) -> Self {
        Self::from_groups(scopes.into().iter().cloned().map(|scope| Alternatives::of(vec![scope])).collect())
    }

    /// At least one of `scopes`. Of none nobody has one: it is a door that stays shut.
    ///
    /// A refusal names the first one as written: put the one with the least power there.
    #[must_use]
    pub fn any_of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self::from_groups(vec![Alternatives::of(scopes.into_iter().collect())])
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
    pub fn alternatives(&self) -> impl ExactSizeIterator<Item = &ScopeSet> {
        self.0.as_slice().iter().map(|group| &group.scopes)
    }

    /// Every scope that is named.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.alternatives().flat_map(ScopeSet::iter).cloned().collect()
    }

    /// Scopes that are enough, and none that the others make superfluous: the `scope` of a challenge
    /// (RFC 6750 section 3), which knows no *or*.
    ///
    /// Where alternatives are left, it is the one that was written first. Without a scope if nothing is
    /// required, or if nothing would be enough.
    #[must_use]
    pub fn sufficient(&self) -> ScopeSet {
        let groups = self.0.as_slice();
        if groups.iter().any(|group| group.scopes.is_empty()) {
            return ScopeSet::empty();
        }
        // First those without a choice: they may be among the alternatives of others.
        let mut enough: Vec<&Scope> = Vec::new();
        for is_choice in [false, true] {
            for group in groups.iter().filter(|group| (group.scopes.iter().len() > 1) == is_choice) {
                if !group.scopes.iter().any(|scope| enough.contains(&scope)) {
                    enough.extend(group.scopes.iter().nth(group.first));
                }
            }
        }
        enough.into_iter().cloned().collect()
    }

    /// Whether of each group of alternatives one scope is allowed.
    pub(crate) fn is_met_by(&self, allows: impl Fn(&Scope) -> bool) -> bool {
        self.alternatives().all(|any_of| any_of.iter().any(&allows))
    }

    fn from_groups(groups: Vec<Alternatives>) -> Self {
        Self(groups.into())
    }
}

impl Alternatives {
    fn of(written: Vec<Scope>) -> Self {
        let first = written.first().cloned();
        let scopes = ScopeSet::from_iter(written);
        let first = first.and_then(|first| scopes.iter().position(|scope| *scope == first)).unwrap_or_default();
        Self { scopes, first }
    }
}

/// Which one was written first makes no difference to what is required.
impl PartialEq for Alternatives {
    fn eq(&self, other: &Self) -> bool {
        self.scopes == other.scopes
    }
}

impl Eq for Alternatives {}

impl From<Scope> for Requirement {
    fn from(scope: Scope) -> Self {
        let scopes = ScopeSet::from(scope);
        Self(Few::One(Alternatives { scopes, first: 0 }))
    }
}

/// Every scope of the set.
impl From<ScopeSet> for Requirement {
    fn from(scopes: ScopeSet) -> Self {
        Self::all_of(scopes)
    }
}

/// Every one of the scopes.
impl<const N: usize> From<[Scope; N]> for Requirement {
    fn from(scopes: [Scope; N]) -> Self {
        Self::all_of(scopes)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.alternatives()).finish()
    }
}
