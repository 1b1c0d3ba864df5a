//! Which scope implies which.

use std::{iter, sync::Arc};

use super::{Scope, ScopeSet};

/// What implies what: `admin` implies everything, `write` implies `read`.
///
/// Empty by default: each scope then stands for itself alone. Implications are transitive, and may
/// run in a circle.
// The rules are kept closed: what follows from two of them is a rule too. So a question is one pass.
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

impl ScopeHierarchy {
    pub(crate) const NONE: Self = Self(None);

    /// A hierarchy in which nothing implies anything.
    #[must_use]
    pub const fn new() -> Self {
        Self::NONE
    }

    /// One who has `holder` has every scope.
    #[must_use]
    pub fn with_all(self, holder: Scope) -> Self {
        self.with(Rule { holder, implies: Implied::Everything })
    }

    /// One who has `holder` has `implied`, and what that implies.
    #[must_use]
    pub fn with_implied(self, holder: Scope, implied: Scope) -> Self {
        self.with(Rule { holder, implies: Implied::One(implied) })
    }

    /// Whether one who holds `held` has `wanted`.
    #[must_use]
    pub fn implies(&self, held: &Scope, wanted: &Scope) -> bool {
        held == wanted || self.rules().iter().any(|rule| rule.holder == *held && rule.implies.covers(wanted))
    }

    /// Whether one of the scopes `held` is, or implies, `wanted`.
    #[must_use]
    pub fn allows(&self, held: &ScopeSet, wanted: &Scope) -> bool {
        held.contains(wanted)
            || self.rules().iter().any(|rule| rule.implies.covers(wanted) && held.contains(&rule.holder))
    }

    /// Those of `wanted` that one of the scopes `held` is or implies, in time that grows with the sum of
    /// the three lengths and not with their product.
    pub(crate) fn allowed<'w>(&self, held: &ScopeSet, wanted: &'w ScopeSet) -> impl Iterator<Item = &'w Scope> {
        let mut implied = Vec::new();
        let mut everything = false;
        for rule in self.rules().iter().filter(|rule| held.contains(&rule.holder)) {
            match &rule.implies {
                Implied::Everything => everything = true,
                Implied::One(scope) => implied.push(scope.clone()),
            }
        }
        let reach: ScopeSet = held.iter().cloned().chain(implied).collect();
        wanted.iter().filter(move |scope| everything || reach.contains(scope))
    }

    fn with(mut self, rule: Rule) -> Self {
        let rules = Arc::make_mut(self.0.get_or_insert_default());
        let above = rules.iter().filter(|known| known.implies.covers(&rule.holder)).map(|known| &known.holder);
        let holders: Vec<Scope> = iter::once(&rule.holder).chain(above).cloned().collect();
        let below = rules.iter().filter(|known| rule.implies.covers(&known.holder)).map(|known| &known.implies);
        let implied: Vec<Implied> = iter::once(&rule.implies).chain(below).cloned().collect();

        for holder in holders {
            for implies in &implied {
                if !rules.iter().any(|known| known.holder == holder && known.implies.includes(implies)) {
                    rules.push(Rule { holder: holder.clone(), implies: implies.clone() });
                }
            }
        }
        self
    }

    fn rules(&self) -> &[Rule] {
        self.0.as_ref().map_or(&[], |rules| rules)
    }
}

impl Implied {
    fn covers(&self, scope: &Scope) -> bool {
        match self {
            Self::Everything => true,
            Self::One(implied) => implied == scope,
        }
    }

    fn includes(&self, other: &Self) -> bool {
        match other {
            Self::Everything => matches!(self, Self::Everything),
            Self::One(scope) => self.covers(scope),
        }
    }
}
