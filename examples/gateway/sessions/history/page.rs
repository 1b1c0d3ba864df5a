//! [`Page`]: some messages of a history, and how to ask for those before them.

use std::io::{self, ErrorKind};

use super::{
    Query,
    window::{read, start_of_page},
};
#[cfg(feature = "websocket")]
use crate::sessions::record::History as _;
use crate::{
    files::disk::is_missing,
    json::{self, Fields as _, Object},
    sessions::{projection::seq, transcript::Transcript},
};

/// A page, as a viewer sees it.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<Object>,
    pub has_more: bool,
    /// What asks for the messages before these.
    pub next_cursor: Option<u64>,
}

/// Reads a page of a transcript. One that is not there is empty; one that cannot be read is an error. What happens at
/// this moment is at `now`, in milliseconds since 1970. Blocks.
pub fn page(transcript: Option<&Transcript>, query: Query, now: f64) -> io::Result<Page> {
    let Some(transcript) = transcript else { return Ok(Page::default()) };
    match transcript.look(|view| read(&view, query, now)) {
        Err(error) if reads_as_empty(&error) => Ok(Page::default()),
        window => Ok(window?.page),
    }
}

/// Reads the page that ends before so many of the last messages, and says how many there are. Blocks.
#[cfg(feature = "websocket")]
pub fn page_from_end(
    transcript: Option<&Transcript>,
    limit: usize,
    offset: usize,
    now: f64,
) -> io::Result<(Page, usize)> {
    let Some(transcript) = transcript else { return Ok(Default::default()) };
    let page = transcript.look(|view| {
        let total = view.len();
        let Some(last) = total.checked_sub(offset).filter(|last| *last > 0) else {
            return Ok((Page::default(), total));
        };
        let cursor = (offset > 0).then_some(last as u64 + 1);
        Ok((read(&view, Query { limit: Some(limit), cursor }, now)?.page, total))
    });
    match page {
        Err(error) if reads_as_empty(&error) => Ok(Default::default()),
        page => page,
    }
}

/// Whether a transcript that is read and gives this error is an empty one: one that is not there.
pub fn reads_as_empty(error: &io::Error) -> bool {
    is_missing(error) || error.kind() == ErrorKind::IsADirectory
}

impl Page {
    /// The page of these messages that a query asks for.
    pub(super) fn of(mut messages: Vec<Object>, query: Query) -> Self {
        let is_after = |(at, message): (usize, &Object)| {
            query.cursor.is_some_and(|cursor| seq(message).unwrap_or(at as u64 + 1) >= cursor)
        };
        let end = messages.iter().enumerate().position(is_after).unwrap_or(messages.len());
        messages.truncate(end);
        let start = query.limit.map_or(0, |limit| end.saturating_sub(limit));
        Self::from(messages, start)
    }

    /// The page of these messages from this one on.
    fn from(mut messages: Vec<Object>, start: usize) -> Self {
        let start = start_of_page(&messages, start);
        messages.drain(..start);
        let has_more = start > 0;
        let next_cursor = messages.first().and_then(seq).filter(|_| has_more);
        Self { messages, has_more, next_cursor }
    }

    /// Whether it says that something happens at this moment, in milliseconds since 1970: then it
    /// is another page at the next.
    pub fn tells(&self, moment: f64) -> bool {
        self.messages.iter().any(|message| message.number("timestamp") == Some(moment))
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
        json::write(&self.messages, body);
        let messages = start..body.len();
        body.extend_from_slice(&between);
        body.extend_from_within(messages);
        body.extend_from_slice(&after);
    }

    /// What stands before, between and after the two lists of messages.
    pub fn frame(&self, key: &str) -> [Vec<u8>; 3] {
        let mut before = b"{\"sessionKey\":".to_vec();
        json::write(&key, &mut before);
        before.extend_from_slice(b",\"items\":");
        let mut after = format!(",\"hasMore\":{}", self.has_more);
        if let Some(seq) = self.next_cursor {
            after += &format!(",\"nextCursor\":\"{seq}\"");
        }
        after.push('}');
        [before, b",\"messages\":".to_vec(), after.into_bytes()]
    }
}
