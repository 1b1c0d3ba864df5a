//! An id of an event leads to where it was written for, in the session that it was written for, and no text that was not
//! written here is an id.

use http::{HeaderMap, HeaderValue};

use crate::{
    live::{FeedKey, Ids, StreamOptions},
    sessions::{history::Query, store::RequestedKey, transcript::Position},
    support,
};

fn key(session: &str) -> FeedKey {
    let asked = RequestedKey::parse(session).expect("a key");
    FeedKey { asked, session: session.to_owned(), query: Query::default() }
}

pub(crate) fn run(input: &[u8]) {
    let (query, id) = support::halves(input, b'\n').unwrap_or((b"", input));
    let query = String::from_utf8_lossy(query);
    let mut headers = HeaderMap::new();
    let header = HeaderValue::from_bytes(id).ok();
    headers.extend(header.clone().map(|id| (http::HeaderName::from_static("last-event-id"), id)));
    let options = StreamOptions::of(&query, &headers);
    assert!(options.ids || header.is_none());
    let goes_on = format!("{:?}", options.start).starts_with("After");
    assert_eq!(goes_on, header.as_ref().is_some_and(|id| id.to_str().is_ok()));

    let text = String::from_utf8_lossy(id);
    // Anew for each input: libFuzzer sees what a seal is compared with, and finds it.
    let ids = Ids::default();
    assert_eq!(ids.read(&key("one"), &text), None);
    let position = match text.rsplit_once('-') {
        Some(("none", _)) => None,
        Some((position, _)) => match position.parse::<Position>() {
            Ok(position) => Some(position),
            Err(_) => return,
        },
        None => return,
    };
    let ours = ids.write(&key("one"), position);
    assert!(ours.bytes().all(|byte| byte.is_ascii_graphic()), "an id is one word of a line");
    assert_eq!(ids.read(&key("one"), &ours), Some(position));
    assert_eq!(ids.read(&key("other"), &ours), None);
    assert_eq!(Ids::default().read(&key("one"), &ours), None);
    assert_eq!(ids.read(&key("one"), &format!("{ours}0")), None);
}
