//! Whether an answer is the one that was recorded.
//!
//! 1. JSON is compared by what it means: objects without order, numbers as doubles.
//! 2. `"items": "<messages>"` stands for the same list as `messages`, and `"<now-ms>"` for the time of
//!    the request.
//! 3. Of the headers those count that were recorded; `Allow` and `Retry-After` must not come unasked.
//!    `Retry-After` may differ by half a minute.
//! 4. `unclaimed` means that the path is not one of the gateway's: 404 and plain text.

use std::time::{Duration, SystemTime};

use super::pack::{json, objects, text};
use crate::{
    client::{PATIENCE, Response},
    json::{Fields as _, Object, Value, parse},
};

/// How far "now" may be away.
const NOW: Duration = Duration::from_secs(15 * 60);

/// The first difference between what was recorded and what has come.
pub fn response(expected: &Object, mut got: Response) -> Result<(), String> {
    if expected.contains_key("unclaimed") {
        let is_text = got.header("content-type").is_some_and(|value| value.starts_with("text/plain"));
        if got.status == 404 && is_text {
            return Ok(());
        }
        let status = got.status;
        return Err(format!("the path should not be claimed: {status} {}", got.text()));
    }
    head(expected, &got)?;
    if expected.contains_key("sse") {
        let wanted: Vec<_> = objects(expected, "sse").cloned().collect();
        return blocks(&wanted, &got.blocks(wanted.len(), PATIENCE));
    }
    let body = got.bytes();
    if let Some(wanted) = expected.get("json") {
        let got = parse(&body).ok_or_else(|| format!("no JSON: {}", String::from_utf8_lossy(&body)))?;
        value(&unpacked(wanted), &got).map_err(|difference| format!("body{difference}"))?;
    }
    if let Some(wanted) = expected.text("text") {
        let got = String::from_utf8_lossy(&body);
        same("body", wanted, &got)?;
    }
    Ok(())
}

/// The status and the headers.
pub fn head(expected: &Object, got: &Response) -> Result<(), String> {
    let status = expected.number("status").ok_or("no status was recorded")?;
    if status != f64::from(got.status) {
        return Err(format!("status: expected {status}, got {}", got.status));
    }
    let none = Object::new();
    let headers = expected.object("headers").unwrap_or(&none);
    for (name, wanted) in headers.iter() {
        let wanted = wanted.as_str().ok_or("a header is text")?;
        // Directives that the peer does not send stand in a line of their own.
        let last = || got.lines(name).last().copied().filter(|_| name == "cache-control");
        let got = got.header(name).or_else(last).ok_or_else(|| format!("no header {name}"))?;
        let seconds = |text: &str| text.parse::<f64>().ok();
        match (seconds(wanted), seconds(got)) {
            (Some(wanted), Some(got)) if name == "retry-after" && (wanted - got).abs() <= 30.0 => {}
            _ => same(&format!("header {name}"), wanted, got)?,
        }
    }
    let unasked = ["allow", "retry-after"].into_iter().filter(|name| !headers.contains_key(*name));
    match unasked.into_iter().find(|name| got.header(name).is_some()) {
        Some(name) => Err(format!("the header {name} was not expected")),
        None => Ok(()),
    }
}

/// The blocks of an event stream.
pub fn blocks(expected: &[Object], got: &[String]) -> Result<(), String> {
    if expected.len() != got.len() {
        return Err(format!("expected {} blocks, got {got:?}", expected.len()));
    }
    for (at, (expected, got)) in expected.iter().zip(got).enumerate() {
        let difference = match expected.text("raw") {
            Some(raw) => same("", raw, got),
            None => event(expected, got),
        };
        difference.map_err(|difference| format!("block {at}{difference}"))?;
    }
    Ok(())
}

fn event(expected: &Object, got: &str) -> Result<(), String> {
    let data = got.strip_prefix(&format!("event: {}\ndata: ", text(expected, "event")));
    let data = data.ok_or_else(|| format!(": expected another event than {got}"))?;
    let data = parse(data.as_bytes()).ok_or_else(|| format!(": no JSON: {got}"))?;
    value(&unpacked(expected.get("data").ok_or(": no data was recorded")?), &data)
}

/// The first difference: where it is, and what it is.
pub fn value(expected: &Value, got: &Value) -> Result<(), String> {
    match (expected, got) {
        (Value::String(now), Value::Number(time)) if now == "<now-ms>" => {
            let time = time.as_f64().unwrap_or_default();
            let now = SystemTime::UNIX_EPOCH.elapsed().map_err(|error| error.to_string())?;
            let distance = (now.as_millis() as f64 - time).abs();
            if distance < NOW.as_millis() as f64 { Ok(()) } else { Err(format!(": {time} is not now")) }
        }
        (Value::Array(expected), Value::Array(got)) => {
            for (at, (expected, got)) in expected.iter().zip(got).enumerate() {
                value(expected, got).map_err(|difference| format!("[{at}]{difference}"))?;
            }
            same(": length", &expected.len().to_string(), &got.len().to_string())
        }
        (Value::Object(expected), Value::Object(got)) => {
            for (key, expected) in expected.iter() {
                let got = got.get(key).ok_or_else(|| format!(".{key}: missing, expected {}", short(expected)))?;
                value(expected, got).map_err(|difference| format!(".{key}{difference}"))?;
            }
            match got.iter().find(|(key, _)| !expected.contains_key(*key)) {
                Some((key, got)) => Err(format!(".{key}: not expected: {}", short(got))),
                None => Ok(()),
            }
        }
        (Value::Number(expected), Value::Number(got)) if expected.as_f64() == got.as_f64() => Ok(()),
        _ if expected == got => Ok(()),
        _ => Err(format!(": expected {}, got {}", short(expected), short(got))),
    }
}

/// A recorded body with its list of items written out.
fn unpacked(body: &Value) -> Value {
    let mut body = body.clone();
    if let Value::Object(fields) = &mut body {
        if fields.says("items", "<messages>") {
            let messages = fields.get("messages").cloned().unwrap_or_default();
            fields.set("items", messages);
        }
    }
    body
}

fn same(what: &str, expected: &str, got: &str) -> Result<(), String> {
    if expected == got { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {got:?}")) }
}

/// JSON, cut to what one can read.
fn short(value: &Value) -> String {
    json(value).chars().take(200).collect()
}
