//! What a client may ask for, and what it is answered.

use std::{net::IpAddr, sync::Arc};

use ::http::StatusCode;
use axum::extract::ws::Message;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tower_reauth::{Access, Denied};

use super::{
    frame::{self, Refusal, Request},
    shape::{FILLED, Presence::*, Shape, wrong},
    subscriptions::Subscription,
};
use crate::{
    http::{
        State,
        handlers::{ADMIN, READ},
        operate,
        reading::{self, Reading, Refused, Unread},
    },
    json::{Fields as _, Object, Write as _},
    sessions::{
        history, now,
        projection::shorten,
        store::{RequestedKey, Session},
        transcript::Transcript,
    },
};

/// What is asked for, by name.
pub const METHODS: [&str; 3] = ["chat.history", SUBSCRIBE, "sessions.messages.unsubscribe"];
pub const SUBSCRIBE: &str = "sessions.messages.subscribe";

/// The longest key of a session that a client is told of, in bytes: as many of them are kept as there are sessions.
const LONGEST_KEY: usize = 1024;

/// Of a method that nobody knows no more is repeated.
const LONGEST_NAME: usize = 128;

/// How many messages a page has where no number is asked for.
const LIMIT: f64 = 200.0;

const HISTORY: Shape = Shape::Members(&[
    ("sessionKey", Required, FILLED),
    ("agentId", Optional, FILLED),
    ("cursor", Optional, Shape::Text),
    ("limit", Optional, Shape::Integer(1, 1000)),
    ("offset", Optional, Shape::Integer(0, u64::MAX)),
    ("messageId", Optional, FILLED),
    ("sessionId", Optional, FILLED),
    ("maxChars", Optional, Shape::Integer(1, 500_000)),
]);

const SUBSCRIBED: Shape = Shape::Members(&[
    ("key", Required, FILLED),
    ("agentId", Optional, FILLED),
    ("includeApprovals", Optional, Shape::True),
]);

const UNSUBSCRIBED: Shape = Shape::Members(&[("key", Required, FILLED), ("agentId", Optional, FILLED)]);

/// The answer to a request, and what follows from it.
pub struct Answer {
    pub message: Message,
    /// What it takes until it is written: a socket copies what it sends.
    pub room: Option<OwnedSemaphorePermit>,
    pub then: Then,
}

pub enum Then {
    Nothing,
    Subscribed(Subscription),
    /// From the session with this canonical key.
    Unsubscribed(String),
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        Self { message, room: None, then: Then::Nothing }
    }
}

/// Answers a request. What access may be lost for meanwhile is asked for again where the answer is sent.
pub async fn answer(state: Arc<State>, access: Access, client: Option<IpAddr>, request: Request) -> Answer {
    let Request { id, method, params, binds_a_profile } = request;
    let answered = match allowed(&access, &method) {
        Err(refusal) => {
            if refusal.code == "FORBIDDEN" {
                let asked = format!("websocket {}", method.chars().take(LONGEST_NAME).collect::<String>());
                let caller = operate::caller(&access.identity());
                state.audit.refused(StatusCode::FORBIDDEN, "insufficient_scope", asked, client, Some(caller));
            }
            Err(refusal)
        }
        Ok(()) if binds_a_profile => Err(another_profile()),
        Ok(()) => match &*method {
            "chat.history" => history(&state, &id, params).await,
            SUBSCRIBE => subscribe(state, &id, params).await,
            "sessions.messages.unsubscribe" => unsubscribe(&state, &id, params),
            "connect" => Err(Refusal::invalid("connect is only valid as the first request")),
            _ => {
                let method: String = method.chars().take(LONGEST_NAME).collect();
                Err(Refusal::invalid(format!("unknown method: {method}")))
            }
        },
    };
    answered.unwrap_or_else(|refusal| frame::refused(&id, &refusal).into())
}

/// What is asked for takes the scope to read; what nobody knows takes that of an administrator.
fn allowed(access: &Access, method: &str) -> Result<(), Refusal> {
    if !METHODS.contains(&method) {
        let is_admin = access.granted().allows(&ADMIN);
        return if is_admin { Ok(()) } else { Err(Refusal::missing_scope(ADMIN.as_str())) };
    }
    // From here on the socket ends when this is lost.
    match access.require(READ) {
        Err(Denied::InsufficientScope { .. }) => Err(Refusal::missing_scope(READ.as_str())),
        // It ends in a moment.
        Err(_) => Err(Refusal::unavailable("Access has ended.")),
        Ok(()) => Ok(()),
    }
}

fn another_profile() -> Refusal {
    Refusal::invalid("Selected account changed or is unavailable. Select the account again before retrying.")
        .with_details(json!({ "reason": "EXPECTED_PROFILE_MISMATCH", "execution": "not_started" }))
}

/// Parameters of this shape.
fn shaped(method: &str, params: Value, shape: Shape) -> Result<Object, Refusal> {
    let params = if params.is_null() { Object::new().into() } else { params };
    match (wrong(&params, shape), params) {
        (None, Value::Object(params)) => Ok(params),
        (what, _) => Err(Refusal::invalid(format!("invalid {method} params: {}", what.unwrap_or_default()))),
    }
}

