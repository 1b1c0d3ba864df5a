//! `--demo`: a house to try the gateway in, and the commands to try it with.
//!
//! A scratch state folder of today's kind with one session, to which a short conversation is written, a message
//! every two seconds, as OpenClaw would commit it ([`database`]). The token is in a file, so that writing
//! to the file rotates it. The folder is removed when the [`Demo`] is dropped.

pub(crate) mod database;

use std::error::Error;
use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::database::Database;

/// The session that is seeded.
pub const SESSION: &str = "agent:main:test-session";

/// The id of its transcript.
const TRANSCRIPT: &str = "test-session";

/// The message the session begins with.
const SEED: &str = "this is a seeded real-behavior-proof message";

const PACE: Duration = Duration::from_secs(2);

/// What is said after the seed, user and assistant by turns, over and over.
const CONVERSATION: &[&str] = &[
    "Did the nightly backup finish?",
    "Yes, at 03:12. 41 GB in 12 minutes, and the restore test passed.",
    "And the deploy?",
    "Build 1841 is on two of six hosts. Error rate is unchanged, so I am going on.",
    "Tell me when it is done.",
    "Four of six hosts now. The slowest request took 180 ms.",
    "Fine. Anything in the logs?",
    "One warning: the certificate of the staging host expires in nine days.",
    "Please renew it.",
    "Renewed until March. Staging answers with the new certificate.",
    "And the deploy?",
    "All six hosts run build 1841. I keep watching for another ten minutes.",
];

pub struct Demo {
    folder: TempDir,
    token: String,
    next_token: String,
}

impl Demo {
    /// Makes the folder, the session and the token file.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let demo = Self {
            folder: tempfile::Builder::new().prefix("gateway-demo-").tempdir()?,
            token: random_token(),
            next_token: random_token(),
        };
        let mut token_file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(demo.token_file())?;
        token_file.write_all(format!("{}\n", demo.token).as_bytes())?;

        let (path, now) = (demo.database(), Timestamp::now().as_millisecond());
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut database = Database::create(&path, "main", now)?;
        database.add_session(SESSION, TRANSCRIPT, now)?;
        database.append(TRANSCRIPT, &[&record(1, "assistant", SEED, None)], now)?;
        Ok(demo)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// What to print once the gateway listens.
    pub fn instructions(&self, listening: SocketAddr) -> impl Display {
        let page = format!("http://{}/", reachable(listening));
        Instructions {
            url: format!("{page}sessions/{SESSION}/history"),
            page,
            token: self.token.clone(),
            next_token: self.next_token.clone(),
            token_file: quoted(&self.token_file()),
        }
    }

    /// Goes on with the conversation until it is dropped; returns only an error.
    pub fn talk(&self) -> impl Future<Output = Box<dyn Error + Send + Sync>> + Send + use<> {
        let path = self.database();
        async move {
            let mut database = match Database::open(&path) {
                Ok(database) => database,
                Err(error) => return error.into(),
            };
            let mut pace = pace();
            // The first tick is at once, and the seed has just been written.
            pace.tick().await;
            for (turn, text) in CONVERSATION.iter().cycle().enumerate() {
                pace.tick().await;
                let role = if turn % 2 == 0 { "user" } else { "assistant" };
                let now = Timestamp::now();
                let record = record(turn + 2, role, text, Some(now));
                if let Err(error) = database.append(TRANSCRIPT, &[&record], now.as_millisecond()) {
                    return error.into();
                }
            }
            "the conversation has no end".into()
        }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("agents/main/agent/openclaw-agent.sqlite")
    }
}

/// Message `number`, counted from 1, an answer to the one before. Its fields are in the order in which OpenClaw
/// writes them.
fn record(number: usize, role: &str, text: &str, at: Option<Timestamp>) -> Value {
    let mut message = json!({ "role": role, "content": [{ "type": "text", "text": text }] });
    let parent = (number > 1).then(|| format!("msg-{}", number - 1));
    let mut record = json!({ "type": "message", "id": format!("msg-{number}"), "parentId": parent });
    if let Some(at) = at {
        record["timestamp"] = written(at).into();
        message["timestamp"] = at.as_millisecond().into();
    }
    record["message"] = message;
    record
}

struct Instructions {
    page: String,
    url: String,
    token: String,
    next_token: String,
    token_file: String,
}

