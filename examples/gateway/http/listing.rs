//! `GET /sessions`: the sessions that one may read, of all agents and from both kinds of store, the newest first.
//!
//! - `limit` is a number from 1 up, of which more than 200 is 200. Without one it is 50.
//! - `cursor` is the `nextCursor` of the page before. Empty it is as if it were not there.
//!
//! Each agent is asked on a thread of its own, in its turn and not for long: one whose store cannot be read is named
//! in `unreadable`, and holds up nobody else's sessions.

use std::{io, sync::Arc, time::Duration};

use ::http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use axum::{
    body::Body,
    extract::{self, Request},
    response::Response,
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::timeout;
use tower_reauth::Access;

use super::{State, handlers, reading, reply};
use crate::{
    config::Settings,
    json::{Fields, Object, Write, text::trim},
    serve::PageBytes,
    sessions::{
        history::{BadQuery, limit},
        sqlite::UnknownSchema,
        store::{AgentId, Listed, Position},
    },
};

/// How many sessions there are on a page: unasked, and at most.
const USUAL: usize = 50;
const MOST: usize = 200;

/// How many agents are asked at a time, and how long one may take.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);

struct Query {
    limit: usize,
    after: Option<Position>,
}

/// `GET /sessions`: a page of the list.
pub async fn sessions(extract::State(state): extract::State<Arc<State>>, request: Request) -> Response {
    let mut response = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => {
            let access = request.extensions().get::<Access>().cloned();
            let room = request.extensions().get::<PageBytes>().cloned();
            let made = timeout(reading::PATIENCE, page(state, query, access, room)).await;
            made.unwrap_or_else(|_| unreadable(&io::ErrorKind::TimedOut.into()))
        }
        Err(bad) => reply::bad_query(bad),
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn page(state: Arc<State>, query: Query, access: Option<Access>, room: Option<PageBytes>) -> Response {
    let settings = state.settings();
    let agents = match state.sessions.agents(&settings).await {
        Ok(agents) => agents,
        Err(error) => return unreadable(&error),
    };
    let (mut sessions, mut failed) = (Vec::new(), Vec::new());
    let mut asked = stream::iter(agents).map(|agent| ask(&state, agent, &query, &settings)).buffered(AT_ONCE);
    while let Some((agent, listed)) = asked.next().await {
        match listed {
            Ok(listed) => {
                sessions.extend(listed);
                sessions.sort_by(|a: &Listed, b| a.position.cmp(&b.position));
                sessions.truncate(query.limit + 1);
            }
            Err(error) => failed.push((agent, error)),
        }
    }
    drop(asked);
    if let (true, Some((_, error))) = (sessions.is_empty(), failed.first()) {
        return unreadable(error);
    }
    for (agent, error) in &failed {
        tracing::warn!(%agent, %error, "an agent's sessions cannot be listed");
    }
    let has_more = sessions.len() > query.limit;
    sessions.truncate(query.limit);
    let mut body = Object::new();
    let next = sessions.last().filter(|_| has_more).map(|last| last.position.to_string());
    body.set("sessions", sessions.into_iter().map(described).collect::<Vec<_>>());
    body.set("hasMore", has_more);
    next.into_iter().for_each(|next| body.set("nextCursor", next));
    body.set("unreadable", failed.iter().map(|(agent, _)| Value::from(agent.as_str())).collect::<Vec<_>>());
    // It may have taken a while.
    if let Some(access) = access
        && let Err(refusal) = handlers::confirm(&access).await
    {
        return *refusal;
    }
    let body = state.page_bytes.hold(body.to_json().into());
    let body = match room {
        Some(room) => body.and_then(|body| room.hold(body)),
        None => body,
    };
    body.map_or_else(reply::busy, |body| reply::with_type(StatusCode::OK, reply::JSON, Body::from(body)))
}

async fn ask(
    state: &State,
    agent: AgentId,
    query: &Query,
    settings: &Arc<Settings>,
) -> (AgentId, io::Result<Vec<Listed>>) {
    let list = state.sessions.list(agent.clone(), query.after.clone(), query.limit, settings);
    let listed = timeout(PATIENCE, list).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    (agent, listed)
}

fn described(session: Listed) -> Value {
    let mut shown = Object::new();
    shown.set("key", session.key);
    shown.set("agent", session.position.agent.as_str());
    shown.set("updatedAt", session.updated_at);
    session.names.label.into_iter().for_each(|label| shown.set("label", label));
    session.names.display_name.into_iter().for_each(|name| shown.set("displayName", name));
    shown.into()
}

fn unreadable(error: &io::Error) -> Response {
    match UnknownSchema::of(error) {
        Some(schema) => reply::unavailable(&schema.to_string()),
        None => {
            tracing::error!(%error, "the sessions cannot be listed");
            reply::unavailable("The sessions cannot be read at the moment.")
        }
    }
}

impl Query {
    /// Reads the part of a URL that follows the question mark, by the rules of a history's.
    fn parse(query: &str) -> Result<Self, BadQuery> {
        let (mut limit_text, mut cursor) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let first = match &*name {
                "limit" => &mut limit_text,
                "cursor" => &mut cursor,
                _ => continue,
            };
            first.get_or_insert(value);
        }
        let limit = match limit_text {
            Some(text) => limit(trim(&text)).ok_or(BadQuery::Limit)?.min(MOST),
            None => USUAL,
        };
        let cursor = cursor.filter(|cursor| !cursor.is_empty());
        let after = cursor.map(|cursor| Position::parse(&cursor).ok_or(BadQuery::ForeignCursor)).transpose()?;
        Ok(Self { limit, after })
    }
}

#[cfg(test)]
mod tests {
    use tower_reauth::revoke::Revocations;

    use clap::Parser;
    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        config::{Config, Environment, Flags, LiveSettings},
        files::{Watcher, disk::fault},
        http::operate::{Audit, Kept},
    };

    #[test]
    fn a_cursor_leads_to_where_it_was_written() {
        for text in
            ["0:a:k", "1795334458650:main:agent:main:main", "1.5:x:agent:x:\u{10f83d}", "1000000000000000000000:a:a b"]
        {
            let position = Position::parse(text).unwrap();
            assert_eq!(position.to_string(), text);
        }
        for wrong in ["", "5", "5:k", ":a:k", "1:a:", "-1:a:k", "NaN:a:k", "inf:a:k", "1:A b:k", "1.:a:k", "1e9:a:k"] {
            assert_eq!(Position::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_agent_whose_disk_hangs_holds_up_nobody_elses_sessions() {
        let folder = tempfile::tempdir().unwrap();
        for agent in ["main", "stuck"] {
            let sessions = folder.path().join("agents").join(agent).join("sessions");
            std::fs::create_dir_all(&sessions).unwrap();
            let rows = format!(r#"{{"agent:{agent}:k":{{"sessionId":"s","updatedAt":1}}}}"#);
            std::fs::write(sessions.join("sessions.json"), rows).unwrap();
        }
        let flags = Flags::parse_from(["gateway", "--state-dir", folder.path().to_str().unwrap(), "--token", "secret"]);
        let config = Config::new(flags, Environment::default()).unwrap();
        let settings = LiveSettings::open(config.sources.clone()).unwrap().subscribe();
        let (kept, audit) = (Kept::open(None, Revocations::new()).unwrap(), Audit::default());
        let state = Arc::new(State::new(&config, settings, Watcher::new().unwrap(), kept, audit));
        let hang = fault::Hang::after(0, &folder.path().join("agents/stuck"));
        let asked = async || {
            let request = Request::get("/sessions").body(Body::empty()).unwrap();
            let response = sessions(extract::State(Arc::clone(&state)), request).await;
            let body = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        for _ in 0..2 {
            let listed = asked().await;
            assert_eq!(
                (listed["sessions"].as_array().map(Vec::len), &listed["unreadable"][0]),
                (Some(1), &"stuck".into())
            );
        }
        // Who waits for a turn takes no thread.
        assert_eq!(hang.held(), 2);
        asked().await;
        assert_eq!(hang.held(), 2);
        drop(hang);
        assert_eq!(asked().await["sessions"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_limit_is_a_positive_integer_and_at_most_two_hundred() {
        let limit = |query| Query::parse(query).map(|query| query.limit);
        for (query, expected) in [
            ("", Ok(50)),
            ("limit=1", Ok(1)),
            ("limit=+7&limit=x", Ok(7)),
            ("limit=99999999999999999999", Ok(200)),
            ("limit=", Err(BadQuery::Limit)),
            ("limit=0", Err(BadQuery::Limit)),
            ("cursor=&limit=3", Ok(3)),
            ("cursor=5", Err(BadQuery::ForeignCursor)),
        ] {
            assert_eq!(limit(query), expected, "{query}");
        }
    }
}
