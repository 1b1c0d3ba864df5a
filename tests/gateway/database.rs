//! Sessions in a database, as another process writes them: what is committed is shown, and nothing else ever.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    client::{End, PATIENCE, Request},
    house::{AT_ONCE, House, TOKEN},
    process::Start,
    state::{SESSION, State, message},
    stream::{Stream, ids, numbered},
    writer::Database,
};

/// Long enough for what must not come to come.
const QUIET: Duration = Duration::from_millis(300);

/// A session's transcript.
const WINDOW: &str = "window-1";

/// The record of a message, which comes after the one before.
fn record(number: usize) -> Value {
    let parent = (number > 1).then(|| format!("m{}", number - 1));
    let message = json!({ "role": "user", "content": format!("message {number}") });
    json!({ "type": "message", "id": format!("m{number}"), "parentId": parent, "message": message })
}

pub fn database(state: &State) -> PathBuf {
    state.path().join("agents/main/agent/openclaw-agent.sqlite")
}

/// A database with this many messages.
pub fn create(path: &Path, messages: usize) -> Database {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let mut database = Database::create(path, "main", 1).expect("a database");
    database.add_session(SESSION, WINDOW, 1).expect("a session");
    append(&mut database, 1..=messages);
    database
}

pub fn append(database: &mut Database, numbers: std::ops::RangeInclusive<usize>) {
    let records: Vec<Value> = numbers.map(record).collect();
    database.append(WINDOW, &records.iter().collect::<Vec<_>>(), 2).expect("a commit");
}

fn run(database: &Database, sql: &str) {
    database.sqlite.execute_batch(sql).expect("a statement");
}

/// A gateway over a database with this many messages, and who writes it.
pub fn house(messages: usize) -> (House, Database) {
    let state = State::of_messages(0);
    fs::remove_dir_all(state.sessions()).expect("a folder");
    let database = create(&database(&state), messages);
    (House::over(state), database)
}

/// What lies beside the database, which is in no use.
fn files(state: &State) -> Vec<String> {
    let folder = fs::read_dir(database(state).parent().expect("a folder")).expect("a folder");
    let mut names: Vec<String> =
        folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// The same gateway on a database that nobody has open, and that has been let be.
fn abandoned(messages: usize) -> House {
    let (house, database) = house(messages);
    drop(database);
    thread::sleep(Duration::from_millis(100));
    house
}

/// Asks until the page is this one; in between it may only be unavailable.
pub fn comes_to_be(house: &House, expected: &[String]) {
    let start = Instant::now();
    loop {
        let response = house.history("");
        match response.status {
            200 => {
                let page: Value = serde_json::from_str(&response.text()).expect("JSON");
                assert_eq!(ids(&page), expected);
                return;
            }
            503 => assert_eq!(response.header("retry-after"), Some("1")),
            status => panic!("{status}"),
        }
        assert!(start.elapsed() < AT_ONCE, "{}", house.gateway.log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_page_is_what_is_committed_and_the_cursor_leads_to_what_is_before() {
    let (house, mut database) = house(57);
    assert_eq!(ids(&house.page("")), numbered(57));
    let page = house.page("?limit=10");
    assert_eq!(ids(&page), numbered(57)[47..]);
    assert_eq!((&page["hasMore"], &page["nextCursor"]), (&json!(true), &json!("48")));
    assert_eq!(ids(&house.page("?limit=10&cursor=48")), numbered(57)[37..47]);
    let position = &page["messages"][0]["__openclaw"]["transcriptPosition"];
    assert_eq!((&position["rawSeq"], position["source"].as_str().map(str::len)), (&json!(48), Some(43)));
    // Twice, so that a page that is remembered is one of them.
    for number in 58..=60 {
        append(&mut database, number..=number);
        for _ in 0..2 {
            assert_eq!(ids(&house.page("?limit=2")), numbered(number)[number - 2..]);
        }
    }
}

#[test]
fn a_commit_arrives_as_a_message_and_soon() {
    let (house, mut database) = house(1);
    let (mut stream, history) = house.stream("");
    assert_eq!(ids(&history), ["m1"]);
    let latency = |number| {
        append(&mut database, number..=number);
        let start = Instant::now();
        let event = stream.event();
        assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(number)));
        start.elapsed()
    };
    let mut latencies: Vec<Duration> = (2..=21).map(latency).collect();
    latencies.sort();
    assert!(latencies[0] < Duration::from_millis(50), "{latencies:?}");
    assert!(latencies[10] < Duration::from_millis(500), "{latencies:?}");
}

#[test]
fn a_hundred_commits_a_second_arrive_once_and_in_order_whoever_joins_in_between() {
    const COUNT: usize = 200;
    let (house, mut database) = house(1);
    let (mut first, _) = house.stream("");
    let writer = thread::spawn(move || {
        for number in 2..=COUNT {
            append(&mut database, number..=number);
            thread::sleep(Duration::from_millis(10));
        }
        database
    });
    let streams: Vec<Stream> = (0..6).map(|_| house.stream("").0).collect();
    for number in 2..=COUNT {
        let event = first.event();
        assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(number)));
        if number % 20 == 0 {
            let page = ids(&house.page("?limit=5"));
            assert_eq!(page.len(), 5);
            let last: usize = page[4][1..].parse().expect("a number");
            assert_eq!(page, numbered(last)[last - 5..]);
        }
    }
    for mut stream in streams {
        stream.comes_to_show(&numbered(COUNT));
    }
    drop(writer.join().expect("a writer"));
}

