//! Reading JSON: what V8's `JSON.parse` accepts, and nothing else.
//!
//! The parser keeps the containers that are open in a list of its own and does not recurse. A
//! value may be [`MAX_DEPTH`] levels deep; what is deeper is refused as if it were no JSON.

use std::{borrow::Cow, error::Error, fmt};

use memchr::memchr2;

use super::{Object, Text, Value, wtf8};

/// How many containers may be nested in each other.
///
/// The parser itself needs no bound, but a value is dropped, copied and written by functions
/// that recurse. Their largest frames together take a few hundred bytes a level even without
/// optimisation, so this many levels stay well inside the 2 MiB stack of a worker thread.
/// JavaScript's own bound lies in the thousands, where its `JSON.stringify` gives up.
pub const MAX_DEPTH: usize = 1024;

/// Reads one JSON text.
///
/// Bytes that are not UTF-8 are read as U+FFFD, as [`decode`] does it; such a value is a copy.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, ParseError> {
    match decode(bytes) {
        Cow::Borrowed(text) => parse_wtf8(text.as_bytes()),
        Cow::Owned(text) => parse_wtf8(text.as_bytes()).map(Value::into_owned),
    }
}

/// Reads bytes as UTF-8, with one U+FFFD for each maximal part that is none.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Reads one JSON text that is known to be WTF-8.
pub(super) fn parse_wtf8(text: &[u8]) -> Result<Value<'_>, ParseError> {
    Parser { text, at: 0 }.document()
}

/// Why a text is not JSON, and the byte where it stopped being it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    Syntax { at: usize },
    TooDeep { at: usize },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { at } => write!(f, "not JSON at byte {at}"),
            Self::TooDeep { at } => write!(f, "nested deeper than {MAX_DEPTH} levels at byte {at}"),
        }
    }
}

impl Error for ParseError {}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

/// A container whose end has not been read yet.
enum Open<'a> {
    Array(Vec<Value<'a>>),
    /// The entries so far, and the key of the value that is being read.
    Object(Vec<(Text<'a>, Value<'a>)>, Text<'a>),
}

impl<'a> Parser<'a> {
    fn document(mut self) -> Result<Value<'a>, ParseError> {
        let mut open = Vec::new();
        loop {
            self.skip_space();
            if open.len() == MAX_DEPTH && matches!(self.peek(), Some(b'[' | b'{')) {
                return Err(ParseError::TooDeep { at: self.at });
            }
            let mut value = match self.begin()? {
                Begun::Value(value) => value,
                Begun::Container(container) => {
                    open.push(container);
                    continue;
                }
            };
            // The value may be the last of its container, and that the last of its own, and so on.
            loop {
                self.skip_space();
                match open.pop() {
                    None if self.at == self.text.len() => return Ok(value),
                    None => return self.refuse(),
                    Some(Open::Array(mut items)) => {
                        items.push(value);
                        if self.skip(b',') {
                            open.push(Open::Array(items));
                            break;
                        }
                        self.expect(b"]")?;
                        value = Value::Array(items);
                    }
                    Some(Open::Object(mut entries, key)) => {
                        entries.push((key, value));
                        if self.skip(b',') {
                            let key = self.key()?;
                            open.push(Open::Object(entries, key));
                            break;
                        }
                        self.expect(b"}")?;
                        value = Value::Object(Object::from_entries(entries));
                    }
                }
            }
        }
    }

    /// Reads a whole scalar, a whole empty container, or the start of a container.
    fn begin(&mut self) -> Result<Begun<'a>, ParseError> {
        let value = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.skip_space();
                if !self.skip(b'}') {
                    let key = self.key()?;
                    return Ok(Begun::Container(Open::Object(Vec::new(), key)));
                }
                Value::Object(Object::new())
            }
            Some(b'[') => {
                self.at += 1;
                self.skip_space();
                if !self.skip(b']') {
                    return Ok(Begun::Container(Open::Array(Vec::new())));
                }
                Value::Array(Vec::new())
            }
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => {
                self.expect(b"true")?;
                Value::Bool(true)
            }
            Some(b'f') => {
                self.expect(b"false")?;
                Value::Bool(false)
            }
            _ => {
                self.expect(b"null")?;
                Value::Null
            }
        };
        Ok(Begun::Value(value))
    }

    /// Reads a key and the colon after it.
    fn key(&mut self) -> Result<Text<'a>, ParseError> {
        self.skip_space();
        let key = self.string()?;
        self.skip_space();
        self.expect(b":")?;
        Ok(key)
    }

    fn string(&mut self) -> Result<Text<'a>, ParseError> {
        self.expect(b"\"")?;
        let plain = self.plain_run()?;
        if self.skip(b'"') {
            return Ok(Text::from_wtf8(plain));
        }
        let mut text = plain.to_vec();
        while !self.skip(b'"') {
            self.escape(&mut text)?;
            wtf8::append(&mut text, self.plain_run()?);
        }
        Ok(Text::from_wtf8(text))
    }

    /// Reads up to the next quote or backslash.
    fn plain_run(&mut self) -> Result<&'a [u8], ParseError> {
        let rest = &self.text[self.at..];
        let run = &rest[..memchr2(b'"', b'\\', rest).unwrap_or(rest.len())];
        // Looks at every byte even if the first is bad: that compiles to a few wide compares.
        if run.iter().fold(false, |bad, byte| bad | (*byte < b' ')) {
            return self.refuse();
        }
        self.at += run.len();
        Ok(run)
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), ParseError> {
        self.expect(b"\\")?;
        let byte = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                wtf8::push_unit(text, self.four_hex_digits()?);
                return Ok(());
            }
            _ => return self.refuse(),
        };
        self.at += 1;
        text.push(byte);
        Ok(())
    }

    fn four_hex_digits(&mut self) -> Result<u16, ParseError> {
        let mut unit = 0;
        for _ in 0..4 {
            match self.peek().and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => unit = unit << 4 | digit as u16,
                None => return self.refuse(),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let start = self.at;
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
        // Too large a number reads as infinity, as in JavaScript.
        match std::str::from_utf8(&self.text[start..self.at]).map(str::parse) {
            Ok(Ok(number)) => Ok(number),
            _ => self.refuse(),
        }
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.refuse() } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return self.refuse();
        }
        self.at += word.len();
        Ok(())
    }

    fn refuse<T>(&self) -> Result<T, ParseError> {
        Err(ParseError::Syntax { at: self.at })
    }
}

