//! [`Record`]: what a store hands on of a transcript's line, and the message that a reader is shown of it, before
//! it is made presentable.
//!
//! - The record's `message`, if it is an object, gets `__openclaw`: what it has there itself, then
//!   the record's id, its time, where it is stored and its number in the history.
//! - A `message` that is no object, but true as JavaScript sees it, takes a number and is as it is.
//! - A compaction without a message becomes a message of the system that says so.

use std::sync::Arc;

use super::date;
use crate::json::{self, Object, Value};

/// The key under which a message carries what is known of its record.
const META: &str = "__openclaw";

/// A record of a history, as its store has it.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The JSON object that the record is.
    pub json: Object<'a>,
    /// Which message of the history it is, counted from 1.
    pub seq: usize,
    /// Where it is stored, if its store says so.
    pub position: Option<TranscriptPosition<'a>>,
}

/// Where a record is stored (`transcriptPosition`).
#[derive(Clone, Copy, Debug)]
pub struct TranscriptPosition<'a> {
    pub source: &'a TranscriptSource,
    /// The record's own number, whether or not those before it are of the history.
    pub raw_seq: u64,
}

/// By what name a generation of a session's transcript is known (`source`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptSource(Arc<str>);

impl TranscriptSource {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl<'a> Record<'a> {
    /// Reads the line of a record. `None` if it is none.
    pub fn parse(line: &'a [u8], seq: usize, position: Option<TranscriptPosition<'a>>) -> Option<Self> {
        match json::parse(line) {
            Ok(Value::Object(json)) => Some(Self { json, seq, position }),
            _ => None,
        }
    }

    /// The message of a record that counts. A compaction that does not say when it was is at `now`, in
    /// milliseconds since 1970.
    pub fn message(self, now: f64) -> Option<Value<'a>> {
        let Self { json: mut record, seq, position } = self;
        match record.remove("message").filter(Value::is_truthy) {
            Some(Value::Object(message)) => Some(with_meta(message, record, seq, position).into()),
            Some(other) => Some(other),
            None => {
                let is_compaction = record.text("type").is_some_and(|kind| kind == "compaction");
                is_compaction.then(|| compaction(record, seq, now).into())
            }
        }
    }
}

fn with_meta<'a>(
    mut message: Object<'a>,
    mut record: Object<'a>,
    seq: usize,
    position: Option<TranscriptPosition<'_>>,
) -> Object<'a> {
    let mut meta = match message.get_mut(META) {
        Some(Value::Object(own)) => std::mem::take(own),
        _ => Object::new(),
    };
    let time = record.number("timestamp").or_else(|| time_as_text(&record));
    insert_id(&mut meta, &mut record);
    if let Some(time) = time {
        meta.insert("recordTimestampMs", time);
    }
    if let Some(TranscriptPosition { source, raw_seq }) = position {
        let source = Value::from(source.0.to_string());
        meta.insert("transcriptPosition", Object::from([("source", source), ("rawSeq", (raw_seq as f64).into())]));
    }
    meta.insert("seq", seq as f64);
    message.insert(META, meta);
    message
}

fn compaction<'a>(mut record: Object<'a>, seq: usize, now: f64) -> Object<'a> {
    let time = time_as_text(&record).unwrap_or(now);
    let mut meta = Object::from([("kind", "compaction")]);
    insert_id(&mut meta, &mut record);
    meta.insert("seq", seq as f64);
    let text = Object::from([("type", "text"), ("text", "Compaction")]);
    Object::from([
        ("role", Value::from("system")),
        ("content", vec![text.into()].into()),
        ("timestamp", time.into()),
        (META, meta.into()),
    ])
}

/// The record's id, if it is a string, even an empty one.
fn insert_id<'a>(meta: &mut Object<'a>, record: &mut Object<'a>) {
    if let Some(Value::String(id)) = record.remove("id") {
        meta.insert("id", id);
    }
}

fn time_as_text(record: &Object<'_>) -> Option<f64> {
    date::parse(record.text("timestamp")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_message(record: &str, expected: &str) {
        let record = Record::parse(record.as_bytes(), 7, None).expect("a record");
        let mut json = Vec::new();
        match record.message(5.0) {
            Some(message) => message.write(&mut json),
            None => json.extend_from_slice(b"none"),
        }
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn a_message_is_told_what_is_known_of_its_record() {
        assert_message(
            r#"{"id":"","timestamp":"2026-01-02T03:04:05Z","message":{"role":"user"}}"#,
            r#"{"role":"user","__openclaw":{"id":"","recordTimestampMs":1767323045000,"seq":7}}"#,
        );
        assert_message(
            r#"{"id":5,"timestamp":1.5,"message":{}}"#,
            r#"{"__openclaw":{"recordTimestampMs":1.5,"seq":7}}"#,
        );
        assert_message(r#"{"timestamp":1e999,"message":{}}"#, r#"{"__openclaw":{"seq":7}}"#);
    }

    #[test]
    fn a_store_may_say_where_the_record_is() {
        let source = TranscriptSource::new("s");
        let position = Some(TranscriptPosition { source: &source, raw_seq: 0 });
        let record = Record::parse(br#"{"message":{}}"#, 7, position).expect("a record");
        let mut json = Vec::new();
        record.message(5.0).expect("a message").write(&mut json);
        let expected = r#"{"__openclaw":{"transcriptPosition":{"source":"s","rawSeq":0},"seq":7}}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn what_a_message_says_of_itself_is_kept_where_the_record_does_not_say_it() {
        assert_message(
            r#"{"id":"a","message":{"__openclaw":{"seq":9,"x":1},"role":"user"}}"#,
            r#"{"__openclaw":{"seq":7,"x":1,"id":"a"},"role":"user"}"#,
        );
        assert_message(r#"{"message":{"__openclaw":{"id":"kept"}}}"#, r#"{"__openclaw":{"id":"kept","seq":7}}"#);
        assert_message(r#"{"message":{"__openclaw":[1]}}"#, r#"{"__openclaw":{"seq":7}}"#);
    }

    #[test]
    fn a_message_that_is_no_object_is_as_it_is() {
        assert_message(r#"{"id":"a","message":"text"}"#, r#""text""#);
        assert_message(r#"{"id":"a","message":[1]}"#, "[1]");
        assert_message(r#"{"id":"a","message":null}"#, "none");
    }

    #[test]
    fn a_compaction_says_so() {
        let said = r#"{"role":"system","content":[{"type":"text","text":"Compaction"}]"#;
        assert_message(
            r#"{"type":"compaction","id":"c","timestamp":"1970-01-01","summary":"s"}"#,
            &format!(r#"{said},"timestamp":0,"__openclaw":{{"kind":"compaction","id":"c","seq":7}}}}"#),
        );
        assert_message(
            r#"{"type":"compaction","timestamp":9,"message":0}"#,
            &format!(r#"{said},"timestamp":5,"__openclaw":{{"kind":"compaction","seq":7}}}}"#),
        );
        assert_message(
            r#"{"type":"compaction","message":{"role":"user"}}"#,
            r#"{"role":"user","__openclaw":{"seq":7}}"#,
        );
    }
}
