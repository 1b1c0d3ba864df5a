//! The token of the query's `access_token` (RFC 6750 section 2.3).

use http::Uri;

use super::{
    HeadMut, TokenSyntax,
    place::{unescape, unescaped},
};
use crate::{Denied, verify::BearerToken};

/// Reads the query's parameters, as a form is written: joined by `&`, percent-encoded. A `+` is what it looks
/// like in the syntax of RFC 6750, which has no spaces, and a space where a token is arbitrary text.
pub(super) fn read(uri: &Uri, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    let mut values = parameters(uri.query().unwrap_or_default()).filter_map(token_of);
    let value = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Malformed);
    }
    let space = match syntax {
        TokenSyntax::B64Token => None,
        TokenSyntax::Opaque => Some(b'+'),
    };
    unescaped(value.as_bytes(), space, syntax)
}

/// Takes every `access_token` out of the target, and out of the copy that axum keeps of it. Whether there was
/// one.
pub(super) fn conceal(head: &mut HeadMut<'_>) -> bool {
    let is_here = remove(head.uri_mut());
    #[cfg(feature = "axum")]
    if let Some(::axum::extract::OriginalUri(uri)) = head.extensions_mut().get_mut() {
        return remove(uri) || is_here;
    }
    is_here
}

fn remove(uri: &mut Uri) -> bool {
    let Some(query) = uri.query() else { return false };
    if !parameters(query).any(|parameter| token_of(parameter).is_some()) {
        return false;
    }
    let kept: Vec<_> = parameters(query).filter(|parameter| token_of(parameter).is_none()).collect();
    let separator = if kept.is_empty() { "" } else { "?" };
    let target = format!("{}{separator}{}", uri.path(), kept.join("&"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = target.try_into().ok();
    // Parts of a target, less a part of its query, are those of a target. If they were not, nothing of it stays.
    *uri = Uri::from_parts(parts).unwrap_or_default();
    true
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&')
}

/// The value of a parameter by the name of `access_token`, in whichever way that name is written.
fn token_of(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    unescape(name.as_bytes(), None).eq(b"access_token".iter().copied().map(Some)).then_some(value)
}
