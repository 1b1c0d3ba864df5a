//! A gateway and the state folder that it serves.

use std::{ffi::OsStr, time::Duration};

use serde_json::Value;

use crate::{
    client::{Request, Response},
    process::{Gateway, Start},
    state::{SESSION, State},
    stream::Stream,
};

/// A shared token.
pub const TOKEN: &str = "test-token-12345";

/// How long what happens at once may take on a busy machine: far less than the heartbeat.
pub const AT_ONCE: Duration = Duration::from_secs(5);

pub struct House {
    pub state: State,
    pub gateway: Gateway,
}

impl House {
    /// A gateway with the shared token over this state.
    pub fn over(state: State) -> Self {
        Self::with(state, ["--token", TOKEN])
    }

    /// A gateway over this state, with these flags.
    pub fn with<A: AsRef<OsStr>>(state: State, flags: impl IntoIterator<Item = A>) -> Self {
        let gateway = Start::new().arg_state(&state).args(flags).run();
        Self { state, gateway }
    }

    /// Asks for the session's history with the shared token. `query` begins with a question mark.
    pub fn history(&self, query: &str) -> Response {
        self.history_by(TOKEN, query)
    }

    pub fn history_by(&self, token: &str, query: &str) -> Response {
        self.send(history(query).header("Authorization", &format!("Bearer {token}")))
    }

    /// The session's history as JSON.
    pub fn page(&self, query: &str) -> Value {
        let response = self.history(query);
        assert_eq!(response.status, 200);
        serde_json::from_str(&response.text()).expect("JSON")
    }

    /// Follows the session's history with the shared token; what it begins with comes with it.
    pub fn stream(&self, query: &str) -> (Stream, Value) {
        self.stream_by(TOKEN, query)
    }

    pub fn stream_by(&self, token: &str, query: &str) -> (Stream, Value) {
        let request = history(query).header("Accept", "text/event-stream");
        Stream::begin(self.send(request.header("Authorization", &format!("Bearer {token}"))))
    }

    /// Asks for a session to be killed.
    pub fn kill(&self, token: &str, key: &str) -> Response {
        let request = Request::new("POST", &format!("/sessions/{key}/kill"));
        self.send(request.header("Authorization", &format!("Bearer {token}")))
    }

    pub fn send(&self, request: Request) -> Response {
        let response = request.send(self.gateway.address);
        response.unwrap_or_else(|error| panic!("{error}: {request:?}, {}", self.gateway.log()))
    }
}

impl Start {
    pub fn arg_state(self, state: &State) -> Self {
        self.args(["--state-dir".as_ref(), state.path()]).env("HOME", state.path().join("home"))
    }
}

/// A request for the session's history, by nobody yet.
pub fn history(query: &str) -> Request {
    Request::new("GET", &format!("/sessions/{SESSION}/history{query}"))
}
