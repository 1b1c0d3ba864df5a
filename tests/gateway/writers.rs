//! What befalls those who write a database: they are killed, their disk is full, the gateway may not write beside
//! them. What they committed is shown, in order and once.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    database::{append, comes_to_be, create, database, house},
    house::{House, TOKEN},
    process::Start,
    state::State,
    stream::{ids, numbered},
    writer::Database,
};

/// A process that commits one message after the other.
struct Writer {
    process: Child,
    says: BufReader<ChildStdout>,
    input: ChildStdin,
}

impl Writer {
    /// Starts it at this message. Beyond so many bytes no file may grow.
    fn start(path: &Path, first: usize, size: usize, most: Option<u64>) -> Self {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/gateway/writer.py"));
        command.arg(path).args([first.to_string(), size.to_string()]).args(most.map(|most| most.to_string()));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python 3");
        let says = BufReader::new(process.stdout.take().expect("a pipe"));
        let input = process.stdin.take().expect("a pipe");
        Self { process, says, input }
    }

    /// The next that it says: the number of a message that is committed, or that there is no room.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Kills it in whatever it is doing. Returns the last message that it said was committed.
    fn kill(mut self) -> Option<usize> {
        self.process.kill().expect("a process");
        self.process.wait().expect("a process");
        self.says.lines().map_while(Result::ok).filter_map(|line| line.parse().ok()).last()
    }
}

#[test]
fn what_a_writer_committed_before_it_was_killed_is_shown_and_the_next_one_is_followed() {
    let (house, first) = house(1);
    drop(first);
    let path = database(&house.state);
    let (mut stream, _) = house.stream("");
    let mut count = 1;
    for round in 0..5 {
        // Several pages each, so that a commit takes a while.
        let mut writer = Writer::start(&path, count + 1, 30_000, None);
        let begun: usize = writer.line().parse().expect("a number");
        thread::sleep(Duration::from_millis(5 + 7 * round));
        let said = writer.kill().unwrap_or(begun);
        let page = ids(&house.page("?limit=1000"));
        // The last commit may have been one of which there was no time to say so.
        assert!(page == numbered(said) || page == numbered(said + 1), "{said} were said, {} are shown", page.len());
        stream.comes_to_show(&page);
        let sqlite = Database::open(&path).expect("a database").sqlite;
        let stored = sqlite.query_row("SELECT max(seq) FROM transcript_events", [], |row| row.get(0));
        count = stored.expect("a number");
        assert_eq!(page.len(), count);
    }
    assert!(count > 5, "{count}");
    assert_eq!(stream.event_within(Duration::from_millis(300)), None);
}

#[test]
fn what_a_full_disk_cut_off_is_never_shown_and_what_comes_once_there_is_room_is() {
    let (house, first) = house(1);
    drop(first);
    let path = database(&house.state);
    let (mut stream, _) = house.stream("");
    for size in [10, 3_000, 50_000] {
        let count = ids(&house.page("?limit=1000")).len();
        let lengths =
            [&path, &path.with_extension("sqlite-wal")].map(|file| fs::metadata(file).map_or(0, |file| file.len()));
        let room = lengths[0].max(lengths[1]) + 200_000;
        let mut writer = Writer::start(&path, count + 1, size, Some(room));
        let mut last = count;
        while let Ok(number) = writer.line().parse() {
            last = number;
        }
        assert!(last > count, "{size} bytes each");
        let shown = &numbered(last);
        assert_eq!(&ids(&house.page("?limit=1000")), shown);
        stream.comes_to_show(shown);
        writeln!(writer.input).expect("a line");
        for number in last + 1..last + 4 {
            assert_eq!(writer.line(), number.to_string());
        }
        let said = writer.kill().unwrap_or(last + 3);
        let page = ids(&house.page("?limit=1000"));
        assert!(page == numbered(said) || page == numbered(said + 1), "{said} were said, {} are shown", page.len());
        stream.comes_to_show(&page);
    }
    assert_eq!(stream.event_within(Duration::from_millis(300)), None);
}

/// Lets nobody write what is there, or everybody who owns it again.
fn set_writable(state: &State, is: bool) {
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    let folder = database(state);
    let folder = folder.parent().expect("a folder");
    for entry in fs::read_dir(folder).expect("a folder") {
        set(&entry.expect("an entry").path(), if is { 0o644 } else { 0o444 });
    }
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(state.path())) {
        set(folder, if is { 0o755 } else { 0o555 });
    }
}

#[test]
fn a_folder_that_the_gateway_may_not_write_is_read_whoever_writes_it() {
    // Whom nothing belongs to, where the user of the tests may do everything.
    const NOBODY: u32 = 65534;
    let state = State::of_messages(0);
    fs::remove_dir_all(state.sessions()).expect("a folder");
    let path = database(&state);
    drop(create(&path, 3));
    set_writable(&state, false);
    let is_root = fs::write(state.path().join("written"), "").is_ok();
    let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]);
    let run_as = |command: &mut Command| {
        if is_root {
            command.uid(NOBODY);
        }
    };
    let house = House { state, gateway: gateway.with(run_as).run() };
    // Nobody has it open.
    comes_to_be(&house, &numbered(3));
    let (mut stream, _) = house.stream("");
    // Somebody writes it, and nobody else may.
    set_writable(&house.state, true);
    let mut writer = Database::open(&path).expect("a database");
    append(&mut writer, 4..=4);
    set_writable(&house.state, false);
    comes_to_be(&house, &numbered(4));
    stream.comes_to_show(&numbered(4));
    append(&mut writer, 5..=6);
    stream.comes_to_show(&numbered(6));
    comes_to_be(&house, &numbered(6));
    // They are gone without having put the log away, and without the index of it.
    std::mem::forget(writer);
    comes_to_be(&house, &numbered(6));
    set_writable(&house.state, true);
}
