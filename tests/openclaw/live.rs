//! Replays a live script: a stream is opened, things happen, and events come.
//!
//! The peer hears of an append from the program that makes it, and we see it in the file. So only
//! those scripts can be replayed whose steps are appends of one record each (`append_only`).

use std::time::Duration;

use super::{compare, house::House, pack::objects, replay::send};
use crate::{
    client::PATIENCE,
    json::{Fields as _, Object, is_truthy},
};

/// How long a stream is listened to for what must not come.
const QUIET: Duration = Duration::from_millis(150);

/// What a step may consist of. `update` is what the peer's own bus was told, and the times are those
/// of the recorder.
const KNOWN: [&str; 6] = ["append", "requests", "expect", "update", "wait", "sleep"];

pub fn is_live(vector: &Object) -> bool {
    vector.contains_key("steps")
}

pub fn can_be_replayed(vector: &Object) -> bool {
    vector.get("append_only").is_some_and(is_truthy)
}

/// The first difference between what comes and what was recorded.
pub fn replay(house: &House, vector: &Object) -> Result<(), String> {
    let recorded = vector.object("response").ok_or("no response was recorded")?;
    let mut stream = send(house, vector.object("request").ok_or("no request was recorded")?)?;
    compare::head(recorded, &stream)?;
    let initial: Vec<_> = objects(recorded, "initial").cloned().collect();
    let mut seen = initial.len();
    compare::blocks(&initial, &stream.blocks(seen, PATIENCE))?;

    for (at, step) in objects(vector, "steps").enumerate() {
        perform(house, step)?;
        let expected: Vec<_> = objects(step, "expect").cloned().collect();
        stream.blocks(seen + expected.len(), PATIENCE);
        let blocks = stream.blocks(seen + expected.len() + 1, QUIET);
        compare::blocks(&expected, &blocks[seen..]).map_err(|difference| format!("step {}: {difference}", at + 1))?;
        seen = blocks.len();
    }

    match vector.get("closes").and_then(|closes| closes.as_bool()) {
        Some(true) if stream.end_within(PATIENCE).is_none() => Err("the stream did not end".to_owned()),
        Some(false) if stream.end_within(QUIET).is_some() => Err("the stream ended".to_owned()),
        _ => Ok(()),
    }
}

fn perform(house: &House, step: &Object) -> Result<(), String> {
    if let Some((unknown, _)) = step.iter().find(|(key, _)| !KNOWN.contains(&key.as_str())) {
        return Err(format!("a step of an unknown kind: {}", unknown));
    }
    for request in objects(step, "requests") {
        send(house, request)?;
    }
    if let Some(files) = step.object("append") {
        house.disk.append(files);
    }
    Ok(())
}
