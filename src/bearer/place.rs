//! Where in a request's head a token may stand.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
};

use super::{Head, HeadMut, TokenCookie, TokenSyntax, authorization, query, subprotocol};
use crate::{Denied, verify::BearerToken};

/// A place in a request's head where a token may stand, for
/// [`BearerAuthLayer::with_places`](super::AuthLayer::with_places). What holds of each is said in the
/// [module's documentation](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Authorization,
    Header(HeaderName),
    Query,
    Cookie(TokenCookie),
    Subprotocol(Arc<str>),
}

/// A name that a [`Place`] cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPlace {
    /// A header with a syntax of its own: `Authorization`, `Cookie` and `Sec-WebSocket-Protocol` are places
    /// by themselves.
    Header,
    /// The name of a cookie is a token (RFC 6265 section 4.1.1).
    CookieName,
    /// A page's origin is a scheme, `://`, a host and perhaps a port.
    Origin,
    /// The prefix of a subprotocol is a token (RFC 6455 section 4.1).
    SubprotocolPrefix,
}

impl Place {
    /// The `Authorization` header, with the scheme `Bearer` (RFC 6750 section 2.1).
    pub const AUTHORIZATION: Self = Self(Kind::Authorization);

    /// The parameter `access_token` of the query (RFC 6750 section 2.3): for what cannot set a header, as a
    /// browser's `EventSource` and the `src` of a video cannot. Other places are better: an address is written
    /// into histories, and into the logs of every server on its way.
    pub const QUERY: Self = Self(Kind::Query);

    /// A header whose whole value is the token, such as `x-api-key`.
    ///
    /// # Errors
    ///
    /// [`InvalidPlace::Header`] for those that are places of another kind.
    pub fn header(name: HeaderName) -> Result<Self, InvalidPlace> {
        let is_another = [AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL].contains(&name);
        if is_another { Err(InvalidPlace::Header) } else { Ok(Self(Kind::Header(name))) }
    }

    /// The cookie of this name, which only pages of the service's own origin may send; for others see
    /// [`TokenCookie`].
    ///
    /// # Errors
    ///
    /// [`InvalidPlace::CookieName`] if the name is not a token.
    pub fn cookie(name: &str) -> Result<Self, InvalidPlace> {
        TokenCookie::new(name).map(Self::from)
    }

    /// The subprotocol of a WebSocket that begins with `prefix`, the token behind it: the one thing that a
    /// browser's script can say of itself in a handshake. With the prefix `bearer.` a page connects by
    ///
    /// ```js
    /// new WebSocket(url, ['chat', 'bearer.' + encodeURIComponent(token)])
    /// ```
    ///
    /// and the handler chooses `chat`, the one that is left: a browser gives up where it offered subprotocols
    /// and none of them is chosen.
    ///
    /// # Errors
    ///
    /// [`InvalidPlace::SubprotocolPrefix`] if the prefix is not a token.
    pub fn subprotocol(prefix: &str) -> Result<Self, InvalidPlace> {
        if is_token(prefix) { Ok(Self(Kind::Subprotocol(prefix.into()))) } else { Err(InvalidPlace::SubprotocolPrefix) }
    }

    fn read(&self, head: Head<'_>, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
        match self.look(head, syntax) {
            Err(Denied::Missing) => Removed::find(self, head.extensions(), syntax),
            found => found,
        }
    }

    fn look(&self, head: Head<'_>, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
        match &self.0 {
            Kind::Authorization => authorization::read(head.headers(), syntax),
            Kind::Header(name) => read_header(head.headers(), name, syntax),
            Kind::Query => query::read(head.uri(), syntax),
            Kind::Cookie(cookie) => cookie.read(head, syntax),
            Kind::Subprotocol(prefix) => subprotocol::read(head.headers(), prefix, syntax),
        }
    }

    /// Keeps what may be a token from logs and from what stands further in.
    fn conceal(&self, head: &mut HeadMut<'_>, syntax: TokenSyntax) {
        // What is taken away is left where a door further in finds it, and nobody else does.
        let removed = match self.0 {
            Kind::Query | Kind::Subprotocol(_) => self.look(head.head(), syntax).ok(),
            _ => None,
        };
        let is_here = match &self.0 {
            // The door hides it, whoever reads it.
            Kind::Authorization => false,
            Kind::Header(name) => mark_sensitive(head.headers_mut(), name),
            Kind::Query => query::conceal(head),
            Kind::Cookie(cookie) => {
                let is_here = cookie.is_in(head.head().headers());
                is_here && mark_sensitive(head.headers_mut(), &COOKIE)
            }
            Kind::Subprotocol(prefix) => subprotocol::conceal(head.headers_mut(), prefix),
        };
        if is_here {
            head.make_response_private();
        }
        if let Some(token) = removed {
            Removed::keep(self, token, head.extensions_mut());
        }
    }
}

