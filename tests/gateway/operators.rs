//! A house with operators: an admin, readers, and who may nothing of the kind.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    client::{Request, Response},
    house::{AT_ONCE, House, TOKEN},
    process::Start,
    state::State,
    stream::Stream,
};

pub const ADMIN: &str = "secret-of-an-admin";
pub const READER: &str = "secret-of-a-reader";
pub const WRITER: &str = "secret-of-a-writer";

pub const TOKENS: &str = r#"
[[token]]
id = "admin"
secret = "secret-of-an-admin"
subject = "olga"
scopes = ["operator.admin"]

[[token]]
id = "reader"
secret = "secret-of-a-reader"
subject = "rita"
scopes = ["operator.read"]
expires_at = "2999-01-01T00:00:00Z"

[[token]]
id = "writer"
secret = "secret-of-a-writer"
scopes = ["operator.write"]
"#;

pub fn house(flags: &[&str]) -> House {
    let state = State::of_messages(1);
    let gateway = start(&state, flags).run();
    House { state, gateway }
}

/// The same gateway on this state, not running yet.
pub fn start(state: &State, flags: &[&str]) -> Start {
    let tokens = state.file("tokens.toml", TOKENS);
    let data = state.path().join("data");
    Start::new().arg_state(state).args(["--token", TOKEN]).args(flags).args([
        "--tokens".as_ref(),
        tokens.as_os_str(),
        "--data-dir".as_ref(),
        data.as_os_str(),
    ])
}

impl House {
    pub fn ask(&self, method: &str, target: &str, token: &str) -> Response {
        self.send(Request::new(method, target).header("Authorization", &format!("Bearer {token}")))
    }

    pub fn get(&self, target: &str, token: &str) -> Value {
        let response = self.ask("GET", target, token);
        assert_eq!(response.status, 200);
        serde_json::from_str(&response.text()).expect("JSON")
    }

    /// Who is in, as an admin sees it.
    pub fn streams(&self) -> Vec<Value> {
        self.get("/streams", ADMIN)["streams"].as_array().expect("a list").clone()
    }

    /// Waits until so many are in.
    pub fn come_to(&self, count: usize) {
        let start = Instant::now();
        while self.streams().len() != count {
            assert!(start.elapsed() < AT_ONCE, "{:?}", self.streams());
        }
    }

    /// The list, live.
    pub fn watch(&self) -> Stream {
        let request = Request::new("GET", "/streams").header("Accept", "text/event-stream");
        Stream::of(self.send(request.header("Authorization", &format!("Bearer {ADMIN}"))))
    }

    pub fn revoke(&self, body: &Value) -> Response {
        self.revoke_by(ADMIN, &body.to_string())
    }

    pub fn revoke_by(&self, token: &str, body: &str) -> Response {
        self.send(Request::new("POST", "/revocations").header("Authorization", &format!("Bearer {token}")).body(body))
    }

    pub fn revoked(&self) -> Vec<Value> {
        self.get("/revocations", ADMIN)["revocations"].as_array().expect("a list").clone()
    }
}

/// What a stream says last.
pub fn last_words(reason: &str, reconnect: bool) -> Value {
    json!({ "reason": reason, "reconnect": reconnect })
}
