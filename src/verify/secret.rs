//! Which texts can be presented at all.

use std::{error::Error, fmt};

/// A text that no `Authorization` header can carry as a token, so that nobody could ever present it.
///
/// It never says the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// There is no text.
    Empty,
    /// There is white space before or after it, which is no part of a header's value (RFC 9110
    /// section 5.5).
    WhiteSpaceAround,
    /// It holds a control character, which a header's value cannot (RFC 9110 section 5.5).
    ControlCharacter,
    /// It begins with the byte order mark of a text file.
    ByteOrderMark,
}

impl InvalidSecret {
    pub(crate) fn check(secret: &[u8]) -> Result<(), Self> {
        match secret {
            [] => Err(Self::Empty),
            [0xef, 0xbb, 0xbf, ..] => Err(Self::ByteOrderMark),
            _ if secret.trim_ascii().len() < secret.len() => Err(Self::WhiteSpaceAround),
            _ if secret.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) => Err(Self::ControlCharacter),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty: is the variable or the file that it comes from set?",
            Self::WhiteSpaceAround => {
                "there is white space around the secret, which no header carries: trim it, the end of a line included"
            }
            Self::ControlCharacter => "a control character is in the secret, which no header carries: is it one line?",
            Self::ByteOrderMark => "the secret begins with a byte order mark: save the file without one, or strip it",
        })
    }
}

impl Error for InvalidSecret {}
