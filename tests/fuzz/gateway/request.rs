//! Whatever a request asks for, the gateway's own router answers it, and never with an error of its own: who shows no token
//! is shown no page, and what is shown is JSON.

use std::{cell::RefCell, convert::Infallible, fs, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderName, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, util::BoxCloneService};

use super::{openclaw_json, store};
use crate::{
    json,
    server::{self, Gateway, tasks::Tasks},
    support,
};

const HEADERS: [HeaderName; 3] = [header::HOST, header::AUTHORIZATION, HeaderName::from_static("x-openclaw-scopes")];

/// A gateway of one session in a file and one in a database.
struct Open {
    runtime: Runtime,
    service: BoxCloneService<Request<Body>, Response, Infallible>,
    _tasks: Tasks,
}

thread_local! {
    static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
}

pub(crate) fn state() -> std::path::PathBuf {
    let state = store::file("state");
    let sessions = state.join("agents/ops/sessions");
    fs::create_dir_all(&sessions).expect("room in memory");
    fs::write(
        sessions.join("sessions.json"),
        json!({ "agent:ops:k": { "sessionId": "s", "updatedAt": 1 } }).to_string(),
    )
    .expect("room in memory");
    let message =
        |at: usize| json!({ "id": at.to_string(), "message": { "role": "user", "content": format!("message {at}") } });
    let lines: String = (0..5).map(|at| format!("{}\n", message(at))).collect();
    fs::write(sessions.join("s.jsonl"), lines).expect("room in memory");
    let records = [store::record("r", None, json!({ "role": "user", "content": "x" }))];
    let folder = state.join("agents/main/agent");
    fs::create_dir_all(&folder).expect("room in memory");
    store::put(&folder.join("openclaw-agent.sqlite"), &store::database("request.sqlite", &records));
    state
}

fn open() -> Open {
    state();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let data = store::file("data");
    let config = openclaw_json::config(&[
        "--token",
        openclaw_json::CANARY,
        "--data-dir",
        data.to_str().expect("a path of letters"),
    ]);
    let mut tasks = Tasks::default();
    let service = runtime.block_on(async {
        let Gateway { service, .. } = server::open(&config, &mut tasks, CancellationToken::new()).expect("a gateway");
        BoxCloneService::new(service)
    });
    Open { runtime, service, _tasks: tasks }
}

/// A line `METHOD TARGET`, lines of headers, an empty line and a body. `*` before the method shows the token.
pub(crate) fn run(input: &[u8]) {
    let (head, body) = input
        .windows(2)
        .position(|window| window == b"\n\n")
        .map_or((input, &b""[..]), |at| (&input[..at + 1], &input[at + 2..]));
    let (is_known, head) = head.strip_prefix(b"*").map_or((false, head), |head| (true, head));
    let Some(request) = support::head(head) else { return };
    let (mut parts, ()) = request.into_parts();
    HEADERS.iter().for_each(|name| drop(parts.headers.remove(name)));
    parts.headers.insert(header::HOST, "localhost".parse().expect("a host"));
    if is_known {
        let token = format!("Bearer {}", openclaw_json::CANARY);
        parts.headers.insert(header::AUTHORIZATION, token.parse().expect("a header"));
        parts.headers.insert("x-openclaw-scopes", "operator.read".parse().expect("a header"));
    }
    let is_head = parts.method == http::Method::HEAD;
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    OPEN.with_borrow_mut(|open| {
        let Open { runtime, service, .. } = open.get_or_insert_with(self::open);
        let service = service.clone();
        runtime.block_on(async {
            let Ok(response) =
                tokio::time::timeout(Duration::from_secs(2), service.oneshot(request)).await.expect("an answer");
            check(response, is_known, is_head).await;
        });
    });
}

async fn check(response: Response, is_known: bool, is_head: bool) {
    let status = response.status();
    assert!(status != StatusCode::INTERNAL_SERVER_ERROR && status != StatusCode::BAD_GATEWAY, "{status}");
    let kind =
        response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    for (name, value) in response.headers() {
        assert!(!value.as_bytes().windows(8).any(|window| window == &openclaw_json::CANARY.as_bytes()[..8]), "{name}");
    }
    if kind.starts_with("text/event-stream") {
        assert!(is_known, "a stream for nobody");
        return;
    }
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    if kind.starts_with("application/json") && !is_head {
        let Some(body) = json::parse(&body) else { panic!("{status}: no JSON: {}", String::from_utf8_lossy(&body)) };
        assert!(is_known || body.get("messages").is_none(), "a page for nobody");
    }
}
