//! The token that a request presents.

use std::{array, fmt, ops::Range, sync::Arc};

use http::HeaderValue;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::revoke::{Registry, Subscription};

/// The bearer token of a request (RFC 6750 section 2.1), as it was presented: not yet verified.
///
/// `Debug` never shows the text. Clones are cheap.
#[derive(Clone)]
pub struct BearerToken(Text);

#[derive(Clone)]
enum Text {
    /// The whole header value and where the token stands in it: at the door nothing is copied.
    Presented {
        header: HeaderValue,
        range: Range<usize>,
    },
    Kept(Arc<Subscription<KeptToken>>),
}

/// A token that was let in, for as long as streams are asked about it: one copy for all of them.
pub(crate) struct KeptToken {
    text: Zeroizing<Box<[u8]>>,
    digest: TokenDigest,
}

/// The SHA-256 of a token: how tokens are kept, looked up and told apart.
///
/// Comparison is in constant time. The text cannot be had back from it, but a short or common one can
/// be guessed at: a digest is no secret only where the token is random.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl BearerToken {
    /// The longest token that is read, in bytes: 16 KiB.
    pub const MAX_LEN: usize = 16 * 1024;

    /// The token that stands at `range` of a header's value: for an
    /// [`Authenticate`](crate::bearer::Authenticate) that reads headers by rules of its own. `None` if the
    /// range is empty, does not lie within the value or is longer than [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub fn from_header(header: &HeaderValue, range: Range<usize>) -> Option<Self> {
        let token = header.as_bytes().get(range.clone())?;
        let is_one = !token.is_empty() && token.len() <= Self::MAX_LEN;
        is_one.then(|| Self(Text::Presented { header: header.clone(), range }))
    }

    /// The bytes of the token.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Presented { header, range } => &header.as_bytes()[range.clone()],
            Text::Kept(kept) => &kept.text,
        }
    }

    /// The token as text. Always there under [`TokenSyntax::B64Token`](crate::bearer::TokenSyntax::B64Token);
    /// `None` when arbitrary bytes are let in and these are not UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// The SHA-256 of the token.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        match &self.0 {
            Text::Presented { .. } => TokenDigest::of(self.as_bytes()),
            Text::Kept(kept) => kept.digest,
        }
    }

    /// The same token in memory of its own, which is shared by all who keep it `among` the same. A
    /// header value that hyper parsed keeps the connection's whole read buffer alive, which is too much
    /// to hold on to for as long as a response streams.
    pub(crate) fn keep(&self, among: &Arc<Registry<KeptToken>>) -> Self {
        match &self.0 {
            Text::Kept(_) => self.clone(),
            Text::Presented { .. } => {
                let digest = self.digest();
                let kept = || KeptToken { text: Zeroizing::new(self.as_bytes().into()), digest };
                Self(Text::Kept(Arc::new(among.subscribe(digest, kept))))
            }
        }
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

impl TokenDigest {
    /// The digest of a token's bytes.
    #[must_use]
    pub fn of(token: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(token.as_ref()).into())
    }

    /// A digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The 32 bytes of the SHA-256.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    // Compared by the word: in constant time, each step of a comparison costs the same.
    pub(super) fn words(&self) -> [u64; 4] {
        array::from_fn(|word| u64::from_ne_bytes(array::from_fn(|byte| self.0[word * 8 + byte])))
    }

    pub(super) fn from_words(words: [u64; 4]) -> Self {
        let bytes = words.map(u64::to_ne_bytes);
        Self(array::from_fn(|byte| bytes[byte / 8][byte % 8]))
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.words()[..], &other.words()[..]).into()
    }
}

impl Eq for TokenDigest {}

impl std::hash::Hash for TokenDigest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

// A digest of a short password can be guessed at, so it stays out of logs too.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(redacted)")
    }
}
