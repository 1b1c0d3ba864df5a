//! JavaScript's view of text, on WTF-8 slices.
//!
//! WTF-8 is UTF-8 in which a surrogate without its partner is written as three bytes, as if it
//! were a character. Two rules keep it sound: a slice is only ever cut between characters, and
//! two pieces are only ever joined by [`append`] or [`push_unit`], which turn a high surrogate
//! followed by a low one into the one character that they mean.
//!
//! Every function here is total: on bytes that are not WTF-8 it answers something, and does not
//! panic.

use std::borrow::Cow;

/// How many UTF-16 units the text has: JavaScript's `length`.
pub fn utf16_len(text: &[u8]) -> usize {
    text.iter().map(|byte| units_begun_by(*byte)).sum()
}

/// The first `units` UTF-16 units: JavaScript's `slice(0, units)`.
///
/// A cut inside a pair leaves the lone high surrogate, which takes a copy.
pub fn first_units(text: &[u8], units: usize) -> Cow<'_, [u8]> {
    let mut left = units;
    for (at, byte) in text.iter().enumerate() {
        match units_begun_by(*byte) {
            0 => {}
            _ if left == 0 => return Cow::Borrowed(&text[..at]),
            2 if left == 1 => return Cow::Owned(with_high_half(&text[..at], &text[at..])),
            begun => left -= begun,
        }
    }
    Cow::Borrowed(text)
}

/// Without whitespace at either end: JavaScript's `trim`.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Without whitespace at the start.
pub fn trim_start(mut text: &[u8]) -> &[u8] {
    loop {
        match leading_space(text) {
            0 => return text,
            width => text = &text[width..],
        }
    }
}

/// Without whitespace at the end.
pub fn trim_end(mut text: &[u8]) -> &[u8] {
    loop {
        match trailing_space(text) {
            0 => return text,
            width => text = &text[..text.len() - width],
        }
    }
}

/// Whether the text is empty but for whitespace.
pub fn is_blank(text: &[u8]) -> bool {
    trim_start(text).is_empty()
}

/// The runs between the whitespace.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = trim_start(rest);
        let end = (0..rest.len()).find(|at| leading_space(&rest[*at..]) > 0);
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// The lines, without their `\n` or `\r\n`: JavaScript's `split(/\r?\n/)`.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n').peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let ended = lines.peek().is_some();
        Some(line.strip_suffix(b"\r").filter(|_| ended).unwrap_or(line))
    })
}

/// The width in bytes of the whitespace character at the start; 0 if there is none.
pub fn leading_space(text: &[u8]) -> usize {
    match text {
        [0x09..=0x0D | b' ', ..] => 1,
        [0xC2, 0xA0, ..] => 2,
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..]
        | [0xEF, 0xBB, 0xBF, ..] => 3,
        _ => 0,
    }
}

/// The width in bytes of the whitespace character at the end; 0 if there is none.
pub fn trailing_space(text: &[u8]) -> usize {
    match text {
        [.., 0x09..=0x0D | b' '] => 1,
        [.., 0xC2, 0xA0] => 2,
        [.., 0xE1, 0x9A, 0x80]
        | [.., 0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF]
        | [.., 0xE2, 0x81, 0x9F]
        | [.., 0xE3, 0x80, 0x80]
        | [.., 0xEF, 0xBB, 0xBF] => 3,
        _ => 0,
    }
}

/// Whether a pattern's `\w` takes this byte: an ASCII letter, digit or underscore.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// In lower case: JavaScript's `toLowerCase`, the full Unicode mapping.
pub fn lower_case(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return match text.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
    }
    // A lone surrogate is no letter, so what stands before it and after it can be mapped apart.
    let mut lower = Vec::with_capacity(text.len());
    for piece in text.utf8_chunks() {
        lower.extend_from_slice(piece.valid().to_lowercase().as_bytes());
        lower.extend_from_slice(piece.invalid());
    }
    Cow::Owned(lower)
}

/// Joins a piece to the end of a text.
pub fn append(text: &mut Vec<u8>, piece: &[u8]) {
    match (high_surrogate_at_end(text), low_surrogate_at_start(piece)) {
        (Some(high), Some(low)) => {
            text.truncate(text.len() - 3);
            push_code_point(text, pair(high, low));
            text.extend_from_slice(&piece[3..]);
        }
        _ => text.extend_from_slice(piece),
    }
}

/// Adds one UTF-16 unit to the end of a text.
pub fn push_unit(text: &mut Vec<u8>, unit: u16) {
    let mut piece = Vec::with_capacity(3);
    push_code_point(&mut piece, u32::from(unit));
    append(text, &piece);
}