#[test]
fn a_commit_is_read_and_projected_once_however_many_streams_show_it() {
    const STREAMS: usize = 500;
    let state = State::of_messages(0);
    fs::remove_dir_all(state.sessions()).expect("a folder");
    let mut database = create(&database(&state), 3);
    let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).env("RUST_LOG", "debug").run();
    let house = House { state, gateway };
    let mut streams: Vec<Stream> = (0..STREAMS).map(|_| house.stream("").0).collect();
    for number in 4..=6 {
        append(&mut database, number..=number);
        for stream in &mut streams {
            let event = stream.event();
            assert_eq!((event.name.as_str(), &event.data["messageSeq"]), ("message", &json!(number)));
        }
    }
    // The log is written beside all else.
    thread::sleep(QUIET);
    let log = house.gateway.log();
    assert_eq!(log.matches("appended messages are read").count(), 3, "{log}");
}

#[test]
fn what_concerns_other_sessions_sends_nothing() {
    let (house, mut database) = house(2);
    database.add_session("agent:main:other", "other", 1).expect("a session");
    let (mut stream, _) = house.stream("");
    let (mut page, _) = house.stream("?limit=1");
    for number in 1..=20 {
        database.append("other", &[&record(number)], 3).expect("a commit");
    }
    assert_eq!(stream.event_within(QUIET), None);
    assert_eq!(page.event_within(QUIET), None);
}

#[test]
fn a_session_that_is_deleted_is_not_found_and_its_streams_end() {
    let (house, database) = house(2);
    let streams = [house.stream("").0, house.stream("?limit=1").0];
    run(&database, "DELETE FROM session_nodes");
    assert_eq!(house.history("").status, 404);
    for mut stream in streams {
        assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
    }
}

#[test]
fn a_database_that_is_away_for_a_while_ends_no_stream() {
    let (house, mut database) = house(2);
    let path = self::database(&house.state);
    let folder = path.parent().expect("a folder").to_owned();
    let (mut stream, _) = house.stream("");
    for (number, away) in [(3, &folder), (4, &path)] {
        let aside = away.with_extension("aside");
        fs::rename(away, &aside).expect("it is away");
        assert_eq!(stream.end_within(QUIET), None);
        if away == &folder {
            assert_eq!(house.history("").status, 404);
        }
        fs::rename(&aside, away).expect("it is back");
        append(&mut database, number..=number);
        stream.comes_to_show(&numbered(number));
    }
    run(&database, &format!("DELETE FROM session_nodes WHERE session_key = '{SESSION}'"));
    assert_eq!(stream.end_within(PATIENCE), Some(End::Clean));
}

#[test]
fn a_rewound_session_and_a_rewritten_one_are_shown_anew() {
    let (house, mut database) = house(5);
    let (mut stream, _) = house.stream("");
    database.add_session(SESSION, "window-2", 3).expect("a window");
    database.append("window-2", &[&record(1), &record(2)], 3).expect("a commit");
    stream.comes_to_show(&numbered(2));

    let rewrite = "BEGIN;
        UPDATE transcript_events SET event_json = replace(event_json, '\"m2\"', '\"x2\"') WHERE session_id = 'window-2';
        UPDATE transcript_event_identities SET event_id = 'x2' WHERE session_id = 'window-2' AND event_id = 'm2';
        UPDATE session_transcript_index_state SET leaf_event_id = 'x2' WHERE session_id = 'window-2';
        UPDATE transcript_rewrite_watermarks SET generation = 'another' WHERE session_id = 'window-2';
        COMMIT";
    run(&database, rewrite);
    stream.comes_to_show(&["m1", "x2"]);
    assert_eq!(ids(&house.page("")), ["m1", "x2"]);
}

