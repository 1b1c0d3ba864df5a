//! [`Record`]: what a store hands on of a record, and the message that a reader is shown of it, before it is made
//! presentable; [`History`]: how a page asks a store for records.
//!
//! - The record's `message`, if it is an object, gets `__openclaw`: what it has there itself, then the record's id, the
//!   message's key, the record's time, where it is stored and its number in the history.
//! - A message of another kind, but true as JavaScript sees it, takes a number and is as it is.
//! - A `custom_message` that is to be shown becomes a message of the role `custom`; a compaction and a reset become
//!   messages of the system that say so.

use std::{io, ops::Range, sync::Arc};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::Serialize;
use serde_json::json;

use super::{projection::META, transcript::RawMessages};
use crate::json::{self, Fields, Object, Value};

/// The records of a session that are its history, counted from 0.
pub trait History {
    fn len(&self) -> usize;

    /// How many bytes each of these takes as JSON.
    fn sizes(&self, range: Range<usize>) -> io::Result<Vec<u64>>;

    fn read(&self, range: Range<usize>) -> io::Result<RawMessages>;
}

/// A record of a history, as its store has it.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The JSON object that the record is.
    pub json: Object,
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
    pub activity: Option<&'a Activity>,
}

/// Where what a tool did inside another one belongs: it is stored when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The number of the record that it comes after; `None` if it comes first.
    pub after_raw_seq: Option<u64>,
    pub scope_id: String,
    pub start_order: u64,
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
    /// Reads the text of a record. `None` if it is none.
    pub fn parse(text: &[u8], seq: usize, position: Option<TranscriptPosition<'a>>) -> Option<Self> {
        Some(Self { json: json::object(text)?, seq, position })
    }

    /// The message of a record that counts. What does not say when it was is at `now`, in milliseconds since 1970.
    pub fn message(mut self, now: f64) -> Option<Value> {
        match self.json.take("message").filter(json::is_truthy) {
            Some(Value::Object(message)) => Some(self.with_meta(message).into()),
            Some(other) => Some(other),
            None => match self.json.text("type")? {
                "custom_message" => Some(self.custom()?.into()),
                kind @ ("compaction" | "reset") => Some(self.mark(kind, now).into()),
                _ => None,
            },
        }
    }

    fn with_meta(self, mut message: Object) -> Object {
        let mut meta = match message.get_mut(META) {
            Some(Value::Object(own)) => std::mem::take(own),
            _ => Object::new(),
        };
        self.add_id(&mut meta);
        if let Some(key) = message.text("idempotencyKey").filter(|key| !json::text::is_blank(key)) {
            meta.set("idempotencyKey", key);
        }
        if let Some(time) = self.json.get("timestamp").filter(|time| time.is_number()).cloned().or_else(|| self.time())
        {
            meta.set("recordTimestampMs", time);
        }
        self.add_position(&mut meta);
        message.set(META, meta);
        message
    }

    fn custom(self) -> Option<Object> {
        let is_shown = self.json.is("display", true) && !self.json.says("customType", "openclaw.runtime-context");
        let mut message = Object::new();
        message.set("role", "custom");
        for key in ["customType", "content", "display", "details"] {
            if let Some(value) = self.json.get(key).filter(|_| is_shown) {
                message.set(key, value.clone());
            }
        }
        // No time is null, as JavaScript writes the number that is none.
        let time = self.time().unwrap_or_default();
        message.set("timestamp", time.clone());
        let mut meta = Object::new();
        self.add_id(&mut meta);
        meta.set("recordTimestampMs", time);
        self.add_position(&mut meta);
        message.set(META, meta);
        is_shown.then_some(message)
    }

    fn mark(&self, kind: &str, now: f64) -> Object {
        let mut meta = Object::new();
        meta.set("kind", kind);
        self.add_id(&mut meta);
        if kind == "compaction" {
            if let Some(own) = self.json.object(META) {
                for key in ["runId", "itemId"] {
                    if let Some(id) = own.text(key) {
                        meta.set(key, id);
                    }
                }
            }
            for key in ["tokensBefore", "tokensAfter"] {
                if let Some(tokens) = self.json.get(key).filter(|tokens| tokens.is_number()) {
                    meta.set(key, tokens.clone());
                }
            }
        }
        self.add_position(&mut meta);
        let mut text = Object::new();
        text.set("type", "text");
        text.set("text", if kind == "reset" { "Reset" } else { "Compaction" });
        let mut message = Object::new();
        message.set("role", "system");
        message.set("content", vec![Value::from(text)]);
        message.set("timestamp", self.time().unwrap_or_else(|| (now as i64).into()));
        message.set(META, meta);
        message
    }

    /// The record's id, if it is a string, even an empty one.
    fn add_id(&self, meta: &mut Object) {
        if let Some(id) = self.json.text("id") {
            meta.set("id", id);
        }
    }

    fn add_position(&self, meta: &mut Object) {
        if let Some(TranscriptPosition { source, raw_seq, activity }) = self.position {
            let mut position = Object::new();
            position.set("source", &*source.0);
            position.set("rawSeq", raw_seq);
            if let Some(activity) = activity {
                position.set("activity", json!(activity));
            }
            meta.set("transcriptPosition", position);
        }
        meta.set("seq", self.seq as u64);
    }

    /// The record's time, if it is written as text.
    fn time(&self) -> Option<Value> {
        time(self.json.text("timestamp")?).map(|time| time.as_millisecond().into())
    }
}

