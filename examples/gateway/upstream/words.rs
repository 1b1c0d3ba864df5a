//! What is said of a fault, in the shape that OpenAI's API has for errors, and of an end.
//!
//! A stream that is cut short ends with an event that the clients of the API raise as an error: for completions after
//! a chunk that says the same as a `finish_reason`, for those that look at nothing else.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tower_reauth::reauth::Ending;

use super::Api;
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
    pub fn last_words(self, api: Api, last: &Last) -> Bytes {
        let (code, message) = self.words();
        last.words(api, self.kind(), code, message)
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
    refusal(status, kind, code, None, message)
}

pub fn refusal(status: StatusCode, kind: &str, code: &str, param: Option<&str>, message: &str) -> Response {
    let mut error = described(kind, code, message);
    error["param"] = param.into();
    reply::json(status, &json!({ "error": error }))
}

fn described(kind: &str, code: &str, message: &str) -> Value {
    json!({ "message": message, "type": kind, "param": null, "code": code })
}

/// What was passed on last, as far as what is said after it has to fit.
#[derive(Clone, Default)]
pub struct Last(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// The `id`, `created` and `model` of a completion.
    completion: Option<[Value; 3]>,
    /// The `sequence_number` of an event of a response.
    number: Option<u64>,
}

impl Last {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what it needs of an event's data.
    pub fn was(&self, data: &mut Value) {
        if data["choices"].is_array() {
            self.said().completion = Some(["id", "created", "model"].map(|name| data[name].take()));
        } else if let Some(number) = data["sequence_number"].as_u64() {
            self.said().number = Some(number);
        }
    }

    /// What a stream says when access to it ends.
    pub fn ending(self, api: Api) -> Ending {
        Ending::last_bytes(move |cut| {
            let message = format!("The answer was cut short, as access to it has ended: {}.", cut.reason);
            self.words(api, "access_ended", cut.reason.as_str(), &message)
        })
    }

    fn words(&self, api: Api, kind: &str, code: &str, message: &str) -> Bytes {
        let error = described(kind, code, message);
        let said = self.said();
        match api {
            Api::Chat | Api::Models => {
                let chunk = said.completion.as_ref().map(|[id, created, model]| {
                    let choices = json!([{ "index": 0, "delta": {}, "finish_reason": "error" }]);
                    let chunk = json!({
                        "id": id, "object": "chat.completion.chunk", "created": created, "model": model,
                        "choices": choices,
                    });
                    format!("data: {chunk}\n\n")
                });
                format!("{}data: {}\n\n", chunk.unwrap_or_default(), json!({ "error": error })).into()
            }
            Api::Responses => {
                let number = said.number.map_or(0, |last| last.saturating_add(1));
                // As the API's own event of this name has it, and with the object that its clients look for.
                let event = json!({
                    "type": "error", "code": code, "message": message, "param": null, "sequence_number": number,
                    "error": error,
                });
                format!("event: error\ndata: {event}\n\n").into()
            }
        }
    }
}
