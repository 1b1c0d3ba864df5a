//! What an assistant says to itself between its tool calls is set apart as a message of its own, so that a client can
//! show it where it streamed it before.

use super::{META, block, block::Phase, media, sanitise::text_block};
use crate::json::{
    Fields, Object, Value,
    text::{is_blank, trim},
};

const SET_APART: &str = "openclawStreamFallback";

/// Whether this is commentary that was set apart.
pub fn is_set_apart(message: &Object) -> bool {
    message.object(SET_APART).is_some_and(|fallback| fallback.says("source", "segment"))
}

/// Commentary of one item of a provider's answer.
struct Group {
    item: String,
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
    let set_apart = groups.into_iter().map(|group| group.into_message(message)).collect();
    take_out(message, &commentary, &places);
    set_apart
}

/// `commentary` are the places of its blocks, in order.
fn groups(message: &Object, commentary: &[usize]) -> Vec<Group> {
    let meta_id = message.object(META).and_then(|meta| meta.text("id"));
    let own_id = meta_id.or_else(|| message.text("id")).map(|id| trim(id).to_owned());
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
        let item = provided.or_else(|| own_id.clone()).filter(|item| !item.is_empty());
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

impl Group {
    fn into_message(self, original: &Object) -> Object {
        let mut fallback = Object::new();
        fallback.set("replacementText", self.texts.join("\n"));
        fallback.set("source", "segment");
        fallback.set("itemId", self.item);
        let mut message = Object::new();
        message.set("role", "assistant");
        message.set("content", self.content);
        if let Some(timestamp) = original.member("timestamp").filter(|timestamp| timestamp.is_number()) {
            message.set("timestamp", timestamp.clone());
        }
        message.set(SET_APART, fallback);
        if let Some(meta) = original.object(META) {
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
