//! Where one server-sent event ends and the next begins.

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
    pub(super) const START: Self = Self { line_is_empty: true, event_is_empty: true, after_cr: false };

    /// Whether a comment or an event may be written here.
    ///
    /// After a lone CR an LF may still come. Written behind what we insert it reads as an empty line,
    /// which between two events means nothing.
    pub(super) fn is_between_events(self) -> bool {
        self.line_is_empty && self.event_is_empty
    }

    /// Takes in the next bytes of the stream. Only the line ends at their end matter.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
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
