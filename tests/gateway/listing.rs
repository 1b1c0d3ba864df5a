//! `GET /sessions`: the sessions that one may read.

use std::{fs, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::{
    client::Request,
    house::{House, TOKEN},
    operators::{ADMIN, READER, WRITER},
    process::Start,
    state::State,
    writer::Database,
};

fn list(house: &House, query: &str) -> Value {
    let response = house.ask("GET", &format!("/sessions{query}"), TOKEN);
    assert_eq!(response.status, 200, "{}", house.gateway.log());
    serde_json::from_str(&response.text()).expect("JSON")
}

fn keys(list: &Value) -> Vec<String> {
    let sessions = list["sessions"].as_array().expect("a list");
    sessions.iter().map(|session| session["key"].as_str().expect("a key").to_owned()).collect()
}

/// All pages of this size, one after the other.
fn walk(house: &House, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut query = format!("?limit={limit}");
    loop {
        let page = list(house, &query);
        let sessions = keys(&page);
        assert!(sessions.len() <= limit && !sessions.is_empty(), "{page}");
        all.extend(sessions);
        assert_eq!(page["hasMore"], page["nextCursor"].is_string());
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("?limit={limit}&cursor={}", cursor.replace(' ', "%20")),
            None => return all,
        }
    }
}

/// Two agents with files, and one with a database.
fn both_stores() -> (State, Database) {
    let state = State::of_messages(1);
    state.write_store(&json!({
        "agent:main:old": { "sessionId": "old", "updatedAt": 10 },
        "agent:main:new": { "sessionId": "new", "updatedAt": 40, "label": " Deploys ", "displayName": "d" },
        "Agent:Main:NEW": { "sessionId": "newer", "updatedAt": 5 },
        "agent:main:row": { "updatedAt": 99 },
        "agent:other:stray": { "sessionId": "stray", "updatedAt": 98 },
        "bare": { "sessionId": "bare", "updatedAt": 20, "label": 7 },
        "blank": null,
    }));
    let ops = state.path().join("agents/ops/sessions");
    fs::create_dir_all(&ops).expect("a folder");
    fs::write(ops.join("sessions.json"), r#"{"agent:ops:main":{"sessionId":"o"}}"#).expect("a store");
    let path = state.path().join("agents/db/agent/openclaw-agent.sqlite");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let mut database = Database::create(&path, "db", 1).expect("a database");
    for (number, at) in [(1, 30), (2, 41), (3, 41)] {
        database.add_session(&format!("agent:db:s{number}"), &format!("window-{number}"), at).expect("a session");
    }
    (state, database)
}

const ALL: [&str; 7] =
    ["agent:db:s2", "agent:db:s3", "agent:main:new", "agent:db:s1", "bare", "agent:main:old", "agent:ops:main"];

#[test]
fn the_newest_come_first_out_of_both_kinds_of_store_and_each_is_found_by_its_key() {
    let (state, _database) = both_stores();
    let house = House::over(state);
    let all = list(&house, "");
    assert_eq!(keys(&all), ALL);
    let session = |at: usize| &all["sessions"][at];
    assert_eq!(
        *session(2),
        json!({ "key": "agent:main:new", "agent": "main", "updatedAt": 40, "label": "Deploys", "displayName": "d" })
    );
    assert_eq!(*session(4), json!({ "key": "bare", "agent": "main", "updatedAt": 20 }));
    assert_eq!(*session(6), json!({ "key": "agent:ops:main", "agent": "ops", "updatedAt": 0 }));
    assert_eq!((&all["hasMore"], &all["unreadable"]), (&json!(false), &json!([])));
    for key in ALL {
        assert_eq!(house.ask("GET", &format!("/sessions/{key}/history"), TOKEN).status, 200, "{key}");
    }
    for limit in 1..=8 {
        assert_eq!(walk(&house, limit), ALL, "{limit}");
    }
}

#[test]
fn a_database_says_what_its_entries_call_a_session_and_takes_the_place_of_the_files() {
    let (state, mut database) = both_stores();
    let files = state.path().join("agents/db/sessions");
    fs::create_dir_all(&files).expect("a folder");
    let rows = r#"{"agent:db:s1":{"sessionId":"f","updatedAt":90,"label":"of the file"},"agent:db:left":{"sessionId":"l","updatedAt":35}}"#;
    fs::write(files.join("sessions.json"), rows).expect("a store");
    let entry = json!({ "sessionId": "window-3", "label": "Third", "displayName": "\u{1F980}" }).to_string();
    let sql = "UPDATE session_nodes SET entry_json = ?1 WHERE session_key = 'agent:db:s3'";
    database.sqlite.execute(sql, [entry]).expect("an update");
    database
        .sqlite
        .execute("UPDATE session_nodes SET entry_json = '{}' WHERE session_key = 'agent:db:s2'", [])
        .expect("one");
    let house = House::over(state);
    let all = list(&house, "");
    assert_eq!(keys(&all)[..4], ["agent:db:s3", "agent:main:new", "agent:db:left", "agent:db:s1"]);
    let third =
        json!({ "key": "agent:db:s3", "agent": "db", "updatedAt": 41, "label": "Third", "displayName": "\u{1F980}" });
    assert_eq!(all["sessions"][0], third);
    assert_eq!(all["sessions"][3]["label"], Value::Null);
    // What is committed is in the next list.
    database.add_session("agent:db:s4", "window-4", 1000).expect("a session");
    assert_eq!(keys(&list(&house, "?limit=1")), ["agent:db:s4"]);
}

#[test]
fn a_long_list_is_walked_whole_while_others_write() {
    let (state, mut database) = both_stores();
    for number in 10..200 {
        database.add_session(&format!("agent:db:s{number}"), &format!("window-{number}"), 100).expect("a session");
    }
    let house = House::over(state);
    assert_eq!(list(&house, "?limit=1000")["sessions"].as_array().map(Vec::len), Some(197));
    let first = list(&house, "?limit=100");
    let mut seen = keys(&first);
    assert_eq!(seen.len(), 100);
    // One that was seen is written, and one that was not: the second moves to the front, and is in the next list.
    database.append("window-10", &[], 500).expect("a commit");
    database.append("window-199", &[], 501).expect("a commit");
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    seen.extend(keys(&list(&house, &format!("?limit=200&cursor={cursor}"))));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (196, 196));
    assert_eq!(keys(&list(&house, "?limit=2")), ["agent:db:s199", "agent:db:s10"]);
}

