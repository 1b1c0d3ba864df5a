//! Whatever a client of a socket says, it is answered once, with the id that it gave, by JSON that is a result or a refusal
//! with a code.

use std::{cell::OnceCell, sync::Arc};

use axum::extract::ws::Message;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower_reauth::{Access, AuthMethod, Identity, ScopeSet, revoke::Revocations};

use super::{openclaw_json, request};
use crate::{
    config::LiveSettings,
    files::Watcher,
    http::{
        State,
        handlers::{ADMIN, READ},
        operate::{Audit, Kept},
    },
    json,
    server::speak::{
        connect::{self, Connect},
        frame::{self, NoRequest, Request},
        methods,
    },
};

struct Open {
    runtime: Runtime,
    state: Arc<State>,
}

thread_local! {
    static OPEN: OnceCell<Open> = const { OnceCell::new() };
}

fn open() -> Open {
    request::state();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let state = runtime.block_on(async {
        let config = openclaw_json::config(&["--token", openclaw_json::CANARY]);
        let settings = LiveSettings::open(config.sources.clone()).expect("settings").subscribe();
        let kept = Kept::open(None, Revocations::new()).expect("a list");
        State::new(&config, settings, Watcher::new().expect("a watcher"), kept, Audit::default())
    });
    Open { runtime, state: Arc::new(state) }
}

/// The first byte says whether it is the first message, and whether an administrator sends it.
pub(crate) fn run(input: &[u8]) {
    let Some((kind, message)) = input.split_first() else { return };
    let request = match Request::read(message) {
        Ok(request) => request,
        Err(NoRequest::NoJson) => return,
        Err(NoRequest::Malformed { what, .. }) => return assert!(!what.is_empty() && what.len() < 8 * 256, "{what}"),
    };
    let id = request.id.clone();
    if kind % 2 == 0 {
        if let Err(refusal) = Connect::read(&request.params) {
            assert!([1002, 1008, 1013].contains(&connect::close_code(&refusal)));
            is_an_answer(&frame::refused(&id, &refusal), &id);
        }
        return;
    }
    let scopes: ScopeSet = [READ].into_iter().chain((kind % 4 == 3).then_some(ADMIN)).collect();
    let access = Access::new(Identity::new("somebody", AuthMethod::Token).with_scopes(scopes));
    OPEN.with(|open| {
        let Open { runtime, state } = open.get_or_init(self::open);
        let answer = runtime.block_on(methods::answer(Arc::clone(state), access, None, request));
        is_an_answer(&answer.message, &id);
    });
}

fn is_an_answer(message: &Message, id: &Value) {
    let Message::Text(text) = message else { panic!("an answer is text") };
    let answer = json::object(text.as_bytes()).expect("an answer is an object");
    assert_eq!(answer.get("type"), Some(&"res".into()));
    assert_eq!(answer.get("id"), Some(id));
    match answer.get("ok") {
        Some(Value::Bool(true)) => assert!(answer.contains_key("payload")),
        Some(Value::Bool(false)) => {
            assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string())
        }
        other => panic!("{other:?}"),
    }
}
