//! Many tokens, each with a name, a subject, scopes and an expiry.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt,
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;

use super::{BearerToken, InvalidSecret, TokenDigest, Verification, VerifyError, VerifyToken};
use crate::{
    AuthMethod, Identity, ScopeSet,
    revoke::{Keeper, Revision, Revocation, Revocations},
    unwind::contained,
};

/// Many tokens, looked up by their SHA-256 digests; the whole set is swapped at run time.
///
/// Clones are handles on the same set: keep one to [`replace`](Self::replace) it. A replacement that
/// leaves out a token ends the streams of that token and of no other; one that narrows it ends those
/// that required what it lost.
///
/// # On several nodes
///
/// Each node is given its own set, and what one drops is to be gone on all:
///
/// ```
/// use tower_reauth::{BearerAuthLayer, Tokens, revoke::{Revocations, shared::RevocationLog}, verify::Token};
///
/// # fn layer(log: impl RevocationLog) -> Result<BearerAuthLayer, tower_reauth::verify::DuplicateToken> {
/// let node = Revocations::shared(log);
/// let revocations = node.revocations();
/// tokio::spawn(node.run());
///
/// let tokens = Tokens::new([Token::new("ci", "a secret of today")])?.with_revocations(&revocations);
/// let auth = BearerAuthLayer::new(tokens.clone()).with_revocations(&revocations);
///
/// // Refused on every node from now on, whatever the others' sets say.
/// tokens.replace([Token::new("ci", "a secret of tomorrow")])?;
/// # Ok(auth)
/// # }
/// ```
///
/// A log takes away and gives nothing: a new token is brought to each node as the old one was. Whoever can write to
/// the log can have a good token refused, and undo that, and cannot have one let in that is in no set.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: ArcSwap<HashMap<TokenDigest, Identity>>,
    revision: Revision,
    /// Where what is dropped is revoked.
    revocations: ArcSwap<Vec<Revocations>>,
}

/// One token of a set.
#[derive(Clone)]
pub struct Token {
    digest: TokenDigest,
    identity: Identity,
}

/// Two tokens of a set have the same id, or the same secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateToken {
    /// The id of the second one.
    pub id: String,
}

impl Tokens {
    /// The set of `tokens`.
    ///
    /// # Errors
    ///
    /// If two of them have the same id or the same secret.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Result<Self, DuplicateToken> {
        let set = Self::default();
        set.replace(tokens)?;
        Ok(set)
    }

    /// Revokes by `revocations` each token that a later [`replace`](Self::replace) drops, also one that only gets another
    /// secret: until its expiry, or for ever if it has none. It is the same for all handles. Called again, it adds to what
    /// it was called with before.
    ///
    /// The layer is what refuses by them, so it is [handed](crate::bearer::AuthLayer::with_revocations) the same. A token
    /// that is revoked stays so though a set has it: on the other nodes, and on one that starts with an old set. A
    /// `replace` that *adds* it gives it back, on all nodes whose sets have it.
    ///
    /// Only what is dropped is shared. That a token is narrower or expires sooner by now holds on this node alone.
    #[must_use]
    pub fn with_revocations(self, revocations: &Revocations) -> Self {
        self.0.revocations.rcu(|known| known.iter().chain([revocations]).cloned().collect::<Vec<_>>());
        revocations.tell(&self.0);
        for revocation in revocations.list() {
            if let Revocation::Token { digest, until } = revocation {
                self.0.insist(revocations, digest, until);
            }
        }
        self
    }

    /// Accepts `tokens` from now on and no others.
    ///
    /// # Errors
    ///
    /// If two of them have the same id or the same secret; the set then stays as it was.
    pub fn replace(&self, tokens: impl IntoIterator<Item = Token>) -> Result<(), DuplicateToken> {
        let mut known = HashMap::new();
        let mut ids = HashSet::new();
        let old = self.0.known.load();
        for Token { digest, identity } in tokens {
            let id = identity.credential_id().unwrap_or_default().to_owned();
            // What has not changed stays in memory where it is.
            let identity = old.get(&digest).filter(|old| old.is_same_as(&identity)).cloned().unwrap_or(identity);
            if !ids.insert(id.clone()) || known.insert(digest, identity).is_some() {
                return Err(DuplicateToken { id });
            }
        }
        let new = Arc::new(known);
        // First the set, then the revision: one who sees the new revision sees the new set.
        let old = self.0.known.swap(Arc::clone(&new));
        self.0.share(&old, &new);
        self.0.revision.bump_for(changed(&old, &new));
        Ok(())
    }
}

impl Shared {
    /// Revokes what is dropped, and gives back what is added.
    fn share(&self, old: &HashMap<TokenDigest, Identity>, new: &HashMap<TokenDigest, Identity>) {
        for revocations in &**self.revocations.load() {
            for (digest, identity) in old.iter().filter(|(digest, _)| !new.contains_key(*digest)) {
                self.settle(revocations, *digest, identity.expires_at());
            }
            for (digest, identity) in new.iter().filter(|(digest, _)| !old.contains_key(*digest)) {
                self.settle(revocations, *digest, identity.expires_at());
            }
        }
    }

