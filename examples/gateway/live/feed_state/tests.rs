//! A client that was cut and goes on shows what one that never was cut shows.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use proptest::prelude::*;

use super::*;
use crate::{
    files::disk::fault,
    json::Value,
    live::history::LastHistory,
    serve::PageBytes,
    sessions::{projection::seq, store::RequestedKey},
};

/// What happens to a transcript.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// A message that is shown.
    Said,
    /// A reply that is silent: it takes a number and is not shown.
    Silent,
    /// A line that is no message.
    Noted,
    /// Two messages in one write.
    SaidTwice,
    /// A silent reply with others around it, in one write.
    SilentBetween,
    /// A compaction, after which what went before may count no more.
    Compacted,
    /// Another branch: the records before the last one go on elsewhere.
    Branched,
    /// Another file with the same name, which says something else.
    Replaced,
    /// No file.
    Removed,
    /// A line that stands before the one that it comes after, in one write.
    ChildFirst,
    /// More messages in one write than are read at once.
    Burst,
    /// The last record is gone.
    CutShort,
    /// The texts are others, in the same file and as long.
    WrittenOver,
}

use Happens::{
    Branched, Burst, ChildFirst, Compacted, CutShort, Noted, Removed, Replaced, Said, SaidTwice, Silent, SilentBetween,
    WrittenOver,
};

