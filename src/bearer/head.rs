//! What a credential is taken from.

use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request::Parts};

/// The head of a request: all but its body, by reference.
#[derive(Clone, Copy)]
pub struct Head<'r> {
    method: &'r Method,
    uri: &'r Uri,
    version: Version,
    headers: &'r HeaderMap,
    extensions: &'r Extensions,
}

impl<'r> Head<'r> {
    /// The method.
    #[must_use]
    pub fn method(self) -> &'r Method {
        self.method
    }

    /// The target.
    #[must_use]
    pub fn uri(self) -> &'r Uri {
        self.uri
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(self) -> Version {
        self.version
    }

    /// The header fields.
    #[must_use]
    pub fn headers(self) -> &'r HeaderMap {
        self.headers
    }

    /// What the server and outer layers have added.
    #[must_use]
    pub fn extensions(self) -> &'r Extensions {
        self.extensions
    }
}

impl<'r, B> From<&'r Request<B>> for Head<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'r> From<&'r Parts> for Head<'r> {
    fn from(parts: &'r Parts) -> Self {
        let Parts { method, uri, version, headers, extensions, .. } = parts;
        Self { method, uri, version: *version, headers, extensions }
    }
}

/// The head of a request that was read, to be changed before anybody else sees it: see
/// [`Authenticate::conceal`](super::Authenticate::conceal).
pub struct HeadMut<'r> {
    request: &'r mut dyn Parted,
    is_private: bool,
}

/// A request, whatever its body.
trait Parted {
    fn head(&self) -> Head<'_>;
    fn uri_mut(&mut self) -> &mut Uri;
    fn headers_mut(&mut self) -> &mut HeaderMap;
    fn extensions_mut(&mut self) -> &mut Extensions;
}

impl<B> Parted for Request<B> {
    fn head(&self) -> Head<'_> {
        self.into()
    }

    fn uri_mut(&mut self) -> &mut Uri {
        self.uri_mut()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

impl<'r> HeadMut<'r> {
    pub(super) fn new<B>(request: &'r mut Request<B>) -> Self {
        Self { request, is_private: false }
    }

    /// The head as it is now.
    #[must_use]
    pub fn head(&self) -> Head<'_> {
        self.request.head()
    }

    /// The target.
    pub fn uri_mut(&mut self) -> &mut Uri {
        self.request.uri_mut()
    }

    /// The header fields.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.request.headers_mut()
    }

    /// What the server and outer layers have added.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        self.request.extensions_mut()
    }

    /// The response is for this caller, and no shared cache may keep it: it gets a `Cache-Control: private`,
    /// unless it says so itself. Of what answers an `Authorization` header every cache knows that without
    /// being told (RFC 9111 section 3.5).
    pub fn make_response_private(&mut self) {
        self.is_private = true;
    }

    pub(super) fn is_response_private(&self) -> bool {
        self.is_private
    }
}

impl fmt::Debug for HeadMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head().fmt(f)
    }
}

// A target and header fields can hold secrets.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("method", self.method).field("version", &self.version).finish_non_exhaustive()
    }
}
