//! Helpers for the tables in the tests of the rules.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use crate::json::{Object, Value, parse};

/// Checks a rule on texts: what goes in, and what comes out.
#[track_caller]
pub fn texts(rule: impl Fn(&[u8]) -> Cow<'_, [u8]>, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let stripped = rule(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&stripped), *expected, "{text:?}");
    }
}

/// Checks that a rule takes time in proportion to the text. These texts hold megabytes of what the rule
/// looks for; one that starts over at each of them takes minutes.
#[track_caller]
pub fn is_linear(rule: impl Fn(&[u8]) -> Cow<'_, [u8]>, texts: &[String]) {
    let time = |text: &str| {
        let start = Instant::now();
        rule(text.as_bytes());
        start.elapsed()
    };
    for text in texts {
        // Once more where the machine was busy.
        let is_quick = (0..3).any(|_| time(text) < Duration::from_secs(5));
        assert!(is_quick, "{:?}...", text.get(..40));
    }
}

/// Checks a rule on messages, written as JSON.
#[track_caller]
pub fn messages(rule: impl Fn(&mut Object<'static>), cases: &[(&str, &str)]) {
    for (message, expected) in cases {
        let mut changed = object(message);
        rule(&mut changed);
        assert_eq!(changed, object(expected), "{message}");
    }
}

pub fn object(json: &str) -> Object<'static> {
    match parse(json.as_bytes()).map(Value::into_owned) {
        Ok(Value::Object(object)) => object,
        other => panic!("{json} is no object: {other:?}"),
    }
}

pub fn objects(list: &[&str]) -> Vec<Object<'static>> {
    list.iter().map(|json| object(json)).collect()
}
