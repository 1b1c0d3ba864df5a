//! Writing JSON: byte for byte what `JSON.stringify` writes.
//!
//! No spaces; characters outside ASCII as they are; control characters and lone surrogates
//! escaped; numbers in JavaScript's own shortest form, infinities as `null`.

use std::io::Write as _;

use super::{Object, Text, Value, wtf8};

impl Value<'_> {
    /// Adds the value to `out` as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(number) => write_number(*number, out),
            Value::String(text) => text.write(out),
            Value::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(object) => object.write(out),
        }
    }
}

impl Object<'_> {
    /// Adds the object to `out` as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (key, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            key.write(out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl Text<'_> {
    /// Adds the text to `out` as a JSON string.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        let mut rest = self.as_wtf8();
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0xED)) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + write_escaped(&rest[at..], out)..];
        }
        out.extend_from_slice(rest);
        out.push(b'"');
    }
}

/// Writes the first character of `text`, escaped if it has to be, and says how many bytes of
/// `text` that covered.
fn write_escaped(text: &[u8], out: &mut Vec<u8>) -> usize {
    let escape = match text[0] {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        0x08 => b"\\b",
        0x0C => b"\\f",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        control @ 0..0x20 => {
            write_unit(u16::from(control), out);
            return 1;
        }
        // 0xED also begins characters that are no surrogates.
        other => match wtf8::surrogate_at_start(text) {
            Some(unit) => {
                write_unit(unit, out);
                return 3;
            }
            None => {
                out.push(other);
                return 1;
            }
        },
    };
    out.extend_from_slice(escape);
    1
}

fn write_unit(unit: u16, out: &mut Vec<u8>) {
    write!(out, "\\u{unit:04x}").expect("a Vec takes all that is written to it");
}

fn write_number(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: impl Into<Value<'static>>) -> String {
        let mut out = Vec::new();
        value.into().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_javascript_does() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-7, "1e-7"),
            (0.000001, "0.000001"),
            (123456789012345680000.0, "123456789012345680000"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(written(number), expected);
        }
    }

    #[test]
    fn strings_escape_only_what_they_must() {
        for (text, expected) in [
            ("", r#""""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\0\u{1f}\u{b}", r#""\u0000\u001f\u000b""#),
            ("\u{7f}\u{85}\u{2028}😀\u{d7ff}\u{e000}", "\"\u{7f}\u{85}\u{2028}😀\u{d7ff}\u{e000}\""),
        ] {
            assert_eq!(written(text), expected);
        }
    }

    #[test]
    fn lone_surrogates_are_escaped_in_lower_case() {
        let text = Text::from_wtf8(b"\xED\xA0\xBDa\xED\xBF\xBF\xED\x9F\xBF".as_slice());
        assert_eq!(written(text), "\"\\ud83da\\udfff\u{d7ff}\"");
    }

    #[test]
    fn containers_are_written_without_spaces() {
        let inner = Object::from([("b", Value::Null), ("c", Value::Array(vec![true.into(), 1.0.into()]))]);
        assert_eq!(written(Object::from([("a", inner)])), r#"{"a":{"b":null,"c":[true,1]}}"#);
        assert_eq!(written(Object::new()), "{}");
    }
}
