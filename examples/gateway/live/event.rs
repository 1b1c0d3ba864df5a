//! Server-sent events as OpenClaw writes them (WHATWG HTML section 9.2), and the same with an id.

use std::sync::{Arc, Weak};

use bytes::Bytes;

/// One event. All who send it share its bytes, whether they want its id or not.
#[derive(Clone, Debug)]
pub struct Event {
    head: Bytes,
    /// Where the line with the id ends.
    id_end: usize,
    /// A long one is not copied together: this comes after the head.
    rest: Arc<[Bytes]>,
}

/// An event that is kept: a short one, and a long one for as long as somebody still sends it.
#[derive(Debug)]
pub enum KeptEvent {
    Whole(Event),
    WhileItIsSent(WeakEvent),
}

/// An event for as long as somebody still sends it.
#[derive(Debug)]
pub struct WeakEvent {
    head: Bytes,
    id_end: usize,
    rest: Weak<[Bytes]>,
}

/// The bytes of an event, one part after the other. It holds the event until the last of them.
#[derive(Debug)]
pub struct Parts {
    event: Option<Event>,
    with_id: bool,
    next: usize,
}

impl Event {
    /// `id` is text on one line without a NUL, and `write` adds JSON on one line.
    pub fn new(id: &str, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (mut head, id_end) = head(id, name);
        write(&mut head);
        head.extend_from_slice(END);
        Self { head: head.into(), id_end, rest: Arc::default() }
    }

    /// The same of JSON in parts.
    pub fn of_parts(id: &str, name: &str, data: impl IntoIterator<Item = Bytes>) -> Self {
        let (head, id_end) = head(id, name);
        let rest = data.into_iter().chain([Bytes::from_static(END)]).collect();
        Self { head: head.into(), id_end, rest }
    }

    /// Every stream is told to reconnect after a second.
    pub fn retry() -> Self {
        Self { head: Bytes::from_static(b"retry: 1000\n\n"), id_end: 0, rest: Arc::default() }
    }

    pub fn downgrade(&self) -> WeakEvent {
        WeakEvent { head: self.head.clone(), id_end: self.id_end, rest: Arc::downgrade(&self.rest) }
    }

    pub fn len(&self) -> usize {
        self.head.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    /// An event as it is written with its id: `None` for anything else.
    #[cfg(feature = "edge")]
    pub fn written(bytes: Bytes) -> Option<Self> {
        let id = bytes.strip_prefix(b"id: ")?;
        let id_end = b"id: ".len() + memchr::memchr(b'\n', id)? + 1;
        let lines = bytes[id_end..].strip_prefix(b"event: ")?.strip_suffix(END)?;
        // Two lines, of which the second one is the data.
        let (_, data) = lines.split_at_checked(memchr::memchr(b'\n', lines)? + 1)?;
        let is_one = data.starts_with(b"data: ") && memchr::memchr2(b'\n', b'\r', data).is_none();
        let is_text = std::str::from_utf8(&bytes[..id_end]).is_ok();
        (is_one && is_text).then(|| Self { head: bytes, id_end, rest: Arc::default() })
    }

    /// The same event in parts, of which the second one is all its data.
    #[cfg(feature = "edge")]
    pub fn in_parts(self) -> Self {
        const DATA: &[u8] = b"\ndata: ";
        let Some(at) = memchr::memmem::find(&self.head, DATA).filter(|_| self.rest.is_empty()) else { return self };
        let data = at + DATA.len();
        // A copy: what holds the head must not hold the data.
        let (head, rest) = (Bytes::copy_from_slice(&self.head[..data]), [self.head.slice(data..)].into());
        Self { head, rest, ..self }
    }

    #[cfg(feature = "edge")]
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.head[b"id: ".len().min(self.id_end)..self.id_end]).unwrap_or_default().trim_end()
    }

    #[cfg(feature = "edge")]
    pub fn is_named(&self, name: &str) -> bool {
        let named =
            self.head[self.id_end..].strip_prefix(b"event: ").and_then(|rest| rest.strip_prefix(name.as_bytes()));
        named.is_some_and(|rest| rest.starts_with(b"\n"))
    }

    /// The JSON of an event in one part.
    #[cfg(feature = "websocket")]
    pub fn data(&self) -> Bytes {
        const DATA: &[u8] = b"\ndata: ";
        let start = memchr::memmem::find(&self.head, DATA).map_or(self.head.len(), |at| at + DATA.len());
        self.head.slice(start..self.head.len().saturating_sub(END.len()).max(start))
    }

    /// With its id, or as OpenClaw writes it.
    pub fn parts(self, with_id: bool) -> Parts {
        Parts { event: Some(self), with_id, next: 0 }
    }
}

const END: &[u8] = b"\n\n";

impl KeptEvent {
    /// One of no more than so many bytes is short; a long one is in parts.
    pub fn of(event: &Event, short: usize) -> Self {
        if event.len() <= short { Self::Whole(event.clone()) } else { Self::WhileItIsSent(event.downgrade()) }
    }

    pub fn event(&self) -> Option<Event> {
        match self {
            Self::Whole(event) => Some(event.clone()),
            Self::WhileItIsSent(event) => event.upgrade(),
        }
    }
}

impl WeakEvent {
    pub fn upgrade(&self) -> Option<Event> {
        Some(Event { head: self.head.clone(), id_end: self.id_end, rest: self.rest.upgrade()? })
    }
}

impl Iterator for Parts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let event = self.event.as_ref()?;
        let part = match self.next.checked_sub(1) {
            None => event.head.slice(if self.with_id { 0.. } else { event.id_end.. }),
            Some(at) => event.rest[at].clone(),
        };
        self.next += 1;
        if self.next > event.rest.len() {
            self.event = None;
        }
        Some(part)
    }
}

/// What stands before the data of an event, and where the line with its id ends.
fn head(id: &str, name: &str) -> (Vec<u8>, usize) {
    let mut head = format!("id: {id}\n").into_bytes();
    let id_end = head.len();
    head.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    (head, id_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_parts(parts: &[&'static str]) -> Event {
        Event::of_parts("7", "history", parts.iter().map(|part| Bytes::from_static(part.as_bytes())))
    }

    fn text(event: &Event, with_id: bool) -> String {
        String::from_utf8(event.clone().parts(with_id).collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn an_event_in_parts_is_there_for_as_long_as_somebody_sends_it() {
        let event = in_parts(&["[", "]"]);
        let weak = event.downgrade();
        let mut sending = event.parts(true);
        for _ in 0..3 {
            sending.next();
            assert!(weak.upgrade().is_some());
        }
        assert_eq!(sending.next().as_deref(), Some(END));
        assert!(weak.upgrade().is_none());
        assert_eq!(sending.next(), None);
    }

    #[test]
    fn an_event_is_the_same_with_its_id_and_without_whole_and_in_parts() {
        for event in [Event::new("7", "history", |data| data.extend_from_slice(b"[1]")), in_parts(&["[", "1", "]"])] {
            assert_eq!(text(&event, true), "id: 7\nevent: history\ndata: [1]\n\n");
            assert_eq!(text(&event, false), "event: history\ndata: [1]\n\n");
            assert_eq!(event.len(), text(&event, true).len());
        }
    }
}
