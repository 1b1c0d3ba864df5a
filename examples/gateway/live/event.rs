//! Server-sent events as OpenClaw writes them (WHATWG HTML section 9.2), and the same with an id.

use bytes::Bytes;

/// The first thing on every stream: reconnect after a second.
pub const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// One event. Those who want its id and those who do not get parts of the same bytes.
#[derive(Clone, Debug)]
pub struct Event {
    with_id: Bytes,
    /// Where the line with the id ends.
    id_end: usize,
}

impl Event {
    /// `id` is text on one line without a NUL, and `data` is JSON on one line.
    pub fn new(id: &str, name: &str, data: &[u8]) -> Self {
        let parts: [&[u8]; 8] =
            [b"id: ", id.as_bytes(), b"\n", b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"];
        Self { with_id: parts.concat().into(), id_end: parts[..3].iter().map(|part| part.len()).sum() }
    }

    pub fn len(&self) -> usize {
        self.with_id.len()
    }

    pub fn with_id(&self) -> Bytes {
        self.with_id.clone()
    }

    /// As OpenClaw writes it.
    pub fn without_id(&self) -> Bytes {
        self.with_id.slice(self.id_end..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_with_its_id_and_without() {
        let event = Event::new("7", "message", b"{}");
        assert_eq!(event.with_id(), "id: 7\nevent: message\ndata: {}\n\n");
        assert_eq!(event.without_id(), "event: message\ndata: {}\n\n");
        assert!(event.with_id().as_ptr_range().contains(&event.without_id().as_ptr()));
    }
}