/// The session that is meant, of the agent that is named. `None` for a blank key.
fn key(state: &State, params: &Object, name: &str) -> Result<Option<RequestedKey>, Refusal> {
    let written = params.text(name).unwrap_or_default();
    let Some(key) = RequestedKey::parse(written) else { return Ok(None) };
    let lower = key.as_str().to_lowercase();
    let parts = lower.strip_prefix("agent:").map(|rest| rest.split_once(':').unwrap_or((rest, "")));
    if parts.is_some_and(|(agent, rest)| agent.is_empty() || rest.is_empty()) {
        let written: String = written.chars().take(256).collect();
        return Err(Refusal::invalid(format!("malformed session key {}", json!(written))));
    }
    let Some(agent) = params.trimmed("agentId") else { return Ok(Some(key)) };
    if !state.sessions.knows_agent(agent) {
        let agent: String = agent.chars().take(128).collect();
        return Err(Refusal::invalid(format!("Unknown agent id {}", json!(agent))));
    }
    let names_its_agent = parts.is_some() || matches!(&*lower, "global" | "unknown");
    if names_its_agent { Ok(Some(key)) } else { Ok(RequestedKey::parse(&format!("agent:{agent}:{}", key.as_str()))) }
}

/// `chat.history`: a page, counted from the end.
async fn history(state: &Arc<State>, id: &Value, params: Value) -> Result<Answer, Refusal> {
    let params = shaped("chat.history", params, HISTORY)?;
    let has = |name: &str| params.contains_key(name);
    if has("cursor") && (has("offset") || has("messageId")) {
        return Err(Refusal::invalid("cursor cannot be used with offset or messageId"));
    }
    if has("sessionId") && !has("messageId") {
        return Err(Refusal::invalid("sessionId requires messageId"));
    }
    if has("messageId") {
        return Err(Refusal::invalid("messageId is not served"));
    }
    let asked = params.text("sessionKey").unwrap_or_default().to_owned();
    let key = key(state, &params, "sessionKey")?;
    if has("cursor") {
        // No cursor is given out here, so that this one is none of now.
        return Ok(frame::answered(id, &json!({ "kind": "reset" })).into());
    }
    let number = |name: &str| params.number(name).map(|number| number as usize);
    let (limit, offset) = (number("limit").unwrap_or(LIMIT as usize), number("offset"));
    let wanted = Wanted { asked, limit, offset, max_chars: number("maxChars") };
    let Some(key) = key else { return Ok(frame::answered(id, &wanted.nothing()).into()) };
    let page = page(Arc::clone(state), key.clone(), id.clone(), wanted.clone());
    match reading::patiently(&key, page).await {
        Ok((message, room)) => Ok(Answer { message, room: Some(room), then: Then::Nothing }),
        Err(Unread::NoSession) => Ok(frame::answered(id, &wanted.nothing()).into()),
        Err(unread) => Err(refusal(unread)),
    }
}

#[derive(Clone)]
struct Wanted {
    /// The key as it was written.
    asked: String,
    limit: usize,
    offset: Option<usize>,
    max_chars: Option<usize>,
}

impl Wanted {
    fn nothing(&self) -> Value {
        self.payload(None, Vec::new(), false, None, 0).into()
    }

    fn payload(
        &self,
        session: Option<&str>,
        messages: Vec<Object>,
        has_more: bool,
        next: Option<u64>,
        total: usize,
    ) -> Object {
        let mut payload = Object::new();
        payload.set("sessionKey", self.asked.clone());
        if let Some(session) = session {
            payload.set("sessionId", session.to_owned());
        }
        payload.set("messages", messages.into_iter().map(Value::from).collect::<Vec<_>>());
        payload.set("pendingInputs", json!({ "items": [], "total": 0 }));
        if let Some(offset) = self.offset {
            payload.set("offset", offset);
        }
        if let Some(next) = next.filter(|_| has_more) {
            payload.set("nextOffset", next);
        }
        payload.set("hasMore", has_more);
        payload.set("totalMessages", total);
        payload
    }
}

/// A page, and the room that it takes.
async fn page(
    state: Arc<State>,
    key: RequestedKey,
    id: Value,
    wanted: Wanted,
) -> Result<(Message, OwnedSemaphorePermit), Unread> {
    let settings = state.settings();
    let reading = Reading::begin(&state, &settings, &key).await?;
    let room = state.page_bytes.clone();
    let read = move |session: Session, transcript: Option<&Transcript>| {
        let offset = wanted.offset.unwrap_or_default();
        let (page, total) = history::page_from_end(transcript, wanted.limit, offset, now())?;
        let next = page.next_cursor.map(|seq| (total as u64 + 1).saturating_sub(seq));
        let messages = match wanted.max_chars {
            Some(units) => shorten(page.messages, units),
            None => page.messages,
        };
        let payload = wanted.payload(Some(&session.id), messages, page.has_more, next, total).to_json();
        let frame = frame::answered_with(&id, &payload);
        if !room.can_hold(frame.len()) {
            return Err(Refused::TooLarge);
        }
        let taken = room.take(frame.len()).ok_or(Refused::NoRoom)?;
        Ok((frame::text(frame), taken))
    };
    reading.read(&state, &key, read).await
}

