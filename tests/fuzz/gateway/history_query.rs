//! A query is read as a second reading of its rules has it, and a page that is asked for is one that there can be.

use crate::sessions::history::{BadQuery, Query};

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let query = Query::parse(&text);
    assert_eq!(query, read(&text));
    if let Ok(query) = query {
        let written = [
            query.limit.map(|limit| format!("limit={limit}")),
            query.cursor.map(|cursor| format!("cursor=seq:{cursor}")),
        ];
        let written: Vec<String> = written.into_iter().flatten().collect();
        assert_eq!(Query::parse(&written.join("&")), Ok(query));
    }
}

/// The same by other means: character by character, and with numbers that never overflow.
fn read(text: &str) -> Result<Query, BadQuery> {
    let first = |name: &str| {
        let mut pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs.find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key) == name).then(|| decoded(value).trim_matches(is_space).to_owned())
        })
    };
    let limit = first("limit").map(|text| {
        let digits = text
            .strip_prefix('+')
            .filter(|digits| number(digits).is_some_and(|number| number < 1 << 53))
            .unwrap_or(&text);
        number(digits).filter(|number| *number > 0).map(|number| number.min(1000) as usize).ok_or(BadQuery::Limit)
    });
    let cursor = first("cursor").filter(|text| !text.is_empty()).map(|text| {
        let digits = text.strip_prefix("seq:").unwrap_or(&text);
        number(digits)
            .filter(|number| (1..1 << 53).contains(number))
            .map(|number| number as u64)
            .ok_or(BadQuery::Cursor)
    });
    Ok(Query { limit: limit.transpose()?, cursor: cursor.transpose()? })
}

/// A number that is large enough for all that matter, whatever stands in front or behind.
fn number(digits: &str) -> Option<u128> {
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
    let value = |number: u128, digit: u8| number.saturating_mul(10).saturating_add(u128::from(digit - b'0'));
    is_number.then(|| digits.bytes().fold(0, value))
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// What `trim` of JavaScript takes away (ECMA-262, `WhiteSpace` and `LineTerminator`).
fn is_space(char: char) -> bool {
    matches!(
        char,
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}
