//! The token of a cookie, and who may send it.

use std::ops::Range;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{COOKIE, ORIGIN},
};

use super::{
    Head, InvalidPlace, TokenSyntax,
    place::{is_token, token_at},
};
use crate::{Denied, origin::Origin, verify::BearerToken};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A cookie that holds a token, and the pages that may send it: those of the service's own origin, and those
/// that are named here. The rules are in the [module's documentation](super).
///
/// ```
/// use tower_reauth::{BearerAuthLayer, StaticToken, bearer::{Place, TokenCookie}};
///
/// # fn main() -> Result<(), tower_reauth::bearer::InvalidPlace> {
/// let cookie = TokenCookie::new("__Host-session")?.with_origins(["https://app.example.com"])?;
/// let layer = BearerAuthLayer::new(StaticToken::new("s3cret")).with_places([Place::AUTHORIZATION, cookie.into()]);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCookie {
    name: Box<str>,
    origins: Vec<Origin>,
    links: bool,
}

impl TokenCookie {
    /// The cookie of this name, in this very case.
    ///
    /// # Errors
    ///
    /// [`InvalidPlace::CookieName`] if the name is not a token.
    pub fn new(name: &str) -> Result<Self, InvalidPlace> {
        let cookie = Self { name: name.into(), origins: Vec::new(), links: false };
        if is_token(name) { Ok(cookie) } else { Err(InvalidPlace::CookieName) }
    }

    /// Takes it from pages of these origins too, such as `https://app.example.com`. Called again, it adds to
    /// what it was called with before.
    ///
    /// # Errors
    ///
    /// [`InvalidPlace::Origin`] for a text that is none.
    pub fn with_origins<T: AsRef<str>>(mut self, origins: impl IntoIterator<Item = T>) -> Result<Self, InvalidPlace> {
        for origin in origins {
            self.origins.push(origin.as_ref().parse().map_err(|_| InvalidPlace::Origin)?);
        }
        Ok(self)
    }

    /// Takes it where a user follows a link from anywhere: a `GET` or `HEAD` with `Sec-Fetch-Mode: navigate`
    /// and `Sec-Fetch-Dest: document`. The page that had the link does not see the answer, but it chooses what
    /// is asked for, and when.
    #[must_use]
    pub fn with_links(mut self) -> Self {
        self.links = true;
        self
    }

    /// Reads all `Cookie` headers as one list: HTTP/2 has each cookie in its own (RFC 9113 section 8.2.3).
    pub(super) fn read(&self, head: Head<'_>, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
        let mut cookies = self.find(head.headers());
        let (header, range) = cookies.next().ok_or(Denied::Missing)?;
        if !self.may_send(head) {
            return Err(Denied::Missing);
        }
        if cookies.next().is_some() {
            return Err(Denied::Malformed);
        }
        token_at(header, range, syntax)
    }

    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        self.find(headers).next().is_some()
    }

    /// The cookies of this name that are not empty, each with where in its header the value stands.
    fn find<'h>(&'h self, headers: &'h HeaderMap) -> impl Iterator<Item = (&'h HeaderValue, Range<usize>)> {
        headers.get_all(COOKIE).iter().flat_map(|header| {
            let values = values_of(self.name.as_bytes(), header.as_bytes());
            values.map(move |range| (header, range))
        })
    }

    /// Whether a request's page may send the cookie: rules 1 to 5 of the module's documentation.
    fn may_send(&self, head: Head<'_>) -> bool {
        let headers = head.headers();
        let sites = headers.get_all(SEC_FETCH_SITE);
        let is_told = sites.iter().next().is_some();
        if is_told && sites.iter().all(|site| site == "same-origin" || site == "none") {
            return true;
        }
        let mut origins = headers.get_all(ORIGIN).iter().filter(|origin| !origin.as_bytes().trim_ascii().is_empty());
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return !is_told || (self.links && follows_a_link(head)),
            (Some(origin), None) => origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok()),
            (Some(_), Some(_)) => None,
        };
        origin.is_some_and(|origin| {
            self.origins.contains(&origin) || (!is_told && origin.is_addressed_by(headers, head.uri()))
        })
    }
}

fn follows_a_link(head: Head<'_>) -> bool {
    let is = |name, value: &str| {
        let mut sent = head.headers().get_all(name).iter();
        sent.next().is_some_and(|first| first == value) && sent.next().is_none()
    };
    matches!(*head.method(), Method::GET | Method::HEAD)
        && is(SEC_FETCH_MODE, "navigate")
        && is(SEC_FETCH_DEST, "document")
}

/// Where the values of the cookies of a name stand in a header (RFC 6265 section 4.2.1), without the white
/// space and the quotes around them.
fn values_of<'h>(name: &'h [u8], header: &'h [u8]) -> impl Iterator<Item = Range<usize>> + 'h {
    let mut end = 0;
    header.split(|&byte| byte == b';').filter_map(move |pair| {
        let start = end;
        end = start + pair.len() + 1;
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        if pair[..equals].trim_ascii() != name {
            return None;
        }
        let value = &pair[equals + 1..];
        let start = start + equals + 1 + (value.len() - value.trim_ascii_start().len());
        match value.trim_ascii() {
            [] | [b'"', b'"'] => None,
            [b'"', quoted @ .., b'"'] => Some(start + 1..start + 1 + quoted.len()),
            value => Some(start..start + value.len()),
        }
    })
}