#[test]
fn a_reset_shows_what_it_keeps_and_what_comes_after_it() {
    let (house, mut database) = house(4);
    let (mut stream, _) = house.stream("");
    let reset = json!({
        "type": "reset", "id": "r", "parentId": "m4", "firstKeptEntryId": "m3", "timestamp": "2026-01-02T03:04:05Z"
    });
    let next = json!({ "type": "message", "id": "m5", "parentId": "r", "message": { "role": "user", "content": "5" } });
    database.append(WINDOW, &[&reset, &next], 3).expect("a commit");
    stream.comes_to_show(&["m3", "m4", "r", "m5"]);
}

#[test]
fn another_branch_is_shown_before_openclaw_has_found_it_and_goes_on_when_it_has() {
    let (house, mut database) = house(4);
    let (mut stream, _) = house.stream("");
    let aside = |id: &str, parent: &str| json!({ "type": "message", "id": id, "parentId": parent, "message": { "role": "user", "content": id } });
    database.append(WINDOW, &[&aside("b3", "m2"), &aside("b4", "b3")], 3).expect("a commit");
    stream.comes_to_show(&["m1", "m2", "b3", "b4"]);
    // By an index that is behind, one that is away, and one that was found anew.
    database.append(WINDOW, &[&aside("b5", "b4")], 3).expect("a commit");
    assert_eq!(stream.event().data["messageId"], "b5");
    run(&database, "DELETE FROM session_transcript_active_events; DELETE FROM session_transcript_index_state");
    let expected = ["m1", "m2", "b3", "b4", "b5"];
    assert_eq!(ids(&house.page("")), expected);
    let rows = "INSERT INTO session_transcript_active_events VALUES
        ('window-1', 0, 1, 0, 1), ('window-1', 1, 2, 1, 1), ('window-1', 2, 5, 2, 1), ('window-1', 3, 6, 3, 1),
        ('window-1', 4, 7, 4, 1);
        INSERT INTO session_transcript_index_state VALUES ('window-1', 7, 'b5', 0, 5, 5, 4)";
    run(&database, &format!("BEGIN; {rows}; COMMIT"));
    assert_eq!(ids(&house.page("")), expected);
    assert_eq!(stream.event_within(QUIET), None, "it shows the same");
    database.append(WINDOW, &[&aside("b6", "b5")], 5).expect("a commit");
    assert_eq!(stream.event().data["messageId"], "b6");
}

