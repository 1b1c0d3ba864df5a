//! [`Text`]: a JavaScript string.

use std::{borrow::Cow, fmt};

use super::{ParseError, Value, parse::parse_wtf8, wtf8};

/// A JavaScript string, held as WTF-8 and borrowed where it can be.
///
/// Equality is that of JavaScript: the same UTF-16 units.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub(super) Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// Text out of pieces of other texts, cut between characters and joined with [`wtf8::append`].
    pub fn from_wtf8(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_wtf8(&self) -> &[u8] {
        &self.0
    }

    /// The text as a `str`, unless it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text as UTF-8: lone surrogates become U+FFFD, as they do whenever JavaScript encodes.
    pub fn to_utf8(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                let mut text = String::with_capacity(self.0.len());
                let mut rest = &self.0[..];
                while let Some(at) = (0..rest.len()).find(|at| lone(&rest[*at..])) {
                    text.push_str(&String::from_utf8_lossy(&rest[..at]));
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[at + 3..];
                }
                text.push_str(&String::from_utf8_lossy(rest));
                Cow::Owned(text)
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the text is empty but for whitespace.
    pub fn is_blank(&self) -> bool {
        wtf8::is_blank(&self.0)
    }

    /// Without whitespace at either end.
    pub fn trim(&self) -> Text<'_> {
        Text::from_wtf8(wtf8::trim(&self.0))
    }

    pub fn lower_case(&self) -> Text<'_> {
        Text(wtf8::lower_case(&self.0))
    }

    /// Whether the text is this ASCII word, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Puts what a rule makes of the text in its place. A rule that gives back the text itself, or
    /// a part of a borrowed text, costs nothing.
    pub fn edit(&mut self, rule: impl for<'t> Fn(&'t [u8]) -> Cow<'t, [u8]>) {
        match &self.0 {
            Cow::Borrowed(text) => self.0 = rule(text),
            Cow::Owned(text) => match rule(text) {
                Cow::Borrowed(part) if part.len() == text.len() => {}
                edited => self.0 = Cow::Owned(edited.into_owned()),
            },
        }
    }

    /// The trimmed text, if anything is left of it: "opt-string" in the rules.
    pub fn opt_string(&self) -> Option<Text<'_>> {
        Some(self.trim()).filter(|trimmed| !trimmed.is_empty())
    }

    /// Reads the text as JSON.
    pub fn parse_json(&self) -> Result<Value<'_>, ParseError> {
        parse_wtf8(&self.0)
    }

    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_utf8().fmt(f)
    }
}

fn lone(text: &[u8]) -> bool {
    wtf8::surrogate_at_start(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opt_string_is_trimmed_and_not_empty() {
        for (text, expected) in [("", None), (" \u{feff}\n", None), (" a b ", Some("a b"))] {
            let text = Text::from(text);
            assert_eq!(text.opt_string(), expected.map(Text::from), "{text:?}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_replaced_in_utf8() {
        let text = Text::from_wtf8(b"a\xED\xA0\xBD\xED\xA0\xBDb".as_slice());
        assert_eq!(text.as_str(), None);
        assert_eq!(text.to_utf8(), "a\u{fffd}\u{fffd}b");
        assert_eq!(Text::from("a").to_utf8(), "a");
    }

    #[test]
    fn an_edit_keeps_what_is_borrowed() {
        let mut text = Text::from(" a ");
        text.edit(|text| Cow::Borrowed(wtf8::trim(text)));
        assert!(matches!(text.0, Cow::Borrowed(b"a")));
        text.edit(|text| Cow::Owned([text, b" b "].concat()));
        text.edit(|text| Cow::Borrowed(wtf8::trim(text)));
        assert!(text == "a b");
    }

    #[test]
    fn text_compares_with_str() {
        let text = Text::from("role");
        assert!(text == "role");
        assert!(text != *"Role");
    }

    #[test]
    fn text_can_hold_json_of_its_own() {
        let outer = Text::from("{\"a\":1}");
        let inner = outer.parse_json().unwrap();
        assert_eq!(inner.as_object().unwrap().get("a"), Some(&Value::Number(1.0)));
    }
}
