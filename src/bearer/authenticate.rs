//! The question under bearer auth: what does a request present, and is it good?

use std::{fmt, sync::Arc};

use super::{Head, HeadMut, Place, authorization, place};
use crate::{
    Denied, Identity,
    revoke::{Registry, Revision},
    verify::{BearerToken, CredentialKey, KeptToken, Verification, VerifyError, VerifyToken},
};

/// What a request presents, and whether that is good: two questions, asked apart.
///
/// 1. [`present`](Self::present) takes the credential from the request's head, once.
/// 2. [`verify`](Self::verify) can then be called again at any time, without the request. That split is
///    what lets a stream be checked again after its request is long gone.
/// 3. [`conclude`](Self::conclude) is given the door's verdict, once.
///
/// [`Bearer`] is the implementation for bearer tokens. Write your own for another kind of
/// credential (an identity header from a trusted proxy, a client certificate, nothing at all) and
/// hand it to [`AuthLayer::from_authenticator`](super::AuthLayer::from_authenticator). References, boxes
/// and [`Arc`]s of authenticators are authenticators.
pub trait Authenticate: Send + Sync + 'static {
    /// What a request presents: cheap to clone.
    type Credential: Clone + Send + Sync + 'static;

    /// Takes the credential from the head of a request.
    ///
    /// # Errors
    ///
    /// [`Denied::Missing`] when there is none, [`Denied::Malformed`] when it cannot be read. Any other
    /// reason is answered by the status of [`Denied`]'s table: 401 `Rejected`, 429 `LockedOut`, 503
    /// `Unavailable`, say. A [`VerifyError`] is one by [`Into`].
    fn present(&self, head: Head<'_>) -> Result<Self::Credential, Denied>;

    /// Takes what [`present`](Self::present) has read, or would have, out of a request that goes on or is
    /// refused, where logs and whoever stands further in should not see it: a token in the target, say. Called
    /// once for each request, after the credential was read and before anything is made of the answer. That
    /// `Authorization` headers are sensitive is marked by the door. Default: nothing.
    fn conceal(&self, head: &mut HeadMut<'_>) {
        let _ = head;
    }

    /// Verifies a credential.
    fn verify(&self, credential: &Self::Credential) -> Verification;

    /// Verifies a credential that was let in before, for a stream that is still open. The same
    /// question, unless its answer hangs on more than at the door: on a lock that began since, say.
    fn verify_again(&self, credential: &Self::Credential) -> Verification {
        self.verify(credential)
    }

    /// Whether equal questions that are asked together are one question already: see
    /// [`VerifyToken::coalesces`].
    fn coalesces(&self) -> bool {
        false
    }

    /// Is given the door's whole verdict on a credential that a request presented, once for each request:
    /// the answer of [`verify`](Self::verify), after expiry and revocations were looked at. A verifier
    /// that did not answer in time could not tell. Where the verifier panicked there is no verdict.
    ///
    /// What it returns is what holds: a limiter counts here, and answers that a caller is locked out by
    /// now in place of a verdict that they are not to learn.
    ///
    /// # Errors
    ///
    /// Why the request is refused.
    fn conclude(
        &self,
        credential: &Self::Credential,
        verdict: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        let _ = credential;
        verdict
    }

    /// What moves whenever an earlier answer may have changed, if that can be told.
    fn revision(&self) -> Option<&Revision> {
        None
    }

    /// What tells the credential from others, if anything does. Requests that arrive together with equal
    /// keys share one check, as streams do, and a revision that moves for one credential wakes its streams
    /// alone. Without a key a stream is checked for itself, at every move.
    ///
    /// Two credentials may have the same key only if [`verify`](Self::verify) and
    /// [`verify_again`](Self::verify_again) answer the same for both.
    fn key(&self, credential: &Self::Credential) -> Option<CredentialKey> {
        let _ = credential;
        None
    }

    /// The same credential without a hold on the request's buffers: what a stream keeps.
    fn detach(&self, credential: &Self::Credential) -> Self::Credential {
        credential.clone()
    }
}