/// A time of ISO 8601 as JavaScript reads it: a date is at midnight in UTC, and a time without a zone is local.
fn time(text: &str) -> Option<Timestamp> {
    const DATE: usize = "2026-01-02".len();
    let date = || text.parse::<Date>().ok().filter(|_| text.len() == DATE)?.to_zoned(TimeZone::UTC).ok();
    let local = || text.parse::<DateTime>().ok().filter(|_| text.len() > DATE)?.to_zoned(TimeZone::system()).ok();
    text.parse().ok().or_else(|| date().or_else(local).map(|time| time.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_message(record: &str, expected: &str) {
        let source = TranscriptSource::new("s");
        let position =
            record.contains("stored").then_some(TranscriptPosition { source: &source, raw_seq: 0, activity: None });
        let record = Record::parse(record.as_bytes(), 7, position).expect("a record");
        let message = record.message(5.0).map_or("none".to_owned(), |message| message.to_string());
        assert_eq!(message, expected);
    }

    #[test]
    fn a_message_is_told_what_is_known_of_its_record() {
        assert_message(
            r#"{"id":"","timestamp":"2026-01-02T03:04:05Z","message":{"role":"user","idempotencyKey":"k"}}"#,
            r#"{"role":"user","idempotencyKey":"k","__openclaw":{"id":"","idempotencyKey":"k","recordTimestampMs":1767323045000,"seq":7}}"#,
        );
        assert_message(
            r#"{"id":5,"timestamp":1.5,"message":{}}"#,
            r#"{"__openclaw":{"recordTimestampMs":1.5,"seq":7}}"#,
        );
        assert_message(
            r#"{"id":"stored","message":{}}"#,
            r#"{"__openclaw":{"id":"stored","transcriptPosition":{"source":"s","rawSeq":0},"seq":7}}"#,
        );
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
    fn compactions_and_resets_say_so() {
        let said = |text| format!(r#"{{"role":"system","content":[{{"type":"text","text":"{text}"}}]"#);
        assert_message(
            r#"{"type":"compaction","id":"c","timestamp":"1970-01-01T00:00:00.000Z","summary":"s","tokensBefore":3,"__openclaw":{"runId":"r"}}"#,
            &format!(
                r#"{},"timestamp":0,"__openclaw":{{"kind":"compaction","id":"c","runId":"r","tokensBefore":3,"seq":7}}}}"#,
                said("Compaction")
            ),
        );
        assert_message(
            r#"{"type":"reset","timestamp":9,"message":0,"tokensBefore":3}"#,
            &format!(r#"{},"timestamp":5,"__openclaw":{{"kind":"reset","seq":7}}}}"#, said("Reset")),
        );
    }

    #[test]
    fn times_are_read_as_javascript_reads_them() {
        for (text, milliseconds) in [
            ("2026-01-02T03:04:05.678Z", Some(1_767_323_045_678)),
            ("2026-01-02T03:04:05+02:00", Some(1_767_315_845_000)),
            ("2026-01-02", Some(1_767_312_000_000)),
            ("2026-13-02", None),
            ("junk", None),
            ("", None),
        ] {
            assert_eq!(time(text).map(Timestamp::as_millisecond), milliseconds, "{text}");
        }
        let local = "2026-01-02T12:00".parse::<DateTime>().unwrap().to_zoned(TimeZone::system()).unwrap();
        assert_eq!(time("2026-01-02T12:00"), Some(local.timestamp()));
    }

    #[test]
    fn a_custom_message_is_shown_if_it_is_to_be() {
        assert_message(
            r#"{"type":"custom_message","id":"c","timestamp":"1970-01-01T00:00:00.000Z","content":"x","customType":"n","display":true}"#,
            r#"{"role":"custom","customType":"n","content":"x","display":true,"timestamp":0,"__openclaw":{"id":"c","recordTimestampMs":0,"seq":7}}"#,
        );
        assert_message(r#"{"type":"custom_message","content":"x"}"#, "none");
        assert_message(r#"{"type":"custom_message","display":true,"customType":"openclaw.runtime-context"}"#, "none");
    }
}
