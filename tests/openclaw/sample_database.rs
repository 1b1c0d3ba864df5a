//! A database that OpenClaw itself wrote, of six sessions, and what it answered for it.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest, Sha256};

use super::{
    house::House,
    pack::{Profile, data, objects, text},
    replay::request_and_compare,
};
use crate::json::{Value, parse};

#[test]
fn a_database_that_openclaw_wrote_is_answered_as_openclaw_did() {
    check(|_| {});
}

#[test]
fn the_branches_of_a_database_without_an_index_are_those_that_openclaw_had_found() {
    check(|database| {
        let tables = ["session_transcript_active_events", "session_transcript_index_state"];
        for table in tables {
            database.execute(&format!("DELETE FROM {table}"), []).expect("a table");
        }
    });
}

/// A gateway over the database, and by what name the generation of each session is known.
pub fn over_sample_database(change: impl Fn(&rusqlite::Connection)) -> (House, Vec<(String, String)>) {
    let house = House::open(&Profile::named("token"));
    let path = house.disk.state().join("agents/main/agent/openclaw-agent.sqlite");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, decompressed("openclaw-agent.sqlite.zst")).expect("a database");
    let database = rusqlite::Connection::open(&path).expect("a database");
    change(&database);
    let mut sessions = database.prepare("SELECT session_id FROM transcript_rewrite_watermarks").expect("a table");
    let sessions = sessions.query_map([], |row| row.get(0)).expect("sessions");
    let named = sessions.map(|session| {
        let session: String = session.expect("a session");
        (session.clone(), source(&database, &path, &session))
    });
    let sources = named.collect();
    (house, sources)
}

fn check(change: impl Fn(&rusqlite::Connection)) {
    let (house, sources) = over_sample_database(change);
    let answers = String::from_utf8(decompressed("answers.jsonl.zst")).expect("text");
    let mut complaints = Vec::new();
    for session in answers.lines() {
        let Some(Value::Object(named)) = parse(session.as_bytes()) else { panic!("a session") };
        let session_id = text(&named, "session_id");
        let source = sources.iter().find(|(session, _)| *session == session_id).map_or("", |(_, source)| source);
        let Some(Value::Object(session)) = parse(session.replace("<source>", source).as_bytes()) else { panic!() };
        for vector in objects(&session, "vectors") {
            if let Err(difference) = request_and_compare(&house, vector) {
                complaints.push(format!("{} {}: {difference}", text(&session, "name"), text(vector, "name")));
            }
        }
    }
    house.close();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// By what name the generation of a session is known.
fn source(database: &rusqlite::Connection, path: &Path, session: &str) -> String {
    let sql = "SELECT generation FROM transcript_rewrite_watermarks WHERE session_id = ?1";
    let generation: String = database.query_row(sql, [session], |row| row.get(0)).expect("a generation");
    let path = path.canonicalize().expect("a path");
    let name = serde_json::json!(["sqlite", path.to_str(), "main", session, generation]).to_string();
    let digest = Sha256::digest(name);
    // Bit by bit, so that it is another way than the gateway's.
    let bits: String = digest.iter().map(|byte| format!("{byte:08b}")).collect();
    let letter = |bits: &[u8]| {
        let bits = format!("{:0<6}", std::str::from_utf8(bits).expect("bits"));
        let number = usize::from_str_radix(&bits, 2).expect("bits");
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[number])
    };
    bits.as_bytes().chunks(6).map(letter).collect()
}

pub fn decompressed(name: &str) -> Vec<u8> {
    let file: PathBuf = data("sample-database").join(name);
    let frame = fs::read(file).expect("a recording");
    let mut content = Vec::new();
    StreamingDecoder::new(&*frame).expect("a frame").read_to_end(&mut content).expect("a whole frame");
    content
}
