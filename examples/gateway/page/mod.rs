//! The page: the gateway as a person sees it, in one file that asks for nothing else.
//!
//! It holds no data, so it is for everyone: what it shows it asks for as any client does, with the token that is
//! signed in with. A browser is told to run its own script and style and nothing that somebody may have slipped into
//! a message (Content Security Policy Level 3), to make no markup of text (Trusted Types), and to let no other site frame
//! or embed it.

use std::sync::LazyLock;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, X_FRAME_OPTIONS},
};
use axum::{body::Body, response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::http::reply;

const PAGE: &str = include_str!("page.html");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let (script, style) = (hash(element("script")), hash(element("style")));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    value(&policy)
});

static TAG: LazyLock<HeaderValue> = LazyLock::new(|| value(&format!("\"{}\"", hash(PAGE))));

/// `GET /`, and `HEAD`.
pub async fn show(headers: HeaderMap) -> Response {
    let mut response = if is_known(&headers) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        reply::with_type(StatusCode::OK, HTML, PAGE)
    };
    for (name, value) in [
        (ETAG, TAG.clone()),
        // Kept, and asked for each time.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ] {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether the client has this very page (RFC 9110 section 13.1.2, by the weak comparison).
fn is_known(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag == *TAG)
}

/// What is in the one element of this name.
fn element(name: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<{name}>")).unwrap_or_default();
    rest.split_once(&format!("</{name}>")).unwrap_or_default().0
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("a hash is ASCII")
}
