//! What a feed has sent, and what it has to send next.
//!
//! A stream of a page (a limit or a cursor) gets the page again after every change. A stream of the
//! whole history gets, by these rules:
//!
//! 1. A message that was appended is put behind those already shown, and the list is projected
//!    again. If it grew by one, the last one is sent as `message`. If it did not grow, and the new
//!    message is one that would not be shown anyway, nothing is sent.
//! 2. Anything else (the list grew by more, shrank, or lost a message that would be shown by itself)
//!    changed messages that were sent before: the whole `history` is sent.
//! 3. So it is after any change of the transcript that is not an append.
//!
//! Only the end of the list is kept: what is shown of a message depends on few of those before it.

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use super::{FeedKey, Ids, event::Event, feed::BACKLOG, resume::Start};
use crate::{
    json::{Object, Value},
    sessions::history::{Page, Query},
    sessions::now,
    sessions::projection::{Before, is_visible_alone, project_window},
    sessions::transcript::{Change, Position, Transcript, Transcripts, View},
};

/// How many messages are kept, unless more are needed to know what is shown.
const KEPT: usize = 32;

/// The longest `history` event that is kept for the next stream that joins; a longer one is made anew.
const KEPT_HISTORY: usize = 256 * 1024;

/// The state of one feed.
pub struct Shown {
    key: FeedKey,
    ids: Ids,
    /// The transcript that was read last. Held, so that it is the same however many others are read.
    transcript: Option<Arc<Transcript>>,
    /// As of when, once it was read; `None` inside when there is no transcript.
    position: Option<Option<Position>>,
    tail: Tail,
    /// The `history` event as of the position, once somebody asked for it.
    history: Option<Event>,
}

/// The last messages that are shown.
struct Tail {
    messages: Vec<Object<'static>>,
    /// Whether there are others before them.
    before: Before,
}

/// What has to be sent.
#[derive(Default)]
pub struct Look {
    /// To those who have had everything before.
    pub events: Vec<Event>,
    /// To the one who joins.
    pub first: Vec<Event>,
}

/// More has changed than messages can say.
struct NotByMessages;

/// What an appended message does to what is shown.
enum Step {
    Nothing,
    Message(Event),
    /// More than can be said with one message.
    History,
}

impl Shown {
    pub fn new(key: FeedKey, ids: Ids) -> Self {
        let tail = Tail { messages: Vec::new(), before: Before::Nothing };
        Self { key, ids, transcript: None, position: None, tail, history: None }
    }

    /// Looks at the transcript. All of the answer is as of one moment. After an error the
    /// streams wait for the next look.
    pub fn look(&mut self, transcripts: &Transcripts, joining: Option<&Start>) -> io::Result<Look> {
        if self.position.is_none() && joining.is_none() {
            return Ok(Look::default());
        }
        let view = self.view(transcripts)?;
        let position = view.as_ref().map(View::position);
        let events = match self.position {
            Some(before) if before == position => Vec::new(),
            Some(before) => self.advance(before, view.as_ref()).inspect_err(|_| {
                // What was sent of it cannot be told any more: the next look begins anew.
                self.position = Some(None);
            })?,
            None => {
                self.reset(view.as_ref());
                Vec::new()
            }
        };
        self.position = Some(position);
        let first = match joining {
            None => Vec::new(),
            Some(Start::History) => vec![self.history(view.as_ref())?],
            Some(Start::After(id)) => match self.missed(id, view.as_ref()) {
                Some(missed) => missed,
                None => vec![self.history(view.as_ref())?],
            },
        };
        Ok(Look { events, first })
    }

    /// The transcript as it is now, if there is one.
    fn view(&mut self, transcripts: &Transcripts) -> io::Result<Option<View>> {
        let path: Option<&PathBuf> = self.key.candidates.iter().find(|path| path.exists());
        let is_same = |held: &Arc<Transcript>| path.is_some_and(|path| held.path() == path);
        if !self.transcript.as_ref().is_some_and(is_same) {
            self.transcript = path.map(|path| transcripts.at(path));
        }
        match self.transcript.as_deref().map(Transcript::view) {
            None => Ok(None),
            Some(Ok(view)) => Ok(Some(view)),
            Some(Err(error)) if self.reads_as_empty(&error) => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }

    /// What is not there is empty, and so is a folder to whoever reads the full history.
    fn reads_as_empty(&self, error: &io::Error) -> bool {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
            io::ErrorKind::IsADirectory => self.key.query.tail().is_none(),
            _ => false,
        }
    }

