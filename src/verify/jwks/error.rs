//! Why there are no keys.

use std::{error::Error, fmt, sync::Arc};

use http::{StatusCode, Uri};

use crate::{http_client::BoxError, verify::jwt::InvalidKeySet};

/// Why keys cannot be fetched: with what they were asked for, without user, password and query of the URL.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JwksError {
    /// It is not an absolute URL.
    InvalidUrl(String),
    /// It is neither `https` nor on this machine, or said by an issuer that is `https` and not so itself: whoever stands
    /// between could give keys of their own.
    Insecure(Uri),
    /// No cryptography is compiled in: neither the feature `jwt` nor `jwt-aws-lc-rs` is on.
    NoCrypto,
    /// The provider could not be reached.
    Unreachable(Uri, Arc<BoxError>),
    /// The provider did not answer in time.
    TimedOut,
    /// The HTTP client panicked.
    ClientPanicked,
    /// The provider answered with another status than 200.
    Status(Uri, StatusCode),
    /// The response is longer than [`MAX_BODY_LEN`](crate::http_client::MAX_BODY_LEN).
    TooLong(Uri),
    /// The discovery document is no JSON object, or lacks a member that is a text: which, or where in the text.
    Document(Uri, String),
    /// The discovery document is another issuer's (RFC 8414 section 3.3): what it says.
    WrongIssuer(Uri, String),
    /// What stands where the keys are said to be is no key set.
    KeySet(Uri, Arc<InvalidKeySet>),
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl(url) => write!(f, "{url:?} is not an absolute URL"),
            Self::Insecure(url) => write!(f, "{url} is neither https nor on this machine"),
            Self::NoCrypto => InvalidKeySet::NoCrypto.fmt(f),
            Self::Unreachable(url, error) => write!(f, "{url}: {error}"),
            Self::TimedOut => f.write_str("the provider did not answer in time"),
            Self::ClientPanicked => f.write_str("the HTTP client panicked"),
            Self::Status(url, status) => write!(f, "{url}: the status is {status}"),
            Self::TooLong(url) => write!(f, "{url}: the response is too long"),
            Self::Document(url, problem) => write!(f, "{url}: {problem}"),
            Self::WrongIssuer(url, issuer) => write!(f, "{url}: the document is that of the issuer {issuer:?}"),
            Self::KeySet(url, error) => write!(f, "{url}: {error}"),
        }
    }
}

impl Error for JwksError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable(_, error) => Some(&***error),
            Self::KeySet(_, error) => Some(&**error),
            _ => None,
        }
    }
}