/// Tokens that a door took away, and where they stood: an extension of the request, for doors further in.
#[derive(Clone, Default)]
struct Removed(Vec<(Place, BearerToken)>);

impl Removed {
    fn keep(place: &Place, token: BearerToken, extensions: &mut Extensions) {
        extensions.get_or_insert_default::<Self>().0.push((place.clone(), token));
    }

    fn find(place: &Place, extensions: &Extensions, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
        if let Kind::Authorization | Kind::Header(_) | Kind::Cookie(_) = place.0 {
            return Err(Denied::Missing);
        }
        let removed: &Self = extensions.get().ok_or(Denied::Missing)?;
        let (_, token) = removed.0.iter().find(|(known, _)| known == place).ok_or(Denied::Missing)?;
        if syntax.matches(token.as_bytes()) { Ok(token.clone()) } else { Err(Denied::Malformed) }
    }
}

impl From<TokenCookie> for Place {
    fn from(cookie: TokenCookie) -> Self {
        Self(Kind::Cookie(cookie))
    }
}

/// The one token that stands in any of the places. All are read: of two nobody can say which one was meant.
pub(super) fn read(places: &[Place], head: Head<'_>, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    let mut found = Err(Denied::Missing);
    for place in places {
        match (place.read(head, syntax), &found) {
            (Err(Denied::Missing), _) => {}
            (token @ Ok(_), Err(Denied::Missing)) => found = token,
            _ => return Err(Denied::Malformed),
        }
    }
    found
}

pub(super) fn conceal(places: &[Place], head: &mut HeadMut<'_>, syntax: TokenSyntax) {
    places.iter().for_each(|place| place.conceal(head, syntax));
}

fn read_header(headers: &HeaderMap, name: &HeaderName, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Malformed);
    }
    let bytes = value.as_bytes();
    let start = bytes.len() - bytes.trim_ascii_start().len();
    token_at(value, start..start + bytes.trim_ascii().len(), syntax)
}

/// The token that stands at `range` of a header's value.
pub(super) fn token_at(
    value: &HeaderValue,
    range: std::ops::Range<usize>,
    syntax: TokenSyntax,
) -> Result<BearerToken, Denied> {
    let is_token = value.as_bytes().get(range.clone()).is_some_and(|token| syntax.matches(token));
    is_token.then(|| BearerToken::from_header(value, range)).flatten().ok_or(Denied::Malformed)
}

/// The token that an escaped text stands for, in memory of its own.
pub(super) fn unescaped(text: &[u8], space: Option<u8>, syntax: TokenSyntax) -> Result<BearerToken, Denied> {
    // Three characters for each byte at most, so that no more than is needed is written.
    if text.len() > 3 * BearerToken::MAX_LEN {
        return Err(Denied::Malformed);
    }
    let token = Bytes::from(unescape(text, space).collect::<Option<Vec<u8>>>().ok_or(Denied::Malformed)?);
    let length = token.len();
    let mut value = HeaderValue::from_maybe_shared(token).map_err(|_| Denied::Malformed)?;
    value.set_sensitive(true);
    token_at(&value, 0..length, syntax)
}

/// The bytes behind percent-encoding (RFC 3986 section 2.1), and a space for each byte that is `space`. `None`
/// in place of an escape that is none.
pub(super) fn unescape(text: &[u8], space: Option<u8>) -> impl Iterator<Item = Option<u8>> {
    let mut rest = text.iter().copied();
    std::iter::from_fn(move || {
        let byte = rest.next()?;
        let mut digit = || char::from(rest.next()?).to_digit(16);
        Some(match byte {
            b'%' => digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ if Some(byte) == space => Some(b' '),
            _ => Some(byte),
        })
    })
}

/// Marks all headers of a name. Whether there was one.
fn mark_sensitive(headers: &mut HeaderMap, name: &HeaderName) -> bool {
    match headers.entry(name) {
        http::header::Entry::Occupied(mut values) => {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
            true
        }
        http::header::Entry::Vacant(_) => false,
    }
}

/// Whether a text is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let is_token_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token_char)
}

impl fmt::Display for InvalidPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "a header for tokens is none that has a syntax of its own",
            Self::CookieName => "the name of a cookie is a token (RFC 6265 section 4.1.1)",
            Self::Origin => "an origin is a scheme (http, https, ws, wss), `://`, a host and perhaps a port",
            Self::SubprotocolPrefix => "the prefix of a subprotocol is a token (RFC 6455 section 4.1)",
        })
    }
}

impl Error for InvalidPlace {}
