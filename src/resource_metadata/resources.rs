//! The resources that are served, and which one a request asks for.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL,
        CONTENT_TYPE, HOST,
    },
};

use super::{ResourceMetadata, invalid::name_of};
use crate::authority::Authority;

#[derive(Debug)]
pub(super) struct Resources(Vec<Served>);

#[derive(Debug)]
struct Served {
    metadata: ResourceMetadata,
    document: Bytes,
}

impl Resources {
    pub(super) fn new(resources: impl IntoIterator<Item = ResourceMetadata>) -> Self {
        let served = |metadata: ResourceMetadata| Served { document: metadata.document().into(), metadata };
        Self(resources.into_iter().map(served).collect())
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let document = self.asked_for(request.uri(), request.headers())?.document.clone();
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        match *request.method() {
            Method::GET | Method::HEAD => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
                *response.body_mut() = document;
            }
            Method::OPTIONS => {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            _ => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            }
        }
        Some(response)
    }

    fn asked_for(&self, uri: &Uri, headers: &HeaderMap) -> Option<&Served> {
        let mut candidates = self.0.iter().filter(|served| served.metadata.is_at(uri));
        let first = candidates.next()?;
        if candidates.next().is_none() {
            return Some(first);
        }
        let host = host_of(uri, headers)?;
        self.0.iter().find(|served| served.metadata.is_at(uri) && served.metadata.host == host)
    }

    /// The only resource, if there is one only.
    pub(super) fn only(&self) -> Option<&ResourceMetadata> {
        match self.0.as_slice() {
            [only] => Some(&only.metadata),
            _ => None,
        }
    }

    /// Where the resource is described that a request was for: the one at its host, or of several there the one with
    /// the longest path that the request's path starts with.
    pub(super) fn url_for(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let host = host_of(uri, headers)?;
        let here = || self.0.iter().map(|served| &served.metadata).filter(|metadata| metadata.host == host);
        let nearest = match (here().next(), here().nth(1)) {
            (only, None) => only,
            _ => here().filter(|one| one.contains(uri.path()).is_some()).max_by_key(|one| one.contains(uri.path())),
        };
        nearest.map(|metadata| metadata.url().to_owned())
    }
}

/// HTTP/2 names the host in the target, HTTP/1.1 in a header.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST)?.to_str().ok()?,
    };
    Authority::parse(text).map(|authority| name_of(authority.host))
}
