//! Skimming JSON: is this text an object, and which bytes are its members?
//!
//! No value is built and nothing is allocated, so a store of ten thousand rows or a transcript of a
//! gigabyte is looked through at the speed at which strings can be skipped. What is accepted is
//! exactly what [`json::parse`](super::json::parse) accepts as an object, so whoever needs a member can
//! hand its bytes to `json::parse` and will get a value.

use super::MAX_DEPTH;

/// Calls `member` with each key and value of the object that `text` is, in the order of the text.
///
/// Both are bytes of `text`: the key with its quotes, the value without space around it. `None`
/// means that the text is not an object; what `member` was told before that is worth nothing.
pub fn object<'a>(text: &'a [u8], mut member: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    cursor.expect(b'{')?;
    cursor.skip_space();
    if !cursor.skip(b'}') {
        loop {
            cursor.skip_space();
            let key = cursor.spanned(Cursor::string)?;
            cursor.skip_space();
            cursor.expect(b':')?;
            cursor.skip_space();
            let value = cursor.spanned(Cursor::value)?;
            member(key, value);
            cursor.skip_space();
            match cursor.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    cursor.skip_space();
    (cursor.at == text.len()).then_some(())
}

/// Where the object begins that `text` ends with, told by its brackets alone: read backwards from a closing one,
/// what stands in a string is known. O(text).
pub fn start_of_last_object(text: &[u8]) -> Option<usize> {
    if text.last() != Some(&b'}') {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = text.len();
    while let Some(before) = at.checked_sub(1) {
        at = before;
        match text[at] {
            b'}' | b']' => depth += 1,
            b'{' | b'[' => {
                depth -= 1;
                if depth == 0 {
                    return (text[at] == b'{').then_some(at);
                }
            }
            b'"' => at = start_of_string(&text[..at])?,
            _ => {}
        }
    }
    None
}

/// Where the string begins whose end stands behind this text: at the last quote that is not escaped.
fn start_of_string(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let quote = memchr::memrchr(b'"', &text[..end])?;
        let escapes = text[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(quote);
        }
        end = quote;
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The bytes that `skip` passes over.
    fn spanned(&mut self, skip: impl FnOnce(&mut Self) -> Option<()>) -> Option<&'a [u8]> {
        let start = self.at;
        skip(self)?;
        Some(&self.text[start..self.at])
    }

    /// Skips one value that is a member of an object.
    fn value(&mut self) -> Option<()> {
        let mut open = Containers::default();
        loop {
            self.skip_space();
            match self.peek()? {
                b'"' => self.string()?,
                b'{' => {
                    open.may_open()?;
                    self.at += 1;
                    self.skip_space();
                    if !self.skip(b'}') {
                        self.key()?;
                        open.push(Container::Object);
                        continue;
                    }
                }
                b'[' => {
                    open.may_open()?;
                    self.at += 1;
                    self.skip_space();
                    if !self.skip(b']') {
                        open.push(Container::Array);
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                _ => self.word(b"null")?,
            }
            // The value may be the last of its container, and that the last of its own, and so on.
            loop {
                let Some(container) = open.last() else {
                    return Some(());
                };
                self.skip_space();
                match (container, self.next()?) {
                    (Container::Array, b',') => break,
                    (Container::Object, b',') => {
                        self.skip_space();
                        self.key()?;
                        break;
                    }
                    (Container::Array, b']') | (Container::Object, b'}') => open.pop(),
                    _ => return None,
                }
            }
        }
    }

    /// Skips a key and the colon after it.
    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.skip_space();
        self.expect(b':')
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => {}
                _ => return None,
            }
            match self.next()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    for _ in 0..4 {
                        self.next()?.is_ascii_hexdigit().then_some(())?;
                    }
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// Skips one digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then_some(())?;
        self.at += word.len();
        Some(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// How many bytes at the start may stand in a string as they are: up to the first quote, backslash or
/// control character.
///
/// This is where the time goes. It takes eight bytes at once and all three questions in one pass: most
/// strings are short, or text with an escape in every other line, so a wider search would start anew
/// more often than it runs.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = 0x80 * ONES;
    // The high bit of each byte that is less than `limit`, and perhaps of some after the first such.
    let below = |word: u64, limit: u8| word.wrapping_sub(u64::from(limit) * ONES) & !word & HIGH;
    let equal = |word: u64, byte: u8| below(word ^ (u64::from(byte) * ONES), 1);

    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        let found = below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return text.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    let run = rest.iter().take_while(|byte| **byte >= b' ' && !matches!(byte, b'"' | b'\\'));
    text.len() - rest.len() + run.count()
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

/// The containers that are open inside a member: one bit each.
struct Containers {
    depth: usize,
    is_object: [u64; MAX_DEPTH.div_ceil(64)],
}

impl Containers {
    /// The outermost object takes one of the levels.
    const LIMIT: usize = MAX_DEPTH - 1;

    fn may_open(&self) -> Option<()> {
        (self.depth < Self::LIMIT).then_some(())
    }

    fn push(&mut self, container: Container) {
        let bit = 1 << (self.depth % 64);
        let word = &mut self.is_object[self.depth / 64];
        match container {
            Container::Array => *word &= !bit,
            Container::Object => *word |= bit,
        }
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn last(&self) -> Option<Container> {
        let at = self.depth.checked_sub(1)?;
        let is_object = self.is_object[at / 64] >> (at % 64) & 1 == 1;
        Some(if is_object { Container::Object } else { Container::Array })
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self { depth: 0, is_object: [0; MAX_DEPTH.div_ceil(64)] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn members(text: &[u8]) -> Option<Vec<(String, String)>> {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut members = Vec::new();
        object(text, |key, value| members.push((lossy(key), lossy(value))))?;
        Some(members)
    }

    #[test]
    fn members_are_handed_out_as_they_stand() {
        assert_eq!(
            members(br#" { "a" : [1, {"b":"}"}] ,"\u0061": null,"":"x\"" } "#),
            Some(vec![
                (r#""a""#.into(), r#"[1, {"b":"}"}]"#.into()),
                (r#""\u0061""#.into(), "null".into()),
                (r#""""#.into(), r#""x\"""#.into()),
            ])
        );
        assert_eq!(members(b"{ }"), Some(vec![]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "null", "[]", "{", "{}x", "{,}", "{\"a\":1,}", "{\"a\":[}", "{\"a\":\"\t\"}"] {
            assert_eq!(members(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_string_runs_to_the_first_byte_that_means_something() {
        for before in 0..20 {
            for byte in 0..=u8::MAX {
                let text =
                    [&b"\x7F\xFF!#[]~\x80"[..], b"x".repeat(before).as_slice(), &[byte], b"\"\0\\ and more"].concat();
                let expected = text.iter().position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'));
                assert_eq!(Some(plain(&text)), expected, "{before} {byte}");
            }
            assert_eq!(plain(&b"x".repeat(before)), before);
        }
    }

    #[test]
    fn the_depth_limit_is_that_of_the_parser() {
        for depth in [MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1] {
            for inner in ["", "0", "{}"] {
                let text = format!("{{\"a\":{}{inner}{}}}", "[".repeat(depth), "]".repeat(depth));
                assert_eq!(members(text.as_bytes()).is_some(), json::parse(text.as_bytes()).is_ok(), "{depth} {inner}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Bytes in which JSON is likely, so that both answers occur often.
        #[test]
        fn it_accepts_what_the_parser_accepts_as_an_object(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"b\":", "\\", "\\u00e9", "u12",
                    "-", "0", "12", ".5", "e3", "true", "false", "null", " ", "\t", "\u{1}", "é",
                    "{\"k\":", "\"v\"}", "[1,2]", "{}",
                ]),
                0..12,
            ),
        ) {
            let text = pieces.concat();
            for text in [text.clone(), format!("{{\"m\":{text}}}"), format!("{{{text}}}")] {
                let parsed = json::parse(text.as_bytes());
                prop_assert_eq!(
                    members(text.as_bytes()).is_some(),
                    matches!(parsed, Ok(json::Value::Object(_))),
                    "{}", text
                );
            }
        }
    }
}
