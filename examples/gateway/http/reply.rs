//! The answers that are not a history, in OpenClaw's words.

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CONNECTION, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::{Value, json};

use crate::sessions::history::BadQuery;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Room for the headers of a response, so that the map does not grow on the way out.
const HEADERS: usize = 9;

pub fn json(status: StatusCode, body: &Value) -> Response<Body> {
    with_type(status, JSON, body.to_string())
}

pub fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    with_type(status, TEXT, body)
}

pub fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A refusal before anything is read.
pub fn refusal(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    json(status, &json!({ "error": { "message": message, "type": kind } }))
}

pub fn malformed_key() -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid session key")
}

pub fn bad_query(bad: BadQuery) -> Response<Body> {
    let message = match bad {
        BadQuery::Limit => "limit must be a positive integer",
        BadQuery::Cursor => "cursor must be a positive integer",
        BadQuery::ForeignCursor => "cursor must be the nextCursor of another page",
    };
    refusal(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

pub fn too_large() -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, "invalid_request_error", "the history is too long for one page: set a lower limit")
}

pub fn unauthorized() -> Response<Body> {
    refusal(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
}

/// An error of the routes themselves.
pub fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    json(status, &json!({ "ok": false, "error": { "type": kind, "message": message } }))
}

/// The answer where there is no room for now.
pub fn busy() -> Response<Body> {
    unavailable("Too much is being sent at the moment. Please try again later.")
}

/// 503: to be asked again in a second (RFC 9110 section 15.6.4).
pub fn unavailable(why: &str) -> Response<Body> {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

pub fn malformed_host() -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, "invalid_request_error", "a request names one host")
}

/// The answer to a body that others may read in another way: the next request of the connection is not read.
pub fn unknown_coding() -> Response<Body> {
    let mut response =
        refusal(StatusCode::NOT_IMPLEMENTED, "invalid_request_error", "a body is chunked or has a length");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to a caller who is known and may not do this.
pub fn forbidden(why: &str) -> Response<Body> {
    error(StatusCode::FORBIDDEN, "forbidden", why)
}

/// The same, to one who lacks this scope.
pub fn missing_scope(scope: &str) -> Response<Body> {
    let details = json!({ "code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope] });
    let error = json!({ "type": "forbidden", "message": format!("missing scope: {scope}"), "details": details });
    json(StatusCode::FORBIDDEN, &json!({ "ok": false, "error": error }))
}

pub fn session_not_found(key: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, "not_found", &format!("Session not found: {key}"))
}

pub fn no_such_stream() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "not_found", "No such stream is open.")
}

pub fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "Not Found")
}

/// 405 with the methods that are allowed (RFC 9110 section 15.5.6).
pub fn only(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// The response with the headers that every one carries.
pub fn with_common_headers(mut response: Response<Body>, transport_security: Option<HeaderValue>) -> Response<Body> {
    let headers = response.headers_mut();
    const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let permissions = HeaderValue::from_static("camera=(), microphone=(self), geolocation=()");
    headers.insert(PERMISSIONS_POLICY, permissions);
    if let Some(policy) = transport_security {
        headers.insert(STRICT_TRANSPORT_SECURITY, policy);
    }
    response
}

/// One URL, two representations (RFC 9110 section 12.5.5): a cache must not mix them up.
pub fn vary_by_accept(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Accept"));
}
