//! Numbers that no double holds.
//!
//! JavaScript reads one as infinite, and `JSON.stringify` writes what is infinite as `null`. `serde_json` refuses it, and
//! with it the whole text.

use memchr::memchr2;
use serde_json::value::RawValue;

/// The text with `null` for each of them. `None` if there is none.
pub fn without(text: &str) -> Option<String> {
    let (bytes, mut without) = (text.as_bytes(), String::new());
    let (mut done, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(is_of_number).count();
                if is_infinite(&text[at..end]) {
                    without.push_str(&text[done..at]);
                    without.push_str("null");
                    done = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    (done > 0).then(|| without + &text[done..])
}

/// Whether this is a number, and as a double infinite.
fn is_infinite(number: &str) -> bool {
    // Rust reads more than JSON has.
    number.parse().is_ok_and(f64::is_infinite) && serde_json::from_str::<&RawValue>(number).is_ok()
}

/// Where the string ends in which this is, behind its quotation mark.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next + 1;
        match bytes[at - 1] {
            b'"' => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{super::parse, without};

    #[test]
    fn a_number_that_no_double_holds_is_null_and_all_else_is_as_it_was() {
        for (text, expected) in [
            (
                r#"[1e999,-0.1e3081,1e308,"1e999 \" 1e999",{"1e999":1e999}]"#,
                r#"[null,null,1e308,"1e999 \" 1e999",{"1e999":null}]"#,
            ),
            ("1e999", "null"),
        ] {
            assert_eq!(without(text).as_deref(), Some(expected));
            assert_eq!(parse(text.as_bytes()), serde_json::from_str(expected).ok());
        }
        for text in ["[1e308]", "[01e999]", "[+1e999]", "[1.e999]", "[.1e999]", "[1e999", "\"1e999", "\"\\", "e", "-"] {
            assert_eq!(parse(text.as_bytes()), serde_json::from_str(text).ok(), "{text}");
        }
    }
}
