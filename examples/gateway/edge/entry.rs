//! What is in a stream of Redis, and what it is to a stream of events that has shown so much.

use bytes::Bytes;

use crate::{
    live::{self, Event},
    sessions::transcript::{Change, Position},
};

/// The longest event that is published, in bytes. In the place of a longer one the history is asked for.
const LARGEST: usize = 64 * 1024;

/// One entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A `message`, or a whole `history`.
    Event(Event, Option<Position>),
    /// The history is another one, as of this id.
    Anew(String, Option<Position>),
    /// The key means another session now, or none.
    Over,
    /// The streams of the session are ended by hand.
    Killed,
}

impl Entry {
    /// What is published of an event.
    pub fn of(event: &Event) -> Option<Self> {
        let id = event.id();
        let position = live::position(id)?;
        Some(match event.len() <= LARGEST {
            true => Self::Event(event.clone(), position),
            false => Self::Anew(id.to_owned(), position),
        })
    }

    /// By the name and the value of its field.
    pub fn read(name: &str, value: Vec<u8>) -> Option<Self> {
        match name {
            "event" => {
                let event = Event::written(value.into())?;
                let position = live::position(event.id())?;
                (event.is_named("message") || event.is_named("history")).then_some(Self::Event(event, position))
            }
            "anew" => {
                let id = String::from_utf8(value).ok()?;
                let position = live::position(&id)?;
                Some(Self::Anew(id, position))
            }
            "over" => Some(Self::Over),
            "killed" => Some(Self::Killed),
            _ => None,
        }
    }

    /// The name and the value of its field.
    pub fn field(&self) -> (&'static str, Bytes) {
        match self {
            Self::Event(event, _) => ("event", event.clone().parts(true).flatten().collect()),
            Self::Anew(id, _) => ("anew", id.clone().into()),
            Self::Over => ("over", Bytes::new()),
            Self::Killed => ("killed", Bytes::new()),
        }
    }

    /// The id after which a stream has shown this, if there is one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Event(event, _) => Some(event.id()),
            Self::Anew(id, _) => Some(id),
            Self::Over | Self::Killed => None,
        }
    }
}

/// How far a stream of events has shown its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told(Option<Position>);

/// What a stream makes of an entry.
#[derive(Debug)]
pub enum Step<'a> {
    /// It has shown that.
    Skip,
    Show(&'a Event),
    /// It begins anew.
    Anew,
}

impl Told {
    /// Up to the event with this id.
    pub fn up_to(id: &str) -> Option<Self> {
        live::position(id).map(Self)
    }

    /// Takes the next entry.
    ///
    /// A message of another life of the history is one that comes before that of this stream: where the life changes, a
    /// `history` stands in between.
    pub fn take<'a>(&mut self, entry: &'a Entry) -> Step<'a> {
        match entry {
            Entry::Event(event, position) if event.is_named("message") => {
                let follows = self.0.zip(*position).is_some_and(
                    |(told, position)| matches!(position.since(told), Change::Appended(more) if !more.is_empty()),
                );
                if !follows {
                    return Step::Skip;
                }
                self.0 = *position;
                Step::Show(event)
            }
            Entry::Event(_, position) | Entry::Anew(_, position) if self.has(*position) => Step::Skip,
            Entry::Event(event, position) => {
                self.0 = *position;
                Step::Show(event)
            }
            Entry::Anew(..) => Step::Anew,
            Entry::Over | Entry::Killed => Step::Skip,
        }
    }

    fn has(self, position: Option<Position>) -> bool {
        match (self.0, position) {
            (None, None) => true,
            (Some(told), Some(position)) => matches!(told.since(position), Change::Appended(_)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: &str) -> Entry {
        Entry::of(&Event::new(id, name, |data| data.extend_from_slice(b"{}"))).unwrap()
    }

    fn steps(told: &str, entries: &[Entry]) -> String {
        let mut told = Told::up_to(told).unwrap();
        let step = |entry| match told.take(entry) {
            Step::Skip => ".".to_owned(),
            Step::Show(event) => event.id().to_owned() + " ",
            Step::Anew => "anew ".to_owned(),
        };
        entries.iter().map(step).collect()
    }

    #[test]
    fn what_a_stream_has_shown_is_shown_once() {
        let entries = [event("message", "7.1-a"), event("message", "7.2-a"), event("message", "7.4-a")];
        assert_eq!(steps("7.0-a", &entries), "7.1-a 7.2-a 7.4-a ");
        assert_eq!(steps("7.1-a", &entries), ".7.2-a 7.4-a ");
        assert_eq!(steps("7.3-a", &entries), "..7.4-a ");
        assert_eq!(steps("7.9-a", &entries), "...");
    }

    #[test]
    fn a_stream_that_is_ahead_of_a_change_is_not_sent_back_before_it() {
        let anew = Entry::read("anew", b"9.5-a".to_vec()).unwrap();
        let entries = [event("message", "7.8-a"), anew, event("message", "9.6-a"), event("message", "9.7-a")];
        assert_eq!(steps("9.6-a", &entries), "...9.7-a ");
        assert_eq!(steps("7.7-a", &entries), "7.8-a anew ..");
        let entries = [event("message", "7.8-a"), event("history", "9.5-a"), event("message", "9.6-a")];
        assert_eq!(steps("9.5-a", &entries), "..9.6-a ");
        assert_eq!(steps("7.8-a", &entries), ".9.5-a 9.6-a ");
        assert_eq!(steps("none-a", &entries), ".9.5-a 9.6-a ");
        assert_eq!(steps("none-a", &[event("history", "none-a")]), ".");
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for entry in [event("message", "7.1-a"), Entry::Anew("none-b".to_owned(), None), Entry::Over, Entry::Killed] {
            let (name, value) = entry.field();
            let read = Entry::read(name, value.to_vec()).unwrap();
            assert_eq!((read.field(), read.id()), (entry.field(), entry.id()));
        }
        let long = Event::new("7.1-a", "message", |data| data.resize(data.len() + LARGEST, b'1'));
        assert!(matches!(Entry::of(&long), Some(Entry::Anew(id, _)) if id == "7.1-a"));
        for (name, value) in [
            ("event", ""),
            ("event", "id: 7.1-a\nevent: message\ndata: {}\n"),
            ("event", "id: 7.1-a\nevent: message\ndata: {}\n\ndata: {}\n\n"),
            ("event", "id: 7.1-a\nevent: message\ndata: {}\rdata: {}\n\n"),
            ("event", "id: 7.1-a\nevent: reauth\ndata: {}\n\n"),
            ("event", "id: x\nevent: message\ndata: {}\n\n"),
            ("event", "event: message\ndata: {}\n\n"),
            ("anew", "x"),
            ("", ""),
        ] {
            assert!(Entry::read(name, value.into()).is_none(), "{name} {value:?}");
        }
    }
}
