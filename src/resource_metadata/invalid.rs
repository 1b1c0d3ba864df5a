//! Which URLs name a resource or an authorization server.

use std::{error::Error, fmt};

use http::{Uri, uri::Scheme};

use crate::authority::{Authority, Host};

/// A text that names neither a resource nor an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidUrl {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The URL of `text` and its host, as RFC 9728 section 1.2 wants them: `https`, no fragment. On loopback `http` is
/// let pass, for development.
pub(super) fn parse(text: &str) -> Result<(Uri, String), InvalidUrl> {
    let invalid = |reason| InvalidUrl { text: text.to_owned(), reason };
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"\"\\<>^`{|}".contains(&byte)) {
        return Err(invalid("it has characters that a URL does not have (RFC 3986 section 2)"));
    }
    if text.contains('#') {
        return Err(invalid("it has a fragment"));
    }
    let uri: Uri = text.parse().map_err(|_| invalid("it is no absolute URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(invalid("it is no absolute URL"));
    };
    let authority = Authority::parse(authority.as_str())
        .ok_or(invalid("its authority is not a host and perhaps a port (RFC 3986 section 3.2)"))?;
    if *scheme != Scheme::HTTPS && !(*scheme == Scheme::HTTP && authority.host.is_loopback()) {
        return Err(invalid("it is not `https`, nor `http` on loopback"));
    }
    let host = name_of(authority.host);
    Ok((uri, host))
}

/// A host in the one form in which hosts are compared.
pub(super) fn name_of(host: Host<'_>) -> String {
    let name = host.to_string();
    name.strip_suffix('.').map_or_else(|| name.clone(), str::to_owned)
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` names no resource or authorization server: {}", self.text, self.reason)
    }
}

impl Error for InvalidUrl {}