#[test]
fn it_takes_what_a_history_takes() {
    let state = State::of_messages(1);
    let house = crate::operators::house(&[]);
    for token in [TOKEN, READER, WRITER, ADMIN] {
        let response = house.ask("GET", "/sessions", token);
        assert_eq!((response.status, response.header("cache-control")), (200, Some("no-store")));
    }
    for answer in [house.send(Request::new("GET", "/sessions")), house.ask("GET", "/sessions", "wrong")] {
        assert_eq!((answer.status, answer.header("cache-control")), (401, None));
        assert!(answer.header("www-authenticate").is_some());
    }
    let tokens = "[[token]]\nid='blind'\nsecret='secret-of-a-blind'\nscopes=['operator.approvals']\n";
    house.state.replace(&house.state.path().join("tokens.toml"), tokens);
    let start = std::time::Instant::now();
    while house.ask("GET", "/sessions", "secret-of-a-blind").status == 401 {
        assert!(start.elapsed() < crate::house::AT_ONCE);
    }
    assert_eq!(house.ask("GET", "/sessions", "secret-of-a-blind").status, 403);
    assert_eq!(house.ask("GET", "/sessions", READER).status, 401);
    for method in ["HEAD", "POST", "DELETE", "OPTIONS"] {
        let answer = house.ask(method, "/sessions", TOKEN);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}");
    }
    let strict = House::with(state, ["--token", TOKEN, "--history-scopes", "strict"]);
    assert_eq!(strict.ask("GET", "/sessions", TOKEN).status, 403);
}

#[test]
fn a_query_that_cannot_be_read_is_said() {
    let house = House::over(State::of_messages(1));
    for (query, message) in [
        ("limit=0", "limit must be a positive integer"),
        ("limit=x&cursor=x", "limit must be a positive integer"),
        ("cursor=5", "cursor must be the nextCursor of another page"),
        ("cursor=%00", "cursor must be the nextCursor of another page"),
    ] {
        let answer = house.ask("GET", &format!("/sessions?{query}"), TOKEN);
        let body = json!({ "error": { "message": message, "type": "invalid_request_error" } });
        assert_eq!((answer.status, answer.text()), (400, body.to_string()), "{query}");
    }
    assert_eq!(keys(&list(&house, "?limit=+99999999999&cursor=&x=%ff")), ["agent:main:test-session"]);
}

