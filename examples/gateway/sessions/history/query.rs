//! [`Query`]: which page of a history is asked for.
//!
//! - `limit` is a number from 1 up, of which more than 1000 is 1000.
//! - `cursor` is a number from 1 up, perhaps after `seq:`. Blank is as if it were not there.
//!
//! Both are trimmed, of equal names the first counts, and other names mean nothing.

use crate::json::text::trim;

/// The most messages on a page.
const MOST: u64 = 1000;

/// The largest integer of which JavaScript can tell the next one.
const LARGEST: u64 = (1 << 53) - 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// How many messages at most: from 1 to 1000.
    pub limit: Option<usize>,
    /// The number of the message before which the page ends.
    pub cursor: Option<u64>,
}

/// What of a query cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadQuery {
    Limit,
    Cursor,
    /// Of a list whose cursors are its own text.
    ForeignCursor,
}

impl Query {
    /// Reads the part of a URL that follows the question mark.
    pub fn parse(query: &str) -> Result<Self, BadQuery> {
        let (mut limit, mut cursor) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let first = match &*name {
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                _ => continue,
            };
            first.get_or_insert(value);
        }
        let limit = limit.map(|limit| self::limit(trim(&limit)).ok_or(BadQuery::Limit));
        let cursor = cursor.filter(|cursor| !trim(cursor).is_empty());
        let cursor = cursor.map(|cursor| self::cursor(trim(&cursor)).ok_or(BadQuery::Cursor));
        Ok(Self { limit: limit.transpose()?, cursor: cursor.transpose()? })
    }
}

/// A limit: from 1 up, and no more than 1000. It may be larger than any number that JavaScript can hold.
pub fn limit(text: &str) -> Option<usize> {
    let digits = text.strip_prefix('+').filter(|digits| number(digits).is_some()).unwrap_or(text);
    let is_positive = is_digits(digits) && digits.bytes().any(|digit| digit != b'0');
    is_positive.then(|| digits.parse().unwrap_or(MOST).min(MOST) as usize)
}

fn cursor(text: &str) -> Option<u64> {
    number(text.strip_prefix("seq:").unwrap_or(text))
}

/// Digits that make a number from 1 up that JavaScript can hold.
fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok().filter(|_| is_digits(digits))?;
    (1..=LARGEST).contains(&number).then_some(number)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_positive_integer_and_at_most_a_thousand() {
        for (query, limit) in [
            ("", Ok(None)),
            ("Limit=x", Ok(None)),
            ("limit=5", Ok(Some(5))),
            ("x=1&limit=+5%20", Ok(Some(5))),
            ("limit=%2B5", Ok(Some(5))),
            ("limit=005", Ok(Some(5))),
            ("limit=1001", Ok(Some(1000))),
            ("limit=9007199254740992", Ok(Some(1000))),
            ("limit=99999999999999999999999", Ok(Some(1000))),
            ("limit=7&limit=x", Ok(Some(7))),
            ("limit", Err(BadQuery::Limit)),
            ("limit=+%09", Err(BadQuery::Limit)),
            ("limit=0", Err(BadQuery::Limit)),
            ("limit=-5", Err(BadQuery::Limit)),
            ("limit=%2B9007199254740992", Err(BadQuery::Limit)),
            ("limit=1.5", Err(BadQuery::Limit)),
            ("limit=1e2", Err(BadQuery::Limit)),
            ("limit=%D9%A5", Err(BadQuery::Limit)),
            ("cursor=x&limit=x", Err(BadQuery::Limit)),
        ] {
            assert_eq!(Query::parse(query).map(|query| query.limit), limit, "{query}");
        }
    }

    #[test]
    fn a_cursor_may_say_what_it_counts() {
        for (query, cursor) in [
            ("cursor=", Ok(None)),
            ("cursor=%20", Ok(None)),
            ("cursor=5", Ok(Some(5))),
            ("cursor=+seq%3A005+", Ok(Some(5))),
            ("cursor=9007199254740991", Ok(Some(LARGEST))),
            ("cursor=SEQ:5", Err(BadQuery::Cursor)),
            ("cursor=seq:seq:5", Err(BadQuery::Cursor)),
            ("cursor=seq:+5", Err(BadQuery::Cursor)),
            ("cursor=seq:", Err(BadQuery::Cursor)),
            ("cursor=0", Err(BadQuery::Cursor)),
            ("cursor=9007199254740992", Err(BadQuery::Cursor)),
            ("cursor=x&cursor=5", Err(BadQuery::Cursor)),
        ] {
            assert_eq!(Query::parse(query).map(|query| query.cursor), cursor, "{query}");
        }
    }
}