#[test]
fn a_client_that_was_cut_goes_on_after_the_event_that_it_had() {
    let (house, mut database) = house(2);
    let ask = |id: &str| {
        let request = Request::new("GET", &format!("/sessions/{SESSION}/history?resume"))
            .header("Authorization", &format!("Bearer {TOKEN}"))
            .header("Accept", "text/event-stream");
        house.send(if id.is_empty() { request } else { request.header("Last-Event-ID", id) })
    };
    let id_of =
        |block: &str| block.lines().next().and_then(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    let mut stream = ask("");
    let id = id_of(&stream.blocks(2, AT_ONCE)[1]);
    drop(stream);
    append(&mut database, 3..=4);
    let mut stream = ask(&id);
    let blocks = stream.blocks(3, AT_ONCE);
    assert!(blocks[1].contains("event: message") && blocks[1].contains("\"m3\""), "{blocks:?}");
    assert!(blocks[2].contains("event: message") && blocks[2].contains("\"m4\""), "{blocks:?}");
    let id = id_of(&blocks[2]);
    drop(stream);
    run(&database, "UPDATE transcript_rewrite_watermarks SET generation = 'another'");
    let blocks = ask(&id).blocks(2, AT_ONCE);
    assert!(blocks[1].contains("event: history"), "{blocks:?}");
}

#[test]
fn a_writer_feels_nothing_of_those_who_read() {
    let (house, mut database) = house(1);
    let (mut stream, _) = house.stream("");
    database.sqlite.busy_timeout(Duration::ZERO).expect("a setting");
    for number in 2..=60 {
        append(&mut database, number..=number);
        house.page("");
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = database.sqlite.query_row(sql, [], |row| row.get(0)).expect("a checkpoint");
        // The stream may be reading what was just committed; a page that was answered is not.
        if is_busy {
            thread::sleep(Duration::from_millis(50));
            let is_busy: bool = database.sqlite.query_row(sql, [], |row| row.get(0)).expect("a checkpoint");
            assert!(!is_busy, "a read transaction is held");
        }
    }
    stream.comes_to_show(&numbered(60));
}

#[test]
fn a_database_that_nobody_has_open_is_read_and_left_as_it_is() {
    let house = abandoned(3);
    let before = files(&house.state);
    assert_eq!(before, ["openclaw-agent.sqlite"]);
    assert_eq!(ids(&house.page("")), numbered(3));
    let (mut stream, _) = house.stream("");
    assert_eq!(files(&house.state), before);
    // And whoever comes to write it is seen.
    let mut database = Database::open(&database(&house.state)).expect("a database");
    append(&mut database, 4..=4);
    assert_eq!(stream.event().data["messageId"], "m4");
    drop(database);
    assert_eq!(ids(&house.page("")), numbered(4));
}

#[test]
fn a_database_of_an_unknown_version_is_unavailable_and_named_and_logged_once() {
    let (house, mut database) = house(2);
    let (mut stream, _) = house.stream("");
    for sql in ["PRAGMA user_version = 24", "UPDATE schema_meta SET schema_version = 24; PRAGMA user_version = 23"] {
        run(&database, sql);
        for query in ["", "?limit=1", "?cursor=2"] {
            let response = house.history(query);
            assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
            assert!(response.text().contains("schema version 24"));
        }
    }
    let log = house.gateway.log();
    assert_eq!(log.matches("a database of an unknown version").count(), 1, "{log}");
    run(&database, "UPDATE schema_meta SET schema_version = 23");
    comes_to_be(&house, &numbered(2));
    append(&mut database, 3..=3);
    stream.comes_to_show(&numbered(3));
}

#[test]
fn an_agent_whose_files_are_brought_into_a_database_is_followed_there() {
    let house = House::over(State::of_messages(2));
    let (mut stream, _) = house.stream("");
    assert_eq!(ids(&house.page("")), numbered(2));
    let path = database(&house.state);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    // A file, then tables in it, then session by session; and the files are put away when all are in.
    fs::write(&path, "").expect("a file");
    assert_eq!(ids(&house.page("")), numbered(2));
    let mut database = Database::create(&path, "main", 1).expect("a database");
    database.add_session("agent:main:other", "other", 1).expect("a session");
    assert_eq!(ids(&house.page("")), numbered(2));
    house.state.append(&message(3));
    stream.comes_to_show(&numbered(3));
    database.add_session(SESSION, WINDOW, 1).expect("a session");
    append(&mut database, 1..=4);
    stream.comes_to_show(&numbered(4));
    let archive = house.state.sessions().with_file_name("session-sqlite-import-archive");
    fs::rename(house.state.sessions(), archive).expect("an archive");
    append(&mut database, 5..=5);
    stream.comes_to_show(&numbered(5));
    assert_eq!(ids(&house.page("")), numbered(5));
    assert!(house.page("")["messages"][0]["__openclaw"]["transcriptPosition"].is_object());
}

#[test]
fn another_database_in_its_place_is_shown_anew() {
    let (house, database) = house(5);
    let (mut stream, _) = house.stream("");
    let path = self::database(&house.state);
    let other = path.with_file_name("other.sqlite");
    drop(create(&other, 3));
    drop(database);
    fs::rename(&other, &path).expect("another database");
    let _ = fs::remove_file(path.with_extension("sqlite-wal"));
    let _ = fs::remove_file(path.with_extension("sqlite-shm"));
    comes_to_be(&house, &numbered(3));
    stream.comes_to_show(&numbered(3));
    let mut database = Database::open(&path).expect("a database");
    append(&mut database, 4..=4);
    assert_eq!(stream.event().data["messageId"], "m4");
}

#[test]
fn a_database_that_is_cut_short_or_damaged_is_unavailable_and_back_when_it_is_whole() {
    let house = abandoned(400);
    let path = database(&house.state);
    let whole = fs::read(&path).expect("a database");
    let mut damaged = whole.clone();
    // Every page but the first few, so that whatever is read meets one.
    damaged[8 * 4096..].fill(0xA5);
    let (mut stream, _) = house.stream("");
    for broken in [&whole[..whole.len() / 2], &whole[..0], &whole[..100], &damaged] {
        fs::write(&path, broken).expect("a database");
        thread::sleep(Duration::from_millis(100));
        let response = house.history("");
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")), "{} bytes", broken.len());
        fs::write(&path, &whole).expect("a database");
        comes_to_be(&house, &numbered(400));
    }
    let mut database = Database::open(&path).expect("a database");
    append(&mut database, 401..=401);
    stream.comes_to_show(&numbered(401));
}

#[test]
fn a_database_whose_table_is_a_view_without_end_is_unavailable_at_once() {
    let (house, database) = house(2);
    run(
        &database,
        "CREATE TABLE rows AS SELECT * FROM transcript_events;
        DROP TABLE transcript_events;
        CREATE VIEW transcript_events AS
            WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number)
            SELECT rows.* FROM number CROSS JOIN rows WHERE n < 0",
    );
    let start = Instant::now();
    let response = house.history("");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn a_database_that_is_locked_for_seconds_is_unavailable_at_worst() {
    let (house, mut database) = house(2);
    let (mut stream, _) = house.stream("");
    run(&database, "BEGIN EXCLUSIVE");
    assert_eq!(ids(&house.page("")), numbered(2), "in WAL mode a writer locks no reader out");
    run(&database, "ROLLBACK");
    // The gateway keeps nothing open for long that it does not use.
    let start = Instant::now();
    while database.sqlite.execute_batch("PRAGMA journal_mode = delete").is_err() {
        assert!(start.elapsed() < AT_ONCE);
        thread::sleep(QUIET);
    }
    for lock in ["BEGIN EXCLUSIVE", "PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE"] {
        run(&database, lock);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let response = house.history("");
            match response.status {
                200 => assert_eq!(ids(&serde_json::from_str(&response.text()).expect("JSON")), numbered(2)),
                503 => assert_eq!(response.header("retry-after"), Some("1")),
                status => panic!("{status}"),
            }
            thread::sleep(Duration::from_millis(100));
        }
        run(&database, "ROLLBACK");
    }
    run(&database, "PRAGMA locking_mode = normal");
    append(&mut database, 3..=3);
    comes_to_be(&house, &numbered(3));
    stream.comes_to_show(&numbered(3));
}

