//! `--demo`: a house to try the gateway in, and the commands to try it with.
//!
//! A scratch state folder with one session, to which a short conversation is written, a message
//! every two seconds, as another process would append it. The token is in a file, so that writing
//! to the file rotates it. The folder is removed when the [`Demo`] is dropped.

use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The session that is seeded.
pub const SESSION: &str = "agent:main:test-session";

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
    pub fn new() -> io::Result<Self> {
        let demo = Self {
            folder: tempfile::Builder::new().prefix("gateway-demo-").tempdir()?,
            token: random_token(),
            next_token: random_token(),
        };
        fs::create_dir_all(demo.sessions())?;
        let mut token_file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(demo.token_file())?;
        token_file.write_all(format!("{}\n", demo.token).as_bytes())?;

        let now = Timestamp::now();
        let row = json!({ "sessionId": "test-session", "updatedAt": now.as_millisecond() });
        fs::write(demo.sessions().join("sessions.json"), json!({ SESSION: row }).to_string())?;
        let header = json!({
            "type": "session", "version": 3, "id": "test-session", "timestamp": written(now),
        });
        let seed = Record::new(1, "assistant", SEED, None);
        fs::write(demo.transcript(), format!("{header}\n{}", seed.line()?))?;
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
        Instructions {
            url: format!("http://{}/sessions/{SESSION}/history", reachable(listening)),
            token: self.token.clone(),
            next_token: self.next_token.clone(),
            token_file: quoted(&self.token_file()),
        }
    }

    /// Goes on with the conversation until it is dropped; returns only an error.
    pub fn talk(&self) -> impl Future<Output = io::Error> + Send + use<> {
        let transcript = self.transcript();
        async move {
            let mut pace = pace();
            // The first tick is at once, and the seed has just been written.
            pace.tick().await;
            for (turn, text) in CONVERSATION.iter().cycle().enumerate() {
                pace.tick().await;
                let role = if turn % 2 == 0 { "user" } else { "assistant" };
                let record = Record::new(turn + 2, role, text, Some(Timestamp::now()));
                if let Err(error) = record.append_to(&transcript) {
                    return error;
                }
            }
            io::Error::other("the conversation has no end")
        }
    }

    fn sessions(&self) -> PathBuf {
        self.folder.path().join("agents/main/sessions")
    }

    fn transcript(&self) -> PathBuf {
        self.sessions().join("test-session.jsonl")
    }
}

/// A line of a transcript, fields in the order in which OpenClaw writes them.
#[derive(Serialize)]
struct Record<'a> {
    r#type: &'a str,
    id: String,
    #[serde(rename = "parentId")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: [Block<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
}

#[derive(Serialize)]
struct Block<'a> {
    r#type: &'a str,
    text: &'a str,
}

impl<'a> Record<'a> {
    /// Message `number`, counted from 1, an answer to the one before.
    fn new(number: usize, role: &'a str, text: &'a str, at: Option<Timestamp>) -> Self {
        Self {
            r#type: "message",
            id: format!("msg-{number}"),
            parent_id: (number > 1).then(|| format!("msg-{}", number - 1)),
            timestamp: at.map(written),
            message: Message {
                role,
                content: [Block { r#type: "text", text }],
                timestamp: at.map(Timestamp::as_millisecond),
            },
        }
    }

    fn line(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// In one write, as a reader may look at any time.
    fn append_to(&self, transcript: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(transcript)?;
        file.write_all(self.line()?.as_bytes())
    }
}

struct Instructions {
    url: String,
    token: String,
    next_token: String,
    token_file: String,
}

impl Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, token, next_token, token_file } = self;
        write!(
            f,
            "A session grows by a message every two seconds.

Read it:
  curl -H 'Authorization: Bearer {token}' '{url}'

Follow it:
  curl -N -H 'Authorization: Bearer {token}' -H 'Accept: text/event-stream' '{url}'

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

    use serde_json::Value;

    use super::*;

    fn lines(demo: &Demo) -> Vec<String> {
        let transcript = fs::read_to_string(demo.transcript()).unwrap();
        transcript.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_seed_is_the_message_of_the_proof_without_a_time() {
        let demo = Demo::new().unwrap();
        let lines = lines(&demo);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(r#""type":"session""#));
        assert_eq!(
            lines[1],
            r#"{"type":"message","id":"msg-1","parentId":null,"message":{"role":"assistant","content":[{"type":"text","text":"this is a seeded real-behavior-proof message"}]}}"#
        );
    }

    #[test]
    fn the_session_has_a_row_that_names_its_transcript() {
        let demo = Demo::new().unwrap();
        let store = fs::read(demo.sessions().join("sessions.json")).unwrap();
        let store: Value = serde_json::from_slice(&store).unwrap();
        let id = store[SESSION]["sessionId"].as_str().unwrap();
        assert!(demo.sessions().join(format!("{id}.jsonl")).exists());
        assert!(store[SESSION]["updatedAt"].as_i64().unwrap() > 1_700_000_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_comes_every_two_seconds_by_turns_each_the_child_of_the_last() {
        let demo = Demo::new().unwrap();
        let talk = tokio::spawn(demo.talk());
        let messages = 3 * CONVERSATION.len();
        tokio::time::sleep(PACE * u32::try_from(messages).unwrap() + PACE / 2).await;
        talk.abort();

        let lines = lines(&demo);
        assert_eq!(lines.len(), 2 + messages);
        for (n, line) in lines.iter().enumerate().skip(2) {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["id"], format!("msg-{n}"));
            assert_eq!(record["parentId"], format!("msg-{}", n - 1));
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            assert_eq!(record["message"]["role"], role);
            let at: Timestamp = record["timestamp"].as_str().unwrap().parse().unwrap();
            assert_eq!(record["message"]["timestamp"], at.as_millisecond());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_talk_ends_with_an_error_when_the_transcript_is_gone() {
        let demo = Demo::new().unwrap();
        fs::remove_file(demo.transcript()).unwrap();
        assert_eq!(demo.talk().await.kind(), io::ErrorKind::NotFound);
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
