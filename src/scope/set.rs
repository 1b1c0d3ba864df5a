//! Scope tokens and sets of them.

use std::{
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use super::few::Few;

/// One scope-token of RFC 6749 section 3.3: printable ASCII without space, `"` and `\`.
///
/// Scopes are compared byte for byte: they are case-sensitive and have no structure of their own.
#[derive(Clone)]
pub struct Scope(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

/// A set of scopes. Clones share one allocation; a set of up to one scope has none.
#[derive(Clone, Default)]
pub struct ScopeSet(Few<Scope>);

/// A text that is not a scope-token of RFC 6749 section 3.3.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidScope;

impl Scope {
    /// A scope that is known when the program is compiled, usable in a `const`.
    ///
    /// # Panics
    ///
    /// If the text is not a scope-token; in a `const`, that is an error of the compiler's.
    #[must_use]
    pub const fn from_static(token: &'static str) -> Self {
        assert!(is_scope_token(token.as_bytes()), "not a scope-token of RFC 6749 section 3.3");
        Self(Text::Static(token))
    }

    /// The scope-token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(token) => token,
            Text::Shared(token) => token,
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(token: &str) -> Result<Self, InvalidScope> {
        if is_scope_token(token.as_bytes()) { Ok(Self(Text::Shared(token.into()))) } else { Err(InvalidScope) }
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`
const fn is_scope_token(token: &[u8]) -> bool {
    let mut i = 0;
    while i < token.len() {
        if !matches!(token[i], 0x21 | 0x23..=0x5B | 0x5D..=0x7E) {
            return false;
        }
        i += 1;
    }
    !token.is_empty()
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Scope {}

impl PartialOrd for Scope {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scope {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl ScopeSet {
    /// The empty set.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Few::None)
    }

    /// The scopes, in byte order, each once.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Scope> {
        self.as_slice().iter()
    }

    /// Whether the very scope is in the set; what implies what is for a
    /// [`ScopeHierarchy`](super::ScopeHierarchy) to say.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        /// Of so many, most differ from it in length, and are passed over before a search in their order is under way.
        const FEW: usize = 8;

        let scopes = self.as_slice();
        if scopes.len() <= FEW { scopes.contains(scope) } else { scopes.binary_search(scope).is_ok() }
    }

    /// Whether there is nothing in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn as_slice(&self) -> &[Scope] {
        self.0.as_slice()
    }
}

/// The scopes, in byte order, each once.
impl IntoIterator for ScopeSet {
    type Item = Scope;
    type IntoIter = std::vec::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl PartialEq for ScopeSet {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ScopeSet {}

impl Hash for ScopeSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }
}

impl From<Scope> for ScopeSet {
    fn from(scope: Scope) -> Self {
        Self(Few::One(scope))
    }
}

impl<const N: usize> From<[Scope; N]> for ScopeSet {
    fn from(scopes: [Scope; N]) -> Self {
        scopes.into_iter().collect()
    }
}

/// Reads the `scope` parameter of RFC 6749 section 3.3: scope-tokens with spaces between them.
impl FromStr for ScopeSet {
    type Err = InvalidScope;

    fn from_str(scopes: &str) -> Result<Self, InvalidScope> {
        scopes.split(' ').filter(|token| !token.is_empty()).map(Scope::from_str).collect()
    }
}

/// Writes the `scope` parameter of RFC 6749 section 3.3.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scope is printable ASCII without space, quote and backslash (RFC 6749 section 3.3)")
    }
}

impl Error for InvalidScope {}