#[test]
fn what_a_killed_writer_had_not_committed_is_never_shown() {
    let (house, mut database) = house(3);
    // More than is kept in memory, so that the log has it, and no commit.
    run(&database, "PRAGMA cache_size = 4; BEGIN");
    let big = json!({ "type": "message", "id": "m4", "parentId": "m3", "message": { "content": "x".repeat(100_000) } });
    let sql = "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES ('window-1', ?1, ?2, 1)";
    for seq in 4..40 {
        database.sqlite.execute(sql, rusqlite::params![seq, big.to_string()]).expect("a row");
    }
    assert_eq!(ids(&house.page("")), numbered(3));
    let path = self::database(&house.state);
    let wal = path.with_extension("sqlite-wal");
    assert!(fs::metadata(&wal).expect("a log").len() > 1_000_000);
    // What is on the disk at this moment is what a killed writer leaves.
    let killed = State::of_messages(0);
    let left = self::database(&killed);
    fs::remove_dir_all(killed.sessions()).expect("a folder");
    fs::create_dir_all(left.parent().expect("a folder")).expect("a folder");
    fs::copy(&path, &left).expect("a database");
    fs::copy(&wal, left.with_extension("sqlite-wal")).expect("a log");
    let house_of_killed = House::over(killed);
    assert_eq!(ids(&house_of_killed.page("")), numbered(3));
    let (mut stream, _) = house_of_killed.stream("");
    let mut next = Database::open(&left).expect("a database");
    append(&mut next, 4..=4);
    assert_eq!(stream.event().data["messageId"], "m4");
    run(&database, "ROLLBACK");
    append(&mut database, 4..=4);
    assert_eq!(ids(&house.page("")), numbered(4));
}

