//! `GET /openapi.json`: every route, as OpenAPI 3.1 describes it.
//!
//! The description is written by hand, beside this file. A test holds it to the routes of `gateway.rs`, and another
//! program to what they answer.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::reply;

const DESCRIPTION: &str = include_str!("openapi.json");

/// The description of the paths that are served.
pub fn description(is_served: impl Fn(&str) -> bool) -> serde_json::Result<Bytes> {
    let mut description: Value = serde_json::from_str(DESCRIPTION)?;
    if let Some(paths) = description["paths"].as_object_mut() {
        paths.retain(|path, _| is_served(path));
    }
    Ok(description.to_string().into())
}

/// It holds no data, so it is for all.
pub fn answer(description: Bytes) -> Response {
    reply::with_type(StatusCode::OK, reply::JSON, description)
}
