//! What an assistant says to itself between its tool calls is set apart as a message of its own, so that a client can
//! show it where it streamed it before.
//!
//! Each such message has the meta of the one that it is of. All of them together are no longer than in proportion to that
//! one ([`Shared`]), for a message may have many, and a long meta.

use std::borrow::Cow;

use super::{META, block, block::Phase, media, sanitise::text_block};
use crate::json::{
    Fields, Object, Value, Write as _,
    text::{is_blank, trim},
};

const SET_APART: &str = "openclawStreamFallback";

/// How many bytes each of many messages may have of what is said once in the one that they are of.
const SHARE: usize = 1024;

/// Whether this is commentary that was set apart.
pub fn is_set_apart(message: &Object) -> bool {
    message.object(SET_APART).is_some_and(|fallback| fallback.says("source", "segment"))
}

/// Commentary of one item of a provider's answer.
struct Group<'a> {
    item: Cow<'a, str>,
    /// Whether the item is the provider's own, and not the whole message.
    is_provided: bool,
    content: Vec<Value>,
    texts: Vec<String>,
    /// The blocks of the message that are no longer shown in it.
    places: Vec<usize>,
}

/// Takes commentary out of an answer. It is that of blocks that a provider has named, or has media beside it.
pub fn set_apart(message: &mut Object) -> Vec<Object> {
    let is_failed = message.says("stopReason", "error") || message.text("errorMessage").is_some();
    if !block::is_assistant(message) || is_failed {
        return Vec::new();
    }
    let commentary: Vec<usize> =
        block::of_phase(message, Some(Phase::Commentary)).into_iter().map(|(at, _)| at).collect();
    if commentary.is_empty() {
        return Vec::new();
    }
    let mut groups = groups(message, &commentary);
    groups.retain(|group| {
        let has_media = group.content.iter().any(|block| block::kind(block) != Some("text"));
        !group.content.is_empty() && (group.is_provided || has_media)
    });
    let places: Vec<usize> = groups.iter().flat_map(|group| &group.places).copied().collect();
    let shared = Shared::of(message, groups.len());
    let set_apart = groups.into_iter().map(|group| group.into_message(&shared)).collect();
    take_out(message, &commentary, &places);
    set_apart
}

/// `commentary` are the places of its blocks, in order.
fn groups<'a>(message: &'a Object, commentary: &[usize]) -> Vec<Group<'a>> {
    let meta_id = message.object(META).and_then(|meta| meta.text("id"));
    // One that is longer than any id is none.
    let own_id = meta_id.or_else(|| message.text("id")).map(trim).filter(|id| id.len() <= SHARE);
    let mut groups: Vec<Group> = Vec::new();
    let mut is_open = false;
    for (at, block) in block::blocks(message).iter().enumerate() {
        let Some(object) = block.as_object() else { continue };
        if !block::is_text(block) {
            if let Some(group) = groups.last_mut().filter(|_| is_open && media::is_media(block)) {
                group.content.push(block.clone());
                group.places.push(at);
            }
            continue;
        }
        let signature = block::Signature::of(object);
        let provided = signature.as_ref().and_then(|signature| signature.id.as_deref()).map(trim);
        let provided = provided.filter(|id| !id.is_empty()).map(str::to_owned);
        let is_provided = provided.is_some();
        let item = provided.map(Cow::Owned).or(own_id.map(Cow::Borrowed)).filter(|item| !item.is_empty());
        let Some(item) = item.filter(|_| commentary.binary_search(&at).is_ok()) else {
            is_open = false;
            continue;
        };
        if !is_open || groups.last().is_none_or(|group| group.item != item) {
            groups.push(Group { item, is_provided, content: Vec::new(), texts: Vec::new(), places: Vec::new() });
            is_open = true;
        }
        let Some(group) = groups.last_mut() else { continue };
        group.is_provided |= is_provided;
        // What its signature says is commentary is left out of the answer anyway.
        if signature.and_then(|signature| signature.phase) != Some(Phase::Commentary) {
            group.places.push(at);
        }
        if let Some(text) = block::text(block).filter(|text| !is_blank(text)) {
            group.content.push(text_block(text));
            group.texts.push(text.to_owned());
        }
    }
    groups
}

/// What messages that are set apart have of the one that they are of.
struct Shared {
    timestamp: Option<Value>,
    meta: Option<Object>,
}

impl Shared {
    /// The meta is whole if all of so many together are no longer than the message, or no longer than [`SHARE`] each. Else it
    /// says which record it is of.
    fn of(message: &Object, count: usize) -> Self {
        let timestamp = message.get("timestamp").filter(|timestamp| timestamp.is_number()).cloned();
        let meta = message.object(META).map(|meta| {
            let length = meta.to_json().len();
            if length <= SHARE || length.saturating_mul(count) <= message.to_json().len() {
                return meta.clone();
            }
            let names = ["id", "seq"].into_iter().filter_map(|key| Some((key.to_owned(), meta.get(key)?.clone())));
            names.filter(|(_, value)| value.to_json().len() <= SHARE).collect()
        });
        Self { timestamp, meta }
    }
}

