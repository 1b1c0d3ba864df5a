//! A password or token: never printed, not by accident either.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file;

/// A secret as its owner gave it. `==` is for noticing that it was changed, never for checking a
/// caller: it does not take constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// White space around a secret is not part of it: no `Authorization` header could carry it.
    /// A blank one is no secret at all.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// Reads a file that holds one secret and nothing else. The error never quotes the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        let secret = Self::new(&file::read(path)?).ok_or_else(|| invalid("it is empty"))?;
        if secret.expose().contains(['\n', '\r']) {
            return Err(invalid("it holds more than one line"));
        }
        Ok(secret)
    }

    /// The secret itself, for the one place that compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn debug_does_not_show_it() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn space_around_it_goes_and_space_within_it_stays() {
        assert_eq!(Secret::new(" pass wörd\n").unwrap().expose(), "pass wörd");
        assert_eq!(Secret::new(" \t\n"), None);
    }

    #[test]
    fn a_file_holds_one_secret_on_one_line() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("token");
        assert_eq!(Secret::read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, "abc\r\n").unwrap();
        assert_eq!(Secret::read(&file).unwrap().expose(), "abc");
        for broken in [&b""[..], b"\n\n", b"abc\ndef\n", b"\xff\xfe"] {
            fs::write(&file, broken).unwrap();
            let error = Secret::read(&file).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!error.to_string().contains("abc"), "{error}");
        }
    }
}