macro_rules! through_a_pointer {
    ($($pointer:ty),+) => {$(
        impl<A: Authenticate + ?Sized> Authenticate for $pointer {
            type Credential = A::Credential;

            fn present(&self, head: Head<'_>) -> Result<Self::Credential, Denied> {
                (**self).present(head)
            }

            fn conceal(&self, head: &mut HeadMut<'_>) {
                (**self).conceal(head);
            }

            fn verify(&self, credential: &Self::Credential) -> Verification {
                (**self).verify(credential)
            }

            fn verify_again(&self, credential: &Self::Credential) -> Verification {
                (**self).verify_again(credential)
            }

            fn coalesces(&self) -> bool {
                (**self).coalesces()
            }

            fn conclude(
                &self,
                credential: &Self::Credential,
                verdict: Result<Identity, VerifyError>,
            ) -> Result<Identity, VerifyError> {
                (**self).conclude(credential, verdict)
            }

            fn revision(&self) -> Option<&Revision> {
                (**self).revision()
            }

            fn key(&self, credential: &Self::Credential) -> Option<CredentialKey> {
                (**self).key(credential)
            }

            fn detach(&self, credential: &Self::Credential) -> Self::Credential {
                (**self).detach(credential)
            }
        }
    )+};
}

through_a_pointer!(&'static A, Box<A>, Arc<A>);

/// Bearer tokens: of the `Authorization` header (RFC 6750 section 2.1), or of other [places](Place).
#[derive(Clone)]
pub struct Bearer {
    verifier: Arc<dyn VerifyToken>,
    syntax: TokenSyntax,
    /// `None` for the `Authorization` header alone.
    places: Option<Arc<[Place]>>,
    /// The tokens of open streams.
    kept: Arc<Registry<KeptToken>>,
}

/// Which texts are taken for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenSyntax {
    /// The `b64token` of RFC 6750 section 2.1: letters, digits, `-._~+/` and `=` at the end.
    #[default]
    B64Token,
    /// Whatever a header can hold, without the white space around it: for servers whose passwords
    /// are arbitrary text.
    Opaque,
}

impl Bearer {
    /// Bearer tokens that `verifier` knows.
    #[must_use]
    pub fn new(verifier: impl VerifyToken) -> Self {
        Self { verifier: Arc::new(verifier), syntax: TokenSyntax::default(), places: None, kept: Arc::default() }
    }

    /// Takes tokens of another syntax than RFC 6750's.
    #[must_use]
    pub fn with_syntax(mut self, syntax: TokenSyntax) -> Self {
        self.syntax = syntax;
        self
    }

    /// Looks for tokens in these places, in this order, in place of the `Authorization` header alone. All are
    /// looked at whatever is found, and two tokens are malformed: so the order changes no answer, and a place
    /// that stands there twice is one place.
    #[must_use]
    pub fn with_places(mut self, places: impl IntoIterator<Item = Place>) -> Self {
        let mut chain: Vec<Place> = Vec::new();
        for place in places {
            if !chain.contains(&place) {
                chain.push(place);
            }
        }
        self.places = Some(chain.into());
        self
    }
}

impl Authenticate for Bearer {
    type Credential = BearerToken;

    fn present(&self, head: Head<'_>) -> Result<BearerToken, Denied> {
        match &self.places {
            None => authorization::read(head.headers(), self.syntax),
            Some(places) => place::read(places, head, self.syntax),
        }
    }

    fn conceal(&self, head: &mut HeadMut<'_>) {
        if let Some(places) = &self.places {
            place::conceal(places, head, self.syntax);
        }
    }

    fn verify(&self, token: &BearerToken) -> Verification {
        self.verifier.verify(token)
    }

    fn verify_again(&self, token: &BearerToken) -> Verification {
        self.verifier.verify_again(token)
    }

    fn coalesces(&self) -> bool {
        self.verifier.coalesces()
    }

    fn revision(&self) -> Option<&Revision> {
        self.verifier.revision()
    }

    fn key(&self, token: &BearerToken) -> Option<CredentialKey> {
        Some(CredentialKey::new(token.digest()))
    }

    fn detach(&self, token: &BearerToken) -> BearerToken {
        token.keep(&self.kept)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("syntax", &self.syntax).field("places", &self.places).finish_non_exhaustive()
    }
}

impl TokenSyntax {
    /// Whether a byte between the scheme, with the space that ends it, and the token belongs to neither.
    pub(super) fn separates(self, byte: u8) -> bool {
        match self {
            Self::B64Token => byte == b' ',
            Self::Opaque => matches!(byte, b' ' | b'\t'),
        }
    }

    pub(super) fn matches(self, token: &[u8]) -> bool {
        match self {
            Self::B64Token => {
                let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
                let body = &token[..token.len() - padding];
                // None is passed over, whatever the others are, so that several are looked at together.
                !body.is_empty() && body.iter().fold(true, |all, &b| all & is_b64token_char(b))
            }
            Self::Opaque => !token.is_empty(),
        }
    }
}

fn is_b64token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}
