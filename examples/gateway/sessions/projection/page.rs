//! A page of what is shown, out of no more of the transcript than it takes.
//!
//! The page is that of a list of everything shown: it ends before the first message whose seq is
//! the cursor's or later, and holds as many messages as the limit allows. [`page`] looks for it
//! through a window. It begins with a short one around the end of the page, and takes a longer
//! one
//!
//! - to the right, until the message that ends the page is found, and as long as a supplement
//!   after the window may belong to a message of the page;
//! - to the left, until the page is full and one more message is found before it (which is what
//!   `has_more` says), and as long as one of the page may belong to a message before the window.
//!
//! Each window is at least twice as long as the one before it, so all of them together cost no more than twice the
//! last: O(messages that have a say).

use std::ops::Range;

use super::{
    tts::SupplementKey,
    window::{Dependency, Preceding, Projected, project_window},
};
use crate::json::{Object, Value};

/// Which part of what is shown is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// The seq that ends the page. Without it the page ends with the transcript.
    pub cursor: Option<u64>,
    /// How many messages. Without it everything from the start.
    pub limit: Option<usize>,
    /// After how many UTF-16 units text is cut.
    pub max_chars: usize,
}

/// A page, oldest message first.
#[derive(Debug, PartialEq)]
pub struct Page<'a> {
    pub messages: Vec<Object<'a>>,
    /// Whether older messages are shown before these.
    pub has_more: bool,
}

/// Finds a page in a transcript of `count` messages, of which those in `supplements` (by
/// position, in order) have a key.
///
/// `read` gives the messages of a range; it is called again with a longer one when the first was
/// too short. If there is a cursor, the message at position n must have seq n + 1.
pub fn page<'a, E>(
    query: PageRequest,
    count: usize,
    supplements: &[(usize, SupplementKey)],
    read: impl FnMut(Range<usize>) -> Result<Vec<Value<'a>>, E>,
) -> Result<Page<'a>, E> {
    let limit = query.limit.unwrap_or(usize::MAX);
    // More is needed than a page, since some messages are hidden.
    let hidden = limit.min(MOST_HIDDEN);
    let window = Window { left: limit.saturating_add(hidden).saturating_add(MARGIN), right: MARGIN };
    page_through(window, query, count, supplements, read)
}

/// How far beyond a page a window reaches at first.
const MARGIN: usize = 16;
/// How many hidden messages are looked for at first, if the page is not shorter.
const MOST_HIDDEN: usize = 1024;

/// How far a window reaches to both sides of the cursor.
#[derive(Clone, Copy, Debug)]
struct Window {
    left: usize,
    right: usize,
}

fn page_through<'a, E>(
    mut window: Window,
    query: PageRequest,
    count: usize,
    supplements: &[(usize, SupplementKey)],
    mut read: impl FnMut(Range<usize>) -> Result<Vec<Value<'a>>, E>,
) -> Result<Page<'a>, E> {
    let position = |cursor: u64| usize::try_from(cursor.saturating_sub(1)).unwrap_or(count).min(count);
    let middle = query.cursor.map_or(count, position);
    loop {
        let range = middle.saturating_sub(window.left)..middle.saturating_add(window.right).min(count);
        let before = if range.start == 0 { Preceding::None } else { Preceding::Unknown };
        let later = &supplements[supplements.partition_point(|(at, _)| *at < range.end)..];
        let mut shown = project_window(read(range.clone())?, before, later, query.max_chars);

        let Some(end) = end_of_page(&shown, query.cursor, range.end == count) else {
            window.right = window.right.saturating_mul(2).max(1);
            continue;
        };
        let start = query.limit.map_or(0, |limit| end.saturating_sub(limit));
        let has_all = range.start == 0 || start > 0;
        // The message that ends the page counts too: if it were gone, the page could go on. The one
        // before the page does not: if it is merged into an older one, there is an older one.
        let decisive = &shown[start..shown.len().min(end + 1)];
        if !has_all || decisive.iter().any(|shown| shown.depends_on == Some(Dependency::PartnerBefore)) {
            window.left = window.left.saturating_mul(2).max(1);
            continue;
        }
        if let Some(position) = shown[start..end].iter().find_map(awaits) {
            // Twice as far at least, or a run of supplements would be read once for each of them.
            window.right = (position + 1 - middle.min(position)).max(window.right.saturating_mul(2));
            continue;
        }
        let messages = shown.drain(start..end).map(|shown| shown.message).collect();
        return Ok(Page { messages, has_more: start > 0 });
    }
}

