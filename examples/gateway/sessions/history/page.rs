//! [`Page`]: some messages of a history, and how to ask for those before them.

use std::io::{self, ErrorKind};

use super::{Cursor, Query};
use crate::{
    files::disk::is_missing,
    json::{Object, Text, Value},
    sessions::projection,
    sessions::transcript::{Selection, Transcript, View},
};

/// A page, as a viewer sees it.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Object<'static>>,
    pub has_more: bool,
    /// What asks for the messages before these.
    pub next_cursor: Option<u64>,
}

/// Reads a page of a transcript. Text is cut after `max_chars` UTF-16 units; `now` is in
/// milliseconds since 1970. Blocks.
///
/// A transcript that is not there is empty, and so is a folder in its place to a read of the full history, as
/// OpenClaw has it. One that cannot be read is an error.
pub fn read(transcript: Option<&Transcript>, query: Query, max_chars: usize, now: f64) -> io::Result<Page> {
    let Some(transcript) = transcript else {
        return Ok(Page::default());
    };
    match transcript.look(|view| Page::of(&view, query, max_chars, now)) {
        Err(error) if reads_as_empty(&error, query) => Ok(Page::default()),
        page => page,
    }
}

/// Whether a transcript that is read for this and gives this error is an empty one.
pub fn reads_as_empty(error: &io::Error, query: Query) -> bool {
    is_missing(error) || error.kind() == ErrorKind::IsADirectory && query.tail().is_none()
}

impl Page {
    /// The page of a transcript that this query asks for.
    pub fn of(view: &View, query: Query, max_chars: usize, now: f64) -> io::Result<Self> {
        let cursor = match query.cursor {
            Some(Cursor::Before(seq)) => Some(seq),
            Some(Cursor::Unreadable) | None => None,
        };
        let wanted = projection::PageRequest { cursor, limit: query.limit, max_chars };
        match query.tail() {
            None => Self::cut(&view.history(), wanted, now),
            Some(limit) => {
                let tail = view.tail(limit)?;
                let page = Self::cut(&tail, wanted, now)?;
                // An empty page could not say how to ask for what was not looked at.
                let has_more = view.total() > tail.len() && !page.messages.is_empty();
                Ok(page.with_more(has_more))
            }
        }
    }

    /// Whether it says that something happens at this moment, in milliseconds since 1970: then it
    /// is another page at the next.
    pub fn tells(&self, moment: f64) -> bool {
        self.messages.iter().any(|message| message.number("timestamp") == Some(moment))
    }

    fn cut(selection: &Selection<'_>, wanted: projection::PageRequest, now: f64) -> io::Result<Self> {
        // What comes before the cursor is read if it matters; what comes after it has to be known.
        let end = wanted.cursor.map_or(selection.len(), |seq| seq as usize - 1);
        let page = projection::page(wanted, selection.len(), &selection.spoken_from(end), |range| {
            let raw = selection.read(range)?;
            Ok::<_, io::Error>(raw.values(now).into_iter().map(Value::into_owned).collect())
        })?;
        let cut = Self { messages: page.messages, ..Self::default() };
        Ok(cut.with_more(page.has_more))
    }

    fn with_more(self, has_more: bool) -> Self {
        if !has_more {
            return self;
        }
        let next_cursor = self.messages.first().and_then(projection::seq);
        Self { has_more, next_cursor, ..self }
    }

    /// The page as JSON, for the session of this key.
    pub fn body(&self, key: &str) -> Vec<u8> {
        let mut body = Vec::new();
        self.write(key, &mut body);
        body
    }

    /// The same, at the end of what is there.
    pub fn write(&self, key: &str, body: &mut Vec<u8>) {
        let [before, between, after] = self.frame(key);
        body.extend_from_slice(&before);
        let start = body.len();
        self.write_messages(body);
        let messages = start..body.len();
        body.extend_from_slice(&between);
        body.extend_from_within(messages);
        body.extend_from_slice(&after);
    }

    /// What stands before, between and after the two lists of messages.
    pub fn frame(&self, key: &str) -> [Vec<u8>; 3] {
        let mut before = b"{\"sessionKey\":".to_vec();
        Text::from(key).write(&mut before);
        before.extend_from_slice(b",\"items\":[");
        let mut after = format!("],\"hasMore\":{}", self.has_more);
        if let Some(seq) = self.next_cursor {
            after += &format!(",\"nextCursor\":\"{seq}\"");
        }
        after.push('}');
        [before, b"],\"messages\":[".to_vec(), after.into_bytes()]
    }

