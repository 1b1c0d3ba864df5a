//! The `history` event of a feed: the whole page, written once for all streams that begin with it.
//!
//! 1. A long history is written some messages at a time, so that of the transcript and of its messages no more is
//!    in memory than those.
//! 2. `items` and `messages` are one list, so the bytes of it are there once.
//! 3. All that is made and not yet sent takes room ([`PageBytes`]), as other pages do.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    FeedKey, Ids,
    event::{Event, WeakEvent},
};
use crate::{
    serve::PageBytes,
    sessions::{
        history::{Cursor, Page, Query},
        now,
        projection::seq,
        transcript::{Position, View},
    },
};

/// How many messages are written at a time.
const PART: usize = 4096;

/// The longest event that is kept for the next stream that joins; a longer one is kept for as long as some stream
/// sends it.
const KEPT: usize = 256 * 1024;

/// The last `history` event, as of when, and how long it took to write.
#[derive(Default)]
pub struct LastHistory {
    event: Option<(Option<Position>, Kept)>,
    took: Duration,
}

enum Kept {
    Whole(Event),
    WhileItIsSent(WeakEvent),
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
        let known = known.and_then(|(_, kept)| match kept {
            Kept::Whole(event) => Some(event.clone()),
            Kept::WhileItIsSent(event) => event.upgrade(),
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let written = view.map_or_else(|| Ok(Written::of(&Page::default(), key)), |view| Written::read(view, key))?;
        let history = written.hold(room).ok_or_else(no_room)?.event(&ids.write(key, position));
        let is_short = history.len() <= KEPT;
        let kept = if is_short { Kept::Whole(history.clone()) } else { Kept::WhileItIsSent(history.downgrade()) };
        self.event = Some((position, kept));
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
    /// The elements of the list with the commas between them.
    list: Vec<Bytes>,
}

impl Written {
    fn read(view: &View, key: &FeedKey) -> io::Result<Self> {
        if key.query == Query::default() && view.total() > PART {
            if let Some(whole) = Self::read_in_parts(view, key, PART)? {
                return Ok(whole);
            }
        }
        Ok(Self::of(&Page::of(view, key.query, key.max_chars, now())?, key))
    }

    fn of(page: &Page, key: &FeedKey) -> Self {
        Self { frame: page.frame(&key.session).map(Bytes::from), list: vec![elements(page, 0).into()] }
    }

    /// Reads the whole history page by page, the newest first.
    ///
    /// A reply that was sent with a tool has the number of what came after it, so a cursor may cut off more than it
    /// should. The first message of each page is therefore the last one of the next. `None` where it is not.
    fn read_in_parts(view: &View, key: &FeedKey, part: usize) -> io::Result<Option<Self>> {
        let now = now();
        let mut list = Vec::new();
        let mut cursor = Cursor::Before(view.total() as u64 + 1);
        let mut after = None;
        loop {
            let query = Query { limit: Some(part), cursor: Some(cursor) };
            let mut page = Page::of(view, query, key.max_chars, now)?;
            if after.is_some() && after.as_ref() != page.messages.last() {
                return Ok(None);
            }
            let part = elements(&page, usize::from(page.has_more));
            if !list.is_empty() {
                list.push(Bytes::from_static(b","));
            }
            list.push(part.into());
            if !page.has_more {
                list.reverse();
                let frame = page.frame(&key.session).map(Bytes::from);
                return Ok(Some(Self { frame, list }));
            }
            let Some(next) = page.messages.get(1).and_then(seq) else { return Ok(None) };
            cursor = Cursor::Before(next);
            after = Some(page.messages.swap_remove(0));
        }
    }

    /// The same, which takes room until the last of it is dropped.
    fn hold(self, room: &PageBytes) -> Option<Self> {
        Some(Self { list: room.hold_all(self.list)?, ..self })
    }

    fn event(self, id: &str) -> Event {
        let [before, between, after] = self.frame;
        let lists = [before].into_iter().chain(self.list.clone()).chain([between]).chain(self.list).chain([after]);
        Event::of_parts(id, "history", lists)
    }
}

/// The messages of a page from this one on, with commas between them.
fn elements(page: &Page, from: usize) -> Vec<u8> {
    let mut json = Vec::new();
    for (at, message) in page.messages.iter().skip(from).enumerate() {
        if at > 0 {
            json.push(b',');
        }
        message.write(&mut json);
    }
    json
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sessions::{store::RequestedKey, transcript::Transcript};

    fn key() -> FeedKey {
        let asked = RequestedKey::parse("s").unwrap();
        FeedKey { asked, session: "agent:main:s".to_owned(), query: Query::default(), max_chars: 8000 }
    }

    fn view_of(messages: &[&str]) -> View {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let line = |(at, message): (usize, &&str)| format!("{{\"id\":\"{at}\",\"message\":{message}}}\n");
        fs::write(&path, messages.iter().enumerate().map(line).collect::<String>()).unwrap();
        Transcript::new(path).view().unwrap()
    }

    fn text(event: Event) -> String {
        String::from_utf8(event.parts(false).collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn a_history_in_parts_is_the_page_of_the_whole() {
        // Hidden ones, a reply that takes the number of what follows it, and one that is spoken.
        const MESSAGES: [&str; 8] = [
            r#"{"role":"user","content":"real"}"#,
            r#"{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"Hello"}}]}"#,
            r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
            r#"{"role":"assistant","content":"NO_REPLY"}"#,
            r#"{"role":"assistant","content":"A text of more than twenty characters"}"#,
            r#"{"role":"user","content":" "}"#,
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"A text of more than twenty characters"}}"#,
            r#"{"role":"assistant","content":"NO_REPLY"}"#,
        ];
        let mut in_parts = 0;
        for start in 0..MESSAGES.len() {
            for length in 0..4 * MESSAGES.len() {
                let messages: Vec<_> = MESSAGES.into_iter().cycle().skip(start).take(length).collect();
                let view = view_of(&messages);
                let page = Page::of(&view, Query::default(), 8000, 0.0).unwrap().body("agent:main:s");
                let page = format!("event: history\ndata: {}\n\n", String::from_utf8(page).unwrap());
                for part in [2, 3, 5] {
                    let Some(written) = Written::read_in_parts(&view, &key(), part).unwrap() else { continue };
                    in_parts += 1;
                    assert_eq!(text(written.event("")), page, "{length} from {start} by {part}");
                }
                assert_eq!(text(Written::read(&view, &key()).unwrap().event("")), page);
            }
        }
        assert!(in_parts > 50, "{in_parts}");
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
