//! [`Query`]: which page of a history is asked for.
//!
//! - `limit` is a number from 1 up, of which more than 1000 is 1000. Blank is as if it were not
//!   there; what is no such number is 1.
//! - `cursor` is a number from 1 up, perhaps after `seq:`. Blank is as if it were not there; what is
//!   no such number asks for the full history and cuts nothing off it.
//!
//! Both are trimmed, of equal names the first counts, and other names mean nothing.

use crate::json::Text;

/// The most messages on a page.
const MOST: u64 = 1000;

/// The largest integer of which JavaScript can tell the next one.
const LARGEST: u64 = (1 << 53) - 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// How many messages at most: from 1 to 1000.
    pub limit: Option<usize>,
    pub cursor: Option<Cursor>,
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cursor {
    /// Before the message with this number.
    Before(u64),
    /// At the end of the full history: the cursor could not be read.
    Unreadable,
}

impl Query {
    /// Reads the part of a URL that follows the question mark.
    pub fn parse(query: &str) -> Self {
        let first = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let value = pairs.find(|(own, _)| own == name)?.1;
            trimmed(&value)
        };
        Self {
            limit: first("limit").map(|limit| {
                let limit = number(&limit).unwrap_or(1);
                limit.min(MOST) as usize
            }),
            cursor: first("cursor").map(|cursor| {
                let digits = cursor.strip_prefix("seq:").unwrap_or(&cursor);
                number(digits).map_or(Cursor::Unreadable, Cursor::Before)
            }),
        }
    }

    /// The limit, if the page is to be cut out of the tail of the transcript.
    pub fn tail(self) -> Option<usize> {
        self.limit.filter(|_| self.cursor.is_none())
    }
}

/// The value without space around it, if that leaves anything.
fn trimmed(value: &str) -> Option<String> {
    let value = Text::from(value);
    value.opt_string().map(|value| value.to_utf8().into_owned())
}

/// Digits that make a number from 1 up that JavaScript can hold.
fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    (1..=LARGEST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_at_least_one_and_at_most_a_thousand() {
        for (query, limit) in [
            ("", None),
            ("limit=", None),
            ("limit=+%09", None),
            ("limit", None),
            ("Limit=5", None),
            ("limit=5", Some(5)),
            ("x=1&limit=+5%20", Some(5)),
            ("limit=005", Some(5)),
            ("limit=1001", Some(1000)),
            ("limit=9007199254740991", Some(1000)),
            ("limit=9007199254740992", Some(1)),
            ("limit=99999999999999999999999", Some(1)),
            ("limit=0", Some(1)),
            ("limit=-5", Some(1)),
            ("limit=%2B5", Some(1)),
            ("limit=1.5", Some(1)),
            ("limit=1e2", Some(1)),
            ("limit=%D9%A5", Some(1)),
            ("limit=7&limit=9", Some(7)),
            ("limit=&limit=9", None),
        ] {
            assert_eq!(Query::parse(query).limit, limit, "{query}");
        }
    }

    #[test]
    fn a_cursor_may_say_what_it_counts() {
        for (query, cursor) in [
            ("cursor=", None),
            ("cursor=%20", None),
            ("cursor=5", Some(Cursor::Before(5))),
            ("cursor=seq:5", Some(Cursor::Before(5))),
            ("cursor=+seq%3A005+", Some(Cursor::Before(5))),
            ("cursor=SEQ:5", Some(Cursor::Unreadable)),
            ("cursor=seq:seq:5", Some(Cursor::Unreadable)),
            ("cursor=seq:+5", Some(Cursor::Unreadable)),
            ("cursor=seq:", Some(Cursor::Unreadable)),
            ("cursor=0", Some(Cursor::Unreadable)),
            ("cursor=x", Some(Cursor::Unreadable)),
            ("cursor=9007199254740992", Some(Cursor::Unreadable)),
            ("cursor=x&cursor=5", Some(Cursor::Unreadable)),
        ] {
            assert_eq!(Query::parse(query).cursor, cursor, "{query}");
        }
    }

    #[test]
    fn a_limit_alone_asks_for_the_tail() {
        assert_eq!(Query::parse("limit=5").tail(), Some(5));
        assert_eq!(Query::parse("limit=5&cursor=x").tail(), None);
        assert_eq!(Query::parse("cursor=x").tail(), None);
        assert_eq!(Query::parse("").tail(), None);
    }
}