    fn write_messages(&self, json: &mut Vec<u8>) {
        for (at, message) in self.messages.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            message.write(json);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SEED: &str = r#"{"id":"msg-1","message":{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}]}}"#;

    struct File {
        directory: tempfile::TempDir,
        transcript: Transcript,
    }

    impl File {
        fn new(content: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("t.jsonl");
            fs::write(&path, content).unwrap();
            Self { directory, transcript: Transcript::new(path) }
        }

        fn numbered(count: usize) -> Self {
            let line = |n| format!("{{\"message\":{{\"role\":\"user\",\"content\":\"{n}\"}}}}\n");
            Self::new(&(1..=count).map(line).collect::<String>())
        }

        fn page(&self, query: &str) -> Page {
            read(Some(&self.transcript), Query::parse(query), 8000, 0.0).unwrap()
        }

        /// The numbers of the page's messages, and the cursor to those before.
        fn seqs(&self, query: &str) -> (Vec<u64>, Option<u64>) {
            let page = self.page(query);
            assert_eq!(page.has_more, page.next_cursor.is_some(), "{query}");
            (page.messages.iter().filter_map(projection::seq).collect(), page.next_cursor)
        }
    }

    #[test]
    fn the_body_has_the_fields_in_their_order() {
        let message = r#"{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}],"__openclaw":{"id":"msg-1","seq":1}}"#;
        let body = File::new(SEED).page("").body("agent:main:test-session");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(
                r#"{{"sessionKey":"agent:main:test-session","items":[{message}],"messages":[{message}],"hasMore":false}}"#
            )
        );
        let body = File::numbered(2).page("limit=1").body("k\"");
        let body = String::from_utf8(body).unwrap();
        assert!(body.starts_with(r#"{"sessionKey":"k\"","items":[{"role":"user","content":"2""#), "{body}");
        assert!(body.ends_with(r#"}],"hasMore":true,"nextCursor":"2"}"#), "{body}");
    }

    #[test]
    fn pages_lead_back_to_the_start() {
        let file = File::numbered(100);
        let (mut seqs, mut next) = file.seqs("limit=7");
        while let Some(cursor) = next {
            let (before, then) = file.seqs(&format!("limit=7&cursor={cursor}"));
            seqs.splice(0..0, before);
            next = then;
        }
        assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_cursor_that_cannot_be_read_cuts_nothing_off() {
        let file = File::numbered(3);
        assert_eq!(file.seqs("cursor=x"), (vec![1, 2, 3], None));
        assert_eq!(file.seqs("cursor=x&limit=2"), (vec![2, 3], Some(2)));
        assert_eq!(file.seqs("cursor=2"), (vec![1], None));
        assert_eq!(file.seqs("cursor=9007199254740991"), (vec![1, 2, 3], None));
    }

    #[test]
    fn a_tail_that_shows_nothing_says_that_there_is_no_more() {
        let silent = "{\"message\":{\"role\":\"assistant\",\"content\":\"NO_REPLY\"}}\n";
        let file = File::new(&format!("{SEED}\n{}", silent.repeat(45)));
        assert_eq!(file.seqs("limit=1"), (vec![], None));
        assert_eq!(file.seqs("limit=2"), (vec![1], None));
    }

    #[test]
    fn what_is_not_there_is_empty() {
        let file = File::new("");
        assert_eq!(file.page("limit=1"), Page::default());
        fs::remove_file(file.transcript.path()).unwrap();
        assert_eq!(file.page("limit=1"), Page::default());
        assert_eq!(read(None, Query::default(), 0, 0.0).unwrap(), Page::default());
    }

    #[test]
    fn a_directory_is_empty_to_a_full_read_and_an_error_to_a_tail_read() {
        let file = File::new("");
        let directory = Transcript::new(file.directory.path());
        let read = |query| read(Some(&directory), Query::parse(query), 8000, 0.0);
        assert_eq!(read("").unwrap(), Page::default());
        assert_eq!(read("cursor=5&limit=1").unwrap(), Page::default());
        assert!(read("limit=1").is_err());
    }
}
