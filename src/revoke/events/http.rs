//! Bodies and responses of the services.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::json;
use tokio::time::Instant;

use crate::timer::within;

/// The body of a response.
pub type ResponseBody = Full<Bytes>;

/// The response of a service of this module.
pub type ReceiverFuture = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// What was posted, or what there is to answer to one who did not post it.
pub(super) async fn posted<B>(
    method: &Method,
    is_right_kind: bool,
    body: B,
    most: usize,
) -> Result<Bytes, Result<&'static str, Response<ResponseBody>>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if method != Method::POST {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Err(Err(response));
    }
    if !is_right_kind {
        return Err(Ok("the content type is another one"));
    }
    let end = Instant::now().checked_add(ARRIVAL);
    match within(end, Limited::new(body, most).collect()).await {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(_)) => Err(Ok("the body is too long, or did not arrive whole")),
        None => Err(Err(empty(StatusCode::REQUEST_TIMEOUT))),
    }
}

pub(super) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The sender is to come again.
pub(super) fn unavailable(retry_after: Duration) -> Response<ResponseBody> {
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
    response
}

/// A refusal with an error and what is wrong, under these names.
pub(super) fn refused(names: [&str; 2], code: &str, description: &str) -> Response<ResponseBody> {
    let body = json!({ names[0]: code, names[1]: description }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