/// The lone surrogate at the start of the text, if one is there.
pub fn surrogate_at_start(text: &[u8]) -> Option<u16> {
    match *text {
        [0xED, second @ 0xA0..=0xBF, third, ..] => {
            Some(0xD000 | (u16::from(second & 0x3F) << 6) | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

fn low_surrogate_at_start(text: &[u8]) -> Option<u16> {
    surrogate_at_start(text).filter(|unit| *unit >= 0xDC00)
}

fn high_surrogate_at_end(text: &[u8]) -> Option<u16> {
    let last = text.len().checked_sub(3)?;
    surrogate_at_start(&text[last..]).filter(|unit| *unit < 0xDC00)
}

fn pair(high: u16, low: u16) -> u32 {
    0x10000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00)
}

fn push_code_point(text: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => text.extend_from_slice(&[0xED, 0x80 | (code >> 6 & 0x3F) as u8, 0x80 | (code & 0x3F) as u8]),
    }
}

/// `before`, and the first half of the pair that `after` starts with.
fn with_high_half(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut text = before.to_vec();
    if let [first, second, third, _, ..] = *after {
        let above = (u32::from(first & 0x07) << 18) | (u32::from(second & 0x3F) << 12) | (u32::from(third & 0x3F) << 6);
        push_code_point(&mut text, 0xD800 + (above.saturating_sub(0x10000) >> 10 & 0x3FF));
    }
    text
}

/// How many UTF-16 units a character has that begins with this byte; 0 within a character.
fn units_begun_by(byte: u8) -> usize {
    match byte {
        0x80..=0xBF => 0,
        0xF0..=0xFF => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: &[u8] = b"\xED\xA0\xBD";
    const LOW: &[u8] = b"\xED\xB8\x80";

    #[test]
    fn whitespace_is_what_javascript_takes_for_it() {
        for space in
            "\t\n\u{b}\u{c}\r \u{a0}\u{1680}\u{2000}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}".chars()
        {
            assert!(is_blank(space.to_string().as_bytes()), "{space:?}");
            assert_eq!(trim(format!("{space}a{space}").as_bytes()), b"a", "{space:?}");
        }
        for other in "\u{85}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\0".chars() {
            let text = other.to_string();
            assert_eq!(trim(text.as_bytes()), text.as_bytes(), "{other:?}");
        }
    }

    #[test]
    fn words_stand_between_whitespace() {
        let found: Vec<_> = words("\u{a0}a  b\u{3000}\u{e9}\n".as_bytes()).collect();
        assert_eq!(found, [b"a".as_slice(), b"b", "\u{e9}".as_bytes()]);
        assert_eq!(words(b" ").count(), 0);
    }

    #[test]
    fn only_a_return_before_a_line_feed_belongs_to_the_line_end() {
        let found: Vec<_> = lines(b"a\r\n\rb\r\r\n\nc\r").collect();
        assert_eq!(found, [b"a".as_slice(), b"\rb\r", b"", b"c\r"]);
    }

    #[test]
    fn lengths_count_utf16_units() {
        for (text, units) in [("", 0), ("abc", 3), ("é", 1), ("€", 1), ("😀", 2), ("a😀b", 4)] {
            assert_eq!(utf16_len(text.as_bytes()), units, "{text}");
        }
        assert_eq!(utf16_len(HIGH), 1);
    }

    #[test]
    fn a_cut_inside_a_pair_leaves_its_first_half() {
        let text = "aé😀b".as_bytes();
        for (units, expected) in [
            (0, b"".as_slice()),
            (1, b"a"),
            (2, "aé".as_bytes()),
            (3, b"a\xC3\xA9\xED\xA0\xBD"),
            (4, "aé😀".as_bytes()),
            (5, text),
            (9, text),
        ] {
            assert_eq!(first_units(text, units), expected, "{units}");
        }
        assert_eq!(first_units("\u{10ffff}".as_bytes(), 1), b"\xED\xAF\xBF".as_slice());
    }

    #[test]
    fn halves_that_meet_become_one_character() {
        let mut text = HIGH.to_vec();
        append(&mut text, LOW);
        append(&mut text, LOW);
        append(&mut text, HIGH);
        assert_eq!(text, [b"\xF0\x9F\x98\x80", LOW, HIGH].concat());

        let mut units = Vec::new();
        for unit in [0x61, 0xD83D, 0xDE00, 0xDE00, 0xE9] {
            push_unit(&mut units, unit);
        }
        assert_eq!(units, [b"a\xF0\x9F\x98\x80", LOW, b"\xC3\xA9"].concat());
    }

    #[test]
    fn lower_case_is_the_full_mapping() {
        for (text, lower) in
            [("user", "user"), ("USER", "user"), ("ÀÉ", "àé"), ("İ", "i\u{307}"), ("ΑΣ", "ας"), ("K", "k")]
        {
            assert_eq!(lower_case(text.as_bytes()), lower.as_bytes(), "{text}");
        }
        assert_eq!(lower_case(b"A\xED\xA0\xBDB"), b"a\xED\xA0\xBDb".as_slice());
        assert!(matches!(lower_case(b"user"), Cow::Borrowed(_)));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_panic() {
        for bytes in [b"\xF0".as_slice(), b"\xED\xA0", b"\xF7\xBF\xBF\xBF", b"\xFF\xFE", b"\x80\x80"] {
            for units in 0..4 {
                first_units(bytes, units);
            }
            let _ = (trim(bytes), utf16_len(bytes), lower_case(bytes));
            append(&mut bytes.to_vec(), bytes);
        }
    }
}
