//! The token of an `Authorization` header.

use http::{HeaderMap, header::AUTHORIZATION};

use super::TokenSyntax;
use crate::{Denied, verify::BearerToken};

/// Reads the `Authorization` header, by these rules in order:
///
/// 1. no header, or another scheme than `Bearer` (in any case): no credential;
/// 2. two headers: malformed, for nobody can say which one was meant;
/// 3. after the scheme at least one space, then a token of the syntax: that is the credential;
/// 4. anything else, and more than [`BearerToken::MAX_LEN`] bytes after the scheme, is malformed.
pub(super) fn read(headers: &HeaderMap, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    // All are passed over: to find one by its name costs more than to look at the names of most requests.
    let mut values = headers.iter().filter(|(name, _)| *name == AUTHORIZATION).map(|(_, value)| value);
    let value = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Malformed);
    }

    let bytes = value.as_bytes();
    let scheme_end = bytes.iter().position(|&b| b == b' ').unwrap_or(bytes.len());
    if !bytes[..scheme_end].eq_ignore_ascii_case(b"bearer") {
        return Err(Denied::Missing);
    }

    if bytes.len() - scheme_end > BearerToken::MAX_LEN + 1 {
        return Err(Denied::Malformed);
    }

    let gap = bytes[scheme_end..].iter().take_while(|&&b| syntax.separates(b)).count();
    let start = scheme_end + gap;
    let token = bytes[start..].trim_ascii_end();
    let is_token = syntax.matches(token);
    let token = is_token.then(|| BearerToken::from_header(value, start..start + token.len())).flatten();
    token.ok_or(Denied::Malformed)
}