impl Group<'_> {
    fn into_message(self, shared: &Shared) -> Object {
        let mut fallback = Object::new();
        fallback.set("replacementText", self.texts.join("\n"));
        fallback.set("source", "segment");
        fallback.set("itemId", self.item.into_owned());
        let mut message = Object::new();
        message.set("role", "assistant");
        message.set("content", self.content);
        if let Some(timestamp) = &shared.timestamp {
            message.set("timestamp", timestamp.clone());
        }
        message.set(SET_APART, fallback);
        if let Some(meta) = &shared.meta {
            message.set(META, meta.clone());
        }
        message
    }
}

/// Takes the blocks at these places out, and all commentary beside tools if any of it was in words. Both are in order.
fn take_out(message: &mut Object, commentary: &[usize], places: &[usize]) {
    if places.is_empty() {
        return;
    }
    let blocks = block::blocks(message);
    let says_words = places.iter().any(|at| block::is_text(&blocks[*at]));
    let left = |at: &usize| places.binary_search(at).is_err();
    let has_tools = (0..blocks.len()).filter(left).any(|at| block::is_tool_kind(block::kind(&blocks[at])));
    let takes_all = says_words && has_tools;
    let mut at = 0;
    if let Some(Value::Array(blocks)) = message.member_mut("content") {
        blocks.retain(|_| {
            let stays = left(&at) && !(takes_all && commentary.binary_search(&at).is_ok());
            at += 1;
            stays
        });
    }
    if takes_all {
        message.take("phase");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::table, *};

    #[test]
    fn commentary_with_an_item_of_its_own_is_set_apart() {
        let mut message = table::object(
            r#"{"role":"assistant","timestamp":5,"__openclaw":{"id":"m","seq":1},"phase":"commentary","content":[{"type":"text","text":"aloud","textSignature":"i1"},{"type":"toolCall","id":"c"},{"type":"text","text":"more"}]}"#,
        );
        let set_apart = set_apart(&mut message);
        let set_apart: Vec<String> = set_apart.into_iter().map(|message| Value::from(message).to_string()).collect();
        assert_eq!(
            set_apart,
            [
                r#"{"role":"assistant","content":[{"type":"text","text":"aloud"}],"timestamp":5,"openclawStreamFallback":{"replacementText":"aloud","source":"segment","itemId":"i1"},"__openclaw":{"id":"m","seq":1}}"#
            ]
        );
        assert_eq!(
            Value::from(message).to_string(),
            r#"{"role":"assistant","timestamp":5,"__openclaw":{"id":"m","seq":1},"content":[{"type":"toolCall","id":"c"}]}"#
        );
    }

    /// A message with so many texts, each of an item of its own.
    fn of_items(count: usize, meta: &Value) -> Object {
        let text = |at: usize| json!({ "type": "text", "text": "x", "textSignature": format!("i{at}") });
        let content: Vec<_> = (0..count).map(text).collect();
        let message = json!({ "role": "assistant", "phase": "commentary", "content": content, META: meta });
        message.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_long_meta_is_not_repeated_many_times() {
        let meta = json!({ "id": "m", "more": "y".repeat(100 * SHARE), "seq": 1 });
        for (count, is_whole) in [(1, true), (2, false), (400, false)] {
            let mut message = of_items(count, &meta);
            let length = message.to_json().len();
            let set_apart = set_apart(&mut message);
            let names = if is_whole { meta.clone() } else { json!({ "id": "m", "seq": 1 }) };
            assert!(set_apart.len() == count && set_apart.iter().all(|message| message[META] == names));
            assert!(set_apart.to_json().len() <= 4 * length, "{count}");
        }
        let short = json!({ "id": "m", "more": "y".repeat(SHARE / 2), "seq": 1 });
        let set_apart = set_apart(&mut of_items(400, &short));
        assert!(set_apart.len() == 400 && set_apart.iter().all(|message| message[META] == short));
    }

    #[test]
    fn an_id_that_is_too_long_for_one_names_no_item() {
        for (length, is_set_apart) in [(SHARE, true), (SHARE + 1, false)] {
            let content = json!([{ "type": "text", "text": "x" }, { "type": "image", "url": "/a.png" }]);
            let id = "i".repeat(length);
            let message = json!({ "role": "assistant", "phase": "commentary", "id": id, "content": content });
            let set_apart = set_apart(&mut message.as_object().cloned().expect("an object"));
            assert_eq!(!set_apart.is_empty(), is_set_apart);
        }
    }

    #[test]
    fn other_commentary_stays_where_it_is() {
        for json in [
            r#"{"role":"assistant","phase":"commentary","content":[{"type":"text","text":"aloud"}]}"#,
            r#"{"role":"assistant","phase":"commentary","stopReason":"error","content":[{"type":"text","text":"a","textSignature":"i"}]}"#,
            r#"{"role":"user","phase":"commentary","content":[{"type":"text","text":"a","textSignature":"i"}]}"#,
        ] {
            let mut message = table::object(json);
            assert!(set_apart(&mut message).is_empty());
            assert_eq!(message, table::object(json));
        }
    }
}