    /// What came after the event with this id, if messages say it all.
    fn missed(&self, id: &str, view: Option<&View>) -> Option<Vec<Event>> {
        let then = self.ids.read(&self.key, id)?;
        let (Some(then), Some(view)) = (then, view) else {
            // There was nothing and there is nothing.
            return (then.is_none() && view.is_none()).then(Vec::new);
        };
        let missed = match view.since(then) {
            Change::Appended(range) if range.is_empty() => return Some(Vec::new()),
            Change::Appended(range) if self.key.query == Query::default() && range.len() <= BACKLOG => range,
            _ => return None,
        };
        let tail = Tail::read(view, missed.start, self.key.max_chars);
        let (key, ids) = (self.key.clone(), self.ids.clone());
        let mut as_it_was = Self { key, ids, transcript: None, position: Some(Some(then)), tail, history: None };
        let mut events = Vec::new();
        as_it_was.append(view, missed, &mut events).ok()?;
        Some(events)
    }

    fn advance(&mut self, before: Option<Position>, view: Option<&View>) -> io::Result<Vec<Event>> {
        let Some((before, view)) = before.zip(view) else { return Ok(vec![self.rewritten(view)?]) };
        let appended = match view.since(before) {
            Change::Appended(range) if range.is_empty() => return Ok(Vec::new()),
            Change::Appended(range) if self.key.query == Query::default() => range,
            _ => return Ok(vec![self.rewritten(Some(view))?]),
        };
        self.history = None;
        let mut events = Vec::new();
        match self.append(view, appended, &mut events) {
            Err(NotByMessages) => events.push(self.rewritten(Some(view))?),
            Ok(()) if self.tail.messages.len() > 4 * KEPT => {
                self.tail = Tail::read(view, view.total(), self.key.max_chars);
            }
            Ok(()) => {}
        }
        Ok(events)
    }

    /// Takes in the messages that were appended. What can be said by messages is in `events`.
    fn append(&mut self, view: &View, range: Range<usize>, events: &mut Vec<Event>) -> Result<(), NotByMessages> {
        let raw = view.history().read(range).map_err(|_| NotByMessages)?;
        for message in raw.values(now()) {
            match self.step(view, message) {
                Step::Nothing => {}
                Step::Message(event) => events.push(event),
                Step::History => return Err(NotByMessages),
            }
        }
        Ok(())
    }

    /// Takes in one message that was appended.
    fn step(&mut self, view: &View, message: Value<'_>) -> Step {
        // What is no object takes a number and is never shown.
        let Value::Object(mut message) = message.into_owned() else { return Step::Nothing };
        let Some(Announced { id, seq }) = Announced::of(&mut message) else { return Step::History };

        let max_chars = self.key.max_chars;
        let project = |messages: Vec<Object<'static>>| {
            let messages = messages.into_iter().map(Value::Object).collect();
            project_window(messages, self.tail.before, &[], max_chars)
        };
        let shown_before = match self.tail.before {
            Before::Nothing => self.tail.messages.len(),
            // It is compared from the first message on that is settled.
            Before::Unknown => project(self.tail.messages.clone()).len(),
        };
        let shown = project([&self.tail.messages[..], &[message.clone()]].concat());

