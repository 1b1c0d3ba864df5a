//! Replies by which a model says that it has nothing to say.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

use crate::json::{
    self, Fields,
    text::{is_space, trim, trim_end},
};

const SILENT: &str = "NO_REPLY";
const TOKENS: [&str; 3] = [SILENT, "ANNOUNCE_SKIP", "REPLY_SKIP"];

/// Whether the text is nothing but one of the tokens, once or several times, the last perhaps unfinished.
pub fn is_control_reply(text: &str) -> bool {
    let text = trim(text);
    // All but few texts begin with no token.
    mentions_token(text.chars().take(80)) && (TOKENS.iter().any(|token| is_only(text, token)) || is_unfinished(text))
}

/// Whether a text says in any way that there is no reply: the token itself, as JSON, or behind reasoning.
pub fn is_silence(text: &str) -> bool {
    let text = trim(text);
    if is_only(text, SILENT) {
        return true;
    }
    match text.bytes().next() {
        Some(b'"') if text.contains(SILENT) => {
            json::parse(text.as_bytes()).is_some_and(|text| text.as_str().is_some_and(|text| trim(text) == SILENT))
        }
        Some(b'{') if text.contains(SILENT) => json::object(text.as_bytes())
            .is_some_and(|object| object.len() == 1 && object.trimmed("action") == Some(SILENT)),
        Some(b'<') => {
            static REASONING: LazyLock<Regex> = LazyLock::new(|| {
                let name = "(?:(?:antml:|mm:)?(?:think(?:ing)?|thought)|antthinking)";
                Regex::new(&format!(r"(?is)\A(?:\s*<\s*{name}\b[^<>]*>.*?<\s*/\s*{name}\s*>\s*)+"))
                    .expect("an expression")
            });
            REASONING.find(text).is_some_and(|reasoning| is_only(&text[reasoning.end()..], SILENT))
        }
        _ => false,
    }
}

/// The text without the tokens that it ends with.
pub fn without_token(text: &str) -> Cow<'_, str> {
    if is_control_reply(text) {
        return Cow::Borrowed("");
    }
    TOKENS.iter().fold(Cow::Borrowed(text), |left, token| match without_last(&left, token) {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => left,
    })
}

/// Whether the token stands in the text once or several times and nothing else does, punctuation around it aside.
fn is_only(text: &str, token: &str) -> bool {
    static EDGES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\A\p{P}+|\p{P}+\z").expect("an expression"));
    is_repeated(text, token) || is_repeated(&EDGES.replace_all(trim(text), ""), token)
}

fn is_repeated(text: &str, token: &str) -> bool {
    let mut words = words(text).peekable();
    words.peek().is_some() && words.all(|word| word.eq_ignore_ascii_case(token))
}

/// Whether all words are tokens but for the last, which is the beginning of one.
fn is_unfinished(text: &str) -> bool {
    let words: Vec<&str> = words(text).collect();
    let Some((last, before)) = words.split_last() else { return false };
    let is_token = |word: &&str| TOKENS.iter().any(|token| token.eq_ignore_ascii_case(word));
    let begins = |token: &&str| token.get(..last.len()).is_some_and(|start| start.eq_ignore_ascii_case(last));
    !before.is_empty() && before.iter().all(is_token) && TOKENS.iter().any(begins)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

fn mentions_token(start: impl Iterator<Item = char>) -> bool {
    let start: String = start.collect::<String>().to_ascii_uppercase();
    TOKENS.iter().any(|token| start.contains(token))
}

/// The text without the token at its end, which stands behind space, asterisks or nothing. `None` if there is none.
fn without_last<'t>(text: &'t str, token: &str) -> Option<&'t str> {
    let mut left = trim_end(text);
    let mut found = false;
    while let Some(before) = without_suffix(left, token) {
        if before.is_empty() || before.ends_with(is_space) {
            (left, found) = (trim_end(before), true);
        } else if before.ends_with('*') {
            return Some(trim(before.trim_end_matches('*')));
        } else {
            break;
        }
    }
    found.then(|| trim(left))
}

fn without_suffix<'t>(text: &'t str, token: &str) -> Option<&'t str> {
    let at = text.len().checked_sub(token.len())?;
    let (before, last) = text.split_at_checked(at)?;
    last.eq_ignore_ascii_case(token).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_alone_is_a_control_reply() {
        for (text, is_one) in [
            (" no_reply\n", true),
            ("NO_REPLY NO_REPLY", true),
            ("NO_REPLY ANN", true),
            ("NO_REPLY xyz", false),
            ("**NO_REPLY**", true),
            ("(REPLY_SKIP).", true),
            ("NO_REPLY now", false),
            ("NO", false),
            ("", false),
        ] {
            assert_eq!(is_control_reply(text), is_one, "{text}");
        }
    }

    #[test]
    fn silence_is_said_in_other_ways_too() {
        for (text, is_one) in [
            (r#""NO_REPLY""#, true),
            (r#"{"action":" NO_REPLY "}"#, true),
            (r#"{"action":"NO_REPLY","a":1}"#, false),
            ("<think>hm\n</think> <thinking>x</thinking>\nNO_REPLY", true),
            ("<think>hm</think> yes", false),
            ("ANNOUNCE_SKIP", false),
        ] {
            assert_eq!(is_silence(text), is_one, "{text}");
        }
    }

    #[test]
    fn the_token_at_the_end_is_cut_off() {
        for (text, left) in [
            ("done NO_REPLY", "done"),
            ("done\n\n NO_REPLY no_reply ", "done"),
            ("done **NO_REPLY", "done"),
            ("done.NO_REPLY", "done.NO_REPLY"),
            (" done ", " done "),
            ("done REPLY_SKIP NO_REPLY", "done"),
        ] {
            assert_eq!(without_token(text), left, "{text}");
        }
    }
}
