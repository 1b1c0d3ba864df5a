//! A password or token: never printed, not by accident either.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tower_reauth::verify::TokenDigest;

use super::ConfigError;

/// A secret as its owner gave it, which a request can carry. `==` is for noticing that it was changed,
/// never for checking a caller: it does not take constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// Why a text is no secret: as the end of a sentence about it, without the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Blank,
    /// It would be waited for in vain.
    Unsendable,
}

impl Secret {
    /// White space around a secret, and a byte order mark before it, are not part of it: no `Authorization`
    /// header could carry them.
    ///
    /// A header's value is Latin-1 text without control characters (RFC 9110 section 5.5; that its bytes are
    /// Latin-1 is how OpenClaw reads them).
    pub fn new(text: &str) -> Result<Self, Flaw> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let is_sendable = |char: char| u8::try_from(char).is_ok_and(|byte| byte == b'\t' || !byte.is_ascii_control());
        match text {
            "" => Err(Flaw::Blank),
            _ if !text.chars().all(is_sendable) => Err(Flaw::Unsendable),
            _ => Ok(Self(text.into())),
        }
    }

    /// The one secret that a file with this text holds. The error never quotes the file.
    pub fn of_file(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let malformed = |reason: &str| ConfigError::malformed(file, "the whole of it", reason);
        let text = text.trim();
        match Self::new(text) {
            Err(Flaw::Blank) => Err(malformed("is empty")),
            Err(Flaw::Unsendable) if text.contains(['\n', '\r']) => Err(malformed("holds more than one line")),
            Err(flaw) => Err(malformed(&flaw.to_string())),
            Ok(secret) => Ok(secret),
        }
    }

    /// The secret itself.
    #[cfg(test)]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What shows it to another server. No log and no `Debug` writes it out.
    #[cfg(feature = "upstream")]
    pub fn to_bearer(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_bytes(&[b"Bearer ", &*self.latin1()].concat()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether these bytes show it.
    #[cfg(feature = "upstream")]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        memchr::memmem::find(bytes, self.0.as_bytes()).is_some()
    }

    /// The text without this secret.
    #[cfg(feature = "upstream")]
    pub fn left_out_of(&self, text: &str) -> String {
        text.replace(&*self.0, "...")
    }

    /// The digest of the bytes by which a header carries it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.latin1())
    }

    fn latin1(&self) -> Vec<u8> {
        self.0.chars().filter_map(|char| u8::try_from(char).ok()).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "is blank",
            Self::Unsendable => {
                "holds a character that no Authorization header can carry (a control character, or one outside \
                 Latin-1), so that no caller could ever show it: make it of letters, digits and punctuation in ASCII"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_it() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn space_and_a_mark_around_it_go_and_space_within_it_stays() {
        for text in [" pass wörd\n", "\u{feff}pass wörd\r\n", "pass wörd"] {
            assert_eq!(Secret::new(text).unwrap().expose(), "pass wörd");
        }
        for blank in ["", " \t\n", "\u{feff}", "\u{feff}\r\n"] {
            assert_eq!(Secret::new(blank), Err(Flaw::Blank));
        }
    }

    #[test]
    fn what_no_header_can_carry_is_no_secret() {
        for text in ["a\nb", "a\0b", "a\u{7f}", "日本", "a\u{200b}b", "a\u{1b}[0m"] {
            assert_eq!(Secret::new(text), Err(Flaw::Unsendable), "{text:?}");
        }
        assert!(Secret::new("a\tb").is_ok());
    }

    #[test]
    fn it_is_compared_as_a_header_carries_it() {
        assert_eq!(Secret::new("wörd").unwrap().digest(), TokenDigest::of(b"w\xf6rd"));
    }

    #[test]
    fn a_file_holds_one_secret_on_one_line() {
        let read = |text| Secret::of_file(Path::new("token"), text).map_err(|error| error.to_string());
        assert_eq!(read("abc\r\n").unwrap().expose(), "abc");
        for (broken, expected) in [
            ("", "is empty"),
            ("\n\n", "is empty"),
            ("abc\ndef\n", "more than one line"),
            ("abc\0", "no Authorization header can carry"),
        ] {
            let error = read(broken).unwrap_err();
            assert!(error.contains(expected) && !error.contains("abc"), "{error}");
        }
    }
}
