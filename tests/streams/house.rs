//! A gateway in this process, on a scratch folder with sessions that tests write to.
//!
//! Two clients are known to it: one that may read, by either of two tokens, and one that may do
//! everything.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Request,
    config::{Config, Environment, Flags},
    served::Served,
};

pub const READER: &str = "the-readers-token";
/// The reader's too.
pub const NEXT: &str = "the-readers-next-token";
pub const ADMIN: &str = "the-admins-token";

pub struct House {
    folder: TempDir,
    pub served: Served,
}

impl House {
    /// Opens a gateway with these flags on an empty folder.
    pub fn open(flags: &[&str]) -> Self {
        Self::open_on(tempfile::tempdir().expect("a folder"), flags)
    }

    fn open_on(folder: TempDir, flags: &[&str]) -> Self {
        let state = format!("--state-dir={}", folder.path().display());
        let tokens = format!("--tokens={}", folder.path().join("tokens.json").display());
        write_tokens(&folder, &[READER, NEXT, ADMIN], &["operator.read", "operator.write"]);
        let own = ["gateway", "--port=0", "--auth=token", "--token=shared", &state, &tokens];
        let flags = Flags::parse_from(own.iter().chain(flags));
        let config = Config::new(flags, Environment::default()).expect("a configuration");
        Self { folder, served: Served::open(&config) }
    }

    /// Writes the transcripts of sessions, each named by what follows `agent:main:`.
    pub fn sessions(&self, sessions: &[(&str, &str)]) {
        fs::create_dir_all(self.transcript("").parent().expect("a folder")).expect("a folder");
        let mut rows = serde_json::Map::new();
        for (name, transcript) in sessions {
            fs::write(self.transcript(name), transcript).expect("a transcript");
            rows.insert(key(name), json!({ "sessionId": name, "updatedAt": 1 }));
        }
        fs::write(self.transcript("").with_file_name("sessions.json"), Value::from(rows).to_string()).expect("rows");
    }

    /// Adds to a transcript, in one write.
    pub fn append(&self, session: &str, lines: &str) {
        let mut file = OpenOptions::new().append(true).open(self.transcript(session)).expect("a transcript");
        file.write_all(lines.as_bytes()).expect("a line");
    }

    pub fn transcript(&self, session: &str) -> PathBuf {
        self.folder.path().join(format!("agents/main/sessions/{session}.jsonl"))
    }

    /// A request of the reader's for the events of a session. The query may be empty.
    pub fn events(&self, session: &str, query: &str) -> Request {
        Request::new("GET", &format!("/sessions/{}/history{query}", key(session)))
            .header("Authorization", &format!("Bearer {READER}"))
            .header("Accept", "text/event-stream")
    }

    /// Takes the first of the reader's tokens away.
    pub fn revoke_reader(&self) {
        write_tokens(&self.folder, &[NEXT, ADMIN], &["operator.read"]);
    }

    /// Leaves the reader what it takes to read.
    pub fn narrow_reader(&self) {
        write_tokens(&self.folder, &[READER, NEXT, ADMIN], &["operator.read"]);
    }

    /// Ends the streams of a session: whether there were any.
    pub fn kill(&self, session: &str) -> bool {
        let request = Request::new("POST", &format!("/sessions/{}/kill", key(session)))
            .header("Authorization", &format!("Bearer {ADMIN}"));
        let answer = request.send(self.served.address).expect("an answer").text();
        match answer.as_str() {
            r#"{"ok":true,"killed":true}"# => true,
            r#"{"ok":true,"killed":false}"# => false,
            _ => panic!("{answer}"),
        }
    }

    /// Ends the gateway, as its own `main` does, and starts another one on the same folder.
    pub fn restart(self) -> Self {
        let folder = self.close();
        Self::open_on(folder, &[])
    }

    pub fn close(self) -> TempDir {
        self.served.close();
        self.folder
    }
}

pub fn key(session: &str) -> String {
    format!("agent:main:{session}")
}

fn write_tokens(folder: &TempDir, known: &[&str], of_reader: &[&str]) {
    let token = |secret: &&str| {
        let (subject, scopes) =
            if *secret == ADMIN { ("admin", &["operator.admin"][..]) } else { ("reader", of_reader) };
        json!({ "id": secret, "secret": secret, "subject": subject, "scopes": scopes })
    };
    let tokens: Vec<_> = known.iter().map(token).collect();
    let file = folder.path().join("tokens.json");
    let new = file.with_extension("new");
    fs::write(&new, json!({ "token": tokens }).to_string()).expect("tokens");
    fs::rename(new, file).expect("tokens in their place");
}
