//! A set of public keys, looked up by their ids.

use std::{error::Error, fmt};

use super::{Algorithm, Crypto, UnusableKey, key::Key};
use crate::claims;

/// A set of public keys: a JWK Set (RFC 7517 section 5).
///
/// 1. A key whose type is unknown, which lacks what it must have or is for something else is left out, and the
///    others are used: [`skipped`](Self::skipped) says which and why.
/// 2. A key is for one algorithm: that of its `alg`; without one, that of its curve, and of an RSA key RS256,
///    unless it is said otherwise.
/// 3. A token names its key by `kid`. One that names none is checked with the one key of its algorithm, if there
///    is but one.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
}

/// A key of a set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedKey {
    /// Where it stands in the array `keys`, from zero.
    pub index: usize,
    /// Its `kid`.
    pub id: Option<String>,
    /// Why it is not used.
    pub reason: UnusableKey,
}

/// Why a text is no set of keys.
#[derive(Debug)]
#[non_exhaustive]
pub enum InvalidKeySet {
    /// It is no JSON object, or a name occurs twice in one.
    Json(serde_json::Error),
    /// It has no array `keys`.
    NoKeys,
    /// None of its keys can be used: the first one, and why.
    NoUsableKey(Option<SkippedKey>),
    /// No cryptography is compiled in: neither the feature `jwt` nor `jwt-aws-lc-rs` is on.
    NoCrypto,
}

impl KeySet {
    /// Reads a JWK Set.
    ///
    /// # Errors
    ///
    /// If the text is none, or there is no key in it that can be used.
    pub fn from_json(text: impl AsRef<[u8]>) -> Result<Self, InvalidKeySet> {
        let crypto = Crypto::compiled_in().ok_or(InvalidKeySet::NoCrypto)?;
        Self::from_json_with(text, Algorithm::RS256, crypto)
    }

    /// The same, with the algorithm of those RSA keys that name none, and whose code checks signatures.
    ///
    /// # Errors
    ///
    /// If the text is none, or there is no key in it that can be used.
    pub fn from_json_with(text: impl AsRef<[u8]>, rsa: Algorithm, crypto: Crypto) -> Result<Self, InvalidKeySet> {
        let set = Self::read(text.as_ref(), rsa, crypto)?;
        if set.keys.is_empty() { Err(InvalidKeySet::NoUsableKey(set.skipped.into_iter().next())) } else { Ok(set) }
    }

    /// The same, for a set that may have no key to use: its owner may have withdrawn each, for none or for keys of
    /// other kinds. One with a key that is broken, and none to use, is an error.
    pub(crate) fn read(text: &[u8], rsa: Algorithm, crypto: Crypto) -> Result<Self, InvalidKeySet> {
        let members = claims::object(text).map_err(InvalidKeySet::Json)?;
        let listed = members.get("keys").and_then(|keys| keys.as_array()).ok_or(InvalidKeySet::NoKeys)?;
        let mut set = Self { keys: Vec::new(), skipped: Vec::new() };
        for (index, jwk) in listed.iter().enumerate() {
            match Key::from_jwk(jwk, rsa, crypto) {
                Ok(key) => set.keys.push(key),
                Err(reason) => {
                    let id = jwk.get("kid").and_then(|id| id.as_str()).map(str::to_owned);
                    set.skipped.push(SkippedKey { index, id, reason });
                }
            }
        }
        // Stable, so that of two keys with one id the first one stays in front.
        set.keys.sort_by(|one, other| one.id.cmp(&other.id));
        if set.keys.is_empty() {
            if let Some(broken) = set.skipped.iter().find(|skipped| skipped.reason.is_broken()) {
                return Err(InvalidKeySet::NoUsableKey(Some(broken.clone())));
            }
        }
        Ok(set)
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that are not used.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The key that a token is to be checked with.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let Some(id) = id else {
            let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Found::Key(only),
                _ => Found::Nothing,
            };
        };
        let start = self.keys.partition_point(|key| key.id.as_deref() < Some(id));
        let mut named = self.keys[start..].iter().take_while(|key| key.id.as_deref() == Some(id)).peekable();
        if named.peek().is_none() {
            return Found::Nothing;
        }
        // Two types of key may have one id (RFC 7517 section 4.5).
        named.find(|key| key.algorithm == algorithm).map_or(Found::OtherAlgorithm, Found::Key)
    }

    /// Whether each key of `other` is in this set as well, with the same id.
    #[cfg(feature = "jwks")]
    pub(crate) fn contains(&self, other: &Self) -> bool {
        let is_here = |key: &Key| self.keys.iter().any(|own| own.digest == key.digest && own.id == key.id);
        other.keys.iter().all(is_here)
    }
}

/// What a set has for a token.
pub(super) enum Found<'a> {
    Key(&'a Key),
    /// A key of that id, and for no token that is signed like this one.
    OtherAlgorithm,
    Nothing,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (&key.id, key.algorithm));
        f.debug_list().entries(keys).finish()
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}]", self.index)?;
        if let Some(id) = &self.id {
            write!(f, " ({id:?})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for InvalidKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the key set is not read: {error}"),
            Self::NoKeys => f.write_str("the key set has no array `keys`"),
            Self::NoUsableKey(None) => f.write_str("the key set is empty"),
            Self::NoUsableKey(Some(first)) => write!(f, "no key of the set can be used; {first}"),
            Self::NoCrypto => {
                f.write_str("no cryptography is compiled in: switch on the feature `jwt` or `jwt-aws-lc-rs`")
            }
        }
    }
}

impl Error for InvalidKeySet {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}
