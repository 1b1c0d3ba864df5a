//! A state folder like one in use: sessions, and transcripts of text.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::demo::database::Database;

/// After so long, what was written is old to the clock of the file system.
pub const SETTLED: Duration = Duration::from_millis(100);

/// How much a transcript has.
#[derive(Clone, Copy)]
pub enum Length {
    Messages(usize),
    Bytes(u64),
}

pub struct Sample(TempDir);

impl Sample {
    pub fn new() -> Self {
        let sample = Self(TempDir::new().expect("there is room"));
        fs::create_dir_all(sample.sessions()).expect("it is ours");
        sample
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    fn sessions(&self) -> PathBuf {
        self.folder().join("agents/main/sessions")
    }

    pub fn transcript(&self, name: &str) -> PathBuf {
        self.sessions().join(format!("{name}.jsonl"))
    }

    /// Writes a transcript: a chain of messages of 600 bytes to 2 kB. Returns its size in bytes and in
    /// messages.
    pub fn write(&self, name: &str, length: Length) -> (u64, usize) {
        let mut file = BufWriter::new(File::create(self.transcript(name)).expect("it is ours"));
        let mut size = 0;
        let mut number = 0;
        while match length {
            Length::Messages(count) => number < count,
            Length::Bytes(bytes) => size < bytes,
        } {
            let line = message(number);
            file.write_all(line.as_bytes()).expect("there is room");
            size += line.len() as u64;
            number += 1;
        }
        file.flush().expect("there is room");
        (size, number)
    }

    /// Appends messages to a transcript, as one write.
    pub fn append(&self, name: &str, numbers: std::ops::Range<usize>) {
        let lines: String = numbers.map(message).collect();
        let mut file = OpenOptions::new().append(true).open(self.transcript(name)).expect("it is there");
        file.write_all(lines.as_bytes()).expect("there is room");
    }

    /// Writes `sessions.json`: a row for each name, with the path of its transcript as the peer writes it.
    pub fn list<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let row = |name| {
            let path = self.transcript(name);
            format!("\"agent:main:{name}\":{{\"sessionId\":\"{name}\",\"updatedAt\":1,\"sessionFile\":{path:?}}}")
        };
        let rows: Vec<_> = names.map(row).collect();
        fs::write(self.sessions().join("sessions.json"), format!("{{{}}}", rows.join(",\n"))).expect("it is ours");
    }
}

/// A session in an agent's database, whose messages are those of [`Sample::write`].
pub struct Stored(Database);

impl Stored {
    /// Writes a database with one session. Such a folder has no files of sessions.
    pub fn write(sample: &Sample, name: &str, messages: usize) -> Self {
        const AT_ONCE: usize = 20_000;
        fs::remove_dir_all(sample.sessions()).expect("it is ours");
        let path = sample.folder().join("agents/main/agent/openclaw-agent.sqlite");
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is ours");
        let mut database = Database::create(&path, "main", 1).expect("there is room");
        database.add_session(&format!("agent:main:{name}"), name, 1).expect("there is room");
        let mut stored = Self(database);
        for first in (0..messages).step_by(AT_ONCE) {
            stored.append(name, first..messages.min(first + AT_ONCE));
        }
        stored
    }

    /// Appends messages, as one commit.
    pub fn append(&mut self, name: &str, numbers: std::ops::Range<usize>) {
        let records: Vec<Value> = numbers.map(|n| message(n).parse().expect("JSON")).collect();
        self.0.append(name, &records.iter().collect::<Vec<_>>(), 2).expect("there is room");
    }
}

/// One line: text of a length that goes up and down with the number, with a line break here and there.
fn message(number: usize) -> String {
    const TEXT: &str = "The quick brown fox jumps over a lazy dog, and the stream ends when access ends.\\n";
    let role = if number.is_multiple_of(2) { "user" } else { "assistant" };
    let text = TEXT.repeat(6 + number * 7 % 18);
    let parent = number.checked_sub(1).map_or("null".to_owned(), |parent| format!("\"m{parent:08}\""));
    format!(
        "{{\"type\":\"message\",\"id\":\"m{number:08}\",\"parentId\":{parent},\"timestamp\":\"2026-01-02T03:04:05.678Z\",\
         \"message\":{{\"role\":\"{role}\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\
         \"timestamp\":1767323045678}}}}\n"
    )
}
