//! Halves of surrogate pairs.
//!
//! A string of JavaScript may hold one, `JSON.stringify` writes it as an escape, and the store keeps that. No string of
//! Rust can. While a text is worked on, the half stands as one of the 2,048 last characters of Plane 16, which no
//! character set will ever use: U+D800 as U+10F800, and so on. Where such a character itself is read, it is U+FFFD.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;

/// The character in the place of U+D800.
const FIRST: u32 = 0x10_F800;

const REPLACEMENT: &str = "\u{fffd}";

/// How the last characters of Plane 16 begin, and how an escape does. To prepare a search takes longer than to search a short text.
static BEGINNINGS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new(b"\xF4\x8F"), Finder::new(b"\\u")]);

/// Puts characters in the place of escaped halves. Of a text without any the text itself.
pub fn encode(text: &[u8]) -> Cow<'_, [u8]> {
    match without_stand_ins(text) {
        Some(text) => Cow::Owned(encode_halves(&text).into_owned()),
        None => encode_halves(text),
    }
}

/// The text with U+FFFD where such a character stands, unescaped. `None` if there is none.
fn without_stand_ins(text: &[u8]) -> Option<Vec<u8>> {
    let is_stand_in = |at: &usize| matches!(text.get(at + 2..at + 4), Some([0xA0..=0xBF, 0x80..=0xBF]));
    let mut without = Vec::new();
    let mut done = 0;
    for at in BEGINNINGS[0].find_iter(text).filter(is_stand_in) {
        without.extend_from_slice(&text[done..at]);
        without.extend_from_slice(REPLACEMENT.as_bytes());
        done = at + 4;
    }
    (done > 0).then(|| [&without, &text[done..]].concat())
}

fn encode_halves(text: &[u8]) -> Cow<'_, [u8]> {
    let mut encoded = Vec::new();
    let mut done = 0;
    // Past an escape that is looked at.
    let mut from = 0;
    while let Some(at) = BEGINNINGS[1].find(&text[from..]).map(|at| from + at) {
        let backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let unit = unit(&text[at..]).filter(|_| backslashes % 2 == 0);
        let Some(unit @ 0xD800..=0xDFFF) = unit else {
            from = at + 2;
            continue;
        };
        let next = text.get(at + 6..).and_then(self::unit);
        if unit < 0xDC00 && matches!(next, Some(0xDC00..=0xDFFF)) {
            from = at + 12;
            // The pair of a character that stands for a half.
            if unit >= 0xDBFE {
                encoded.extend_from_slice(&text[done..at]);
                encoded.extend_from_slice(REPLACEMENT.as_bytes());
                done = from;
            }
            continue;
        }
        encoded.extend_from_slice(&text[done..at]);
        let stand_in = char::from_u32(FIRST + (unit - 0xD800)).unwrap_or(char::REPLACEMENT_CHARACTER);
        encoded.extend_from_slice(stand_in.encode_utf8(&mut [0; 4]).as_bytes());
        done = at + 6;
        from = done;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    encoded.extend_from_slice(&text[done..]);
    Cow::Owned(encoded)
}

/// The half in whose place this character stands.
pub fn half(char: char) -> Option<u32> {
    u32::from(char).checked_sub(FIRST).map(|place| 0xD800 + place)
}

/// The unit that an escape at the start of the text is.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{parse, write};

    #[test]
    fn halves_are_written_as_they_were_read() {
        for text in [
            r#""\ud83d""#,
            r#""a\ude00\ud83d""#,
            r#""\ud83d\ud83dé""#,
            r#"{"\udfff":"\ud800x"}"#,
            r#""\\ud83d""#,
            r#""\\\ud83d""#,
            "\"\u{10f7ff}\"",
        ] {
            let mut written = Vec::new();
            write(&parse(text.as_bytes()).expect("JSON"), &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
        assert_eq!(parse(br#""\ud83d\ude00""#), Some("😀".into()));
        assert_eq!(parse(br#""\ud83d\u0041\uDE00""#).unwrap().as_str().unwrap().chars().count(), 3);
        assert!(parse(br#""\ud8"#).is_none());
    }

    #[test]
    fn a_character_that_stands_for_a_half_is_none() {
        for text in ["\"a\u{10f83d}\\ude00\"", r#""a\udbfe\udc3d\ude00""#] {
            let value = parse(text.as_bytes()).expect("JSON");
            let mut written = Vec::new();
            write(&value, &mut written);
            assert_eq!(str::from_utf8(&written).unwrap(), "\"a\u{fffd}\\ude00\"");
            assert_eq!(parse(&written), Some(value));
        }
        assert_eq!(parse("\"\u{10ffff}\u{10f7ff}\"".as_bytes()), Some("\u{fffd}\u{10f7ff}".into()));
    }
}
