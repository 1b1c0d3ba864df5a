//! Server-sent events as OpenClaw writes them (WHATWG HTML section 9.2), and the same with an id.

use std::sync::{Arc, Weak};

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

/// An event for as long as somebody still sends it.
#[derive(Debug)]
pub struct WeakEvent {
    with_id: Weak<Vec<u8>>,
    id_end: usize,
}

impl Event {
    /// `id` is text on one line without a NUL, and `write` adds JSON on one line.
    pub fn new(id: &str, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (with_id, id_end) = written(id, name, write);
        Self { with_id: with_id.into(), id_end }
    }

    /// The same, and what it can be had by once more.
    pub fn shared(id: &str, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> (Self, WeakEvent) {
        let (with_id, id_end) = written(id, name, write);
        let with_id = Arc::new(with_id);
        let weak = WeakEvent { with_id: Arc::downgrade(&with_id), id_end };
        (Self { with_id: Bytes::from_owner(Shared(with_id)), id_end }, weak)
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

impl WeakEvent {
    pub fn upgrade(&self) -> Option<Event> {
        let with_id = Bytes::from_owner(Shared(self.with_id.upgrade()?));
        Some(Event { with_id, id_end: self.id_end })
    }
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of an event, and where the line with its id ends.
fn written(id: &str, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, usize) {
    let mut bytes = format!("id: {id}\n").into_bytes();
    let id_end = bytes.len();
    bytes.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    write(&mut bytes);
    bytes.extend_from_slice(b"\n\n");
    (bytes, id_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_event_is_there_for_as_long_as_somebody_sends_it() {
        let (event, weak) = Event::shared("7", "history", |data| data.extend_from_slice(b"{}"));
        let sending = event.without_id();
        drop(event);
        let again = weak.upgrade().unwrap();
        assert!(again.with_id().as_ptr_range().contains(&sending.as_ptr()));
        drop((again, sending));
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn an_event_is_the_same_with_its_id_and_without() {
        let event = Event::new("7", "message", |data| data.extend_from_slice(b"{}"));
        assert_eq!(event.with_id(), "id: 7\nevent: message\ndata: {}\n\n");
        assert_eq!(event.without_id(), "event: message\ndata: {}\n\n");
        assert!(event.with_id().as_ptr_range().contains(&event.without_id().as_ptr()));
    }
}
