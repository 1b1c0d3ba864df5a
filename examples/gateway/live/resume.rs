//! Events that have ids, and streams that go on after one (WHATWG HTML section 9.2.4).
//!
//! 1. OpenClaw writes no ids, so only those get them who ask: by a parameter `resume`, whatever its
//!    value, or by a `Last-Event-ID`.
//! 2. An id says how far into which life of a transcript its event leads, and is sealed for what the
//!    stream shows: the session, the page and the text limit.
//! 3. A stream goes on after an id if this process sealed it for the same, and since then nothing has
//!    happened to the transcript but messages added at its end, no more than one look may find.
//!    What was added is read again from the transcript, so the feed may have ended meanwhile.
//! 4. Any other stream begins with the whole `history`.
//!
//! The seal keeps ids of other sessions and other processes from being taken for ours. It guards no
//! secret: what is replayed is always read from the session that was asked for.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName};

use super::FeedKey;
use crate::sessions::transcript::Position;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a client wants of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Events with ids.
    pub ids: bool,
    pub start: Start,
}

/// What a stream begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    History,
    /// What came after the event with this id, if that can be known.
    After(String),
    /// Nothing: only what comes from now on is wanted.
    #[cfg(feature = "websocket")]
    Now,
}

impl StreamOptions {
    pub fn of(query: &str, headers: &HeaderMap) -> Self {
        let last = headers.get(LAST_EVENT_ID);
        let asks = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "resume");
        let after = last.and_then(|id| id.to_str().ok()).map(|id| Start::After(id.to_owned()));
        Self { ids: asks || last.is_some(), start: after.unwrap_or(Start::History) }
    }
}

/// Writes and reads the ids of one process.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    seal: RandomState,
}

/// Where there is no transcript.
const NOWHERE: &str = "none";

impl Ids {
    /// The id of an event after which a stream of this feed has shown everything up to there.
    pub fn write(&self, key: &FeedKey, position: Option<Position>) -> String {
        let seal = self.seal.hash_one((key, position));
        match position {
            Some(position) => format!("{position}-{seal:016x}"),
            None => format!("{NOWHERE}-{seal:016x}"),
        }
    }

    /// How far the id leads, if it is one for this feed.
    pub fn read(&self, key: &FeedKey, id: &str) -> Option<Option<Position>> {
        let position = position(id)?;
        (self.write(key, position) == id).then_some(position)
    }
}

/// How far an id leads, whoever wrote it for whatever: `None` for what is no id.
pub fn position(id: &str) -> Option<Option<Position>> {
    let (position, _) = id.rsplit_once('-')?;
    if position == NOWHERE { Some(None) } else { Some(Some(position.parse().ok()?)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::{history::Query, store::RequestedKey};

    fn key(session: &str, query: &str) -> FeedKey {
        FeedKey {
            asked: RequestedKey::parse(session).unwrap(),
            session: session.to_owned(),
            query: Query::parse(query).unwrap(),
        }
    }

    #[test]
    fn ids_are_for_those_who_ask() {
        let headers =
            |id: &'static [u8]| HeaderMap::from_iter([(LAST_EVENT_ID, http::HeaderValue::from_bytes(id).unwrap())]);
        let options = |ids, start| StreamOptions { ids, start };
        assert_eq!(StreamOptions::of("limit=5", &HeaderMap::new()), options(false, Start::History));
        assert_eq!(StreamOptions::of("limit=5&resume", &HeaderMap::new()), options(true, Start::History));
        assert_eq!(StreamOptions::of("resume=0", &HeaderMap::new()), options(true, Start::History));
        assert_eq!(StreamOptions::of("", &headers(b"7.1-ab")), options(true, Start::After("7.1-ab".to_owned())));
        assert_eq!(StreamOptions::of("", &headers(b"\xff")), options(true, Start::History));
    }

    #[test]
    fn an_id_leads_only_where_it_was_written_for() {
        let (ids, own) = (Ids::default(), key("a", ""));
        for position in [None, Some("7.12".parse().unwrap())] {
            let id = ids.write(&own, position);
            assert_eq!(ids.read(&own, &id), Some(position));
            for other in [key("b", ""), key("a", "limit=5")] {
                assert_eq!(ids.read(&other, &id), None);
            }
            assert_eq!(Ids::default().read(&own, &id), None, "of another process");
            assert!(!id.contains(['\0', '\r', '\n']));
        }
    }

    #[test]
    fn what_is_no_id_leads_nowhere() {
        let (ids, key) = (Ids::default(), key("a", ""));
        let id = ids.write(&key, Some("7.12".parse().unwrap()));
        let changed = id.replacen("7.12", "7.13", 1);
        for other in
            ["", "-", "7.12", "7.12-", "none", "none-0", &changed, &format!("{id} "), &id.replacen('7', "+7", 1)]
        {
            assert_eq!(ids.read(&key, other), None, "{other}");
        }
    }
}
