//! Rows of a `sessions.json`, and an index of them.
//!
//! A row is cleaned when it is read:
//!
//! - What is not an object is no row.
//! - A `sessionId` that is no string, or not of the letters that ids are made of, makes the row no
//!   row, so that an older one under another spelling of the key can be chosen.
//! - A `sessionId` that cannot be a file name, or that names a checkpoint, is taken away, unless the
//!   row says itself where its transcript is.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::OnceLock,
};

use super::{Names, Place};
use crate::json::{self, Value, text::trim};

/// The rows of a store, to be found by key in whatever case and with space around it. A row is parsed when it is
/// found: a store may have very many.
#[derive(Debug, Default)]
pub(super) struct Rows {
    json: String,
    /// By folded key, in the order of the file: its key, and where the row stands in the JSON.
    places: HashMap<String, Vec<(Box<str>, Range<usize>)>>,
    newest: OnceLock<Vec<Place>>,
}

impl Rows {
    /// Reads a `sessions.json`. `None` if it is not an object. O(bytes).
    pub(super) fn parse(json: Vec<u8>) -> Option<Self> {
        let json = match json::decode(&json) {
            Cow::Owned(json) => json,
            Cow::Borrowed(_) => String::from_utf8(json).ok()?,
        };
        let mut places: HashMap<String, Vec<(Box<str>, Range<usize>)>> = HashMap::new();
        json::members(&json, |key, row| {
            let start = row.as_ptr() as usize - json.as_ptr() as usize;
            places.entry(folded(&key)).or_default().push((key.into(), start..start + row.len()));
        })?;
        Some(Self { json, places, newest: OnceLock::new() })
    }

    /// All rows in the order of a list. O(bytes), once.
    pub(super) fn newest(&self) -> &[Place] {
        self.newest.get_or_init(|| {
            let rows = self.places.values().flatten();
            let rows = rows.filter_map(|(key, row)| Row::parse(key, &self.json[row.clone()]));
            let mut newest: Vec<_> = rows.map(|row| Place { updated_at: row.updated_at, key: row.key }).collect();
            newest.sort_unstable();
            newest
        })
    }

    /// The rows whose keys differ from this one in case and in space around them only, in the
    /// order of the file. Of equal keys the last row counts, in the place of the first. O(such rows).
    pub(super) fn alike(&self, key: &str) -> Vec<Row> {
        let places = self.places.get(&folded(key)).map_or(&[][..], Vec::as_slice);
        let mut rows: Vec<Option<Row>> = Vec::with_capacity(places.len());
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(places.len());
        for (key, row) in places {
            let row = Row::parse(key, &self.json[row.clone()]);
            match known.entry(key) {
                Entry::Occupied(mut known) if rows[*known.get()].is_none() => {
                    // What was taken out comes back at the end.
                    *known.get_mut() = rows.len();
                    rows.push(row);
                }
                Entry::Occupied(known) => rows[*known.get()] = row,
                Entry::Vacant(new) => {
                    new.insert(rows.len());
                    rows.push(row);
                }
            }
        }
        rows.into_iter().flatten().collect()
    }
}

/// What a row says, cleaned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) session: Option<SessionId>,
    /// Where the transcript is: trimmed, not blank, and not to be trusted.
    pub(super) file: Option<String>,
    /// Milliseconds since 1970; 0 if the row does not say.
    pub(super) updated_at: f64,
    pub(super) names: Names,
}

impl Row {
    fn parse(key: &str, json: &str) -> Option<Self> {
        let (mut id, mut file, mut updated_at) = (None, None, None);
        let mut names = Names::default();
        json::members(json, |key, value| match &*key {
            "sessionId" => id = Some(value),
            "sessionFile" => file = json::read::<Value>(value),
            "updatedAt" => updated_at = json::read::<Value>(value),
            key => names.take(key, value),
        })?;
        let file = file.as_ref().and_then(Value::as_str).map(trim).filter(|file| !file.is_empty()).map(str::to_owned);
        let session = match id {
            None => None,
            Some(id) => {
                let id = SessionId::parse(json::read::<Value>(id)?.as_str()?)?;
                (id.is_plain() || file.is_some()).then_some(id)
            }
        };
        let updated_at = updated_at.and_then(|at| at.as_f64()).filter(|at| *at >= 0.0).unwrap_or(0.0);
        Some(Self { key: key.into(), session, file, updated_at, names })
    }
}