/// `sessions.messages.subscribe`: from its answer on a message that is appended to the session is an event.
async fn subscribe(state: Arc<State>, id: &Value, params: Value) -> Result<Answer, Refusal> {
    let params = shaped(SUBSCRIBE, params, SUBSCRIBED)?;
    let Some(key) = key(&state, &params, "key")? else { return Err(Refusal::invalid("key required")) };
    if params.contains_key("includeApprovals") {
        return Err(Refusal::invalid(
            "sessions.messages.subscribe includeApprovals requires a paired device and gateway scope: \
             operator.approvals",
        ));
    }
    if key.as_str().len() > LONGEST_KEY {
        return Err(Refusal::invalid("key is too long"));
    }
    let canonical = state.sessions.canonical_unread(&key);
    let subscription = Subscription::begin(state, key, canonical.clone()).await.map_err(refusal)?;
    let payload = json!({ "subscribed": true, "key": canonical });
    Ok(Answer { message: frame::answered(id, &payload), room: None, then: Then::Subscribed(subscription) })
}

fn unsubscribe(state: &State, id: &Value, params: Value) -> Result<Answer, Refusal> {
    let params = shaped("sessions.messages.unsubscribe", params, UNSUBSCRIBED)?;
    let Some(key) = key(state, &params, "key")? else { return Err(Refusal::invalid("key required")) };
    let canonical = state.sessions.canonical_unread(&key);
    let payload = json!({ "subscribed": false, "key": canonical });
    Ok(Answer { message: frame::answered(id, &payload), room: None, then: Then::Unsubscribed(canonical) })
}

/// What is said in the place of what was not read.
fn refusal(unread: Unread) -> Refusal {
    match unread {
        Unread::NoSession => Refusal::invalid("session not found"),
        Unread::Unreadable { key, transcript, error } => {
            Refusal::unavailable(reading::unreadable(&key, transcript.as_ref(), &error))
        }
        Unread::Broken(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Refusal::unavailable("The gateway is ending.")
        }
        Unread::Broken(error) => {
            tracing::error!(%error, "a request could not be answered");
            Refusal::unavailable("Internal Server Error")
        }
        Unread::Busy => Refusal::busy(),
        Unread::TooLarge => Refusal::invalid("the history is too long for one page: set a lower limit"),
    }
}

#[cfg(test)]
mod tests {
    use tower_reauth::revoke::Revocations;

    use clap::Parser;
    use tower_reauth::{AuthMethod, Identity};

    use super::*;
    use crate::{
        config::{Config, Environment, Flags, LiveSettings},
        files::Watcher,
        http::operate::{Audit, Kept},
        serve::PageBytes,
    };

    /// A state with room for 4 KiB of pages, and a page that takes 3.
    fn state(folder: &std::path::Path) -> Arc<State> {
        let sessions = folder.join("agents/main/sessions");
        std::fs::create_dir_all(&sessions).unwrap();
        std::fs::write(sessions.join("sessions.json"), r#"{"agent:main:k":{"sessionId":"s"}}"#).unwrap();
        let message = json!({ "message": { "role": "user", "content": "x".repeat(2500) } });
        std::fs::write(sessions.join("s.jsonl"), format!("{message}\n")).unwrap();
        let flags = Flags::parse_from(["gateway", "--state-dir", folder.to_str().unwrap(), "--token", "secret"]);
        let config = Config::new(flags, Environment::default()).unwrap();
        let settings = LiveSettings::open(config.sources.clone()).unwrap().subscribe();
        let (watcher, kept) = (Watcher::new().unwrap(), Kept::open(None, Revocations::new()).unwrap());
        let state = State::new(&config, settings, watcher, kept, Audit::default());
        Arc::new(State { page_bytes: PageBytes::new(4), ..state })
    }

    #[tokio::test]
    async fn a_page_takes_room_until_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(folder.path());
        let access = Access::new(Identity::new("alice", AuthMethod::Token).with_scopes([READ]));
        let ask = async || {
            let params = json!({ "sessionKey": "k" });
            let request = Request { id: 1.into(), method: "chat.history".to_owned(), params, binds_a_profile: false };
            answer(Arc::clone(&state), access.clone(), None, request).await
        };
        let is_ok = |message: &Message| message.to_text().unwrap().contains("\"ok\":true");
        let Answer { message, room, .. } = ask().await;
        assert!(is_ok(&message), "{message:?}");
        // Where it waits it is another one's copy.
        drop(message);
        assert!(!is_ok(&ask().await.message));
        drop(room);
        assert!(is_ok(&ask().await.message));
    }
}