        if shown.last().is_some_and(|last| last.doubt.is_some()) || shown.len() < shown_before {
            return Step::History;
        }
        let grown = shown.len() - shown_before;
        if grown > 1 || grown == 0 && is_visible_alone(message.into(), max_chars) {
            return Step::History;
        }
        self.tail.messages = shown.into_iter().map(|shown| shown.message).collect();
        match self.tail.messages.last() {
            Some(last) if grown == 1 => Step::Message(self.message_event(view, last.clone(), id, seq)),
            _ => Step::Nothing,
        }
    }

    fn message_event(&self, view: &View, mut message: Object<'static>, id: Option<Value<'static>>, seq: f64) -> Event {
        // A reply that was sent with a tool is shown when the silent message after it arrives, and
        // has the number of that.
        if let Some(Value::Object(meta)) = message.get_mut("__openclaw") {
            meta.insert("seq", seq);
        }
        let mut body = Object::new();
        body.insert("sessionKey", self.key.session.clone());
        body.insert("message", message);
        if let Some(id) = id {
            body.insert("messageId", id);
        }
        body.insert("messageSeq", seq);
        let mut data = Vec::new();
        body.write(&mut data);
        Event::new(&self.ids.write(&self.key, view.position_after(seq as usize - 1)), "message", &data)
    }

    /// All was read anew: the `history` that says so.
    fn rewritten(&mut self, view: Option<&View>) -> io::Result<Event> {
        self.reset(view);
        self.history(view)
    }

    fn reset(&mut self, view: Option<&View>) {
        self.history = None;
        self.tail = match view {
            Some(view) if self.key.query == Query::default() => Tail::read(view, view.total(), self.key.max_chars),
            _ => Tail { messages: Vec::new(), before: Before::Nothing },
        };
    }

    fn history(&mut self, view: Option<&View>) -> io::Result<Event> {
        if let Some(history) = &self.history {
            return Ok(history.clone());
        }
        let FeedKey { session, query, max_chars, .. } = &self.key;
        let page = view.map_or_else(|| Ok(Page::default()), |view| Page::of(view, *query, *max_chars, now()))?;
        let id = self.ids.write(&self.key, view.map(View::position));
        let history = Event::new(&id, "history", &page.body(session));
        self.history = (history.len() <= KEPT_HISTORY).then(|| history.clone());
        Ok(history)
    }
}

impl Tail {
    /// The end of what is shown of this many messages from the start of the history.
    fn read(view: &View, total: usize, max_chars: usize) -> Self {
        let mut kept = KEPT;
        loop {
            let from = total.saturating_sub(kept);
            let before = if from == 0 { Before::Nothing } else { Before::Unknown };
            let raw = view.history().read(from..total).unwrap_or_default();
            let shown = project_window(raw.values(now()), before, &[], max_chars);
            if from == 0 || !shown.is_empty() {
                let messages = shown.into_iter().map(|shown| shown.message.into_owned()).collect();
                return Self { messages, before };
            }
            kept *= 2;
        }
    }
}

/// How a new message is announced: by the id of its record and its number, and without its time.
struct Announced {
    id: Option<Value<'static>>,
    seq: f64,
}

impl Announced {
    fn of(message: &mut Object<'static>) -> Option<Self> {
        let Some(Value::Object(meta)) = message.get_mut("__openclaw") else { return None };
        meta.remove("recordTimestampMs");
        Some(Self { id: meta.get("id").cloned(), seq: meta.number("seq")? })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
        path::PathBuf,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::json;

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
    }

