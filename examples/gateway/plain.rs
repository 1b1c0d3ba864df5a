//! Text on one line, without what a log, a terminal or an editor would obey rather than show.

use std::{borrow::Cow, fmt::Write};

/// What stands in place of a character that would be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// `\n`, `\u{9b}`: as Rust has them.
    Text,
    /// The same, in a line of plain values that has colours of its own: ESC stays.
    Coloured,
    /// `\u009b`: in JSON such a character can only be in a string.
    Json,
}

/// The text with escapes for control characters (C0, C1 and DEL), for separators of lines and paragraphs, and for
/// what turns the direction of the text around it (Unicode UAX 9).
pub fn plain(text: &str, escapes: Escapes) -> Cow<'_, str> {
    let is_obeyed = |char| is_obeyed(char) && !(escapes == Escapes::Coloured && char == '\x1b');
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            char if !is_obeyed(char) => shown.push(char),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // All of them are of the Basic Multilingual Plane. To write to a string cannot fail.
            char if escapes == Escapes::Json => _ = write!(shown, "\\u{:04x}", u32::from(char)),
            char => _ = write!(shown, "{}", char.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_is_shown() {
        for (text, shown) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J", r"\u{1b}[2J"),
            ("\u{9b}2J\u{85}\x7f\0", r"\u{9b}2J\u{85}\u{7f}\u{0}"),
            ("\u{202e}cba\u{2066}\u{2028}", r"\u{202e}cba\u{2066}\u{2028}"),
            ("Zoë, 猫 \u{200d}", "Zoë, 猫 \u{200d}"),
        ] {
            assert_eq!(plain(text, Escapes::Text), shown);
        }
        assert_eq!(plain("\x1b[1mred\x1b[0m\n\u{9b}", Escapes::Coloured), "\x1b[1mred\x1b[0m\\n\\u{9b}");
    }

    #[test]
    fn in_json_it_is_the_same_text_to_who_reads_it() {
        let all: String = (0..0x2100).filter_map(char::from_u32).collect();
        let json = serde_json::to_string(&all).unwrap();
        let shown = plain(&json, Escapes::Json);
        assert!(!shown.contains(is_obeyed));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
    }
}
