//! What may be written into a response: where one server-sent event ends and the next begins.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

/// What the bytes of a response are, as far as it matters for writing into them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// Server-sent events (WHATWG HTML section 9.2), and where they stand.
    Events(Boundary),
    /// Something else.
    Other,
    /// Encoded (RFC 9110 section 8.4): nothing may be written into it.
    Encoded,
}

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
            return Self::Encoded;
        }
        let is_event_stream = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.as_bytes().split(|&b| b == b';').next())
            .is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"));
        if is_event_stream { Self::Events(Boundary::START) } else { Self::Other }
    }

    /// Whether the response stands in the middle of an event.
    pub(super) fn is_mid_event(self) -> bool {
        matches!(self, Self::Events(boundary) if !boundary.is_between_events())
    }

    /// Takes in the next bytes of the response.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        if let Self::Events(boundary) = self {
            boundary.advance(bytes);
        }
    }
}

/// Follows the line ends of an event stream, to know whether it stands between two events.
///
/// Lines end with LF, CR or CR LF; an empty line ends an event. All that matters is how the bytes so
/// far end, so the state is two flags and each frame costs its last bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boundary {
    /// Bytes since the last line end: none.
    line_is_empty: bool,
    /// Lines since the last empty one: none.
    event_is_empty: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
}

impl Boundary {
    const START: Self = Self { line_is_empty: true, event_is_empty: true, after_cr: false };

    /// Whether a comment or an event may be written here.
    ///
    /// After a lone CR an LF may still come. Written behind what we insert it reads as an empty line,
    /// which between two events means nothing.
    fn is_between_events(self) -> bool {
        self.line_is_empty && self.event_is_empty
    }

    /// Takes in the next bytes of the stream. Only the line ends at their end matter.
    fn advance(&mut self, bytes: &[u8]) {
        let text_end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map(|last| last + 1);
        if text_end.is_some() {
            *self = Self { line_is_empty: false, event_is_empty: false, after_cr: false };
        }
        for &byte in &bytes[text_end.unwrap_or(0)..] {
            if byte == b'\n' && self.after_cr {
                self.after_cr = false;
            } else {
                self.event_is_empty = self.line_is_empty;
                self.line_is_empty = true;
                self.after_cr = byte == b'\r';
            }
        }
    }
}