impl Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, url, token, next_token, token_file } = self;
        write!(
            f,
            "A session grows by a message every two seconds.

Read it:
  curl -H 'Authorization: Bearer {token}' '{url}'

Follow it:
  curl -N -H 'Authorization: Bearer {token}' -H 'Accept: text/event-stream' '{url}'

Or sign in with {token} at {page}

Rotate the token, in another terminal, and see the stream end:
  echo {next_token} > {token_file}

Ctrl-C ends the demo and removes its folder.
"
        )
    }
}

/// An address that a client on this machine can connect to.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Good enough for a demo: 128 bits from the keys of the standard library's hash maps.
fn random_token() -> String {
    let half = || RandomState::new().hash_one(());
    format!("demo-{:016x}{:016x}", half(), half())
}

/// A time as OpenClaw writes it, to the millisecond.
fn written(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn pace() -> Interval {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn records(demo: &Demo) -> Vec<String> {
        let database = Database::open(&demo.database()).unwrap();
        let mut records = database.sqlite.prepare("SELECT event_json FROM transcript_events ORDER BY seq").unwrap();
        let records = records.query_map([], |row| row.get(0)).unwrap();
        records.map(Result::unwrap).collect()
    }

    #[test]
    fn the_seed_is_the_message_of_the_proof_without_a_time() {
        let demo = Demo::new().unwrap();
        let records = records(&demo);
        assert_eq!(records.len(), 2);
        assert!(records[0].contains(r#""type":"session""#));
        assert_eq!(
            records[1],
            r#"{"type":"message","id":"msg-1","parentId":null,"message":{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}]}}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_comes_every_two_seconds_by_turns_each_the_child_of_the_last() {
        let demo = Demo::new().unwrap();
        let talk = tokio::spawn(demo.talk());
        let messages = 3 * CONVERSATION.len();
        tokio::time::sleep(PACE * u32::try_from(messages).unwrap() + PACE / 2).await;
        talk.abort();

        let records = records(&demo);
        assert_eq!(records.len(), 2 + messages);
        for (n, record) in records.iter().enumerate().skip(2) {
            let record: Value = serde_json::from_str(record).unwrap();
            assert_eq!(record["id"], format!("msg-{n}"));
            assert_eq!(record["parentId"], format!("msg-{}", n - 1));
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            assert_eq!(record["message"]["role"], role);
            let at: Timestamp = record["timestamp"].as_str().unwrap().parse().unwrap();
            assert_eq!(record["message"]["timestamp"], at.as_millisecond());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_talk_ends_with_an_error_when_nothing_can_be_written() {
        let demo = Demo::new().unwrap();
        let database = Database::open(&demo.database()).unwrap();
        database.sqlite.execute_batch("DROP TABLE transcript_events").unwrap();
        assert!(demo.talk().await.to_string().contains("transcript_events"));
    }

    #[test]
    fn the_folder_goes_with_the_demo() {
        let demo = Demo::new().unwrap();
        let folder = demo.state_dir();
        assert!(folder.exists());
        drop(demo);
        assert!(!folder.exists());
    }

    #[test]
    fn the_instructions_hold_the_address_the_token_and_a_line_that_really_rotates_it() {
        let demo = Demo::new().unwrap();
        let shown = demo.instructions(([0, 0, 0, 0], 4000).into()).to_string();
        assert!(shown.contains("'http://127.0.0.1:4000/sessions/agent:main:test-session/history'"));
        assert_eq!(shown.matches(&format!("Bearer {}'", demo.token)).count(), 2);

        let rotate = shown.lines().find(|line| line.contains("echo")).unwrap();
        assert!(Command::new("sh").args(["-c", rotate]).status().unwrap().success());
        let rotated = fs::read_to_string(demo.token_file()).unwrap();
        assert_eq!(rotated, format!("{}\n", demo.next_token));
        assert_ne!(demo.next_token, demo.token);
    }

    #[test]
    fn a_path_with_a_quote_survives_a_shell() {
        let path = Path::new("/tmp/it's here/token");
        let echo = format!("printf %s {}", quoted(path));
        let output = Command::new("sh").args(["-c", &echo]).output().unwrap();
        assert_eq!(output.stdout, path.to_str().unwrap().as_bytes());
    }
}
