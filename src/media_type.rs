//! What a `Content-Type` says, without its parameters.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

/// The type and subtype of a message (RFC 9110 section 8.3.1), in whatever case they are; empty where it has none.
pub(crate) fn of(headers: &HeaderMap) -> &[u8] {
    headers.get(CONTENT_TYPE).map_or(&[], essence)
}

/// The type and subtype of a content type.
pub(crate) fn essence(content_type: &HeaderValue) -> &[u8] {
    content_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}