#[test]
fn an_agent_that_cannot_be_read_is_named_and_hides_nobody_else() {
    let (state, database) = both_stores();
    database.sqlite.execute_batch("PRAGMA user_version = 24").expect("a version");
    let house = House::over(state);
    let all = list(&house, "");
    assert_eq!(all["unreadable"], json!(["db"]));
    assert_eq!(keys(&all), ["agent:main:new", "bare", "agent:main:old", "agent:ops:main"]);
    fs::remove_dir_all(house.state.path().join("agents/ops")).expect("a folder");
    fs::remove_dir_all(house.state.sessions()).expect("a folder");
    let answer = house.ask("GET", "/sessions", TOKEN);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("schema version 24"));
    database.sqlite.execute_batch("PRAGMA user_version = 23").expect("a version");
    assert_eq!(keys(&list(&house, "")), ["agent:db:s2", "agent:db:s3", "agent:db:s1"]);
}

#[test]
fn where_there_is_nothing_the_list_is_empty() {
    let state = State::of_messages(1);
    fs::remove_dir_all(state.path().join("agents")).expect("a folder");
    let house = House::over(state);
    let nothing = json!({ "sessions": [], "hasMore": false, "unreadable": [] });
    assert_eq!(list(&house, ""), nothing);
    // A folder that is no agent's, and a file in the place of one.
    for name in ["--", "x"] {
        fs::create_dir_all(house.state.path().join("agents").join(name)).expect("a folder");
    }
    house.state.file("agents/file", "");
    assert_eq!(list(&house, ""), nothing);
}

#[test]
fn a_store_that_agents_share_and_main_sessions_that_are_global_are_listed_by_keys_that_find_them() {
    let state = State::of_messages(1);
    let shared = state.path().join("shared.json");
    let rows = json!({
        "agent:one:a": { "sessionId": "a", "updatedAt": 3 },
        "agent:two:b": { "sessionId": "b", "updatedAt": 2 },
        "k": { "sessionId": "c", "updatedAt": 1 },
    });
    fs::write(&shared, rows.to_string()).expect("a store");
    state.file("openclaw.json", &json!({ "session": { "store": shared } }).to_string());
    let house = House::over(state);
    assert_eq!(keys(&list(&house, "")), ["agent:one:a", "agent:two:b", "k"]);

    let state = State::of_messages(1);
    for agent in ["main", "zed"] {
        let folder = state.path().join("agents").join(agent).join("sessions");
        fs::create_dir_all(&folder).expect("a folder");
        let rows = json!({ "global": { "sessionId": agent, "updatedAt": 5 } });
        fs::write(folder.join("sessions.json"), rows.to_string()).expect("a store");
        let line = json!({ "message": { "role": "user", "content": agent } });
        fs::write(folder.join(format!("{agent}.jsonl")), format!("{line}\n")).expect("a transcript");
    }
    state.file("openclaw.json", r#"{"session":{"scope":"global"}}"#);
    let house = House::over(state);
    let listed = list(&house, "");
    assert_eq!(keys(&listed), ["global", "agent:zed:main"]);
    assert_eq!(walk(&house, 1), ["global", "agent:zed:main"]);
    for session in listed["sessions"].as_array().expect("a list") {
        let key = session["key"].as_str().expect("a key");
        let page = house.ask("GET", &format!("/sessions/{key}/history"), TOKEN).text();
        let page: Value = serde_json::from_str(&page).expect("JSON");
        assert_eq!(page["messages"][0]["content"], session["agent"], "{key}");
    }
}

#[test]
fn where_nobody_has_to_sign_in_anybody_on_this_machine_sees_them() {
    let state = State::of_messages(1);
    let gateway = Start::new().arg_state(&state).args(["--auth", "none"]).run();
    let house = House { state, gateway };
    assert_eq!(house.send(Request::new("GET", "/sessions")).status, 200);
    let other = house.send(Request::new("GET", "/sessions").header("Host", "evil.example"));
    assert_eq!(other.status, 421);
    assert_eq!(house.send(Request::new("GET", "/").header("Host", "evil.example")).status, 421);
    // Settled files are not read again.
    sleep(Duration::from_millis(100));
    assert_eq!(
        house.send(Request::new("GET", "/sessions")).text(),
        house.send(Request::new("GET", "/sessions")).text()
    );
}