/// What stands at the start of a value.
enum Begun<'a> {
    Value(Value<'a>),
    Container(Open<'a>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        parse(json).ok()?.write(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_json_is_read() {
        for (json, expected) in [
            (" null ", "null"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            ("\t[1 , 2\r\n]", "[1,2]"),
            (r#"{"a" : {"b":[{}]} , "c":false}"#, r#"{"a":{"b":[{}]},"c":false}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"\u0061":1,"a":2}"#, r#"{"a":2}"#),
            (r#""\"\\\/\b\f\n\r\t\u00e9""#, r#""\"\\/\b\f\n\r\té""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ud83d😀\ude00""#),
            (r#""\uD83Dx""#, r#""\ud83dx""#),
            ("-0", "0"),
            ("-12.5e-1", "-1.25"),
            ("1E400", "null"),
            ("9007199254740993", "9007199254740992"),
            ("0.1e1", "1"),
            ("\"\u{2028}\u{7f}\"", "\"\u{2028}\u{7f}\""),
        ] {
            assert_eq!(written(json.as_bytes()).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "Infinity",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "'a'",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\t\"",
            "\"\u{1f}\"",
            "1 1",
            "{} x",
            "\u{feff}1",
            "\u{a0}1",
            "[1}",
            "{\"a\":1]",
            "// c\n1",
            "\"\\\n\"",
        ] {
            assert!(matches!(parse(json.as_bytes()), Err(ParseError::Syntax { .. })), "{json}");
        }
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let line = br#"{"a":"plain","b":"\n"}"#;
        let value = parse(line).unwrap();
        let object = value.as_object().unwrap();
        assert!(matches!(object.text("a").unwrap().0, Cow::Borrowed(_)));
        assert!(matches!(object.text("b").unwrap().0, Cow::Owned(_)));
    }

    #[test]
    fn bytes_that_are_no_utf8_read_as_replacement_characters() {
        assert_eq!(written(b"\"a\xFFb\xE2\x82c\xF0\x9F\x98\"").as_deref(), Some("\"a\u{fffd}b\u{fffd}c\u{fffd}\""));
        assert_eq!(written(b"\"\xED\xA0\xBD\"").as_deref(), Some("\"\u{fffd}\u{fffd}\u{fffd}\""));
    }

    #[test]
    fn json_inside_a_text_may_hold_bare_surrogates() {
        let inner = Text::from_wtf8(b"\"\\ud83d\xED\xB8\x80\xED\xB8\x80\"".as_slice());
        let Ok(Value::String(text)) = inner.parse_json() else { panic!("a string") };
        assert_eq!(text.as_wtf8(), b"\xF0\x9F\x98\x80\xED\xB8\x80");
    }

    #[test]
    fn depth_is_bounded_and_safe_on_a_small_stack() {
        fn nested(depth: usize) -> String {
            let mut json = String::new();
            for level in 0..depth {
                json.push_str(if level % 2 == 0 { "[" } else { "{\"a\":" });
            }
            if depth.is_multiple_of(2) {
                json.push('1');
            }
            for level in (0..depth).rev() {
                json.push(if level % 2 == 0 { ']' } else { '}' });
            }
            json
        }
        let check = || {
            let json = nested(MAX_DEPTH);
            let value = parse(json.as_bytes()).unwrap();
            let owned = value.clone().into_owned();
            assert!(owned == value);
            let mut out = Vec::new();
            owned.write(&mut out);
            assert_eq!(out, json.as_bytes());
            drop((value, owned));

            for depth in [MAX_DEPTH + 1, 1_000_000] {
                assert!(matches!(parse(nested(depth).as_bytes()), Err(ParseError::TooDeep { .. })));
            }
            assert!(matches!(parse("[".repeat(1_000_000).as_bytes()), Err(ParseError::TooDeep { .. })));
        };
        // Half of what a worker thread has.
        std::thread::Builder::new().stack_size(1 << 20).spawn(check).unwrap().join().unwrap();
    }
}
