//! Who sent a user message: a label of its own, or one from its metadata.

use std::borrow::Cow;

use memchr::memmem;

use super::inbound_metadata::{CONVERSATION, SENDER, fenced_json};
use crate::json::{Object, Text, Value};

/// A code fence as it is written inside the metadata, where a plain one would end the block.
const BROKEN_FENCE: &[u8] = "`\u{200b}``".as_bytes();

/// Writes the label to `senderLabel`. Comes before the metadata is stripped.
pub fn settle(message: &mut Object<'_>) {
    let label = match message.opt_string("senderLabel") {
        Some(own) if message.text("senderLabel") == Some(&own) => return,
        Some(own) => Some(own.into_owned()),
        None => from_texts(message),
    };
    if let Some(label) = label {
        message.insert("senderLabel", label);
    }
}

fn from_texts(message: &Object<'_>) -> Option<Text<'static>> {
    let from_blocks = match message.get("content") {
        Some(Value::String(text)) => return from_text(text),
        Some(Value::Array(blocks)) => {
            blocks.iter().filter_map(|block| block.as_object()?.text("text")).find_map(from_text)
        }
        _ => None,
    };
    from_blocks.or_else(|| from_text(message.text("text")?))
}

fn from_text(text: &Text<'_>) -> Option<Text<'static>> {
    label_in(text, SENDER, &["label", "name", "username", "e164", "id"])
        .or_else(|| label_in(text, CONVERSATION, &["sender"]))
}

fn label_in(text: &Text<'_>, sentinel: &[u8], keys: &[&str]) -> Option<Text<'static>> {
    let json = Text::from_wtf8(fenced_json(text.as_wtf8(), sentinel)?);
    let block = json.parse_json().ok()?;
    let mut label = block.as_object()?.first_opt_string(keys)?;
    label.edit(mend_fences);
    Some(label.into_owned())
}

fn mend_fences(label: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Vec::new();
    let mut done = 0;
    for at in memmem::find_iter(label, BROKEN_FENCE) {
        mended.extend_from_slice(&label[done..at]);
        mended.extend_from_slice(b"```");
        done = at + BROKEN_FENCE.len();
    }
    if done == 0 {
        return Cow::Borrowed(label);
    }
    mended.extend_from_slice(&label[done..]);
    Cow::Owned(mended)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn the_label_is_the_message_s_own_or_that_of_its_metadata() {
        let block = |sentinel: &str, json: &str| {
            format!(r"{sentinel} (untrusted metadata):\n```json\n{json}\n```\n").replace('"', r#"\""#)
        };
        let labelled = |content: &str, label: &str| {
            let message = format!(r#"{{"role":"user",{content}}}"#);
            let with_label = format!(r#"{{"role":"user",{content},"senderLabel":"{label}"}}"#);
            (message, with_label)
        };
        let sender = |json| block("Sender", json);
        let conversation = |json| block("Conversation info", json);
        let cases = [
            labelled(&format!(r#""content":"{}""#, sender(r#"{"id":"i","label":" Bob ","name":"n"}"#)), "Bob"),
            labelled(&format!(r#""content":"{}""#, sender(r#"{"label":" ","e164":"+1","id":"i"}"#)), "+1"),
            labelled(&format!(r#""content":"{}{}""#, conversation(r#"{"sender":"C"}"#), sender(r#"{"id":7}"#)), "C"),
            labelled(&format!(r#""content":"{}{}""#, conversation(r#"{"sender":"C"}"#), sender(r#"{"id":"S"}"#)), "S"),
            labelled(&format!(r#""content":[{{"type":"x","text":"{}"}}]"#, sender(r#"{"id":"B"}"#)), "B"),
            labelled(&format!(r#""content":[5],"text":"{}""#, sender(r#"{"id":"T"}"#)), "T"),
            labelled(&format!(r#""content":"{}""#, sender("{\"id\":\"`\u{200b}``x`\u{200b}``\"}")), "```x```"),
        ];
        for (message, expected) in cases {
            table::messages(settle, &[(&message, &expected)]);
        }
        let unlabelled = [
            format!(r#"{{"content":"x","text":"{}"}}"#, sender(r#"{"id":"T"}"#)),
            format!(r#"{{"content":"{}"}}"#, sender("{bad")),
            format!(r#"{{"content":"{}"}}"#, sender("[1]")),
            format!(r#"{{"content":"{}","senderLabel":"own"}}"#, sender(r#"{"id":"T"}"#)),
        ];
        for message in unlabelled {
            table::messages(settle, &[(&message, &message)]);
        }
        table::messages(settle, &[(r#"{"senderLabel":" own "}"#, r#"{"senderLabel":"own"}"#)]);
    }
}
