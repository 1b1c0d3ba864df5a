//! A folder that OpenClaw itself wrote, and what it answered for it.
//!
//! The folder was moved: the absolute paths in its stores lead nowhere.

use std::{fs, path::Path};

use super::{
    compare,
    house::House,
    pack::{Profile, data},
};
use crate::{client::Request, json::parse};

const TOKEN: &str = "test-token-12345";

#[test]
fn a_folder_that_openclaw_wrote_is_answered_as_openclaw_did() {
    let house = House::open(&Profile::named("token"));
    copy(&data("sample-state"), &house.disk.state());
    let expected = fs::read_dir(data("sample-expected")).expect("the folder of answers");
    let mut complaints = Vec::new();
    for entry in expected.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let target = target(name.strip_suffix(".json").expect("an answer in JSON"));
        let request = Request::new("GET", &target).header("Authorization", &format!("Bearer {TOKEN}"));
        let got = request.send(house.address).expect("an answer").bytes();
        let expected = fs::read(entry.path()).expect("an answer");
        let (expected, got) = (parse(&expected).expect("JSON"), parse(&got).expect("JSON"));
        if let Err(difference) = compare::value(&expected, &got) {
            complaints.push(format!("{target}{difference}"));
        }
    }
    house.close();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The target whose answer has this name: `agent-main-main-limit-2-cursor-3`.
fn target(name: &str) -> String {
    let (name, cursor) = name.split_once("-cursor-").map_or((name, None), |(name, cursor)| (name, Some(cursor)));
    let (key, limit) = name.split_once("-limit-").map_or((name, None), |(key, limit)| (key, Some(limit)));
    let limit = limit.map_or(String::new(), |limit| format!("limit={limit}"));
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    format!("/sessions/{}/history?{limit}{cursor}", key.replace('-', ":"))
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            fs::create_dir(&to).expect("a folder");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file");
        }
    }
}
