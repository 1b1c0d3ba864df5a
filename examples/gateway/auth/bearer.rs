//! The `Authorization` header, as OpenClaw reads it.
//!
//! Header bytes are Latin-1 text. White space is JavaScript's, within Latin-1.
//!
//! 1. No header, or a blank one: no credential.
//! 2. Two headers: refused. (Here we differ: Node would take the first.)
//! 3. Without the white space around it, the value must begin with `bearer`, in any case, and exactly
//!    one space; else there is no credential.
//! 4. The rest, without the white space around it, is the credential; if it is empty there is none.

use std::ops::Range;

use http::{HeaderMap, header::AUTHORIZATION};
use tower_reauth::{
    Denied, VerifyToken,
    bearer::{Authenticate, Bearer, Head, HeadMut},
    revoke::Revision,
    verify::{BearerToken, CredentialKey, Verification},
};

const SCHEME: &[u8] = b"bearer ";

/// Bearer tokens by OpenClaw's grammar.
///
/// Only `present` is its own. All else is forwarded: without `revision` a revocation would not wake an idle
/// stream, and without `verify_again` a recheck would count as an attempt.
#[derive(Clone, Debug)]
pub struct LenientBearer {
    strict: Bearer,
}

impl LenientBearer {
    /// Bearer tokens that `verifier` knows.
    pub fn new(verifier: impl VerifyToken) -> Self {
        Self { strict: Bearer::new(verifier) }
    }
}

impl Authenticate for LenientBearer {
    type Credential = BearerToken;

    fn present(&self, head: Head<'_>) -> Result<BearerToken, Denied> {
        presented(head.headers())
    }

    fn conceal(&self, head: &mut HeadMut<'_>) {
        self.strict.conceal(head);
    }

    fn verify(&self, token: &BearerToken) -> Verification {
        self.strict.verify(token)
    }

    fn verify_again(&self, token: &BearerToken) -> Verification {
        self.strict.verify_again(token)
    }

    fn revision(&self) -> Option<&Revision> {
        self.strict.revision()
    }

    fn key(&self, token: &BearerToken) -> Option<CredentialKey> {
        self.strict.key(token)
    }

    fn detach(&self, token: &BearerToken) -> BearerToken {
        self.strict.detach(token)
    }
}

/// The token in the `Authorization` header.
pub fn presented(headers: &HeaderMap) -> Result<BearerToken, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Rejected);
    }
    let bytes = value.as_bytes();
    let trimmed = trim(bytes, 0..bytes.len());
    let scheme_end = trimmed.start + SCHEME.len();
    let has_scheme = scheme_end <= trimmed.end && bytes[trimmed.start..scheme_end].eq_ignore_ascii_case(SCHEME);
    let token = has_scheme.then(|| trim(bytes, scheme_end..trimmed.end));
    token.and_then(|token| BearerToken::from_header(value, token)).ok_or(Denied::Missing)
}

/// Takes JavaScript's white space from both ends of a part of Latin-1 text.
fn trim(text: &[u8], part: Range<usize>) -> Range<usize> {
    let is_space = |&byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0);
    let before = text[part.clone()].iter().take_while(|&byte| is_space(byte)).count();
    let start = part.start + before;
    let after = text[start..part.end].iter().rev().take_while(|&byte| is_space(byte)).count();
    start..part.end - after
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token(values: &[&[u8]]) -> Result<Vec<u8>, Denied> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        presented(&headers).map(|token| token.as_bytes().to_vec())
    }

    #[test]
    fn the_scheme_may_be_in_any_case_and_the_token_anything() {
        for (value, expected) in [
            (b"Bearer abc".as_slice(), b"abc".as_slice()),
            (b"bearer abc", b"abc"),
            (b"BEARER abc", b"abc"),
            (b"Bearer  abc", b"abc"),
            (b"Bearer \tabc", b"abc"),
            (b"\xa0 Bearer abc \t\xa0", b"abc"),
            (b"Bearer pass w\xf6rd-1", b"pass w\xf6rd-1"),
            (b"Bearer \"abc\"", b"\"abc\""),
            (b"Bearer Bearer abc", b"Bearer abc"),
        ] {
            assert_eq!(token(&[value]).as_deref(), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn anything_else_is_no_credential() {
        for value in [
            b"".as_slice(),
            b"  ",
            b"Bearer",
            b"Bearer ",
            b"Bearer \xa0",
            b"Bearer\tabc",
            b"Bearer\xa0abc",
            b"Bearerabc",
            b"Basic dGVzdA==",
            b"abc",
        ] {
            assert_eq!(token(&[value]), Err(Denied::Missing), "{value:?}");
        }
        assert_eq!(token(&[]), Err(Denied::Missing));
    }

    #[test]
    fn the_revision_of_the_verifier_is_that_of_the_credential_source() {
        let tokens = tower_reauth::Tokens::new([tower_reauth::verify::Token::new("ci", "t0ken")]).unwrap();
        assert!(tokens.revision().is_some());
        assert!(LenientBearer::new(tokens).revision().is_some());
    }

    #[test]
    fn two_headers_are_refused() {
        assert_eq!(token(&[b"Bearer abc", b"Bearer abc"]), Err(Denied::Rejected));
    }
}
