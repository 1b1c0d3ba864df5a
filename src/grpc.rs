//! How a gRPC call is refused.
//!
//! A gRPC client makes a status of its own from an HTTP status that is not 200, and a wrong one: 400 is
//! `INTERNAL` to it. So it is answered with a trailers-only response ("gRPC over HTTP/2", Responses).

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE},
};

use crate::{Denied, media_type};

pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What kind of gRPC a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// gRPC over HTTP/2.
    Native,
    /// gRPC-Web.
    Web,
    /// gRPC-Web in base64.
    WebText,
}

impl Kind {
    /// By the content type, of which the message format after a `+` is no part.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let essence = media_type::of(headers).split(|&byte| byte == b'+').next()?.trim_ascii();
        let kinds = [Self::Native, Self::Web, Self::WebText];
        kinds.into_iter().find(|kind| kind.content_type().as_bytes().eq_ignore_ascii_case(essence))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }

    /// The trailers-only response that refuses such a call.
    pub(crate) fn refuse<B: Default>(self, denied: &Denied) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        headers.insert(STATUS, HeaderValue::from(denied.grpc_status()));
        // A word of ASCII letters: nothing in it is to be percent-encoded.
        headers.insert(MESSAGE, HeaderValue::from_static(denied.told().as_str()));
        if self != Self::Native {
            // A script of another origin reads no header that is not exposed to it.
            let exposed = HeaderValue::from_static("grpc-status, grpc-message");
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        response
    }
}
