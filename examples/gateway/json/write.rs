//! Writing JSON: byte for byte what `JSON.stringify` writes.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::lone;

/// Adds a value to `out` as JSON.
pub fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(out, JavaScript);
    value.serialize(&mut serializer).expect("a Vec takes all that is written to it, and every key is a string");
}

/// A value as JSON.
pub trait Write: Serialize + Sized {
    fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        write(self, &mut json);
        json
    }
}

impl<T: Serialize> Write for T {}

/// No spaces; numbers and halves of surrogate pairs as JavaScript writes them.
struct JavaScript;

impl Formatter for JavaScript {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(ryu_js::Buffer::new().format(value).as_bytes())
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut done = 0;
        for at in memchr::memchr_iter(0xF4, fragment.as_bytes()) {
            let Some(half) = fragment[at..].chars().next().and_then(lone::half) else { continue };
            writer.write_all(&fragment.as_bytes()[done..at])?;
            write!(writer, "\\u{half:04x}")?;
            done = at + 4;
        }
        writer.write_all(&fragment.as_bytes()[done..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn json_that_javascript_wrote_is_written_as_it_was() {
        for text in [
            r#"{"a":[1,1.5,-0.1,1e+21,1e-7,0.000001,123456789012345680000,1.7976931348623157e+308,5e-324],"b":null}"#,
            r#""\b\f\n\r\t\u0000\u001f\"\\/é\u007f東😀""#,
            "\"\u{2028}\u{7f}\"",
            r#"{"10":1,"b":true,"__proto__":{},"":[]}"#,
        ] {
            let text = text.replace("\\u007f", "\u{7f}");
            assert_eq!(String::from_utf8(parse(text.as_bytes()).unwrap().to_json()).unwrap(), text);
        }
    }
}
