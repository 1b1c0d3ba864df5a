//! What shape JSON has to have, and what is said of JSON that has another: in the words of OpenClaw's validator.
//!
//! Of an object it says, in this order: the first member that is missing, the first that has no business there, and what
//! is wrong with the others in the order of the shape. It says eight things at most.

use std::fmt::Write as _;

use serde_json::Value;

use crate::json::Object;

/// What JSON has to be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Text,
    /// With at least one character, and at most so many.
    Filled(usize),
    /// An integer from the first to the second.
    Integer(u64, u64),
    Bool,
    /// `true`, and nothing else.
    True,
    OneOf(&'static [&'static str]),
    /// This text.
    Constant(&'static str),
    List(&'static Shape),
    /// Any members, each of this shape.
    Map(&'static Shape),
    Members(&'static [Member]),
    Any,
}

/// A member of an object: its name, whether it has to be there, and what it has to be.
pub type Member = (&'static str, Presence, Shape);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

pub const FILLED: Shape = Shape::Filled(usize::MAX);

/// How many things are said at most.
const MOST: usize = 8;

/// What is wrong with this value, if anything is.
pub fn wrong(value: &Value, shape: Shape) -> Option<String> {
    let mut found = Vec::new();
    check(value, shape, &mut String::new(), &mut found);
    (!found.is_empty()).then(|| found.join("; "))
}

fn check(value: &Value, shape: Shape, path: &mut String, found: &mut Vec<String>) {
    match shape {
        Shape::Any => {}
        Shape::Text => drop(text(value, path, found)),
        Shape::Filled(most) => match text(value, path, found) {
            Some("") => say(path, found, "must not have fewer than 1 characters"),
            Some(text) if text.chars().count() > most => {
                say(path, found, &format!("must not have more than {most} characters"));
            }
            _ => {}
        },
        Shape::Integer(least, most) => match value.as_f64().filter(|number| number.fract() == 0.0) {
            None => say(path, found, "must be integer"),
            Some(number) if number < least as f64 => say(path, found, &format!("must be >= {least}")),
            Some(number) if number > most as f64 => say(path, found, &format!("must be <= {most}")),
            Some(_) => {}
        },
        Shape::Bool if !value.is_boolean() => say(path, found, "must be boolean"),
        Shape::True if *value != Value::Bool(true) => {
            if !value.is_boolean() {
                say(path, found, "must be boolean");
            }
            say(path, found, "must be equal to constant");
        }
        Shape::Bool | Shape::True => {}
        Shape::OneOf(texts) if !value.as_str().is_some_and(|text| texts.contains(&text)) => {
            say(path, found, "must be equal to one of the allowed values");
        }
        Shape::Constant(text) if value.as_str() != Some(text) => say(path, found, "must be equal to constant"),
        Shape::OneOf(_) | Shape::Constant(_) => {}
        Shape::List(each) => match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    within(path, &at.to_string(), |path| check(item, *each, path, found));
                    if found.len() == MOST {
                        break;
                    }
                }
            }
            _ => say(path, found, "must be array"),
        },
        Shape::Map(each) => match value {
            Value::Object(members) => {
                for (name, value) in members {
                    within(path, name, |path| check(value, *each, path, found));
                    if found.len() == MOST {
                        break;
                    }
                }
            }
            _ => say(path, found, "must be object"),
        },
        Shape::Members(members) => match value {
            Value::Object(object) => check_members(object, members, path, found),
            _ => say(path, found, "must be object"),
        },
    }
}

fn check_members(object: &Object, members: &[Member], path: &mut String, found: &mut Vec<String>) {
    let is_missing = |(name, presence, _): &&Member| *presence == Presence::Required && !object.contains_key(*name);
    if let Some((name, ..)) = members.iter().find(is_missing) {
        say(path, found, &format!("must have required property '{name}'"));
    }
    let is_unexpected = |given: &&String| !members.iter().any(|(name, ..)| name == given);
    if let Some(name) = object.keys().find(is_unexpected) {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        let place = if path.is_empty() { "at root: " } else { "" };
        say(path, found, &format!("{place}unexpected property '{name}'"));
    }
    for (name, _, shape) in members {
        if let Some(value) = object.get(*name) {
            within(path, name, |path| check(value, *shape, path, found));
        }
    }
}

/// Of a name that nobody expected no more is repeated.
const LONGEST_NAME: usize = 64;

fn text<'a>(value: &'a Value, path: &str, found: &mut Vec<String>) -> Option<&'a str> {
    let text = value.as_str();
    if text.is_none() {
        say(path, found, "must be string");
    }
    text
}

fn say(path: &str, found: &mut Vec<String>, what: &str) {
    if found.len() < MOST {
        found.push(if path.is_empty() { what.to_owned() } else { format!("at {path}: {what}") });
    }
}

fn within(path: &mut String, name: &str, check: impl FnOnce(&mut String)) {
    let length = path.len();
    let _ = write!(path, "/{}", name.chars().take(LONGEST_NAME).collect::<String>());
    check(path);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Presence::*, *};

    const INNER: Shape = Shape::Members(&[("a", Required, FILLED), ("b", Optional, Shape::Bool)]);
    const OUTER: Shape = Shape::Members(&[
        ("inner", Required, INNER),
        ("count", Optional, Shape::Integer(1, 9)),
        ("list", Optional, Shape::List(&FILLED)),
        ("map", Optional, Shape::Map(&Shape::Bool)),
        ("yes", Optional, Shape::True),
    ]);

    #[test]
    fn what_is_wrong_is_said_in_order_and_with_its_place() {
        for (value, expected) in [
            (json!({ "inner": { "a": "x" }, "count": 9, "list": ["x"], "map": {}, "yes": true }), None),
            (json!(5), Some("must be object")),
            (json!({}), Some("must have required property 'inner'")),
            (
                json!({ "x": 1, "y": 2, "count": 0 }),
                Some("must have required property 'inner'; at root: unexpected property 'x'; at /count: must be >= 1"),
            ),
            (
                json!({ "inner": { "b": 5, "c": 1 }, "count": 10 }),
                Some(
                    "at /inner: must have required property 'a'; at /inner: unexpected property 'c'; at /inner/b: must \
                     be boolean; at /count: must be <= 9",
                ),
            ),
            (
                json!({ "inner": { "a": "" }, "count": 1.5, "list": ["", 5], "map": { "k": 5 }, "yes": 1 }),
                Some(
                    "at /inner/a: must not have fewer than 1 characters; at /count: must be integer; at /list/0: must \
                     not have fewer than 1 characters; at /list/1: must be string; at /map/k: must be boolean; at \
                     /yes: must be boolean; at /yes: must be equal to constant",
                ),
            ),
        ] {
            assert_eq!(wrong(&value, OUTER).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn eight_things_are_said_at_most() {
        let value = json!({ "inner": { "a": "x" }, "list": vec![5; 1000] });
        assert_eq!(wrong(&value, OUTER).unwrap().matches("must be string").count(), 8);
    }
}
