//! Tables of messages, for tests: each as JSON, with what a rule makes of it.

use crate::json::{self, Object, Value};

#[track_caller]
pub fn object(json: &str) -> Object {
    json::object(json.as_bytes()).unwrap_or_else(|| panic!("no object: {json}"))
}

/// A rule on one message. Says what differs by the whole text, so that the order of members counts.
#[track_caller]
pub fn messages(rule: impl Fn(&mut Object), table: &[(&str, &str)]) {
    for (before, after) in table {
        let mut message = object(before);
        rule(&mut message);
        assert_eq!(Value::from(message).to_string(), *after, "{before}");
    }
}
