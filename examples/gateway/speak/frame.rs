//! What is said over a socket: requests, their answers, and events, each of them JSON in one message.

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use serde_json::{Value, json};

use super::shape::{FILLED, Presence::*, Shape, wrong};
use crate::json::{self, Object, Write as _};

const REQUEST: Shape = Shape::Members(&[
    ("type", Required, Shape::Constant("req")),
    ("id", Required, FILLED),
    ("method", Required, FILLED),
    ("params", Optional, Shape::Any),
    ("traceparent", Optional, Shape::Filled(128)),
    ("expectedProfileId", Optional, Shape::Filled(128)),
]);

/// What a client wants.
#[derive(Debug)]
pub struct Request {
    pub id: Value,
    pub method: String,
    pub params: Value,
    /// It wants it only if it is somebody whom this gateway does not know of.
    pub binds_a_profile: bool,
}

/// What a message is that is no request.
#[derive(Debug)]
pub enum NoRequest {
    NoJson,
    /// With the id that it has, if it has one.
    Malformed {
        id: Value,
        what: String,
    },
}

impl Request {
    pub fn read(message: &[u8]) -> Result<Self, NoRequest> {
        let value = json::parse(message).ok_or(NoRequest::NoJson)?;
        let what = wrong(&value, REQUEST);
        let mut frame = match value {
            Value::Object(frame) => frame,
            _ => Object::new(),
        };
        let id = frame.remove("id").unwrap_or_else(|| "invalid".into());
        if let Some(what) = what {
            return Err(NoRequest::Malformed { id, what });
        }
        let Some(Value::String(method)) = frame.remove("method") else { return Err(NoRequest::NoJson) };
        let params = frame.remove("params").unwrap_or_default();
        Ok(Self { id, method, params, binds_a_profile: frame.contains_key("expectedProfileId") })
    }
}

/// Why there is no answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub details: Option<Box<Value>>,
    /// In how many milliseconds to ask again, or as soon as may be.
    pub retry: Option<Option<u64>>,
}

impl Refusal {
    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: "INVALID_REQUEST", message: message.into(), details: None, retry: None }
    }

    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    /// The client lacks this scope.
    pub fn missing_scope(scope: &str) -> Self {
        let details = json!({ "code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope] });
        Self { code: "FORBIDDEN", ..Self::invalid(format!("missing scope: {scope}")).with_details(details) }
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: "UNAVAILABLE", message: message.into(), details: None, retry: Some(None) }
    }

    pub fn busy() -> Self {
        Self::unavailable("The server is busy. Please try again in a moment.")
    }
}

/// The answer to a request.
pub fn refused(id: &Value, refusal: &Refusal) -> Message {
    let Refusal { code, message, details, retry } = refusal;
    let mut error = json!({ "code": code, "message": message });
    if let Some(details) = details {
        error["details"] = Value::clone(details);
    }
    if let Some(retry) = retry {
        error["retryable"] = true.into();
        if let Some(after) = retry {
            error["retryAfterMs"] = (*after).into();
        }
    }
    text(json!({ "type": "res", "id": id, "ok": false, "error": error }).to_json())
}

/// The same, which carries what was asked for.
pub fn answered(id: &Value, payload: &Value) -> Message {
    text(json!({ "type": "res", "id": id, "ok": true, "payload": payload }).to_json())
}

/// The same, where the payload is JSON already.
pub fn answered_with(id: &Value, payload: &[u8]) -> Vec<u8> {
    let mut frame = b"{\"type\":\"res\",\"id\":".to_vec();
    json::write(id, &mut frame);
    frame.extend_from_slice(b",\"ok\":true,\"payload\":");
    frame.extend_from_slice(payload);
    frame.push(b'}');
    frame
}

/// An event before the client is known: it is not numbered.
pub fn event(name: &str, payload: &Value) -> Message {
    text(json!({ "type": "event", "event": name, "payload": payload }).to_json())
}

/// Numbers the events of a socket.
#[derive(Debug, Default)]
pub struct Events {
    last: u64,
}

impl Events {
    pub fn next(&mut self, name: &str, payload: &[u8]) -> Message {
        self.last += 1;
        let mut frame = b"{\"type\":\"event\",\"event\":".to_vec();
        json::write(&name, &mut frame);
        frame.extend_from_slice(b",\"payload\":");
        frame.extend_from_slice(payload);
        frame.extend_from_slice(format!(",\"seq\":{}}}", self.last).as_bytes());
        text(frame)
    }
}

/// JSON as a message.
pub fn text(json: impl Into<Bytes>) -> Message {
    let json = json.into();
    // What is written here is UTF-8; a half of a surrogate pair is written as an escape.
    Message::Text(
        Utf8Bytes::try_from(json.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned().into()),
    )
}
