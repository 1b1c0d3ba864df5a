//! What is said of a fault, in the shape that OpenAI's API has for errors, and of an end.
//!
//! A stream that is cut short ends with an event that the clients of the API raise as an error: for completions after
//! a chunk that says the same as a `finish_reason`, for those that look at nothing else.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tower_reauth::reauth::Ending;

use super::{Api, events::data};
use crate::http::reply;

/// Why there is no answer, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client went away.
    Gone,
    /// The request's body is too long, came too slowly, or not to its end.
    TooLarge,
    Slow,
    Broken,
    /// There is no connection to the upstream, or none any more.
    Unreachable,
    /// The upstream said nothing for too long.
    Silent,
    /// It does not take the gateway's key.
    Locked,
    /// It answered with something that the API has not, or that is not whole.
    Invalid,
    Cut,
    /// It answered with more than there is room for: ever, or now.
    TooLong,
    Busy,
}

impl Fault {
    fn status(self) -> StatusCode {
        match self {
            Self::Gone | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::Locked | Self::Invalid | Self::Cut | Self::TooLong => StatusCode::BAD_GATEWAY,
        }
    }

    /// The code, and the sentence that explains it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Gone => ("client_gone", "The client closed the connection before the answer."),
            Self::TooLarge => ("body_too_large", "The body is larger than 32 MiB."),
            Self::Slow => ("body_timeout", "The body did not come in time."),
            Self::Broken => ("body_broken", "The body did not come to its end."),
            Self::Unreachable => ("upstream_unreachable", "The upstream cannot be reached."),
            Self::Silent => ("upstream_timeout", "The upstream did not answer in time."),
            Self::Locked => ("upstream_unauthorized", "The upstream does not accept the key of this gateway."),
            Self::Invalid => ("upstream_invalid", "The upstream answered with something that cannot be read."),
            Self::Cut => ("upstream_cut", "The upstream broke its answer off."),
            Self::TooLong => ("upstream_too_long", "The upstream answered with more than can be passed on."),
            Self::Busy => ("busy", "Too much is being sent at the moment. Please try again later."),
        }
    }

    fn kind(self) -> &'static str {
        if self.status().is_client_error() { "invalid_request_error" } else { "upstream_error" }
    }

    pub fn response(self) -> Response {
        let (code, message) = self.words();
        error(self.status(), self.kind(), code, message)
    }

    /// The same as the last events of a stream.
    pub fn last_words(self, api: Api, last: &[u8]) -> Bytes {
        let (code, message) = self.words();
        said_last(api, last, self.kind(), code, message)
    }

    /// Whether it is the upstream's, and so worth a line in the log.
    pub fn is_of_upstream(self) -> bool {
        self.status().is_server_error() && self != Self::Busy
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl Error for Fault {}

pub fn error(status: StatusCode, kind: &str, code: &str, message: &str) -> Response {
    reply::json(status, &json!({ "error": described(kind, code, message) }))
}

fn described(kind: &str, code: &str, message: &str) -> Value {
    json!({ "message": message, "type": kind, "param": null, "code": code })
}

/// The event that was passed on last, for what is said after it.
#[derive(Clone, Default)]
pub struct LastEvent(Arc<Mutex<Bytes>>);

impl LastEvent {
    pub fn get(&self) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, event: Bytes) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), event);
        drop(before);
    }

    /// What a stream says when access to it ends.
    pub fn ending(self, api: Api) -> Ending {
        Ending::last_bytes(move |cut| {
            let message = format!("The answer was cut short, as access to it has ended: {}.", cut.reason);
            said_last(api, &self.get(), "access_ended", cut.reason.as_str(), &message)
        })
    }
}

fn said_last(api: Api, last: &[u8], kind: &str, code: &str, message: &str) -> Bytes {
    let last: Option<Value> = data(last).and_then(|data| serde_json::from_slice(&data).ok());
    let error = described(kind, code, message);
    let said = match api {
        Api::Chat | Api::Models => {
            let cut = json!([{ "index": 0, "delta": {}, "finish_reason": "error" }]);
            let chunk = last.filter(|last| last["choices"].is_array()).map(|last| {
                let [id, created, model] = ["id", "created", "model"].map(|name| &last[name]);
                let chunk = json!({
                    "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": cut,
                });
                format!("data: {chunk}\n\n")
            });
            format!("{}data: {}\n\n", chunk.unwrap_or_default(), json!({ "error": error }))
        }
        Api::Responses => {
            let number =
                last.and_then(|last| last["sequence_number"].as_u64()).map_or(0, |last| last.saturating_add(1));
            // As the API's own event of this name has it, and with the object that its clients look for.
            let event = json!({
                "type": "error", "code": code, "message": message, "param": null, "sequence_number": number, "error": error,
            });
            format!("event: error\ndata: {event}\n\n")
        }
    };
    said.into()
}