struct Disk {
    folder: tempfile::TempDir,
    transcripts: Transcripts,
    ids: Ids,
    /// How many records were written, in all lives of the file.
    records: usize,
    /// The record that the next one follows, and the one before that.
    last: [Option<usize>; 2],
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, transcripts: Transcripts::default(), ids: Ids::default(), records: 0, last: [None; 2] }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("t.jsonl")
    }

    fn key(&self, query: &str) -> FeedKey {
        let session = "agent:main:s".to_owned();
        FeedKey { asked: RequestedKey::parse("s").unwrap(), session, query: Query::parse(query).unwrap() }
    }

    fn feed(&self, query: &str) -> FeedState {
        self.feed_of(self.key(query), self.ids.clone())
    }

    fn feed_of(&self, key: FeedKey, ids: Ids) -> FeedState {
        FeedState::new(key, ids, vec![Place::File(self.path())])
    }

    /// What a stream that joins now begins with.
    fn joined(&self, feed: &mut FeedState, start: &Start) -> Vec<Event> {
        match feed.update(&self.transcripts, Some(start)).unwrap().first {
            First::Nothing => panic!("it joined"),
            First::Events(events) => events,
            First::History(view) => {
                let room = PageBytes::new(1024);
                vec![LastHistory::default().history(view.as_ref(), &feed.key, &feed.ids, &room).unwrap()]
            }
        }
    }

    fn record(&mut self, role: &str, text: &str) -> String {
        self.records += 1;
        let parent = self.last[0].map_or("null".to_owned(), |last| format!("\"{last}\""));
        self.last = [Some(self.records), self.last[0]];
        format!(
            "{{\"type\":\"message\",\"id\":\"{}\",\"parentId\":{parent},\"message\":{{\"role\":\"{role}\",\"content\":\"{text}\"}}}}\n",
            self.records
        )
    }

    fn said(&mut self) -> String {
        let text = format!("text {}", self.records);
        self.record("user", &text)
    }

    fn silent(&mut self) -> String {
        self.record("assistant", "NO_REPLY")
    }

    fn happens(&mut self, what: Happens) {
        let line = match what {
            Said => self.said(),
            Silent => self.silent(),
            Noted => "{\"type\":\"note\"}\n".to_owned(),
            SaidTwice => self.said() + &self.said(),
            SilentBetween => self.said() + &self.silent() + &self.said(),
            ChildFirst => {
                let (parent, child) = (self.said(), self.said());
                child + &parent
            }
            Burst => (0..AT_ONCE + 3).map(|_| self.said()).collect(),
            CutShort => {
                let text = fs::read_to_string(self.path()).unwrap_or_default();
                let end = text.trim_end().rfind('\n').map_or(0, |end| end + 1);
                self.last = [self.last[1], None];
                return fs::write(self.path(), &text[..end]).unwrap();
            }
            WrittenOver => {
                let text = fs::read_to_string(self.path()).unwrap_or_default();
                let other = text.replace("text", "tixt");
                let other = if other == text { text.replace("tixt", "text") } else { other };
                return fs::write(self.path(), other).unwrap();
            }
            Compacted => "{\"type\":\"compaction\",\"id\":\"c\"}\n".to_owned(),
            Branched => {
                self.last = [self.last[1], None];
                self.said()
            }
            Replaced => {
                let new = self.folder.path().join("new");
                self.last = [None; 2];
                let line = self.said();
                fs::write(&new, line).unwrap();
                return fs::rename(new, self.path()).unwrap();
            }
            Removed => {
                self.last = [None; 2];
                return drop(fs::remove_file(self.path()));
            }
        };
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// A client: what it shows, and the id of the last event.
#[derive(Clone, Debug, Default)]
struct Client {
    messages: Vec<String>,
    id: String,
}

impl Client {
    fn sees(&mut self, events: &[Event]) {
        for event in events {
            let event = text(event, true);
            let [id, name, data] = event.trim_end().splitn(3, '\n').collect::<Vec<_>>().try_into().unwrap();
            self.id = id.strip_prefix("id: ").unwrap().to_owned();
            let data = json::parse(data.strip_prefix("data: ").unwrap().as_bytes()).unwrap();
            let data = data.as_object().unwrap();
            match name {
                "event: history" => {
                    let Some(Value::Array(messages)) = data.get("messages") else { panic!("{event}") };
                    self.messages = messages.iter().map(|message| shown(message.as_object().unwrap())).collect();
                }
                "event: message" => self.messages.push(shown(data.object("message").unwrap())),
                _ => panic!("{event}"),
            }
        }
    }
}

fn text(event: &Event, with_id: bool) -> String {
    String::from_utf8(event.clone().parts(with_id).collect::<Vec<_>>().concat()).unwrap()
}

fn shown(message: &Object) -> String {
    format!("{} {}", seq(message).unwrap(), message["content"])
}

/// After each thing that happens: what a client that was never cut shows, and one that was cut at
/// any time before and now goes on. All must show the same, whatever events they got.
fn cut_everywhere(query: &str, changes: &[Happens]) {
    let mut disk = Disk::new();
    let mut feed = disk.feed(query);
    let mut steady = Client::default();
    steady.sees(&disk.joined(&mut feed, &Start::History));
    let mut cut = vec![steady.clone()];
    for what in changes {
        disk.happens(*what);
        let Update { mut events, anew, .. } = feed.update(&disk.transcripts, None).unwrap();
        if anew {
            events.extend(disk.joined(&mut feed, &Start::History));
        }
        // A client can be cut between any two events.
        for event in events {
            steady.sees(&[event]);
            cut.push(steady.clone());
        }
        for client in &cut {
            // By the feed that others kept going, and by a new one.
            for feed in [&mut feed, &mut disk.feed(query)] {
                let mut client = client.clone();
                let start = Start::After(client.id.clone());
                let first = disk.joined(feed, &start);
                client.sees(&first);
                assert_eq!(client.messages, steady.messages, "after {what:?} of {changes:?}, {start:?}: {first:?}");
            }
        }
    }
}

#[test]
fn a_cut_client_goes_on_without_gap_or_repeat_wherever_it_was_cut() {
    let changes = [
        Said,
        Said,
        Silent,
        Noted,
        Said,
        SilentBetween,
        SaidTwice,
        Compacted,
        Said,
        Branched,
        Said,
        Replaced,
        Said,
        Silent,
        Removed,
        Said,
        Said,
        ChildFirst,
        WrittenOver,
        CutShort,
        Burst,
        Said,
    ];
    for query in ["", "limit=2", "cursor=3", "limit=1&cursor=4"] {
        cut_everywhere(query, &changes);
    }
}

proptest! {
    #[test]
    fn so_it_is_whatever_happens(changes in prop::collection::vec(
        prop::sample::select(vec![
            Said, Silent, Noted, SaidTwice, SilentBetween, Compacted, Branched, Replaced, Removed, ChildFirst, CutShort,
            WrittenOver,
        ]),
        1..12,
    )) {
        cut_everywhere("", &changes);
    }
}

/// A client that follows shows what one does that joins, whichever call fails.
#[test]
fn nothing_is_lost_or_repeated_whichever_call_fails() {
    for error in fault::ERRORS {
        for what in [SaidTwice, Replaced, Removed, WrittenOver, Burst] {
            for calls in 0.. {
                let mut disk = Disk::new();
                disk.happens(Said);
                let mut feed = disk.feed("");
                let mut client = Client::default();
                client.sees(&disk.joined(&mut feed, &Start::History));
                disk.happens(what);
                let (updated, has_failed) = fault::after(calls, error, || feed.update(&disk.transcripts, None));
                let again = feed.update(&disk.transcripts, None).unwrap();
                for Update { mut events, anew, .. } in updated.into_iter().chain([again]) {
                    if anew {
                        events.extend(disk.joined(&mut feed, &Start::History));
                    }
                    client.sees(&events);
                }
                let mut fresh = Client::default();
                fresh.sees(&disk.joined(&mut disk.feed(""), &Start::History));
                assert_eq!(client.messages, fresh.messages, "{what:?}, after {calls} calls {}", error());
                if !has_failed {
                    assert!(calls > 0, "calls are counted");
                    break;
                }
            }
        }
    }
}

#[test]
fn what_was_missed_comes_as_messages_and_not_as_the_history() {
    let mut disk = Disk::new();
    disk.happens(Said);
    let mut client = Client::default();
    client.sees(&disk.joined(&mut disk.feed(""), &Start::History));
    let mut missed = |disk: &mut Disk, what: &[Happens]| {
        what.iter().for_each(|what| disk.happens(*what));
        let first = disk.joined(&mut disk.feed(""), &Start::After(client.id.clone()));
        let names = first.iter().map(|event| text(event, false)[7..14].to_owned());
        let names: Vec<_> = names.collect();
        client.sees(&first);
        names
    };
    assert_eq!(missed(&mut disk, &[]), [""; 0]);
    assert_eq!(missed(&mut disk, &[Silent, Noted]), [""; 0]);
    assert_eq!(missed(&mut disk, &[Said, SilentBetween]), ["message"; 3]);
    assert_eq!(missed(&mut disk, &[Said; LOOK]), ["message"; LOOK]);
    assert_eq!(missed(&mut disk, &[Said; LOOK + 1]), ["history"]);
    assert_eq!(missed(&mut disk, &[Replaced]), ["history"]);
    assert_eq!(missed(&mut disk, &[Removed]), ["history"]);
    assert_eq!(missed(&mut disk, &[]), [""; 0]);
}

#[test]
fn an_id_of_another_session_or_process_gets_the_whole_history() {
    let mut disk = Disk::new();
    disk.happens(Said);
    let mut client = Client::default();
    client.sees(&disk.joined(&mut disk.feed(""), &Start::History));
    let start = Start::After(client.id);
    // The same transcript, so that nothing but the seal tells them apart.
    let another_session = FeedKey { session: "agent:main:another".to_owned(), ..disk.key("") };
    let another_process = Ids::default();
    for mut feed in [
        disk.feed_of(another_session, disk.ids.clone()),
        disk.feed_of(disk.key(""), another_process),
        disk.feed("limit=1"),
    ] {
        let first = disk.joined(&mut feed, &start);
        assert_eq!(first.len(), 1);
        assert!(text(&first[0], false).starts_with("event: history\n"));
    }
}
