//! The `history` event of a feed: the whole page, written once for all streams that begin with it.
//!
//! `items` and `messages` are one list, so the bytes of it are there once. All that is made and not yet sent takes
//! room ([`PageBytes`]), as other pages do.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    FeedKey, Ids,
    event::{Event, KeptEvent},
};
use crate::{
    json,
    serve::PageBytes,
    sessions::{
        history::{self, Page, Query},
        now,
        transcript::{Position, View},
    },
};

/// How many messages the event has at most: the newest. Its cursor asks for those before them.
const MOST: usize = 1000;

/// The longest event that is kept for the next stream that joins; a longer one is kept for as long as some stream
/// sends it.
const KEPT: usize = 256 * 1024;

/// The last `history` event, as of when, and how long it took to write.
#[derive(Default)]
pub struct LastHistory {
    event: Option<(Option<Position>, KeptEvent)>,
    took: Duration,
}

impl LastHistory {
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The event of this view. There may be [no room](no_room) for it now.
    pub fn history(&mut self, view: Option<&View>, key: &FeedKey, ids: &Ids, room: &PageBytes) -> io::Result<Event> {
        let position = view.map(View::position);
        let began = Instant::now();
        let known = self.event.as_ref().filter(|(at, _)| *at == position);
        if let Some(known) = known.and_then(|(_, kept)| kept.event()) {
            return Ok(known);
        }
        let written = view.map_or_else(|| Ok(Written::of(&Page::default(), key)), |view| Written::read(view, key))?;
        let history = written.hold(room).ok_or_else(no_room)?.event(&ids.write(key, position));
        self.event = Some((position, KeptEvent::of(&history, KEPT)));
        self.took = began.elapsed();
        Ok(history)
    }
}

/// Too much is being sent.
pub fn no_room() -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, "too much is being sent")
}

/// A page as JSON.
struct Written {
    /// What stands before, between and after the two lists.
    frame: [Bytes; 3],
    /// The list, with its brackets.
    list: Bytes,
}

impl Written {
    fn read(view: &View, key: &FeedKey) -> io::Result<Self> {
        let query = Query { limit: key.query.limit.or(Some(MOST)), ..key.query };
        Ok(Self::of(&history::read(view, query, now())?.page, key))
    }

    fn of(page: &Page, key: &FeedKey) -> Self {
        let mut list = Vec::new();
        json::write(&page.messages, &mut list);
        Self { frame: page.frame(&key.session).map(Bytes::from), list: list.into() }
    }

    /// The same, which takes room until the last of it is dropped.
    fn hold(self, room: &PageBytes) -> Option<Self> {
        Some(Self { list: room.hold(self.list)?, ..self })
    }

    fn event(self, id: &str) -> Event {
        let [before, between, after] = self.frame;
        Event::of_parts(id, "history", [before, self.list.clone(), between, self.list, after])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sessions::{
        store::RequestedKey,
        transcript::{Place, Transcript},
    };

    fn key() -> FeedKey {
        let asked = RequestedKey::parse("s").unwrap();
        FeedKey { asked, session: "agent:main:s".to_owned(), query: Query::default() }
    }

    fn view_of(messages: &[&str]) -> View {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let line =
            |(at, message): (usize, &&str)| format!("{{\"type\":\"message\",\"id\":\"{at}\",\"message\":{message}}}\n");
        fs::write(&path, messages.iter().enumerate().map(line).collect::<String>()).unwrap();
        Transcript::new(Place::File(path)).view().unwrap()
    }

    #[test]
    fn a_history_takes_room_once_until_it_is_sent() {
        let text = format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(600));
        let view = view_of(&[&*text; 10]);
        let room = PageBytes::new(10);
        let history = |last: &mut LastHistory| last.history(Some(&view), &key(), &Ids::default(), &room);
        let mut last = LastHistory::default();
        let sending = history(&mut last).unwrap();
        assert_eq!(history(&mut LastHistory::default()).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(history(&mut last).is_ok(), "it is the same");
        drop((sending, last));
        assert!(history(&mut LastHistory::default()).is_ok());
    }
}
