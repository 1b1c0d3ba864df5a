//! What the bytes of a response are, as far as it matters for writing into them.

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

use super::{grpc_messages::Messages, sse::Boundary};
use crate::media_type;

/// The format of a response, and where in it the bytes so far end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// Server-sent events (WHATWG HTML section 9.2).
    Events(Boundary),
    /// gRPC, which ends with trailers.
    Grpc,
    /// gRPC-Web, whose trailers are the last message of the body.
    GrpcWeb(Messages),
    /// gRPC-Web in base64, or encoded as a whole: no message can be written into it.
    GrpcWebOpaque,
    /// Something else.
    Other {
        /// Whether the last byte is no line end.
        is_line_open: bool,
    },
    /// Encoded (RFC 9110 section 8.4): nothing may be written into it.
    Encoded,
}

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        let is_encoded = !headers.get_all(CONTENT_ENCODING).iter().all(is_identity);
        let essence = media_type::of(headers);
        // gRPC names the encoding of its messages behind a plus.
        let family = essence.split(|&byte| byte == b'+').next().unwrap_or_default();
        let is = |family: &[u8], name: &str| family.eq_ignore_ascii_case(name.as_bytes());
        // How gRPC ends is no part of what is encoded.
        if is(family, "application/grpc") {
            Self::Grpc
        } else if is(family, "application/grpc-web") && !is_encoded {
            Self::GrpcWeb(Messages::START)
        } else if is(family, "application/grpc-web") || is(family, "application/grpc-web-text") {
            Self::GrpcWebOpaque
        } else if is_encoded {
            Self::Encoded
        } else if is(essence, "text/event-stream") {
            Self::Events(Boundary::START)
        } else {
            Self::Other { is_line_open: false }
        }
    }

    /// Whether the response stands in the middle of an event.
    pub(super) fn is_mid_event(self) -> bool {
        matches!(self, Self::Events(boundary) if !boundary.is_between_events())
    }

    /// Takes in the next bytes of the response.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        match self {
            Self::Events(boundary) => boundary.advance(bytes),
            Self::GrpcWeb(messages) => messages.advance(bytes),
            Self::Other { is_line_open } => {
                if let Some(last) = bytes.last() {
                    *is_line_open = !matches!(last, b'\n' | b'\r');
                }
            }
            Self::Grpc | Self::GrpcWebOpaque | Self::Encoded => {}
        }
    }
}
