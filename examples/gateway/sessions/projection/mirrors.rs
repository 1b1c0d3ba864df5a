//! Rule B: a reply that was sent with the `message` tool is mirrored into the conversation.
//!
//! A model may answer through the tool and then end its turn with a control reply. The answer is
//! then nowhere to be seen, so a mirror of it is put in front of that reply. Walking the list:
//!
//! 1. A `send` call without a route of its own is a reply that is *pending*.
//! 2. A tool result that fits makes it *sent*, unless the result tells of a failure.
//! 3. A silent control reply puts mirrors of all sent replies in front of itself, in the order of
//!    their calls, and ends what is pending.
//! 4. A user message, or an answer that is seen, also ends what is pending.

use super::{Preceding, assistant, role, send::SendCall, tool_result};
use crate::json::{Object, Value};

struct Pending {
    send: SendCall,
    /// Where the message with the call stands.
    call: usize,
    /// Where the message with a successful result stands.
    result: Option<usize>,
}

/// Puts the mirrors into the list.
///
/// With [`Preceding::Unknown`] there may be replies pending from before the list. They matter only
/// to a silent reply that comes first of all that ends them: then the list begins after it.
pub fn insert<'a>(mut messages: Vec<Object<'a>>, before: Preceding) -> Vec<Object<'a>> {
    let mut start = 0;
    let mut known = before == Preceding::None;
    let mut pending: Vec<Pending> = Vec::new();
    let mut mirrors: Vec<(usize, Object<'a>)> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let calls = pending.len();
        pending.extend(SendCall::all(message).map(|send| Pending { send, call: at, result: None }));
        let ended = role::is_exactly(message, "user") || pending.len() == calls && is_seen(message);
        if ended {
            pending.clear();
        }
        for reply in pending.iter_mut().filter(|reply| reply.result.is_none()) {
            if tool_result::confirms(message, reply.send.call_id.as_ref()) {
                reply.result = Some(at);
            }
        }
        let silent = assistant::is_silent(message);
        if silent && !known {
            start = at + 1;
            pending.clear();
        } else if silent {
            for reply in pending.drain(..) {
                if let Some(result) = reply.result {
                    mirrors.push((at, mirror(reply.send, &messages[reply.call], &messages[result])));
                }
            }
        }
        known |= ended || silent;
    }
    if mirrors.is_empty() {
        messages.drain(..start);
        return messages;
    }
    let mut mirrored = Vec::with_capacity(messages.len() + mirrors.len());
    let mut mirrors = mirrors.into_iter().peekable();
    for (at, message) in messages.into_iter().enumerate().skip(start) {
        while let Some((_, mirror)) = mirrors.next_if(|(place, _)| *place == at) {
            mirrored.push(mirror);
        }
        mirrored.push(message);
    }
    mirrored
}

/// Whether this is an assistant's answer that is text and no control reply.
fn is_seen(message: &Object<'_>) -> bool {
    assistant::visible_text(message).is_some_and(|text| !assistant::is_control_reply(&text))
}

fn mirror<'a>(send: SendCall, call: &Object<'a>, result: &Object<'a>) -> Object<'a> {
    let text = Object::from([("type", Value::from("text")), ("text", send.text.into())]);
    let mut origin = Object::from([("toolName", "message")]);
    if let Some(call_id) = send.call_id {
        origin.insert("toolCallId", call_id);
    }
    let mut mirror = Object::from([
        ("role", Value::from("assistant")),
        ("content", Value::Array(vec![text.into()])),
        ("openclawMessageToolMirror", origin.into()),
    ]);
    let of_call = ["timestamp", "createdAt", "agentId"].into_iter().map(|key| (key, call.get(key)));
    for (key, value) in of_call.chain([("__openclaw", result.get("__openclaw"))]) {
        if let Some(value) = value {
            mirror.insert(key, value.clone());
        }
    }
    mirror
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    const CALL: &str = r#"{"role":"assistant","timestamp":7,"content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"hi"}}]}"#;
    const OTHER_CALL: &str = r#"{"role":"assistant","content":[{"type":"toolCall","name":"message","arguments":{"action":"send","message":"ho"}}]}"#;
    const RESULT: &str = r#"{"role":"toolResult","toolCallId":"c","content":"ok","__openclaw":{"seq":2}}"#;
    const SILENT: &str = r#"{"role":"assistant","content":"NO_REPLY"}"#;
    const SEEN: &str = r#"{"role":"assistant","content":"seen"}"#;
    const USER: &str = r#"{"role":"user","content":"q"}"#;
    const MIRROR: &str = r#"{"role":"assistant","content":[{"type":"text","text":"hi"}],"openclawMessageToolMirror":{"toolName":"message","toolCallId":"c"},"timestamp":7,"__openclaw":{"seq":2}}"#;
    const OTHER_MIRROR: &str = r#"{"role":"assistant","content":[{"type":"text","text":"ho"}],"openclawMessageToolMirror":{"toolName":"message"},"__openclaw":{"seq":2}}"#;

    #[test]
    fn sent_replies_are_mirrored_before_the_silent_one() {
        for (list, expected) in [
            (&[CALL, RESULT, SILENT][..], &[CALL, RESULT, MIRROR, SILENT][..]),
            (&[CALL, SILENT], &[CALL, SILENT]),
            (&[CALL, RESULT, SEEN, SILENT], &[CALL, RESULT, SEEN, SILENT]),
            (&[CALL, USER, RESULT, SILENT], &[CALL, USER, RESULT, SILENT]),
            (&[CALL, RESULT, SILENT, SILENT], &[CALL, RESULT, MIRROR, SILENT, SILENT]),
            (&[CALL, SILENT, RESULT, SILENT], &[CALL, SILENT, RESULT, SILENT]),
            (&[CALL, OTHER_CALL, RESULT, SILENT], &[CALL, OTHER_CALL, RESULT, MIRROR, OTHER_MIRROR, SILENT]),
            (&[RESULT, CALL, SILENT], &[RESULT, CALL, SILENT]),
        ] {
            let mirrored = insert(table::objects(list), Preceding::None);
            assert_eq!(mirrored, table::objects(expected), "{list:?}");
        }
    }

    #[test]
    fn a_list_without_its_start_begins_where_nothing_unknown_is_pending() {
        for (list, expected) in [
            (&[RESULT, SILENT, CALL, RESULT, SILENT][..], &[CALL, RESULT, MIRROR, SILENT][..]),
            (&[CALL, RESULT, SILENT, SEEN], &[SEEN]),
            (&[RESULT, USER, CALL, RESULT, SILENT], &[RESULT, USER, CALL, RESULT, MIRROR, SILENT]),
            (&[RESULT, SEEN, SILENT], &[RESULT, SEEN, SILENT]),
            (&[CALL, RESULT], &[CALL, RESULT]),
        ] {
            let mirrored = insert(table::objects(list), Preceding::Unknown);
            assert_eq!(mirrored, table::objects(expected), "{list:?}");
        }
    }
}
