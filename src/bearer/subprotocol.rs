//! The token of a WebSocket's subprotocol.

use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};

use super::{TokenSyntax, place::unescaped};
use crate::{Denied, verify::BearerToken};

/// Reads the subprotocols that are offered, all headers as one list (RFC 6455 section 11.3.4). What stands
/// behind the prefix is percent-encoded, for a subprotocol has no `/` and no `=`.
pub(super) fn read(headers: &HeaderMap, prefix: &str, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut tokens = values.flat_map(offered).filter_map(|protocol| protocol.strip_prefix(prefix.as_bytes()));
    let token = tokens.next().ok_or(Denied::Missing)?;
    if tokens.next().is_some() {
        return Err(Denied::Malformed);
    }
    unescaped(token, None, syntax)
}

/// Leaves those that are no tokens, so that none is chosen and sent back. Whether there was one.
pub(super) fn conceal(headers: &mut HeaderMap, prefix: &str) -> bool {
    let is_token = |protocol: &[u8]| protocol.starts_with(prefix.as_bytes());
    if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().flat_map(offered).any(is_token) {
        return false;
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let kept: Vec<_> = values.flat_map(offered).filter(|protocol| !is_token(protocol)).collect();
    match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
        Ok(kept) if !kept.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, kept),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
    true
}

fn offered(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|protocol| !protocol.is_empty())
}