    /// Has a token revoked or not, as the set of now has it: another replacement may be under way, and whichever of the two
    /// is the last to look leaves it right.
    fn settle(&self, revocations: &Revocations, digest: TokenDigest, expires_at: Option<SystemTime>) {
        let is_known = || self.known.load().contains_key(&digest);
        // They read the clock, which may be a user's own, and the set is replaced already.
        let is_revoked = || contained(|| revocations.is_token_revoked(digest)).unwrap_or(true);
        loop {
            let was_known = is_known();
            match expires_at {
                _ if was_known && !is_revoked() => {}
                _ if was_known => _ = contained(|| revocations.forget_token(digest)),
                Some(expires_at) => revocations.revoke_token_until(digest, expires_at),
                None => revocations.revoke_token(digest),
            }
            if is_known() == was_known {
                return;
            }
        }
    }

    /// Another node may know an earlier expiry of a token, and its revocation would end by that.
    fn insist(&self, revocations: &Revocations, token: TokenDigest, until: Option<SystemTime>) {
        let expires_at = self.known.load().get(&token).map(Identity::expires_at);
        match (expires_at, until) {
            (None, _) | (_, None) => {}
            (Some(Some(expires_at)), Some(until)) if expires_at <= until => {}
            (Some(Some(expires_at)), _) => revocations.revoke_token_until(token, expires_at),
            (Some(None), _) => revocations.revoke_token(token),
        }
    }
}

impl Keeper for Shared {
    fn revoked(&self, token: TokenDigest, until: Option<SystemTime>) {
        for revocations in &**self.revocations.load() {
            self.insist(revocations, token, until);
        }
    }

    fn void(&self, _: Option<TokenDigest>) {}
}

/// The tokens that one set has and the other has not, or not with the same identity.
fn changed(old: &HashMap<TokenDigest, Identity>, new: &HashMap<TokenDigest, Identity>) -> Vec<TokenDigest> {
    let is_same = |digest, identity: &Identity| new.get(digest).is_some_and(|new| new.is_same_as(identity));
    let gone = old.iter().filter(|(digest, identity)| !is_same(*digest, identity)).map(|(digest, _)| *digest);
    let added = new.keys().filter(|digest| !old.contains_key(*digest)).copied();
    gone.chain(added).collect()
}

impl VerifyToken for Tokens {
    // Looking up a digest gives nothing away in its timing: one who could choose a digest's prefix could
    // invert SHA-256.
    fn verify(&self, token: &BearerToken) -> Verification {
        let digest = token.digest();
        match self.0.known.load().get(&digest) {
            Some(identity) => Ok(identity.clone()).into(),
            None if self.0.revocations.load().iter().any(|revocations| revocations.is_token_revoked(digest)) => {
                Err(VerifyError::Revoked).into()
            }
            None => Err(VerifyError::Rejected).into(),
        }
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0.revision)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("identities", &self.0.known.load().values()).finish_non_exhaustive()
    }
}

impl Token {
    /// A token with this text. Without more it has no scopes, its id is its subject, and it never
    /// expires.
    ///
    /// # Panics
    ///
    /// If nobody could ever present the text. Where it comes from a user, see
    /// [`try_new`](Self::try_new).
    #[must_use]
    #[track_caller]
    pub fn new(id: &str, secret: impl AsRef<[u8]>) -> Self {
        Self::try_new(id, secret).unwrap_or_else(|error| panic!("the token `{id}`: {error}"))
    }

    /// As [`new`](Self::new), for a text that comes from a user.
    ///
    /// # Errors
    ///
    /// If nobody could ever present the text.
    pub fn try_new(id: &str, secret: impl AsRef<[u8]>) -> Result<Self, InvalidSecret> {
        InvalidSecret::check(secret.as_ref())?;
        Ok(Self::from_digest(id, TokenDigest::of(secret)))
    }

    /// A token whose text nobody needs to know here.
    #[must_use]
    pub fn from_digest(id: &str, digest: TokenDigest) -> Self {
        let identity = Identity::new(id, AuthMethod::Token).with_credential_id(id).with_scopes(ScopeSet::empty());
        Self { digest, identity }
    }

    /// Whose token it is, within the [issuer](Self::with_issuer) if there is one.
    #[must_use]
    pub fn with_subject(mut self, subject: &str) -> Self {
        self.identity = self.identity.with_subject(subject);
        self
    }

    /// Who issued it.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.identity = self.identity.with_issuer(issuer);
        self
    }

    /// What it was issued for.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl Into<ScopeSet>) -> Self {
        self.identity = self.identity.with_scopes(scopes);
        self
    }

    /// The moment from which on it is no longer good, in wall-clock time.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: SystemTime) -> Self {
        self.identity = self.identity.with_expires_at(expires_at);
        self
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl fmt::Display for DuplicateToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token `{}` has the id or the secret of another one", self.id)
    }
}

impl Error for DuplicateToken {}
