//! What JavaScript takes for space, and how it counts.

use super::lone;

/// Whether this is space to JavaScript's `trim` and to `\s`.
pub fn is_space(char: char) -> bool {
    char == '\u{feff}' || char.is_whitespace() && char != '\u{85}'
}

pub fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

pub fn trim_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

pub fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// The length in UTF-16 units.
pub fn units(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(units_of).sum() }
}

/// As many characters from the start as have no more UTF-16 units than this.
pub fn first_units(text: &str, limit: usize) -> &str {
    // A unit takes a byte at least.
    if text.len() <= limit {
        return text;
    }
    let mut left = limit;
    let end = text.char_indices().find(|(_, char)| {
        let taken = units_of(*char);
        let is_over = taken > left;
        left = left.saturating_sub(taken);
        is_over
    });
    end.map_or(text, |(end, _)| &text[..end])
}

fn units_of(char: char) -> usize {
    if lone::half(char).is_some() { 1 } else { char.len_utf16() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_what_javascript_takes_for_it() {
        assert_eq!(trim("\u{feff}\u{a0}\n a\u{85} \u{2028}"), "a\u{85}");
        assert!(is_blank("\u{3000}\t") && !is_blank("\u{200b}"));
    }

    #[test]
    fn a_pair_is_two_units_and_is_not_cut() {
        assert_eq!(units("aé東😀"), 5);
        for (limit, start) in [(0, ""), (1, "a"), (2, "a"), (3, "a😀"), (4, "a😀b"), (9, "a😀b")] {
            assert_eq!(first_units("a😀b", limit), start);
        }
        let half = super::super::parse(br#""\ud83d!""#).unwrap();
        assert_eq!(units(half.as_str().unwrap()), 2);
    }
}
