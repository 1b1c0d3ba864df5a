//! A state folder with one session, and files of secrets beside it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The session.
pub const SESSION: &str = "agent:main:test-session";

/// The message that it begins with.
pub const SEED: &str = r#"{"type":"message","id":"msg-1","message":{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}]}}"#;

pub struct State {
    folder: TempDir,
}

impl State {
    /// A session with the seed alone.
    pub fn seeded() -> Self {
        Self::holding(&format!("{SEED}\n"))
    }

    /// A session of so many messages: `m1` is the first.
    pub fn of_messages(count: usize) -> Self {
        let lines: Vec<String> = (1..=count).map(message).collect();
        Self::holding(&lines.concat())
    }

    /// A session with this transcript.
    pub fn holding(transcript: &str) -> Self {
        let state = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(state.sessions()).expect("a folder");
        state.write_store(&json!({ SESSION: { "sessionId": "test-session", "updatedAt": 1 } }));
        fs::write(state.transcript(), transcript).expect("a transcript");
        state
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn sessions(&self) -> PathBuf {
        self.folder.path().join("agents/main/sessions")
    }

    pub fn store(&self) -> PathBuf {
        self.sessions().join("sessions.json")
    }

    pub fn transcript(&self) -> PathBuf {
        self.sessions().join("test-session.jsonl")
    }

    /// Puts another sessions.json in the place of the one that is there, at once.
    pub fn write_store(&self, rows: &Value) {
        self.replace(&self.store(), &rows.to_string());
    }

    /// Appends to the transcript, in one write.
    pub fn append(&self, text: &str) {
        let mut transcript = OpenOptions::new().append(true).open(self.transcript()).expect("a transcript");
        transcript.write_all(text.as_bytes()).expect("an append");
    }

    /// Runs a line of shell on the transcript, which it knows as `$0`.
    pub fn shell(&self, script: &str) {
        let status = Command::new("sh").arg("-c").arg(script).arg(self.transcript()).status();
        assert!(status.expect("a shell").success(), "{script}");
    }

    /// A file beside the state, written over in place.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// Puts another file in the place of this one, at once.
    pub fn replace(&self, path: &Path, content: &str) {
        let new = path.with_extension("new");
        fs::write(&new, content).expect("a file");
        fs::rename(new, path).expect("a file in its place");
    }
}

/// The line of a message: `m7` says `message 7`.
pub fn message(number: usize) -> String {
    let role = if number.is_multiple_of(2) { "assistant" } else { "user" };
    let message = json!({ "role": role, "content": format!("message {number}") });
    format!("{}\n", json!({ "type": "message", "id": format!("m{number}"), "message": message }))
}