#[test]
fn a_log_that_is_missing_takes_along_what_was_only_there() {
    let (house, database) = house(3);
    let path = self::database(&house.state);
    run(&database, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint = 0");
    let mut database = database;
    append(&mut database, 4..=6);
    assert_eq!(ids(&house.page("")), numbered(6));
    let (mut stream, _) = house.stream("");
    // The writer is gone without having closed it.
    std::mem::forget(database);
    fs::remove_file(path.with_extension("sqlite-wal")).expect("a log");
    let _ = fs::remove_file(path.with_extension("sqlite-shm"));
    comes_to_be(&house, &numbered(3));
    stream.comes_to_show(&numbered(3));
}

/// SQLite goes by the `-shm` for as long as one connection of the process is open: it must not be that for ever.
#[test]
fn a_log_that_went_before_its_index_is_read_as_it_is_when_that_is_gone_too() {
    let (house, mut database) = house(3);
    let path = self::database(&house.state);
    run(&database, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA wal_autocheckpoint = 0");
    append(&mut database, 4..=6);
    assert_eq!(ids(&house.page("")), numbered(6));
    let (mut stream, _) = house.stream("");
    std::mem::forget(database);
    fs::remove_file(path.with_extension("sqlite-wal")).expect("a log");
    // As SQLite makes it anew for whoever opens the database just then.
    fs::write(path.with_extension("sqlite-wal"), "").expect("a log");
    for limit in 1..4 {
        house.history(&format!("?limit={limit}"));
    }
    fs::remove_file(path.with_extension("sqlite-shm")).expect("an index");
    comes_to_be(&house, &numbered(3));
    stream.comes_to_show(&numbered(3));
}

#[test]
fn a_transcript_that_was_put_away_is_shown_from_where_it_lies() {
    let (house, mut database) = house(4);
    let whole = house.page("");
    let generation: String = database
        .sqlite
        .query_row("SELECT generation FROM transcript_rewrite_watermarks", [], |row| row.get(0))
        .expect("a generation");
    let mut archive =
        format!("{}\n", json!({ "kind": "header", "version": 1, "sessionId": WINDOW, "generation": generation }));
    let mut records =
        database.sqlite.prepare("SELECT seq, event_json FROM transcript_events ORDER BY seq").expect("rows");
    let rows = records.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))).expect("rows");
    let mut raw_bytes = 0;
    for (seq, json) in rows.map(|row| row.expect("a row")) {
        raw_bytes += json.len() + 1;
        archive +=
            &format!("{}\n", json!({ "kind": "event", "row": { "seq": seq, "event_json": json, "created_at": 1 } }));
    }
    drop(records);
    let frame = ruzstd::encoding::compress_to_vec(archive.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let sha256: String = Sha256::digest(&frame).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{sha256}.jsonl.zst");
    let file = house.state.sessions().join("cold").join(&name);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    let put_away = database.sqlite.transaction().expect("a transaction");
    put_away.execute_batch("DELETE FROM transcript_events; DELETE FROM transcript_event_identities").expect("rows");
    put_away.execute_batch("DELETE FROM session_transcript_active_events").expect("rows");
    put_away.execute_batch("DELETE FROM session_transcript_index_state").expect("rows");
    let sql = "INSERT INTO session_transcript_cold_archives VALUES (?1, ?2, ?3, ?4, 5, ?5, ?6, 4, 9, ?7, ?8)";
    let none: Option<Vec<u8>> = None;
    let values = rusqlite::params![WINDOW, generation, name, sha256, raw_bytes - 1, frame.len(), "file", none];
    put_away.execute(sql, values).expect("an archive");
    put_away.commit().expect("a commit");

    // Away is not empty.
    for query in ["", "?limit=2"] {
        assert_eq!(house.history(query).status, 503);
    }
    fs::write(&file, &frame[1..]).expect("an archive");
    assert_eq!(house.history("").status, 503);
    fs::write(&file, &frame).expect("an archive");
    assert_eq!(house.page(""), whole);
    assert_eq!(ids(&house.page("?limit=2")), ["m3", "m4"]);
    assert_eq!(ids(&house.stream("").1), numbered(4));

    let sql = "UPDATE session_transcript_cold_archives SET storage = 'sqlite', archive_blob = ?1";
    database.sqlite.execute(sql, [&frame]).expect("an archive");
    fs::remove_file(&file).expect("an archive");
    assert_eq!(house.page(""), whole);
}