    use Happens::{Branched, Compacted, Noted, Removed, Replaced, Said, SaidTwice, Silent, SilentBetween};

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
            let (session, candidates) = ("agent:main:s".to_owned(), vec![self.path()]);
            FeedKey { session, candidates, query: Query::parse(query), max_chars: 8000 }
        }

        fn feed(&self, query: &str) -> Shown {
            Shown::new(self.key(query), self.ids.clone())
        }

        fn record(&mut self, role: &str, text: &str) -> String {
            self.records += 1;
            let parent = self.last[0].map_or("null".to_owned(), |last| format!("\"{last}\""));
            self.last = [Some(self.records), self.last[0]];
            format!(
                "{{\"id\":\"{}\",\"parentId\":{parent},\"message\":{{\"role\":\"{role}\",\"content\":\"{text}\"}}}}\n",
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
                let event = String::from_utf8(event.with_id().to_vec()).unwrap();
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

    fn shown(message: &Object<'_>) -> String {
        let seq = message.object("__openclaw").unwrap().number("seq").unwrap();
        let mut text = Vec::new();
        message.get("content").unwrap().write(&mut text);
        format!("{seq} {}", String::from_utf8(text).unwrap())
    }

    /// After each thing that happens: what a client that was never cut shows, and one that was cut at
    /// any time before and now goes on. All must show the same, whatever events they got.
    fn cut_everywhere(query: &str, script: &[Happens]) {
        let mut disk = Disk::new();
        let mut feed = disk.feed(query);
        let mut steady = Client::default();
        steady.sees(&feed.look(&disk.transcripts, Some(&Start::History)).unwrap().first);
        let mut cut = vec![steady.clone()];
        for what in script {
            disk.happens(*what);
            let Look { events, .. } = feed.look(&disk.transcripts, None).unwrap();
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
                    let first = feed.look(&disk.transcripts, Some(&start)).unwrap().first;
                    client.sees(&first);
                    assert_eq!(client.messages, steady.messages, "after {what:?} of {script:?}, {start:?}: {first:?}");
                }
            }
        }
    }

    #[test]
    fn a_cut_client_goes_on_without_gap_or_repeat_wherever_it_was_cut() {
        let script = [
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
        ];
        for query in ["", "limit=2", "cursor=3", "limit=1&cursor=4"] {
            cut_everywhere(query, &script);
        }
    }

    proptest! {
        #[test]
        fn so_it_is_whatever_happens(script in prop::collection::vec(
            prop::sample::select(vec![Said, Silent, Noted, SaidTwice, SilentBetween, Compacted, Branched, Replaced, Removed]),
            1..12,
        )) {
            cut_everywhere("", &script);
        }
    }

    #[test]
    fn what_was_missed_comes_as_messages_and_not_as_the_history() {
        let mut disk = Disk::new();
        disk.happens(Said);
        let mut client = Client::default();
        client.sees(&disk.feed("").look(&disk.transcripts, Some(&Start::History)).unwrap().first);
        let mut missed = |disk: &mut Disk, what: &[Happens]| {
            what.iter().for_each(|what| disk.happens(*what));
            let first = disk.feed("").look(&disk.transcripts, Some(&Start::After(client.id.clone()))).unwrap().first;
            let names = first.iter().map(|event| event.without_id()[7..14].to_vec());
            let names: Vec<_> = names.map(|name| String::from_utf8(name).unwrap()).collect();
            client.sees(&first);
            names
        };
        assert_eq!(missed(&mut disk, &[]), [""; 0]);
        assert_eq!(missed(&mut disk, &[Silent, Noted]), [""; 0]);
        assert_eq!(missed(&mut disk, &[Said, SilentBetween]), ["message"; 3]);
        assert_eq!(missed(&mut disk, &[Said; BACKLOG]), ["message"; BACKLOG]);
        assert_eq!(missed(&mut disk, &[Said; BACKLOG + 1]), ["history"]);
        assert_eq!(missed(&mut disk, &[Replaced]), ["history"]);
        assert_eq!(missed(&mut disk, &[Removed]), ["history"]);
        assert_eq!(missed(&mut disk, &[]), [""; 0]);
    }

    #[test]
    fn an_id_of_another_session_or_process_gets_the_whole_history() {
        let mut disk = Disk::new();
        disk.happens(Said);
        let mut client = Client::default();
        client.sees(&disk.feed("").look(&disk.transcripts, Some(&Start::History)).unwrap().first);
        let start = Start::After(client.id);
        // The same transcript, so that nothing but the seal tells them apart.
        let another_session = FeedKey { session: "agent:main:another".to_owned(), ..disk.key("") };
        let another_process = Ids::default();
        for mut feed in [
            Shown::new(another_session, disk.ids.clone()),
            Shown::new(disk.key(""), another_process),
            disk.feed("limit=1"),
        ] {
            let first = feed.look(&disk.transcripts, Some(&start)).unwrap().first;
            assert_eq!(first.len(), 1);
            assert!(first[0].without_id().starts_with(b"event: history\n"));
        }
    }
}
