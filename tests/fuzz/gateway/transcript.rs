//! Whatever is in the file of a transcript, and wherever it was cut off when it was first looked at: its messages are
//! numbered 1, 2, 3 and so on, its pages come to its start, and it reads as one that was there at once.

use std::{fs, io::Write as _};

use super::store::{self, NOW};
use crate::{
    json::{Fields as _, Value},
    sessions::{
        history::Query,
        projection::seq,
        record::History as _,
        transcript::{Place, Transcript},
    },
};

/// The first two bytes say where the file was cut off.
pub(crate) fn run(input: &[u8]) {
    let Some((cut, content)) = input.split_first_chunk::<2>() else { return };
    let (begin, rest) = content.split_at(usize::from(u16::from_le_bytes(*cut)) % (content.len() + 1));
    let path = store::file("transcript.jsonl");
    fs::write(&path, begin).expect("room in memory");
    let transcript = Transcript::new(Place::File(path.clone()));
    let view = transcript.view().expect("a file");
    let (before, seen) = (view.position(), view.read(0..view.len()).expect("a file").values(NOW));
    drop(view);
    fs::OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(rest)).expect("room in memory");

    let view = transcript.view().expect("a file");
    let values = view.read(0..view.len()).expect("a file").values(NOW);
    let change = format!("{:?}", view.since(before));
    if change.starts_with("Appended") {
        // What was shown once is still shown.
        assert_eq!(values.get(..seen.len()), Some(&seen[..]), "{change}");
    }
    let mut next = 1;
    for message in &values {
        // What is no object takes a number and cannot say it, and null is no message and takes one too.
        if let Value::Object(message) = message {
            let seq = seq(message).expect("a number");
            assert!((next..=view.len() as u64).contains(&seq), "{seq} after {next}");
            next = seq + 1;
        }
    }
    let anew = Transcript::new(Place::File(path)).view().expect("a file");
    assert_eq!(anew.read(0..anew.len()).expect("a file").values(NOW), values);
    drop(anew);

    let whole = store::page(&view, Query::default()).expect("a page").messages;
    let users: Vec<u64> = whole.iter().filter(|message| message.says("role", "user")).filter_map(seq).collect();
    for limit in [1, 2, 1000] {
        let query = Query { limit: Some(limit), cursor: None };
        let page = store::page(&view, query).expect("a page").messages;
        let mut of_users = page.iter().filter(|message| message.says("role", "user")).filter_map(seq);
        // Whether what a user said is shown does not depend on what is outside of the window of a page.
        assert!(of_users.all(|seq| users.contains(&seq)), "limit {limit}");
        store::walk(&view, limit).expect("pages");
    }
}
