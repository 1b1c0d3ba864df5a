//! [`Transcript`]: a transcript's file and its index, and [`View`]: both at one moment.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{files::disk::File, sessions::record::History};

use super::{
    index::Line,
    indexed::{Indexed, Skipped},
    messages::RawMessages,
    position::{Change, Position},
};

/// A transcript, indexed as far as it was looked at.
#[derive(Debug)]
pub struct Transcript {
    path: PathBuf,
    indexed: Mutex<Arc<Indexed>>,
    turns: Arc<Semaphore>,
}

/// The right to look at a transcript, to be kept for as long as that takes.
pub type Turn = OwnedSemaphorePermit;

/// How many may look at one transcript at a time.
const TURNS: usize = 8;

/// How often a transcript that is being written over is looked at again, and how long after.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);

impl Transcript {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), indexed: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until few enough look at this transcript. Whoever is on a thread of the shared pool needs
    /// that: while a long transcript is indexed, those who want it would take every thread there is
    /// and wait on it, and nobody could look at another one.
    pub async fn turn(&self) -> Option<Turn> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Looks at the transcript as it is now, and once more, a few times, if it was written over meanwhile: then
    /// what was known of it is known no more.
    pub fn look<T>(&self, mut look: impl FnMut(View) -> io::Result<T>) -> io::Result<T> {
        for again in 0..LOOKS {
            if again > 0 {
                thread::sleep(PAUSE);
            }
            let position = match self.view() {
                Ok(view) => {
                    let position = view.position();
                    match look(view) {
                        Err(error) if error.kind() == ErrorKind::UnexpectedEof => position,
                        result => return result,
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            };
            let mut indexed = self.indexed();
            if indexed.index.position().generation == position.generation {
                *indexed = Arc::default();
            }
        }
        Err(io::Error::new(ErrorKind::ResourceBusy, "the transcript is being written over"))
    }

    /// The transcript as it is now. Reads what the file has more than the last time; all who want
    /// to see the transcript wait for that.
    pub fn view(&self) -> io::Result<View> {
        let mut indexed = self.indexed();
        let file = File::open(&self.path)?;
        if !indexed.is_current(&file)? {
            // Copies the index if somebody still has a view of it, which is seldom.
            let skipped = Arc::make_mut(&mut indexed).catch_up(&file)?;
            if let Skipped { lines, first: Some(offset) } = skipped {
                let path = self.path.display();
                tracing::warn!(%path, lines, offset, "lines that are no records are not shown, the first at this offset");
            }
        }
        Ok(View { indexed: Arc::clone(&indexed), file })
    }

    fn indexed(&self) -> MutexGuard<'_, Arc<Indexed>> {
        self.indexed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transcript at one moment.
///
/// It is for one look: while it is held, the next one has to copy the index to bring it up to date.
#[derive(Debug)]
pub struct View {
    indexed: Arc<Indexed>,
    file: File,
}

impl View {
    /// How far the history has got at this moment.
    pub fn position(&self) -> Position {
        self.indexed.index.position()
    }

    /// How far it had got when it had so many messages.
    pub fn position_after(&self, length: usize) -> Position {
        Position { length, ..self.position() }
    }

    /// What has happened to the history since then.
    pub fn since(&self, then: Position) -> Change {
        let now = self.position();
        match then.generation == now.generation && then.length <= now.length {
            true => Change::Appended(then.length..now.length),
            false => Change::Rewritten,
        }
    }
}

impl History for View {
    fn len(&self) -> usize {
        self.indexed.index.history().len()
    }

    fn sizes(&self, range: Range<usize>) -> io::Result<Vec<u64>> {
        // The end of the line counts.
        Ok(self.lines(range).map(|line| u64::from(line.facts.length) + 1).collect())
    }

    fn read(&self, range: Range<usize>) -> io::Result<RawMessages> {
        RawMessages::read(&self.file, range.start + 1, self.lines(range))
    }
}

impl View {
    fn lines(&self, range: Range<usize>) -> impl Iterator<Item = Line> + Clone + '_ {
        let index = &self.indexed.index;
        index.history().get(range).unwrap_or_default().iter().map(|line| index.lines().at(*line as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
        time::{Duration, SystemTime},
    };

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::json::Value;

    struct Disk {
        _directory: tempfile::TempDir,
        transcript: Transcript,
    }

    impl Disk {
        fn new(content: impl AsRef<[u8]>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("t.jsonl");
            fs::write(&path, content).unwrap();
            Self { transcript: Transcript::new(path), _directory: directory }
        }

        fn append(&self, content: impl AsRef<[u8]>) {
            let mut file = OpenOptions::new().append(true).open(self.transcript.path()).unwrap();
            file.write_all(content.as_ref()).unwrap();
        }

        /// Writes over the file, which stays the same file.
        fn overwrite(&self, content: impl AsRef<[u8]>) {
            fs::write(self.transcript.path(), content).unwrap();
        }

        fn view(&self) -> View {
            self.transcript.view().unwrap()
        }

        fn position(&self) -> Position {
            self.view().position()
        }

        fn since(&self, then: Position) -> Change {
            self.view().since(then)
        }

        fn texts(&self) -> Vec<String> {
            let view = self.view();
            texts(&view, 0..view.len())
        }
    }

    /// The messages as JSON.
    fn texts(view: &View, range: Range<usize>) -> Vec<String> {
        view.read(range).unwrap().values(0.0).iter().map(Value::to_string).collect()
    }

    fn linear(text: &str) -> String {
        format!("{{\"id\":\"{text}\",\"message\":\"{text}\"}}\n")
    }

    fn linked(id: &str, parent: &str) -> String {
        let parent = if parent.is_empty() { "null".to_owned() } else { format!("\"{parent}\"") };
        format!("{{\"type\":\"message\",\"id\":\"{id}\",\"parentId\":{parent},\"message\":\"{id}\"}}\n")
    }

    #[tokio::test]
    async fn so_many_look_at_one_transcript_and_others_have_turns_of_their_own() {
        let (one, other) = (Transcript::new("/one"), Transcript::new("/other"));
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.extend(one.turn().await);
        }
        assert_eq!(turns.len(), TURNS);
        assert!(one.turn().now_or_never().is_none());
        assert!(other.turn().now_or_never().is_some());
        turns.pop();
        assert!(one.turn().now_or_never().is_some());
    }

    #[test]
    fn what_is_appended_is_added() {
        let disk = Disk::new(linear("a"));
        let start = disk.position();
        assert_eq!(disk.since(start), Change::Appended(1..1));
        disk.append(linear("b") + "\n" + &linear("c"));
        assert_eq!(disk.since(start), Change::Appended(1..3));
        assert_eq!(texts(&disk.view(), 1..3), ["\"b\"", "\"c\""]);
        let later = disk.position();
        assert_eq!(disk.since(later), Change::Appended(3..3));
    }

    #[test]
    fn a_torn_line_is_no_message_until_it_is_whole() {
        let disk = Disk::new(linear("a") + "{\"message\":\"b");
        let start = disk.position();
        assert_eq!(disk.texts(), ["\"a\""]);
        disk.append("\"");
        assert_eq!(disk.since(start), Change::Appended(1..1));
        disk.append("}");
        assert_eq!(disk.since(start), Change::Appended(1..2));
        let whole = disk.position();
        disk.append("\r\n");
        assert_eq!(disk.since(whole), Change::Appended(2..2));
        disk.append(linear("c"));
        assert_eq!(disk.since(whole), Change::Appended(2..3));
        assert_eq!(disk.texts(), ["\"a\"", "\"b\"", "\"c\""]);
    }

    #[test]
    fn a_last_line_that_goes_on_was_another_line() {
        let disk = Disk::new(linear("a") + "{\"message\":\"b\"}");
        let start = disk.position();
        disk.append(" x\n");
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts(), ["\"a\""]);
    }

    #[test]
    fn space_at_the_end_is_no_line() {
        let disk = Disk::new(linear("a") + " \t");
        let start = disk.position();
        disk.append(linear("b"));
        assert_eq!(disk.since(start), Change::Appended(1..2));
    }

    #[test]
    fn a_view_stays_as_it_was() {
        let disk = Disk::new(linear("a"));
        let view = disk.view();
        disk.append(linear("b"));
        assert_eq!(disk.view().len(), 2);
        assert_eq!(texts(&view, 0..view.len()), ["\"a\""]);
    }

    #[test]
    fn another_file_is_another_history() {
        let disk = Disk::new(linear("a"));
        let start = disk.position();
        let other = disk.transcript.path().with_extension("new");
        fs::write(&other, linear("a") + &linear("b")).unwrap();
        fs::rename(other, disk.transcript.path()).unwrap();
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts(), ["\"a\"", "\"b\""]);
    }

    #[test]
    fn a_shorter_file_is_another_history() {
        let disk = Disk::new(linear("a") + &linear("b"));
        let start = disk.position();
        disk.overwrite(linear("a"));
        assert_eq!(disk.since(start), Change::Rewritten);
        let start = disk.position();
        disk.overwrite("");
        assert_eq!(disk.since(start), Change::Rewritten);
        assert!(disk.texts().is_empty());
    }

    #[test]
    fn a_file_that_was_written_over_is_another_history() {
        let disk = Disk::new(linear("a") + &linear("b"));
        let start = disk.position();
        // As a writer does that links a transcript before it appends to it.
        disk.overwrite(linked("a", "") + &linked("b", "a") + &linked("c", "b"));
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts(), ["\"a\"", "\"b\"", "\"c\""]);

        let start = disk.position();
        disk.overwrite(linked("x", "") + &linked("y", "x") + &linked("z", "y"));
        let file = OpenOptions::new().write(true).open(disk.transcript.path()).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts(), ["\"x\"", "\"y\"", "\"z\""]);
    }

    #[test]
    fn a_file_whose_beginning_was_written_over_is_another_history() {
        let rest = linear(&"b".repeat(2000));
        let disk = Disk::new(linear("a") + &rest);
        let start = disk.position();
        disk.overwrite(linear("x") + &rest + &linear("c"));
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts()[0], "\"x\"");
    }

    #[test]
    fn a_branch_or_a_compaction_rewrites_the_history() {
        let disk = Disk::new(linked("a", "") + &linked("b", "a"));
        let start = disk.position();
        disk.append(linked("c", "b"));
        assert_eq!(disk.since(start), Change::Appended(2..3));
        let before_branch = disk.position();
        disk.append(linked("d", "a"));
        assert_eq!(disk.since(before_branch), Change::Rewritten);
        assert_eq!(disk.since(start), Change::Rewritten);
        let before_compaction = disk.position();
        disk.append("{\"type\":\"compaction\",\"id\":\"e\",\"parentId\":\"d\"}\n");
        assert_eq!(disk.since(before_compaction), Change::Rewritten);
        let after = disk.position();
        disk.append(linked("f", "e"));
        assert_eq!(disk.since(after), Change::Appended(3..4));
    }

    #[test]
    fn what_is_no_file_is_an_error_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let kind = |path: &Path| Transcript::new(path).view().unwrap_err().kind();
        assert_eq!(kind(directory.path()), ErrorKind::IsADirectory);
        assert_eq!(kind(&directory.path().join("gone")), ErrorKind::NotFound);
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(kind(&socket), ErrorKind::Unsupported);
    }

    #[test]
    fn a_transcript_that_went_away_and_came_back_is_read_again() {
        let disk = Disk::new(linear("a"));
        let start = disk.position();
        let dropped = disk.transcript.path().with_extension("jsonl.deleted");
        fs::rename(disk.transcript.path(), &dropped).unwrap();
        assert_eq!(disk.transcript.view().unwrap_err().kind(), ErrorKind::NotFound);
        disk.overwrite(linear("b"));
        assert_eq!(disk.since(start), Change::Rewritten);
        assert_eq!(disk.texts(), ["\"b\""]);
    }

    #[test]
    fn a_part_of_the_history_is_read_alone_and_keeps_its_numbers() {
        let lines: String = (1..=9).map(|n| format!("{{\"message\":{{\"n\":{n}}}}}\n")).collect();
        let disk = Disk::new(lines);
        let view = disk.view();
        assert_eq!(texts(&view, 4..6), [r#"{"n":5,"__openclaw":{"seq":5}}"#, r#"{"n":6,"__openclaw":{"seq":6}}"#]);
        assert!(texts(&view, 9..9).is_empty());
    }

    #[test]
    fn lines_that_were_written_over_unseen_are_an_error_and_the_next_look_sees_what_they_are() {
        let disk = Disk::new(linear("a") + &linear("b"));
        let start = disk.position();
        let mut seen = Vec::new();
        let mut look = |disk: &Disk, and_then: &dyn Fn()| {
            seen.clear();
            disk.transcript.look(|view| {
                seen.push(view.len());
                and_then();
                view.read(0..view.len()).map(drop)
            })
        };
        look(&disk, &|| disk.overwrite(linear("c") + &linear("d"))).unwrap();
        assert_eq!(disk.texts(), ["\"c\"", "\"d\""]);
        assert_eq!(disk.since(start), Change::Rewritten);
        // One that is written over at each look cannot be read.
        let turn = std::cell::Cell::new(0);
        let error = look(&disk, &|| disk.overwrite(linear(["x", "y"][turn.replace(1 - turn.get())]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(seen.len(), LOOKS);
    }

    #[test]
    fn the_middle_that_is_rewritten_before_an_append_is_seen_by_whoever_reads_it() {
        let filler = linear(&"f".repeat(600));
        let disk = Disk::new(filler.clone() + &linear("a") + &linear("bb") + &filler);
        disk.view();
        disk.overwrite(filler.clone() + &linear("aa") + &linear("b") + &filler + &linear("c"));
        let texts = disk.transcript.look(|view| view.read(0..view.len())).unwrap();
        assert_eq!(texts.values(0.0).len(), 5);
        assert_eq!(disk.texts()[1..3], ["\"aa\"", "\"b\""]);
    }

    #[test]
    fn a_touch_is_no_change() {
        let disk = Disk::new(linear("a"));
        let start = disk.position();
        let file = OpenOptions::new().write(true).open(disk.transcript.path()).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(disk.since(start), Change::Appended(1..1));
        disk.overwrite(linear("b"));
        assert_eq!(disk.since(start), Change::Rewritten);
    }

    #[test]
    fn whole_records_behind_a_torn_one_or_nuls_are_shown() {
        let torn = "{\"id\":\"x\",\"message\":{\"role\":\"us";
        let disk = Disk::new(linear("a") + torn + &linear("b") + &"\0".repeat(300) + &linear("c") + "junk\n");
        assert_eq!(disk.texts(), ["\"a\"", "\"b\"", "\"c\""]);
        let start = disk.position();
        disk.append(torn);
        disk.append("\0\0");
        assert_eq!(disk.since(start), Change::Appended(3..3));
        disk.append(linear("d"));
        assert_eq!(disk.since(start), Change::Appended(3..4));
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(vec![
            linear("a"),
            linear("b"),
            linked("a", ""),
            linked("b", "a"),
            linked("c", "b"),
            linked("d", "c"),
            "{\"type\":\"compaction\"}\n".into(),
            "{\"id\":\"c\"}\r\n".into(),
            "junk\n".into(),
            " \n".into(),
            "{}".into(),
        ]);
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_file_that_grows_is_read_as_one_that_is_there_at_once(
            content in content(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(content.len());
            let disk = Disk::new("");
            let mut told = disk.texts();
            let mut start = disk.position();
            let mut written = 0;
            for cut in cuts {
                disk.append(&content[written..cut]);
                written = cut;
                let at_once = Disk::new(&content[..written]);
                prop_assert_eq!(disk.texts(), at_once.texts());
                let view = disk.view();
                match view.since(start) {
                    Change::Appended(range) => {
                        prop_assert_eq!(range.start, told.len());
                        told.extend(texts(&view, range));
                    }
                    Change::Rewritten => told = texts(&view, 0..view.len()),
                }
                prop_assert_eq!(&told, &texts(&view, 0..view.len()));
                start = view.position();
            }
        }
    }
}