/// The seq in a message's meta, if it has a valid one.
pub fn seq(message: &Object<'_>) -> Option<u64> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    let seq = message.object("__openclaw")?.number("seq")?;
    (seq.fract() == 0.0 && (1.0..=MAX_SAFE_INTEGER).contains(&seq)).then_some(seq as u64)
}

/// Where the page ends; `None` if the window ends too early to tell.
fn end_of_page(shown: &[Projected<'_>], cursor: Option<u64>, complete: bool) -> Option<usize> {
    let end =
        cursor.and_then(|cursor| shown.iter().position(|shown| seq(&shown.message).is_some_and(|seq| seq >= cursor)));
    end.or(complete.then_some(shown.len()))
}

fn awaits(shown: &Projected<'_>) -> Option<usize> {
    match shown.depends_on {
        Some(Dependency::SupplementAfter(position)) => Some(position),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::sessions::projection::{project, window::awkward};

    fn query(cursor: Option<u64>, limit: Option<usize>) -> PageRequest {
        PageRequest { cursor, limit, max_chars: awkward::MAX_CHARS }
    }

    /// The page, and how many messages were read for it.
    fn paged(transcript: &[Value<'static>], query: PageRequest) -> (Page<'static>, usize) {
        let supplements = awkward::supplements(transcript);
        let mut read = 0;
        let page = page(query, transcript.len(), &supplements, |range| {
            read += range.len();
            Ok::<_, Infallible>(transcript[range].to_vec())
        });
        let Ok(page) = page;
        (page, read)
    }

    fn page_of_everything(transcript: &[Value<'static>], query: PageRequest) -> Page<'static> {
        let mut shown = project(transcript.to_vec(), query.max_chars);
        let ends = |message: &Object<'_>| seq(message) >= query.cursor;
        let end = query.cursor.and_then(|_| shown.iter().position(ends)).unwrap_or(shown.len());
        let start = query.limit.map_or(0, |limit| end.saturating_sub(limit));
        Page { messages: shown.drain(start..end).collect(), has_more: start > 0 }
    }

    fn talk(messages: usize) -> Vec<Value<'static>> {
        let line = |at| {
            let json = match at % 2 {
                0 => r#"{"role":"user","content":"q"}"#,
                _ => r#"{"role":"assistant","content":"a"}"#,
            };
            awkward::numbered(json, at)
        };
        (0..messages).map(line).collect()
    }

    proptest! {
        #![proptest_config(awkward::config())]

        #[test]
        fn a_page_is_that_of_everything_shown(
            transcript in awkward::transcript(),
            padding in 0_usize..60,
            cursor in prop::option::of(1_u64..100),
            limit in 1_usize..8,
            left in 0_usize..8,
            right in 0_usize..8,
        ) {
            // Something quiet in between, so that windows are shorter than the transcript.
            let mut long = transcript.clone();
            long.extend(talk(padding));
            long.extend(transcript);
            for (at, message) in long.iter_mut().enumerate() {
                if let Value::Object(message) = message {
                    message.insert("__openclaw", Object::from([("seq", at as f64 + 1.0)]));
                }
            }
            let query = query(cursor, Some(limit));
            let supplements = awkward::supplements(&long);
            let read = |range: Range<usize>| Ok::<_, Infallible>(long[range].to_vec());
            let Ok(page) = page_through(Window { left, right }, query, long.len(), &supplements, read);
            prop_assert_eq!(page, page_of_everything(&long, query));
        }
    }

    #[test]
    fn without_a_limit_everything_is_on_the_page() {
        let transcript = talk(100);
        for cursor in [None, Some(1), Some(50)] {
            let query = query(cursor, None);
            assert_eq!(paged(&transcript, query).0, page_of_everything(&transcript, query));
        }
    }

    #[test]
    fn a_page_of_a_long_transcript_reads_little_of_it() {
        let transcript = talk(10_000);
        for cursor in [None, Some(1), Some(5_000), Some(9_999), Some(u64::MAX)] {
            let query = query(cursor, Some(50));
            let (page, read) = paged(&transcript, query);
            assert_eq!(page, page_of_everything(&transcript, query), "{cursor:?}");
            assert!(read < 200, "{read} messages read for {cursor:?}");
        }
    }

    #[test]
    fn a_supplement_far_away_is_found() {
        let mut transcript = talk(2_000);
        transcript[501] = awkward::numbered(r#"{"role":"assistant","content":"Hello"}"#, 501);
        let supplement =
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#;
        transcript[1_501] = awkward::numbered(supplement, 1_501);
        for cursor in [505, 1_505] {
            let query = query(Some(cursor), Some(10));
            assert_eq!(paged(&transcript, query).0, page_of_everything(&transcript, query), "{cursor}");
        }
    }

    #[test]
    fn a_run_of_supplements_is_read_a_few_times_and_not_once_for_each() {
        let mut transcript = vec![
            awkward::numbered(r#"{"role":"user","content":"hi"}"#, 0),
            awkward::numbered(r#"{"role":"assistant","content":"Hello"}"#, 1),
            awkward::numbered(r#"{"role":"user","content":"and"}"#, 2),
        ];
        let supplement =
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#;
        transcript.extend((3..2_000).map(|at| awkward::numbered(supplement, at)));
        let query = query(Some(3), Some(1));
        let (page, read) = paged(&transcript, query);
        assert_eq!(page, page_of_everything(&transcript, query));
        assert!(read < 4 * transcript.len(), "{read} messages read");
    }

    #[test]
    fn a_page_does_not_end_at_a_supplement_that_is_merged_into_an_older_message() {
        let mut transcript = talk(20);
        for json in [
            r#"{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"sent"}}]}"#,
            r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
            r#"{"role":"assistant","content":"NO_REPLY"}"#,
            r#"{"role":"user","content":"q"}"#,
        ] {
            transcript.push(awkward::numbered(json, transcript.len()));
        }
        transcript[1] = awkward::numbered(r#"{"role":"assistant","content":"Hello"}"#, 1);
        let query = query(Some(23), Some(1));
        let supplements = awkward::supplements(&transcript);
        let read = |range: Range<usize>| Ok::<_, Infallible>(transcript[range].to_vec());
        let Ok(page) = page_through(Window { left: 4, right: 4 }, query, transcript.len(), &supplements, read);
        assert!(page.messages[0].contains("openclawMessageToolMirror"));
        assert_eq!(page, page_of_everything(&transcript, query));
    }

    #[test]
    fn a_seq_is_a_positive_safe_integer() {
        for (json, expected) in [
            (r#"{"__openclaw":{"seq":7}}"#, Some(7)),
            (r#"{"__openclaw":{"seq":9007199254740991}}"#, Some(9_007_199_254_740_991)),
            (r#"{"__openclaw":{"seq":9007199254740992}}"#, None),
            (r#"{"__openclaw":{"seq":0}}"#, None),
            (r#"{"__openclaw":{"seq":1.5}}"#, None),
            (r#"{"__openclaw":{"seq":"7"}}"#, None),
            (r#"{"seq":7}"#, None),
        ] {
            assert_eq!(seq(&super::super::table::object(json)), expected, "{json}");
        }
    }
}
