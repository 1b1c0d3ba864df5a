//! Every call on the file system that a page takes, made to fail, one at a time.

use std::{fs, io, os::unix::fs::symlink};

use serde_json::json;

use super::{
    super::demo::database::Database,
    history::{self, Query},
    store::{RequestedKey, Sessions, StoreSettings},
    transcript::Transcripts,
};
use crate::files::disk::fault;

struct World {
    _folder: tempfile::TempDir,
    /// Who has the database open.
    _writer: Option<Database>,
    settings: StoreSettings,
    sessions: Sessions,
    transcripts: Transcripts,
}

impl World {
    /// Two stores of one agent, and a transcript that an absolute path leads to by way of a link.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().canonicalize().unwrap();
        let sessions = state.join("agents/main/sessions");
        fs::create_dir_all(state.join("other/main")).unwrap();
        fs::create_dir_all(&sessions).unwrap();
        symlink(&sessions, state.join("link")).unwrap();
        let file = state.join("link/one.jsonl");
        let row = format!("{{\"sessionId\":\"id\",\"sessionFile\":{file:?},\"updatedAt\":2}}");
        fs::write(sessions.join("sessions.json"), format!("{{\"agent:main:k\":{row}}}")).unwrap();
        let older = "{\"agent:main:k\":{\"sessionId\":\"older\",\"updatedAt\":1}}";
        fs::write(state.join("other/main/sessions.json"), older).unwrap();
        for (name, count) in [("one.jsonl", 60), ("id.jsonl", 1), ("older.jsonl", 2)] {
            let line = |n| format!("{{\"id\":\"{name}-{n}\",\"message\":{{\"role\":\"user\",\"content\":\"{n}\"}}}}\n");
            fs::write(sessions.join(name), (0..count).map(line).collect::<String>()).unwrap();
        }
        let store = state.join("other/{agentId}/sessions.json").to_str().map(Into::into);
        let settings = StoreSettings { state, home: None, store, global_scope: false, agents: Vec::new() };
        let (sessions, transcripts) = (Sessions::default(), Transcripts::default());
        Self { _folder: folder, _writer: None, settings, sessions, transcripts }
    }

    /// The same with a database that knows the session, whose files are old.
    fn with_database() -> Self {
        let world = Self::new();
        let path = world.settings.state.join("agents/main/agent/openclaw-agent.sqlite");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = Database::create(&path, "main", 1).unwrap();
        writer.add_session("agent:main:k", "window", 3).unwrap();
        let record = |n: usize| {
            let parent = n.checked_sub(1).map(|before| format!("window-{before}"));
            let message = json!({ "role": "user", "content": n.to_string() });
            json!({ "type": "message", "id": format!("window-{n}"), "parentId": parent, "message": message })
        };
        let records: Vec<_> = (0..60).map(record).collect();
        writer.append("window", &records.iter().collect::<Vec<_>>(), 3).unwrap();
        Self { _writer: Some(writer), ..world }
    }

    /// As if nothing had been looked at yet.
    fn forget(&mut self) {
        (self.sessions, self.transcripts) = (Sessions::default(), Transcripts::default());
    }

    /// The keys of all agents, in pages of one.
    fn keys(&self) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        for agent in self.sessions.agents(&self.settings)? {
            let mut after = None;
            while let Some(next) = self.sessions.list(&agent, after.as_ref(), 1, &self.settings)?.into_iter().next() {
                keys.push(next.key);
                after = Some(next.position);
            }
        }
        Ok(keys)
    }

    fn page(&self, query: &str) -> io::Result<Option<String>> {
        let key = RequestedKey::parse("k").unwrap();
        let Some(session) = self.sessions.find(&key, &self.settings)? else { return Ok(None) };
        let transcript = session.transcript.map(|place| self.transcripts.at(&place));
        let page = history::page(transcript.as_deref(), Query::parse(query).unwrap(), 0.0)?;
        Ok(String::from_utf8(page.body(&session.key)).ok())
    }
}

fn check(mut world: World, shown: &str) {
    for query in ["", "limit=2", "cursor=3", "limit=1&cursor=50"] {
        for error in fault::ERRORS {
            for calls in 0.. {
                world.forget();
                let (page, has_failed) = fault::after(calls, error, || world.page(query));
                let right = world.page(query).unwrap().unwrap();
                assert!(right.contains(shown), "{right}");
                if let Ok(page) = page {
                    assert_eq!(page.as_ref(), Some(&right), "{query}, after {calls} calls {}", error());
                }
                if !has_failed {
                    assert!(calls > 10, "calls are counted");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_page_is_right_or_an_error_whichever_call_fails_and_right_at_once_after() {
    check(World::new(), "one.jsonl-");
}

#[test]
fn a_page_of_a_database_is_right_or_an_error_whichever_call_fails_and_right_at_once_after() {
    check(World::with_database(), "window-");
}

#[test]
fn a_list_is_right_or_an_error_whichever_call_fails_and_right_at_once_after() {
    for mut world in [World::new(), World::with_database()] {
        for error in fault::ERRORS {
            for calls in 0.. {
                world.forget();
                let (keys, has_failed) = fault::after(calls, error, || world.keys());
                assert_eq!(world.keys().unwrap(), ["agent:main:k"]);
                if let Ok(keys) = keys {
                    assert_eq!(keys, ["agent:main:k"], "after {calls} calls {}", error());
                }
                if !has_failed {
                    assert!(calls > 10, "calls are counted");
                    break;
                }
            }
        }
    }
}