/// The id of a session: `[A-Za-z0-9][A-Za-z0-9._:@-]*`, at most 255 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    fn parse(text: &str) -> Option<Self> {
        let id = trim(text).to_owned();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
        let starts_well = id.starts_with(|first: char| first.is_ascii_alphanumeric());
        (starts_well && id.len() <= 255 && id.bytes().all(legal)).then_some(Self(id))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the session's transcript, if the id can be part of a file name.
    pub(super) fn file_name(&self) -> Option<String> {
        let fits = self.0.len() <= 128 && !self.0.contains([':', '@']);
        fits.then(|| format!("{}.jsonl", self.0))
    }

    /// Whether the id is that of a session with a transcript of its own name.
    fn is_plain(&self) -> bool {
        let checkpoint =
            self.0.len().checked_sub(36).is_some_and(|at| {
                is_uuid(&self.0[at..]) && self.0[..at].to_ascii_lowercase().ends_with(".checkpoint.")
            });
        self.file_name().is_some() && !checkpoint
    }
}

/// Whether this is a UUID in its usual spelling, in whatever case.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn folded(key: &str) -> String {
    trim(key).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Option<Row> {
        Row::parse("k", json)
    }

    fn session(json: &str) -> Option<String> {
        row(json)?.session.map(|id| id.as_str().to_owned())
    }

    #[test]
    fn a_session_id_is_trimmed() {
        let id = session(r#"{"sessionId":"\u00a0a.b_c-D "}"#);
        assert_eq!(id.as_deref(), Some("a.b_c-D"));
    }

    #[test]
    fn a_row_with_a_strange_id_is_no_row() {
        for id in ["5", "null", "\"\"", "\" \"", "\"..\"", "\"a/b\"", "\"a b\"", "\"é\""] {
            assert_eq!(row(&format!("{{\"sessionId\":{id}}}")), None, "{id}");
        }
        for json in ["null", "[]", "\"x\"", "5"] {
            assert_eq!(row(json), None, "{json}");
        }
        let long = "x".repeat(256);
        assert_eq!(row(&format!("{{\"sessionId\":\"{long}\"}}")), None);
    }

    #[test]
    fn an_id_that_names_no_file_needs_a_file_of_its_own() {
        let uuid = "11111111-1111-4111-8111-11111111111A";
        let long = "s".repeat(129);
        for id in ["a:b", "a@b", &long, &format!("x.Checkpoint.{uuid}")] {
            let bare = format!("{{\"sessionId\":\"{id}\"}}");
            assert_eq!(session(&bare), None, "{id}");
            assert!(row(&bare).is_some(), "{id}");
            let blank = format!("{{\"sessionId\":\"{id}\",\"sessionFile\":\" \"}}");
            assert_eq!(session(&blank), None, "{id}");
            let with_file = format!("{{\"sessionId\":\"{id}\",\"sessionFile\":\" f \"}}");
            assert_eq!(session(&with_file).as_deref(), Some(id), "{id}");
            assert_eq!(row(&with_file).unwrap().file.as_deref(), Some("f"));
        }
        for id in ["s".repeat(128), uuid.into(), "x.checkpoint.1".into()] {
            assert_eq!(session(&format!("{{\"sessionId\":\"{id}\"}}")), Some(id));
        }
    }

    #[test]
    fn a_time_is_a_number_from_zero_up() {
        for (json, time) in [
            ("{}", 0.0),
            (r#"{"updatedAt":1.5}"#, 1.5),
            (r#"{"updatedAt":-1}"#, 0.0),
            (r#"{"updatedAt":"9"}"#, 0.0),
            (r#"{"updatedAt":1e999}"#, 0.0),
            (r#"{"updatedAt":7,"updatedAt":null}"#, 0.0),
        ] {
            assert_eq!(row(json).unwrap().updated_at, time, "{json}");
        }
    }

    #[test]
    fn rows_are_found_in_any_case_and_the_last_of_equal_keys_counts() {
        let rows = Rows::parse(
            br#"{"A:b":{"updatedAt":1}," a:B ":{"updatedAt":2},"gone":{},"gone":null,
                 "A:b":{"updatedAt":3}}"#
                .to_vec(),
        )
        .unwrap();
        let times = |key| {
            let alike = rows.alike(key).into_iter();
            alike.map(|row| row.updated_at).collect::<Vec<_>>()
        };
        assert_eq!(times("a:b"), [3.0, 2.0]);
        assert!(times("gone").is_empty());
        assert!(Rows::parse(b"[]".to_vec()).is_none());
        assert!(Rows::parse(b"\xEF\xBB\xBF{}".to_vec()).is_none());
    }
}
